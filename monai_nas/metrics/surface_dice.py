"""The surface Dice at a tolerance (NSD) of two masks, as DeepMind's ``surface-distance`` defines it.

Surfaces are made of elements that sit where eight voxels meet; the area of each follows from which of the eight are
inside (marching cubes). The table of areas is MONAI's. Only whether the other surface has an element within the
tolerance is asked, not at which distance: that is looked up in the columns of the grid around each element, nearest
first, for the elements that have found none yet.

Distances are compared in float64 as DeepMind does: in the float32 of MONAI's ``compute_surface_dice`` distances equal
to the tolerance may fall on the other side of it, and since a grid has few distances that has moved the score of a real
case by 0.07. Where equal distances fall on both sides even in float64, a distance transform decides as DeepMind's does.
"""

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.metrics.utils import get_code_to_measure_table
from scipy import ndimage

Box = tuple[slice, slice, slice]
Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.intp]

_ROUNDING = 1e-9  # relative: equal distances differ by less after rounding, different ones on a grid by more
# more columns than these are not looked up, since a distance transform of the rest takes less
_MAX_COLUMNS = 2000
_VOXELS_PER_COLUMN = 200


def surface_dice(
    prediction_mask: npt.NDArray[Any],
    reference_mask: npt.NDArray[Any],
    spacing_mm: Sequence[float],
    tolerance_mm: float,
) -> float:
    """Return the share of both surfaces' area that lies within ``tolerance_mm`` of the other surface.

    Args:
        prediction_mask: non-zero inside (H, W, D).
        reference_mask: of the same shape.
        spacing_mm: voxel size along the three array axes.
        tolerance_mm: distance up to which surfaces count as equal.

    Returns:
        A fraction in [0, 1]: nan when both masks are empty, 0 when one is.

    Raises:
        ValueError: when the shapes differ or are not three-dimensional, or a length is not a positive number.
    """
    if prediction_mask.shape != reference_mask.shape or prediction_mask.ndim != 3:
        raise ValueError(f"expected two volumes of one shape, got {prediction_mask.shape} and {reference_mask.shape}")
    if len(spacing_mm) != 3 or not all(0.0 < length < math.inf for length in (*spacing_mm, tolerance_mm)):
        raise ValueError(f"expected positive lengths, got spacing {spacing_mm} and tolerance {tolerance_mm}")
    grid = _Grid(prediction_mask.strides, spacing_mm)
    masks = [mask.transpose(grid.axes) for mask in (prediction_mask, reference_mask)]
    boxes = [_bounding_box(mask) for mask in masks]
    if boxes[0] is None or boxes[1] is None:
        return math.nan if boxes[0] is boxes[1] else 0.0
    box = _common_box(boxes[0], boxes[1])
    neighbourhood = grid.neighbourhood(tolerance_mm, box)
    codes = [_corner_codes(mask[box], neighbourhood.margin) for mask in masks]
    surfaces = [code + np.uint8(1) > 1 for code in codes]  # neither 0, all outside, nor 255, all inside
    areas_by_code = grid.areas_mm2()
    beyond = total = 0.0
    for own, other in ((0, 1), (1, 0)):
        elements = np.flatnonzero(surfaces[own])
        alone = _without_neighbour(elements, surfaces[other], neighbourhood)
        if alone.size and not neighbourhood.complete:
            alone = alone[grid.distances_mm(surfaces[other]).ravel()[alone] > tolerance_mm]
        beyond += float(areas_by_code[codes[own].ravel()[alone]].sum())
        total += float(areas_by_code[codes[own].ravel()[elements]].sum())
    return 1.0 - beyond / total


@dataclass(frozen=True)
class _Neighbourhood:
    """The grid points around one that lie within a distance, as columns along the first axis, nearest first.

    Args:
        reach: how far each column reaches in either direction, in steps (N,).
        offsets: steps to each column along the second and third axis (N, 2).
        complete: whether no other point is within the distance.
    """

    reach: Indices
    offsets: Indices
    complete: bool

    @property
    def margin(self) -> tuple[int, int]:
        """Largest steps along the second and third axis."""
        second, third = np.abs(self.offsets).max(axis=0).tolist()
        return second, third


