"""Ways from a preprocessed volume to its labels around one network: ours, MONAI's inferer and nnU-Net's predictor."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial, reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SlidingWindowInferer
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.contest import OURS, plain_compute
from monai_nas.benchmarks.speed.nnunet import PEER, nnunet_predictor, title
from monai_nas.compute import Compute, choose_compute
from monai_nas.data.synthetic import make_phantom
from monai_nas.inference.predictor import FLIPS, sliding_window
from monai_nas.inference.sliding_window import band_axis
from monai_nas.inference.volume import Volume, segment, turned_probabilities
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan

REFERENCE = "monai_float32"


@dataclass(frozen=True)
class Setting:
    """What all of them share."""

    architecture: Architecture  # of the network
    plan: Plan  # gives window and channels
    mirror: bool  # average over the eight mirrored copies
    seed: int  # of weights and volume
    device: str | None  # as of choose_compute

    @property
    def place(self) -> torch.device:
        """Where to compute, without what :func:`~monai_nas.compute.choose_compute` sets for this process."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def network(self, where: Compute) -> nn.Module:
        """Return the network with the weights of the seed."""
        torch.manual_seed(self.seed)
        return where.place(build_network(self.architecture, **network_arguments(self.plan))).eval()

    def image(self, size: Sequence[int]) -> Tensor:
        """Return a phantom (C, *size) of the task, z-scored, float32; drawn at a quarter of the size and enlarged."""
        x, y, z = (max(1, length // 4) for length in size)
        phantom, _ = make_phantom(self.plan.task, (x, y, z), np.random.default_rng(self.seed))  # (x, y, z, C)
        coarse = torch.from_numpy((phantom - phantom.mean((0, 1, 2))) / phantom.std((0, 1, 2))).movedim(-1, 0)
        return nn.functional.interpolate(coarse[None], size=tuple(size), mode="trilinear")[0]

    def window(self) -> SlidingWindowInferer:
        """Return MONAI's inferer as `monai-nas predict` sets it."""
        return sliding_window(self.plan.patch_size)


@dataclass(frozen=True)
class Segmenter:
    """What takes volumes (C, H, W, D) float32 in main memory."""

    about: str
    labels: Callable[[Tensor], npt.NDArray[Any]]  # (H, W, D), integers
    probabilities: Callable[[Tensor], Tensor]  # (K, H, W, D) float32


def ours(setting: Setting) -> Segmenter:
    """Return what `monai-nas predict` does."""
    compute, window = choose_compute(True, setting.device), setting.window()
    network = setting.network(compute)

    def volume(image: Tensor) -> Volume:
        return Volume(image, (), MetaTensor(torch.empty(0)))

    def probabilities(image: Tensor) -> Tensor:
        axis = band_axis(image.shape[1:], window)
        slabs = turned_probabilities(volume(image), network, window, axis, compute=compute, mirror=setting.mirror)
        return torch.cat(list(slabs), dim=axis + 1)

    return Segmenter(
        f"{compute.dtype}",
        lambda image: segment(volume(image), network, window, compute=compute, mirror=setting.mirror),
        probabilities,
    )


def monai(setting: Setting, *, plain: bool) -> Segmenter:
    """Return MONAI's inferer over each mirrored copy: in our number format and layout, or in ``plain`` float32."""
    where = plain_compute(setting.device) if plain else choose_compute(True, setting.device)
    network, window = setting.network(where), setting.window()
    flips = FLIPS if setting.mirror else FLIPS[:1]

    def score(patches: Tensor) -> Tensor:
        with where.autocast():
            logits: Tensor = network(patches)
        return logits.float()

    def probabilities(image: Tensor) -> Tensor:
        with torch.inference_mode():
            placed = where.place(image[None])
            copies = (torch.as_tensor(window(placed.flip(axes), score)).softmax(dim=1).flip(axes) for axes in flips)
            return reduce(torch.add, copies)[0] / len(flips)

    return Segmenter(
        f"MONAI's SlidingWindowInferer, {'float32, default layout' if plain else where.dtype}",
        lambda image: probabilities(image).argmax(dim=0).to(torch.uint8).cpu().numpy(),
        probabilities,
    )


def nnunet(setting: Setting) -> Segmenter:
    """Return nnU-Net's predictor; see :func:`~monai_nas.benchmarks.speed.nnunet.nnunet_predictor`."""
    where = Compute(setting.place, torch.float32, channels_last=False, workers=0)
    predictor = nnunet_predictor(setting.network(where), setting.plan, mirror=setting.mirror, device=setting.place)
    score, classes = predictor.predict_logits_from_preprocessed_data, predictor.label_manager
    return Segmenter(
        f"{title()}'s nnUNetPredictor, {'float32' if setting.place.type == 'cpu' else 'autocast'}, default layout",
        lambda image: classes.convert_logits_to_segmentation(score(image)).numpy(),
        lambda image: classes.apply_inference_nonlin(score(image)),
    )


SEGMENTERS: dict[str, Callable[[Setting], Segmenter]] = {
    OURS: ours,
    "monai": partial(monai, plain=False),
    REFERENCE: partial(monai, plain=True),
    PEER: nnunet,
}
