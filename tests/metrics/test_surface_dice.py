"""The surface Dice against DeepMind's surface-distance, and against planes worked by hand."""

import importlib
import math
import warnings
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
from scipy import ndimage

from monai_nas.metrics import surface_dice
from monai_nas.tasks import read_image

Mask = npt.NDArray[np.bool_]
SPACINGS_MM = [(1.0, 1.0, 1.0), (0.8, 0.8, 3.3), (2.5, 0.7, 1.1)]
TOLERANCES_MM = [0.5, 1.0, 2.4]  # 2.4 = 3 * 0.8: where float32 falls on the other side
EXACT = 1e-6


def deepmind(prediction: Mask, reference: Mask, spacing_mm: tuple[float, ...], tolerance_mm: float) -> float:
    surface_distance = pytest.importorskip("surface_distance")
    with warnings.catch_warnings():  # the package is not maintained and uses names that scipy has deprecated
        warnings.simplefilter("ignore", DeprecationWarning)
        distances = surface_distance.compute_surface_distances(reference, prediction, spacing_mm)
    return float(surface_distance.compute_surface_dice_at_tolerance(distances, tolerance_mm))


def perturbed(mask: Mask) -> list[Mask]:
    """The mask shifted, grown, shrunk, and with a second part."""
    return [
        np.roll(mask, 2, axis=0),
        ndimage.binary_dilation(mask, iterations=2),
        ndimage.binary_erosion(mask),
        np.roll(mask, (3, -2), axis=(1, 2)) | np.roll(mask, -9, axis=2),
    ]


def blob(shape: tuple[int, ...], seed: int) -> Mask:
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 2)
    mask: Mask = noise > np.percentile(noise, 80)
    return mask


@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
@pytest.mark.parametrize("tolerance_mm", TOLERANCES_MM)
def test_it_agrees_with_deepmind_on_blobs_that_touch_the_border(
    spacing_mm: tuple[float, float, float], tolerance_mm: float
) -> None:
    reference = blob((14, 17, 11), seed=0)
    assert reference[0].any() and reference[-1].any() and reference[:, :, -1].any()
    for prediction in [*perturbed(reference), blob((14, 17, 11), seed=1)]:
        expected = deepmind(prediction, reference, spacing_mm, tolerance_mm)
        assert surface_dice(prediction, reference, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=EXACT)


def random_case(seed: int) -> tuple[Mask, Mask, tuple[float, ...], float]:
    """Prediction, reference, spacing and a tolerance that, for all but one seed in three, is a distance on the grid."""
    rng = np.random.default_rng(seed)
    shape = tuple(rng.integers(4, 22, 3).tolist())
    reference = blob(shape, seed)
    prediction = [*perturbed(reference), blob(shape, seed + 1000)][rng.integers(5)]
    spacing_mm = tuple(rng.choice([0.7, 0.8, 1.0, 1.1, 2.5], 3 if seed % 2 else 1).tolist()) * (1 if seed % 2 else 3)
    steps_mm = rng.integers(0, 4, 3) * spacing_mm
    on_grid_mm = round(float(np.linalg.norm(steps_mm)), int(rng.integers(6, 17))) or max(spacing_mm)
    return prediction, reference, spacing_mm, float(rng.uniform(0.2, 9.0)) if seed % 3 == 0 else on_grid_mm


@pytest.mark.parametrize("order", ["C", "F"])
def test_it_agrees_with_deepmind_whatever_the_spacing_and_the_tolerance(order: Literal["C", "F"]) -> None:
    for seed in range(60):
        prediction, reference, spacing_mm, tolerance_mm = random_case(seed)
        if not prediction.any():
            continue
        expected = deepmind(prediction, reference, spacing_mm, tolerance_mm)
        masks = (np.asarray(mask, order=order) for mask in (prediction, reference))
        assert surface_dice(*masks, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=EXACT), seed


def test_it_agrees_where_equal_distances_lie_on_both_sides_of_the_tolerance() -> None:
    # 3 steps of 0.3 mm are as far as (2, 2, 1) steps, but not in float64: which nearest element is taken decides.
    spacing_mm = (0.3, 0.3, 0.3)
    straight_mm, oblique_mm = (math.sqrt(sum((step * 0.3) ** 2 for step in steps)) for steps in ((3, 0, 0), (2, 2, 1)))
    assert math.isclose(straight_mm, oblique_mm) and straight_mm < oblique_mm
    tolerance_mm = straight_mm
    for seed in range(8):
        prediction, reference = blob((16, 15, 14), seed), blob((16, 15, 14), seed + 1)
        expected = deepmind(prediction, reference, spacing_mm, tolerance_mm)
        assert surface_dice(prediction, reference, spacing_mm, tolerance_mm) == pytest.approx(expected, abs=EXACT)


