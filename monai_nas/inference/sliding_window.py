"""A sliding window that holds only a band of its sums: slices that no later window touches leave it, in order."""

from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from math import prod

import torch
from monai.data.utils import compute_importance_map, dense_patch_slices
from monai.inferers.inferer import SlidingWindowInferer
from monai.utils import PytorchPadMode, ensure_tuple_rep, fall_back_tuple
from torch import Tensor

from monai_nas.inference.resampling import thickness

Score = Callable[[Tensor], Tensor]  # patches (B, C, *patch) -> scores of the classes (B, K, *patch), float32


def band_axis(shape: Sequence[int], window: SlidingWindowInferer) -> int:
    """Return the axis along which the windows go last: that of the band with the fewest voxels."""
    patch = fall_back_tuple(window.roi_size, shape)
    padded = [max(sizes) for sizes in zip(shape, patch, strict=True)]
    return min(range(3), key=lambda axis: patch[axis] * prod(padded) // padded[axis])


def probability_slabs(image: Tensor, window: SlidingWindowInferer, score: Score, axis: int) -> Iterator[Tensor]:
    """Yield the class probabilities of a volume, slab by slab along ``axis``.

    Put together they are the softmax of ``window(image[None], score)[0]``, whose windows, weights and padding these
    are; MONAI holds the sums of the whole volume, 4 (K + 1) bytes a voxel, this a band as thick as the window.

    Args:
        image: (C, H, W, D) float32.
        window: gives window, overlap, weights, padding and batch.
        score: logits or log probabilities of patches; they are added up on the device where it leaves them.
        axis: 0, 1 or 2; see :func:`band_axis`.

    Yields:
        (K, ...) float32, in order, each of all the volume's voxels across ``axis``.
    """
    shape = image.shape[1:]
    patch = fall_back_tuple(window.roi_size, shape)
    image, before = _padded(image, patch, window)
    places = _places(image.shape[1:], patch, window)
    places.sort(key=lambda place: place[axis].start)
    weights = compute_importance_map(patch, mode=window.mode, sigma_scale=window.sigma_scale)
    band = [*image.shape[1:]]
    band[axis] = patch[axis]
    sums, totals, first = torch.empty(0), torch.empty(0), 0  # of slices first to first + patch[axis] - 1

    def finished(stop: int) -> Iterator[Tensor]:
        """Yield the probabilities of slices ``first`` to ``stop`` - 1, without those that were padded."""
        inside = [slice(low, low + length) for low, length in zip(before, shape, strict=True)]
        here = range(max(first, inside[axis].start), min(stop, inside[axis].stop))
        rows = thickness(len(sums), band, axis)
        for start in here[::rows]:
            inside[axis] = slice(start - first, min(start + rows, here.stop) - first)
            where = (slice(None), *inside)
            yield (sums[where] / totals[where]).softmax(dim=0)

    for start, group in groupby(places, key=lambda place: place[axis].start):
        if sums.numel():
            yield from finished(start)
            _advance(sums, start - first, axis)
            _advance(totals, start - first, axis)
        first, row = start, list(group)
        for batch in (row[at : at + window.sw_batch_size] for at in range(0, len(row), window.sw_batch_size)):
            scores = score(torch.stack([image[:, place[0], place[1], place[2]] for place in batch]))
            if not sums.numel():
                sums, totals = scores.new_zeros((scores.shape[1], *band)), scores.new_zeros((1, *band))
                weights = weights.to(scores.device)
            for place, values in zip(batch, scores, strict=True):
                x, y, z = (slice(None) if index == axis else part for index, part in enumerate(place))
                sums[:, x, y, z] += values * weights
                totals[:, x, y, z] += weights
    yield from finished(first + patch[axis])


def _padded(image: Tensor, patch: Sequence[int], window: SlidingWindowInferer) -> tuple[Tensor, list[int]]:
    """Return the volume, at least as large as the patch, and how many voxels came before each axis; as in MONAI."""
    missing = [max(length - size, 0) for length, size in zip(patch, image.shape[1:], strict=True)]
    before = [count // 2 for count in missing]
    if not any(missing):
        return image, before
    pads = [part for low, count in reversed(list(zip(before, missing, strict=True))) for part in (low, count - low)]
    mode = PytorchPadMode(window.padding_mode).value
    return torch.nn.functional.pad(image[None], pads, mode=mode, value=window.cval)[0], before


def _places(shape: Sequence[int], patch: Sequence[int], window: SlidingWindowInferer) -> list[tuple[slice, ...]]:
    """Return where MONAI puts the windows: a whole share of the patch apart, the last one at the edge."""
    overlaps = ensure_tuple_rep(window.overlap, len(shape))
    steps = [
        length if length == size else max(int(length * (1 - overlap)), 1)
        for size, length, overlap in zip(shape, patch, overlaps, strict=True)
    ]
    return list(dense_patch_slices(shape, patch, steps))


def _advance(band: Tensor, count: int, axis: int) -> None:
    """Move the slices of a band ``count`` places towards its start, in place, and set those that come in to 0."""
    kept = band.shape[axis + 1] - count
    staying = band.narrow(axis + 1, count, kept).clone()
    band.narrow(axis + 1, 0, kept).copy_(staying)
    band.narrow(axis + 1, kept, count).zero_()