class _Grid:
    """Voxels with the axes in the order in which they lie in memory, the slowest first, and their size in mm.

    Args:
        strides: of a volume.
        spacing_mm: along the volume's own axes, in whose order the squares of a distance are added up.
    """

    def __init__(self, strides: Sequence[int], spacing_mm: Sequence[float]) -> None:
        self.axes = sorted(range(3), key=lambda axis: -abs(strides[axis]))
        self.own_order = [self.axes.index(axis) for axis in range(3)]
        self.own_spacing_mm = [float(length) for length in spacing_mm]
        self.spacing_mm = [self.own_spacing_mm[axis] for axis in self.axes]

    def areas_mm2(self) -> npt.NDArray[np.float64]:
        """Return the area of the surface element of each of the 256 codes."""
        table, _ = get_code_to_measure_table(self.spacing_mm)  # type: ignore[no-untyped-call]
        areas: npt.NDArray[np.float64] = table.numpy().astype(np.float64)
        return areas

    def distances_mm(self, surface: Mask) -> npt.NDArray[np.float64]:
        """Return the distance of each grid point from the nearest element of a surface."""
        distances_mm: npt.NDArray[np.float64] = ndimage.distance_transform_edt(
            ~surface.transpose(self.own_order), sampling=self.own_spacing_mm
        )
        return distances_mm.transpose(self.axes)

    def neighbourhood(self, tolerance_mm: float, box: Box) -> _Neighbourhood:
        """Return the points within the tolerance; not complete where rounding makes them a question of the path."""
        limit_mm = tolerance_mm * (1.0 + _ROUNDING)
        sizes = [side.stop - side.start for side in box]
        first, second, third = (int(min(limit_mm / mm, n)) for mm, n in zip(self.spacing_mm, sizes, strict=True))
        offsets = np.mgrid[-second : second + 1, -third : third + 1].reshape(2, -1).T  # (N, 2)
        room = limit_mm**2 - ((offsets * self.spacing_mm[1:]) ** 2).sum(axis=1)  # mm^2 left for the first axis
        nearest = np.argsort(-room, kind="stable")[: np.count_nonzero(room >= 0.0)]
        reach = np.minimum(np.sqrt(room[nearest]) / self.spacing_mm[0], first).astype(np.intp)
        offsets = offsets[nearest]
        squares = (np.column_stack([reach, offsets])[:, self.own_order] * self.own_spacing_mm) ** 2
        ends_mm = np.sqrt(squares[:, 0] + squares[:, 1] + squares[:, 2])
        outside, tied = ends_mm > tolerance_mm, ends_mm > tolerance_mm * (1.0 - _ROUNDING)
        if outside.any():
            reach = reach - tied
        most = min(_MAX_COLUMNS, 1 + math.prod(sizes) // _VOXELS_PER_COLUMN)
        kept = np.flatnonzero(reach >= 0)[:most]
        complete = len(reach) <= most and bool((outside == tied).all() or not outside.any())
        return _Neighbourhood(reach[kept], offsets[kept], complete)


def _bounding_box(mask: npt.NDArray[Any]) -> Box | None:
    """Return the smallest box that holds a mask; None when it is empty."""
    rows = np.any(mask, axis=2)  # (H, W)
    if not rows.any():
        return None
    first, second = _extent(rows), _extent(rows.T)
    return first, second, _extent(np.any(mask[first, second], axis=0).T)


def _extent(plane: Mask) -> slice:
    """Return the first axis from the first row with something inside to the last."""
    inside = np.flatnonzero(np.any(plane, axis=1))
    return slice(int(inside[0]), int(inside[-1]) + 1)


def _common_box(one: Box, other: Box) -> Box:
    first, second, third = (slice(min(a.start, b.start), max(a.stop, b.stop)) for a, b in zip(one, other, strict=True))
    return first, second, third


def _corner_codes(mask: npt.NDArray[Any], margin: tuple[int, int]) -> npt.NDArray[np.uint8]:
    """Return for each corner of the voxel grid which of its eight voxels are inside, a bit each, as in MONAI's table.

    Args:
        mask: non-zero inside (H, W, D).
        margin: corners to add behind the last along the second and third axis: steps across a side end there.

    Returns:
        (H + 1, W + 1 + margin, D + 1 + margin), 0 in the margins.
    """
    h, w, d = mask.shape
    codes = np.empty((h + 1, w + 1 + margin[0], d + 1 + margin[1]), dtype=np.uint8)
    plane = np.zeros((w + 2 + margin[0], d + 2 + margin[1]), dtype=np.uint8)
    before = np.zeros(codes.shape[1:], dtype=np.uint8)
    for index in range(h + 1):  # a plane stays in the processor's cache; products take less than shifts
        plane[1 : w + 1, 1 : d + 1] = mask[index].astype(bool, copy=False) if index < h else False
        pairs = plane[:, :-1] * np.uint8(2) | plane[:, 1:]
        fours = pairs[:-1] * np.uint8(4) | pairs[1:]
        np.bitwise_or(before * np.uint8(16), fours, out=codes[index])
        before = fours
    return codes


def _without_neighbour(elements: Indices, surface: Mask, neighbourhood: _Neighbourhood) -> Indices:
    """Return those of the elements, as flat indices, that have no element of a surface in their neighbourhood."""
    steps = _steps_to(surface, int(neighbourhood.reach.max())).ravel()
    offsets = neighbourhood.offsets @ (surface.shape[2], 1)  # below 0 the index counts from the end, in the margin
    for reach, offset in zip(neighbourhood.reach.tolist(), offsets.tolist(), strict=True):
        if not elements.size:
            break
        elements = elements[steps[elements + offset] > reach]
    return elements


def _steps_to(surface: Mask, limit: int) -> npt.NDArray[np.unsignedinteger]:
    """Return the steps along the first axis to the nearest element of a surface; ``limit + 1`` where there are more."""
    number = np.min_scalar_type(limit + 2).type
    steps = np.where(surface, number(0), number(limit + 1))
    for planes in (steps, steps[::-1]):
        for before, plane in itertools.pairwise(planes):
            np.minimum(plane, before + number(1), out=plane)
    return steps