def test_a_tolerance_of_more_columns_than_are_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.import_module("monai_nas.metrics.surface_dice"), "_MAX_COLUMNS", 4)
    for seed in range(10):
        prediction, reference, spacing_mm, _ = random_case(seed)
        expected = deepmind(prediction, reference, spacing_mm, 4.0)
        assert surface_dice(prediction, reference, spacing_mm, 4.0) == pytest.approx(expected, abs=EXACT)


@pytest.mark.parametrize("tolerance_mm", [0.01, 10.0, 1e9])
def test_tiny_objects_far_from_each_other(tolerance_mm: float) -> None:
    reference, prediction = np.zeros((60, 3, 3), dtype=np.uint8), np.zeros((60, 3, 3), dtype=np.uint8)
    reference[0, 0, 0], prediction[59, 2, 2] = 7, 7
    assert surface_dice(prediction, reference, (1.0, 1.0, 1.0), tolerance_mm) == float(tolerance_mm > 60)


@pytest.mark.realdata
@pytest.mark.parametrize("spacing_mm", SPACINGS_MM)
def test_it_agrees_with_deepmind_on_real_labels(msd_root: Path, spacing_mm: tuple[float, float, float]) -> None:
    for path in sorted((msd_root / "Task04_Hippocampus" / "labelsTr").glob("h*.nii.gz"))[:3]:
        labels = read_image(path).array[..., 0]
        for value in (1, 2):
            reference: Mask = labels == value
            for prediction in perturbed(reference):
                for tolerance_mm in TOLERANCES_MM:
                    expected = deepmind(prediction, reference, spacing_mm, tolerance_mm)
                    found = surface_dice(prediction, reference, spacing_mm, tolerance_mm)
                    assert found == pytest.approx(expected, abs=EXACT), path.name


def test_slabs_worked_by_hand() -> None:
    # Of two wide slabs one pair of faces coincides and the other is 3 mm apart: half of the area is within 2 mm, and a
    # little more because of the slabs' narrow rims.
    reference, prediction = np.zeros((12, 120, 120), dtype=bool), np.zeros((12, 120, 120), dtype=bool)
    reference[2:5], prediction[2:8] = True, True
    inside = surface_dice(prediction, reference, (1.0, 1.0, 1.0), 3.0)
    outside = surface_dice(prediction, reference, (1.0, 1.0, 1.0), 2.0)
    assert inside == 1.0
    assert 0.5 < outside < 0.57


def test_the_spacing_belongs_to_its_axis() -> None:
    reference, prediction = np.zeros((12, 12, 12), dtype=bool), np.zeros((12, 12, 12), dtype=bool)
    reference[3:9, 3:9, 3:9], prediction[3:9, 3:9, 4:10] = True, True
    assert surface_dice(prediction, reference, (1.0, 1.0, 5.0), 2.0) < 0.9
    assert surface_dice(prediction, reference, (5.0, 5.0, 1.0), 2.0) == 1.0


def test_absent_from_both_is_nan_and_absent_from_one_is_0() -> None:
    empty, full = np.zeros((3, 3, 3), dtype=bool), np.ones((3, 3, 3), dtype=bool)
    assert math.isnan(surface_dice(empty, empty, (1.0, 1.0, 1.0), 1.0))
    assert surface_dice(empty, full, (1.0, 1.0, 1.0), 1.0) == 0.0
    assert surface_dice(full, empty, (1.0, 1.0, 1.0), 1.0) == 0.0
    assert surface_dice(full, full, (1.0, 1.0, 1.0), 1.0) == 1.0


def test_impossible_arguments_are_rejected() -> None:
    mask = np.ones((3, 3, 3), dtype=bool)
    with pytest.raises(ValueError, match="one shape"):
        surface_dice(mask, mask[1:], (1.0, 1.0, 1.0), 1.0)
    with pytest.raises(ValueError, match="positive lengths"):
        surface_dice(mask, mask, (1.0, 0.0, 1.0), 1.0)
    with pytest.raises(ValueError, match="positive lengths"):
        surface_dice(mask, mask, (1.0, 1.0, 1.0), -1.0)
