"""Ways from a preprocessed volume to its labels around one network: ours, MONAI's inferer and nnU-Net's predictor."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial, reduce
from pathlib import Path
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
from monai_nas.data.transforms import build, preprocessing
from monai_nas.files import load_weights
from monai_nas.inference.predictor import FLIPS, sliding_window
from monai_nas.inference.sliding_window import band_axis
from monai_nas.inference.volume import Volume, check_scan, segment, turned_probabilities
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan

REFERENCE = "monai_float32"


@dataclass(frozen=True)
class Setting:
    """What all of them share."""

    architecture: Architecture  # of the network
    plan: Plan  # gives window and channels
    size: tuple[int, int, int]  # voxels per axis of a phantom
    mirror: bool  # average over the eight mirrored copies
    seed: int  # of fresh weights and of a phantom
    device: str | None  # as of choose_compute
    weights: Path | None = None  # a model.pt of this architecture and plan; None: fresh ones
    scan: Path | None = None  # an image file to segment; None: a phantom

    @property
    def place(self) -> torch.device:
        """Where to compute, without what :func:`~monai_nas.compute.choose_compute` sets for this process."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    def network(self, where: Compute) -> nn.Module:
        """Return the network with its weights.

        Raises:
            UserError: when the weights are those of another network.
        """
        torch.manual_seed(self.seed)
        network = build_network(self.architecture, **network_arguments(self.plan))
        if self.weights is not None:
            load_weights(network, self.weights)
        return where.place(network).eval()

    def image(self) -> Tensor:
        """Return the scan (C, H, W, D) float32 as the plan prepares it, or a phantom of the task.

        The phantom is z-scored, drawn at a quarter of the size and enlarged.

        Raises:
            UserError: when the scan cannot be read, or has other channels than the plan.
        """
        if self.scan is not None:
            check_scan(self.scan, self.plan.task.in_channels)
            prepared = build(preprocessing(self.plan.task, self.plan, ("image",)))({"image": str(self.scan)})
            return prepared["image"].as_tensor()
        x, y, z = (max(1, length // 4) for length in self.size)
        phantom, _ = make_phantom(self.plan.task, (x, y, z), np.random.default_rng(self.seed))  # (x, y, z, C)
        coarse = torch.from_numpy((phantom - phantom.mean((0, 1, 2))) / phantom.std((0, 1, 2))).movedim(-1, 0)
        return nn.functional.interpolate(coarse[None], size=self.size, mode="trilinear")[0]

    def window(self) -> SlidingWindowInferer:
        """Return MONAI's inferer as `monai-nas predict` sets it."""
        return sliding_window(self.plan.patch_size, self.place)


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
