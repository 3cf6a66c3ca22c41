"""Fingerprints and plans end to end on phantoms, and on the real tasks where they are present."""

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_nas.errors import UserError
from monai_nas.plans import Fingerprint, Plan, make_plan, measure_fingerprint
from monai_nas.tasks import Case, SegTask, load_task, msd_task, training_cases

TASK = SegTask("Own", "", ("CT", "T2"), ("background", "organ"), 2, 0)


def write_case(folder: Path, name: str, spacing: tuple[float, float, float], label_value: int = 1) -> Case:
    """Write a case whose axes are S, R, A and whose channel c holds 100 c + 1 in the foreground, else 0."""
    label = np.zeros((6, 8, 10), dtype=np.uint8)
    label[2:4, 2:4, 2:4] = label_value
    image = np.stack([label * np.float32(1), label * np.float32(101)], axis=-1)
    affine = np.zeros((4, 4))
    affine[2, 0], affine[0, 1], affine[1, 2], affine[3, 3] = spacing[2], spacing[0], spacing[1], 1
    paths = folder / f"{name}.nii.gz", folder / f"{name}_label.nii.gz"
    for path, array in zip(paths, (image, label), strict=True):
        nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call]
    return Case(name, *paths)


def make(tmp_path: Path) -> Plan:
    cases = [write_case(tmp_path, "a", (1, 2, 3)), write_case(tmp_path, "b", (1, 2, 5))]
    return make_plan(TASK, measure_fingerprint(cases, TASK))


def test_fingerprint_of_known_volumes_is_in_ras_order(tmp_path: Path) -> None:
    cases = [write_case(tmp_path, "a", (1, 2, 3)), write_case(tmp_path, "b", (1, 2, 5))]
    fingerprint = measure_fingerprint(cases, TASK)
    assert fingerprint.shapes == ((8, 10, 6),) * 2 and fingerprint.median_shape == (8, 10, 6)
    assert fingerprint.spacings_mm == ((1, 2, 3), (1, 2, 5)) and fingerprint.median_spacing_mm == (1, 2, 4)
    assert fingerprint.class_voxels == (2 * 480 - 16, 16)
    assert [(channel.mean, channel.std) for channel in fingerprint.channels] == [(1, 0), (101, 0)]
    assert Fingerprint.from_record(json.loads(json.dumps(fingerprint.to_record()))) == fingerprint
    assert measure_fingerprint(cases, TASK) == fingerprint


def test_fingerprint_refuses_what_it_cannot_measure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="outside 0 to 1"):
        measure_fingerprint([write_case(tmp_path, "a", (1, 1, 1), label_value=2)], TASK)
    with pytest.raises(UserError, match="nor any other label map has foreground"):
        measure_fingerprint([write_case(tmp_path, "b", (1, 1, 1), label_value=0)], TASK)
    with pytest.raises(UserError, match=r"c\.nii\.gz: has 2 channels"):
        measure_fingerprint([write_case(tmp_path, "c", (1, 1, 1))], msd_task("Task09_Spleen"))
    with pytest.raises(UserError, match="no training cases"):
        measure_fingerprint([], TASK)


def test_plan_survives_its_file_and_explains_itself(tmp_path: Path) -> None:
    plan = make(tmp_path)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    record = json.loads((tmp_path / "plan.json").read_text())
    assert record == plan.to_record() and record["task"]["name"] == "Own"
    reasons = {"spacing_mm", "patch_size", "batch_size", "strides", "width", "intensity"}
    assert set(record["reasons"]) == reasons and all(reason.endswith(".") for reason in record["reasons"].values())


def test_intensity_follows_the_modality(tmp_path: Path) -> None:
    plan = make(tmp_path)
    assert [rule.kind for rule in plan.intensity] == ["ct", "mri"]
    assert plan.intensity[0].mean == 1 and plan.intensity[0].std > 0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown keys colour"),
        ({"format": 7}, "plan format 7"),
        ({"patch_size": [9, 8, 8]}, "must be multiples"),
        ({"width": 30}, "multiple of 4"),
        ({"strides": []}, "strides must not be empty"),
        ({"intensity": []}, "must have 2 rules"),
        ({"intensity": [{"kind": "ct"}]}, "lower, mean, std, upper missing"),
        ({"task": {"name": "x"}}, "lacks"),
    ],
)
def test_faulty_plan_is_refused_with_its_file(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    (tmp_path / "p.json").write_text(json.dumps(make(tmp_path).to_record() | change))
    with pytest.raises(UserError, match=message) as caught:
        Plan.load(tmp_path / "p.json")
    assert "p.json" in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.realdata
def test_real_hippocampus(msd_root: Path) -> None:
    data = msd_root / "Task04_Hippocampus"
    task = load_task(None, data)
    assert task is msd_task("Task04_Hippocampus")
    fingerprint = measure_fingerprint(training_cases(data), task)
    assert fingerprint.median_shape == task.median_shape and fingerprint.median_spacing_mm == (1, 1, 1)
    plan = make_plan(task, fingerprint)
    assert (plan.patch_size, plan.batch_size, plan.width) == ((40, 56, 40), 2, 32)
    assert plan.strides == ((2, 2, 2),) * 3


@pytest.mark.realdata
def test_real_sarcoma_is_planned_from_its_dataset_json_alone(msd_root: Path) -> None:
    data = msd_root / "Task11_Sarcoma"
    task = load_task(None, data)
    assert (task.name, task.tolerance_mm) == ("Sarcoma", None)
    plan = make_plan(task, measure_fingerprint(training_cases(data), task))
    assert plan.spacing_mm == pytest.approx((0.976562, 0.976562, 3.27), abs=1e-4)
    assert plan.fingerprint.median_shape == (167, 165, 56) and plan.strides[0] == (2, 2, 1)
    assert plan.intensity[0].kind == "ct" and plan.intensity[0].lower < 0 < plan.intensity[0].upper
