"""Folders scored as a user scores them: known scores, the tolerance, and each fault named."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_nas.errors import UserError
from monai_nas.files import read_json
from monai_nas.pipelines.evaluate import evaluate_folder
from monai_nas.pipelines.image_folder import images_by_case
from monai_nas.tasks import SegTask

TASK = SegTask("Two", "two structures", ("MRI",), ("background", "left", "right"), 2, 0, tolerance_mm=1.0)
AFFINE = np.diag([-0.5, -0.5, 3.0, 1.0])


def labels() -> np.ndarray[Any, Any]:
    volume = np.zeros((10, 12, 8), dtype=np.uint8)
    volume[2:5, 3:9, 2:6], volume[5:8, 3:9, 2:6] = 1, 2
    return volume


def write(path: Path, volume: np.ndarray[Any, Any], affine: np.ndarray[Any, Any] = AFFINE) -> None:
    path.parent.mkdir(exist_ok=True)
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(volume, affine), path)  # type: ignore[no-untyped-call]


@pytest.fixture()
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """Predictions of two cases, one perfect and one without its class 2, and their labels."""
    for name in ("case_1", "case_2"):
        write(tmp_path / "labels" / f"{name}.nii.gz", labels())
        write(tmp_path / "pred" / f"{name}.nii.gz", labels())
    write(tmp_path / "pred" / "case_2.nii.gz", np.where(labels() == 2, 0, labels()).astype(np.uint8))
    (tmp_path / "labels" / "._case_1.nii.gz").write_bytes(b"resource fork")
    return tmp_path / "pred", tmp_path / "labels"


def test_scores_of_known_predictions(folders: tuple[Path, Path], tmp_path: Path) -> None:
    scores = evaluate_folder(TASK, *folders, tmp_path / "scores.json")
    assert [case.case for case in scores.cases] == ["case_1", "case_2"]
    assert scores.cases[0].dice == scores.cases[0].surface_dice == (1.0, 1.0)
    assert scores.cases[1].dice == scores.cases[1].surface_dice == (1.0, 0.0)
    assert scores.mean("dice") == 0.75
    record = read_json(tmp_path / "scores.json")
    assert record["mean"]["dice"] == 0.75 and record["worst_cases"][0] == "case_2"
    assert (record["tolerance_mm"], record["tolerance_source"]) == (1.0, "published")


def test_without_a_published_tolerance_it_is_the_largest_spacing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    task = dataclasses.replace(TASK, tolerance_mm=None)
    write(folders[0] / "case_1.nii.gz", np.roll(labels(), 1, axis=2))  # by one slice, 3 mm: just within
    scores = evaluate_folder(task, *folders, tmp_path / "scores.json")
    assert scores.cases[0].tolerance_mm == 3.0
    assert scores.cases[0].surface_dice == (1.0, 1.0) and max(scores.cases[0].dice) < 0.8
    assert read_json(tmp_path / "scores.json")["tolerance_source"] == "largest spacing"


def test_predictions_may_be_in_another_format(folders: tuple[Path, Path], tmp_path: Path) -> None:
    (folders[0] / "case_1.nii.gz").unlink()
    write(folders[0] / "case_1.nii", labels().astype(np.float32))
    assert evaluate_folder(TASK, *folders, tmp_path / "scores.json").cases[0].dice == (1.0, 1.0)


def test_a_header_may_be_rounded_as_the_check_of_a_dataset_lets_it(folders: tuple[Path, Path], tmp_path: Path) -> None:
    rounded = AFFINE.copy()
    rounded[0, 3] = 0.04  # of voxels of 0.5 mm
    write(folders[1] / "case_1.nii.gz", labels(), rounded)
    assert evaluate_folder(TASK, *folders, tmp_path / "scores.json").cases[0].dice == (1.0, 1.0)


def test_every_fault_is_one_line_that_names_the_file(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pred, true = folders
    path = pred / "case_2.nii.gz"
    shifted = AFFINE.copy()
    shifted[0, 3] = 4.0
    faults: dict[str, Callable[[], None]] = {
        r"case_2\.nii\.gz: has shape \(10, 12, 7\), its label \(10, 12, 8\)": lambda: write(path, labels()[..., :7]),
        r"case_2\.nii\.gz: its affine differs .* by up to 8 voxels": lambda: write(path, labels(), shifted),
        r"case_2\.nii\.gz: has the value 3, Two has labels 0 to 2": lambda: write(path, labels() + np.uint8(1)),
        r"case_2\.nii\.gz: has the value 0\.5": lambda: write(path, labels() / np.float32(2)),
        r"case_2\.nii\.gz: has 2 channels": lambda: write(path, np.stack([labels(), labels()], axis=-1)),
        r"case_2\.nii\.gz: no such prediction \(1 of 2 missing\)": path.unlink,
    }
    for message, spoil in faults.items():
        spoil()
        with pytest.raises(UserError, match=message) as caught:
            evaluate_folder(TASK, pred, true, tmp_path / "scores.json")
        assert "\n" not in str(caught.value)
    write(path, labels())
    write(pred / "case_3.nii.gz", labels())
    with pytest.raises(UserError, match=r"case_3\.nii\.gz: no label of this name"):
        evaluate_folder(TASK, pred, true, tmp_path / "scores.json")
    assert not (tmp_path / "scores.json").exists()


def test_folders_without_images_or_with_two_of_a_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="missing: no such folder"):
        images_by_case(tmp_path / "missing")
    with pytest.raises(UserError, match="no images"):
        images_by_case(tmp_path)
    for name in ("b.mha", "a.nii.gz", "a.nii", "._c.nii.gz", "notes.txt"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"a\.nii\.gz: same case name as a\.nii"):
        images_by_case(tmp_path)
    (tmp_path / "a.nii").unlink()
    assert list(images_by_case(tmp_path)) == ["a", "b"]
