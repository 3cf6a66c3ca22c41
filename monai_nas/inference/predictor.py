"""Class probabilities of a whole volume, or scores of patches: sliding window and mirror averaging."""

from collections.abc import Callable, Sequence
from itertools import chain, combinations

import torch
from monai.inferers.inferer import Inferer, SlidingWindowInferer
from torch import Tensor, nn

from monai_nas.compute import Compute

OVERLAP = 0.5  # of neighbouring windows (scnas.txt, section 4)
TOGETHER_VOXELS = 2**18  # volumes up to this size are held and mirrored as a whole; larger ones window by window
_SPATIAL_AXES = (2, 3, 4)
FLIPS = tuple(chain.from_iterable(combinations(_SPATIAL_AXES, count) for count in range(4)))  # the first is none


def patches_at_once(device: torch.device) -> int:
    """Return how many windows, or mirrored copies of one, the network sees in a pass.

    Small ones do not fill a GPU; on a processor two save a fifth of the time, but take twice the memory.
    """
    return 4 if device.type == "cuda" else 1


def sliding_window(patch_size: Sequence[int], device: torch.device, overlap: float = OVERLAP) -> SlidingWindowInferer:
    """Return MONAI's inferer with Gaussian weights.

    Args:
        patch_size: of a window, voxels.
        device: where the network is, which decides how many windows it sees at once.
        overlap: of neighbouring windows.
    """
    return SlidingWindowInferer(
        roi_size=tuple(patch_size), sw_batch_size=patches_at_once(device), overlap=overlap, mode="gaussian"
    )


def predict_probabilities(
    image: Tensor,
    network: nn.Module,
    patch_size: Sequence[int],
    *,
    compute: Compute,
    overlap: float = OVERLAP,
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
    window = sliding_window(patch_size, compute.device, overlap)
    return mirrored_probabilities(image, network, window, compute=compute, mirror=mirror)


def mirrored_probabilities(
    image: Tensor, network: nn.Module, inferer: Inferer, *, compute: Compute, mirror: bool = True
) -> Tensor:
    """Return the class probabilities as :func:`predict_probabilities`, with any MONAI inferer, such as a bundle's."""
    image = compute.place(image)
    flips = FLIPS if mirror else FLIPS[:1]
    together = patches_at_once(compute.device) if image.shape[2:].numel() <= TOGETHER_VOXELS else 1
    patch_logits = _logits(network, compute)
    total: Tensor | None = None
    with torch.inference_mode():
        for chosen in (flips[at : at + together] for at in range(0, len(flips), together)):
            logits: Tensor = inferer(torch.cat([image.flip(axes) for axes in chosen]), patch_logits)
            for copy, axes in zip(logits.softmax(dim=1).chunk(len(chosen)), chosen, strict=True):
                probabilities = copy.flip(axes)
                total = probabilities if total is None else total.add_(probabilities)
        assert total is not None
        return total / len(flips)


def patch_scores(network: nn.Module, *, compute: Compute, mirror: bool = True) -> Callable[[Tensor], Tensor]:
    """Return what maps patches (B, C, *patch) to scores (B, K, *patch), whose softmax are the classes' probabilities.

    Without ``mirror`` they are the network's logits; with it the log of eight times the mean probabilities of the
    mirrored copies. Each window is mirrored by itself, as in nnU-Net, not the volume: the windows of all copies then
    lie on the same voxels, and one sum serves them all instead of eight.

    Args:
        network: maps patches to logits; on its device, in evaluation mode.
        compute: device and number format.
        mirror: eight times the work.
    """
    patch_logits = _logits(network, compute)

    def mirrored(patches: Tensor) -> Tensor:
        patches = compute.place_patches(patches)  # before they are mirrored
        total: Tensor | None = None
        together = max(1, patches_at_once(compute.device) // len(patches))
        for flips in (FLIPS[at : at + together] for at in range(0, len(FLIPS), together)):
            copies = patch_logits(torch.cat([patches.flip(axes) for axes in flips])).log_softmax(dim=1)
            for copy, axes in zip(copies.chunk(len(flips)), flips, strict=True):
                scores = copy.flip(axes)
                total = scores if total is None else torch.logaddexp(total, scores)
        assert total is not None
        return total

    return mirrored if mirror else patch_logits


def _logits(network: nn.Module, compute: Compute) -> Callable[[Tensor], Tensor]:
    """Return the network on patches wherever they are, in the number format of ``compute``; float32 comes out."""

    def patch_logits(patches: Tensor) -> Tensor:
        with compute.autocast():
            logits: Tensor = network(compute.place_patches(patches))
        return logits.float()

    return patch_logits
