"""The warning that scans are not as the plan expects them."""

import logging
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_nas.data.spacing import warn_of_other_spacing, warn_of_published_plan


def scan(path: Path, slice_mm: float) -> dict[str, str]:
    """Write a scan whose first axis runs along superior."""
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = slice_mm, -0.8, 0.7, 1
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(np.zeros((3, 4, 5), np.uint8), affine), path)  # type: ignore[no-untyped-call]
    return {"image": str(path)}


def test_another_median_is_told_in_one_line(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = [scan(tmp_path / f"{index}.nii.gz", slice_mm) for index, slice_mm in enumerate((5.0, 2.5, 2.5))]
    warn_of_other_spacing(data, (0.8, 0.7, 5.0))
    (record,) = caplog.records
    message = record.getMessage()
    assert record.levelno == logging.WARNING
    assert "0.8 x 0.7 x 2.5 mm, the plan was made for 0.8 x 0.7 x 5 mm" in message
    assert "monai-nas plan --data" in message and "\n" not in message


def test_what_the_plan_expects_and_what_cannot_be_read_pass(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "broken.nii.gz").write_text("no image")
    others = [{"image": str(tmp_path / name)} for name in ("broken.nii.gz", "absent.nii", "other.mha")]
    warn_of_other_spacing([scan(tmp_path / "a.nii.gz", 5.2), *others, {"image": ["a.nii", "b.nii"]}], (0.8, 0.7, 5.0))
    warn_of_other_spacing(others, (1.0, 1.0, 1.0))
    assert not caplog.records


def test_a_plan_of_published_figures_is_told_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    warn_of_published_plan(41)
    assert not caplog.records
    warn_of_published_plan(0)
    (record,) = caplog.records
    message = record.getMessage()
    assert record.levelno == logging.WARNING
    assert "monai-nas plan --data" in message and "monai-nas bundle --task" in message and "\n" not in message
