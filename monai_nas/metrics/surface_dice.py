"""The surface Dice at a tolerance (NSD) of two masks, as DeepMind's ``surface-distance`` defines it.

Surfaces are made of elements that sit where eight voxels meet; the area of each follows from which of the eight are
inside (marching cubes). The table of areas is MONAI's. Distances are compared in float64 as DeepMind does: in the
float32 of MONAI's ``compute_surface_dice`` distances equal to the tolerance may fall on the other side of it, and since
a grid has few distances that has moved the score of a real case by 0.07.
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.metrics.utils import get_code_to_measure_table
from scipy import ndimage

_ALL_INSIDE = 255  # code of eight voxels that are all inside
_CORNER_BITS = ((128, 64), (32, 16)), ((8, 4), (2, 1))  # bit of each of the eight voxels in MONAI's table


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
    prediction, reference = prediction_mask != 0, reference_mask != 0
    if not prediction.any() or not reference.any():
        return 0.0 if prediction.any() or reference.any() else math.nan
    box = _bounding_box(prediction | reference)
    areas_by_code = _areas_mm2(spacing_mm)
    codes = [_corner_codes(mask[box]) for mask in (prediction, reference)]
    surfaces = [(code != 0) & (code != _ALL_INSIDE) for code in codes]
    distances_mm = [ndimage.distance_transform_edt(~surface, sampling=list(spacing_mm)) for surface in surfaces]
    agreeing = total = 0.0
    for own, other in ((0, 1), (1, 0)):
        areas = areas_by_code[codes[own][surfaces[own]]]  # mm^2
        agreeing += float(areas[distances_mm[other][surfaces[own]] <= tolerance_mm].sum())
        total += float(areas.sum())
    return agreeing / total


def _areas_mm2(spacing_mm: Sequence[float]) -> npt.NDArray[np.float64]:
    """Return the area of the surface element of each of the 256 codes."""
    table, _ = get_code_to_measure_table([float(length) for length in spacing_mm])  # type: ignore[no-untyped-call]
    areas: npt.NDArray[np.float64] = table.numpy().astype(np.float64)
    return areas


def _bounding_box(mask: npt.NDArray[np.bool_]) -> tuple[slice, ...]:
    """Return the smallest box that holds a mask that is not empty."""
    box: tuple[slice, ...] = ndimage.find_objects(mask.astype(np.uint8))[0]
    return box


def _corner_codes(mask: npt.NDArray[np.bool_]) -> npt.NDArray[np.uint8]:
    """Return for each corner of the voxel grid (H + 1, W + 1, D + 1) which of its eight voxels are inside."""
    padded = np.pad(mask, 1).astype(np.uint8)
    h, w, d = (length + 1 for length in mask.shape)
    codes = np.zeros((h, w, d), dtype=np.uint8)
    for i, j, k in np.ndindex(2, 2, 2):
        codes += padded[i : i + h, j : j + w, k : k + d] * np.uint8(_CORNER_BITS[i][j][k])
    return codes
