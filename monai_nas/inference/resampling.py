"""Resampling of volumes in slabs: what MONAI's Spacing does to a whole volume, both ways, without its sampling grid.

MONAI makes the sampling positions of a whole volume at once, 28 bytes a voxel; a slab needs those of its own only.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from math import ceil, floor, prod
from typing import Any

import torch
from monai.data.meta_tensor import MetaTensor
from monai.data.utils import AFFINE_TOL
from monai.networks.layers import AffineTransform
from monai.transforms import Spacingd
from monai.utils import LazyAttr, TraceKeys
from torch import Tensor

Shape = tuple[int, int, int]

SLAB_VALUES = 2**21  # channels x voxels: enough to fill the cores, and with its positions under 80 MB
_ROUNDING = 1e-3  # voxels: positions are computed in float32


@dataclass(frozen=True)
class Resampling:
    """A change of voxel grid as MONAI's Spacing makes it: positions outside the old grid take its nearest voxel."""

    matrix: Tensor  # (4, 4) float64: voxel indices of the new grid -> of the old one; its diagonal is positive
    old_shape: Shape
    new_shape: Shape
    mode: str  # "bilinear" or "nearest"

    def undone(self) -> "Resampling":
        """Return the way back, as MONAI's Spacing inverts itself: by resampling to the old grid in the same mode."""
        return Resampling(torch.linalg.inv(self.matrix), self.new_shape, self.old_shape, self.mode)

    def sources(self, axis: int, start: int, stop: int) -> tuple[int, int]:
        """Return the first and the last old slice along ``axis`` that new slices ``start`` to ``stop`` - 1 are made of.

        Also where a sheared affine lets one new slice cross several old ones.
        """
        ends = [(0, length - 1) for length in self.new_shape]
        ends[axis] = (start, stop - 1)
        row = self.matrix[axis].tolist()
        products = [(factor * low, factor * high) for factor, (low, high) in zip(row[:3], ends, strict=True)]
        last = self.old_shape[axis] - 1
        first_position = row[3] + sum(map(min, products)) - _ROUNDING
        last_position = row[3] + sum(map(max, products)) + _ROUNDING
        return min(max(floor(first_position), 0), last), min(max(ceil(last_position), 0), last)

    def slab(self, source: Tensor, first: int, axis: int, start: int, stop: int) -> Tensor:
        """Return new slices ``start`` to ``stop`` - 1 along ``axis``.

        Args:
            source: (C, ...), old slices from ``first`` on along ``axis``, whole along the other axes; at least
                :meth:`sources`.
            first: index of the first slice of ``source``.
            axis: 0, 1 or 2.
            start: first slice wanted.
            stop: the slice after the last one wanted.
        """
        to_source, to_slab = torch.eye(4, dtype=torch.float64), torch.eye(4, dtype=torch.float64)
        to_source[axis, 3], to_slab[axis, 3] = -first, start
        theta = to_source @ self.matrix @ to_slab
        shape = [*self.new_shape]
        shape[axis] = stop - start
        # what monai.transforms.SpatialResample runs on the whole volume
        resample = AffineTransform(normalized=False, mode=self.mode, padding_mode="border", align_corners=False)
        slab: Tensor = resample(source[None], theta=theta.to(source), spatial_size=shape)
        return slab[0]


def thickness(channels: int, shape: Sequence[int], axis: int) -> int:
    """Return how many slices of a grid of this shape make a slab."""
    return max(1, SLAB_VALUES * shape[axis] // (channels * prod(shape)))


def resample_slabs(slabs: Iterable[Tensor], step: Resampling, axis: int) -> Iterator[Tensor]:
    """Resample a volume that comes in slabs, holding no more of it than the next slab out is made of.

    Args:
        slabs: (C, ...), all slices of the old grid along ``axis`` in order.
        step: the resampling.
        axis: 0, 1 or 2.

    Yields:
        Slabs (C, ...) of the new grid, in order.
    """
    held, first, start = torch.empty(0), 0, 0
    for slab in slabs:
        held = torch.cat([held, slab], dim=axis + 1) if held.numel() else slab
        rows = thickness(len(slab), step.new_shape, axis)
        while start < step.new_shape[axis]:
            stop = min(start + rows, step.new_shape[axis])
            needed, last = step.sources(axis, start, stop)
            if last >= first + held.shape[axis + 1]:
                passed = min(needed - first, held.shape[axis + 1])
                held = held.narrow(axis + 1, passed, held.shape[axis + 1] - passed)
                first += passed
                break
            yield step.slab(held, first, axis, start, stop)
            start = stop


def resample(image: Tensor, step: Resampling) -> Tensor:
    """Return a volume (C, ...) on the new grid, made slab by slab along its first axis."""
    result = image.new_empty((len(image), *step.new_shape))
    rows = thickness(len(image), step.new_shape, 0)
    for start in range(0, step.new_shape[0], rows):
        stop = min(start + rows, step.new_shape[0])
        first, last = step.sources(0, start, stop)
        result[:, start:stop] = step.slab(image[:, first : last + 1], first, 0, start, stop)
    return result


def resampling_of(transform: Spacingd, image: MetaTensor) -> Resampling | None:
    """Return what MONAI's transform would do to the image, None where it would leave it as it is.

    Raises:
        ValueError: when the transform extrapolates or aligns corners otherwise than our bundles' do.
    """
    planned: Any = transform({"image": image}, lazy=True)["image"]
    operation = planned.pending_operations[-1]
    options = operation[TraceKeys.EXTRA_INFO]
    if options["padding_mode"] != "border" or options["align_corners"] is True:
        raise ValueError("Spacingd must have padding_mode 'border' and align_corners false")
    matrix = torch.as_tensor(operation[LazyAttr.AFFINE], dtype=torch.float64)
    old_x, old_y, old_z = image.shape[1:]
    new_x, new_y, new_z = (int(length) for length in operation[LazyAttr.SHAPE])
    step = Resampling(matrix, (old_x, old_y, old_z), (new_x, new_y, new_z), str(options["mode"]))
    return None if _changes_nothing(step, image.affine) else step


def _changes_nothing(step: Resampling, affine: Tensor) -> bool:
    """Whether MONAI takes the two grids for the same."""
    same_place = torch.allclose(step.matrix, torch.eye(4, dtype=torch.float64), atol=AFFINE_TOL)
    same_place |= torch.allclose(affine, affine @ step.matrix, atol=AFFINE_TOL)
    return step.old_shape == step.new_shape and same_place
