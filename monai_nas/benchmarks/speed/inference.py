"""Segmenting one preprocessed volume: ours beside MONAI's inferer around the same network in plain float32."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SlidingWindowInferer
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, plain_compute, silent
from monai_nas.compute import Compute, choose_compute
from monai_nas.inference.predictor import FLIPS, PATCHES_AT_ONCE
from monai_nas.inference.volume import Volume, segment
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan


def inference_contest(
    architecture: Architecture,
    plan: Plan,
    *,
    size: Sequence[int],
    mirror: bool,
    repetitions: int,
    seed: int,
    device: str | None = None,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Time the way from a volume of smooth noise to its labels, by the same network with the same fresh weights.

    Contenders: "ours", as `monai-nas predict` does it; "monai", MONAI's inferer over each mirrored copy in the same
    number format; "monai_float32", the same in float32 and torch's default layout.

    Args:
        architecture: of the network.
        plan: gives window and channels.
        size: voxels per axis.
        mirror: average over the eight mirrored copies.
        repetitions: how often each does it.
        seed: of weights and volume.
        device: as of :func:`~monai_nas.compute.choose_compute`.
        tick: called with the share that is done.

    Returns:
        The record of :func:`~monai_nas.benchmarks.speed.contest.contest`, with "equal_labels", the share of voxels on
        which each agrees with "monai_float32".
    """
    compute = choose_compute(True, device)
    plain = plain_compute(device)
    torch.manual_seed(seed)
    weights = build_network(architecture, **network_arguments(plan)).state_dict()
    coarse = torch.randn(1, plan.task.in_channels, *(max(1, length // 4) for length in size))
    image = nn.functional.interpolate(coarse, size=tuple(size), mode="trilinear")[0]
    window = SlidingWindowInferer(tuple(plan.patch_size), sw_batch_size=PATCHES_AT_ONCE, overlap=0.5, mode="gaussian")

    def network(where: Compute) -> nn.Module:
        built = build_network(architecture, **network_arguments(plan))
        built.load_state_dict(weights)
        return where.place(built).eval()

    def ours() -> Callable[[], Any]:
        own, volume = network(compute), Volume(image, (), MetaTensor(torch.empty(0)))
        return lambda: segment(volume, own, window, compute=compute, mirror=mirror)

    def monai(where: Compute) -> Callable[[], Any]:
        own, flips = network(where), FLIPS if mirror else FLIPS[:1]

        def score(patches: Tensor) -> Tensor:
            with where.autocast():
                return own(patches).float()

        def run() -> Any:
            with torch.inference_mode():
                placed = where.place(image[None])
                logits = [torch.as_tensor(window(placed.flip(axes), score)) for axes in flips]
                copies = [values.softmax(dim=1).flip(axes) for values, axes in zip(logits, flips, strict=True)]
                return torch.stack(copies).mean(dim=0)[0].argmax(dim=0).to(torch.uint8).cpu().numpy()

        return run

    contenders = [
        Contender(OURS, ours(), f"{compute.dtype}"),
        Contender("monai", monai(compute), f"MONAI's SlidingWindowInferer, {compute.dtype}"),
        Contender("monai_float32", monai(plain), "MONAI's SlidingWindowInferer, float32, default layout"),
    ]
    record = contest(contenders, repetitions=repetitions, tick=tick)
    labels = {contender.name: contender.run() for contender in contenders}
    return record | {
        "size": list(size),
        "mirror": mirror,
        "equal_labels": {name: float(np.mean(values == labels["monai_float32"])) for name, values in labels.items()},
    }
