"""Class probabilities of a whole volume: sliding window and mirror averaging."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations

import torch
from monai.inferers.inferer import Inferer, SlidingWindowInferer
from torch import Tensor, nn

from monai_nas.compute import Compute

_TOGETHER_VOXELS = (
    2**18
)  # mirrored copies of volumes up to this size run as one batch: small ones do not fill the cores
_SPATIAL_AXES = (2, 3, 4)


def predict_probabilities(
    image: Tensor,
    network: nn.Module,
    patch_size: Sequence[int],
    *,
    compute: Compute,
    overlap: float = 0.5,
    mirror: bool = True,
) -> Tensor:
    """Return the class probabilities of preprocessed volumes.

    Args:
        image: (B, C, H, W, D) float32; axes shorter than the patch are padded with 0 and cut again.
        network: maps patches to logits (B, K, ...); the caller has put it on the device and in evaluation mode.
        patch_size: of the sliding window, voxels.
        compute: device and number format.
        overlap: of neighbouring windows, whose logits are averaged with Gaussian weights.
        mirror: average over the eight mirrored copies; eight times the work.

    Returns:
        (B, K, H, W, D) float32 on the compute device, summing to 1 over K.
    """
    inferer = SlidingWindowInferer(roi_size=tuple(patch_size), sw_batch_size=4, overlap=overlap, mode="gaussian")
    return mirrored_probabilities(image, network, inferer, compute=compute, mirror=mirror)


def mirrored_probabilities(
    image: Tensor, network: nn.Module, inferer: Inferer, *, compute: Compute, mirror: bool = True
) -> Tensor:
    """Return the class probabilities as :func:`predict_probabilities`, with any MONAI inferer, such as a bundle's."""
    image = compute.place(image)
    flips = list(chain.from_iterable(combinations(_SPATIAL_AXES, count) for count in range(4))) if mirror else [()]
    infer = _probabilities(network, inferer, compute)
    with torch.inference_mode():
        if mirror and image.shape[2:].numel() <= _TOGETHER_VOXELS:
            copies = infer(torch.cat([image.flip(axes) for axes in flips])).chunk(len(flips))
            return torch.stack([copy.flip(axes) for copy, axes in zip(copies, flips, strict=True)]).mean(dim=0)
        total = infer(image)  # flips[0] is no flip
        for axes in flips[1:]:
            total += infer(image.flip(axes)).flip(axes)
        return total / len(flips)


def _probabilities(network: nn.Module, inferer: Inferer, compute: Compute) -> Callable[[Tensor], Tensor]:
    def patch_logits(patches: Tensor) -> Tensor:
        with compute.autocast():
            logits: Tensor = network(compute.place(patches))
        return logits.float()

    def probabilities(volume: Tensor) -> Tensor:
        logits: Tensor = inferer(volume, patch_logits)
        return logits.softmax(dim=1)

    return probabilities
