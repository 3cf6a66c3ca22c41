"""Each fault of a label map is named with its value; a sound one has none."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from monai_nas.data.check import read_or_report
from monai_nas.export.label_faults import label_faults
from monai_nas.tasks import Image, SegTask

TASK = SegTask("Own", "", ("CT",), ("background", "organ", "tumour"), 1, 1)
SCAN = Image(np.zeros((4, 5, 6, 2), dtype=np.float32), np.diag([0.5, 1.0, 3.0, 1.0]))
LABELS = np.zeros((4, 5, 6, 1), dtype=np.uint8)
LABELS[1, 2, 3] = 2


def with_value(value: float, dtype: type = np.uint8) -> np.ndarray:
    array = LABELS.astype(dtype)
    array[0, 0, 0] = value
    return array


def scaled(factor: float) -> np.ndarray:
    return SCAN.affine @ np.diag([factor, factor, factor, 1.0])


def moved(distance_mm: float) -> np.ndarray:
    affine = SCAN.affine.copy()
    affine[0, 3] += distance_mm
    return affine


def findings(array: np.ndarray, affine: np.ndarray = SCAN.affine) -> list[str]:
    return [str(finding) for finding in label_faults("x.nii.gz", TASK, SCAN, Image(array, affine))]


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int64, ">u2"])
def test_whole_numbers_on_the_grid_are_sound(dtype: str) -> None:
    assert findings(LABELS.astype(dtype)) == []


@pytest.mark.parametrize(
    ("array", "affine", "wanted"),
    [
        (LABELS[:3], SCAN.affine, ["shape (3, 5, 6), but the test image has (4, 5, 6)"]),
        (LABELS, moved(5.0), ["by up to 10 voxels"]),  # 5 mm over the finest axis of 0.5 mm
        (LABELS, moved(0.0051), ["by up to 0.0102 voxels"]),
        (LABELS, SCAN.affine @ np.diag([1.0, -1.0, 1.0, 1.0]), ["by up to 16 voxels"]),  # 4 mm becomes -4 mm
        (with_value(7), SCAN.affine, ["label 7 outside the task's 0 to 2"]),
        (with_value(-1, np.int16), SCAN.affine, ["label -1 outside the task's 0 to 2"]),
        (with_value(2, np.float32), SCAN.affine, ["float data (float32)"]),
        (with_value(0.5, np.float64), SCAN.affine, ["float data (float64)", "label 0.5 outside"]),
        (with_value(math.nan, np.float32), SCAN.affine, ["float data (float32)", "1 voxels are NaN or Inf"]),
        (with_value(math.inf, np.float32), SCAN.affine, ["float data (float32)", "1 voxels are NaN or Inf"]),
        (np.repeat(LABELS, 3, axis=3), SCAN.affine, ["3 channels"]),
        (with_value(7), moved(5.0), ["affine differs", "label 7"]),
    ],
)
def test_each_fault_is_an_error_with_its_value(array: np.ndarray, affine: np.ndarray, wanted: list[str]) -> None:
    found = findings(array, affine)
    assert len(found) == len(wanted), found
    for line, part in zip(found, wanted, strict=True):
        assert line.startswith("error: x.nii.gz: ")
        assert part in line


@pytest.mark.parametrize("affine", [moved(0.0049), scaled(1 + 1e-7)])
def test_the_rounding_of_headers_is_no_fault(affine: np.ndarray) -> None:
    assert findings(LABELS, affine) == []


def test_an_empty_label_map_is_a_warning() -> None:
    (line,) = findings(np.zeros_like(LABELS))
    assert line.startswith("warning: x.nii.gz: all background")


def test_many_foreign_values_are_not_all_listed() -> None:
    noise = np.random.default_rng(0).random(LABELS.shape)
    (_, line) = findings(noise)
    assert line.count(",") == 5
    assert "..." in line


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.write_bytes(b"no image")])
def test_an_unreadable_file_is_one_finding(make: Callable[[Path], object], tmp_path: Path) -> None:
    path = tmp_path / "x.nii.gz"
    make(path)
    (finding,) = read_or_report(path, str(path))
    assert str(finding).startswith(f"error: {path}: ")
