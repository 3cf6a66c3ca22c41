"""Fingerprints and plans end to end on phantoms, and on the real tasks where they are present."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_nas.errors import UserError
from monai_nas.plans import Fingerprint, IntensityRule, Plan, make_plan, measure_fingerprint
from monai_nas.plans.fingerprint import ChannelStatistics
from monai_nas.plans.rules import level_sizes
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
    assert fingerprint.nonzero_shapes == ((2, 2, 2),) * 2
    assert Fingerprint.from_record(json.loads(json.dumps(fingerprint.to_record()))) == fingerprint
    assert measure_fingerprint(cases, TASK) == fingerprint


def test_boxes_of_non_zero_voxels_hold_all_channels_and_negative_values(tmp_path: Path) -> None:
    case = write_case(tmp_path, "a", (1, 2, 3))
    image: Any = nibabel.loadsave.load(case.image)
    voxels = np.asarray(image.dataobj).copy()  # axes S, R, A
    voxels[5, 3, 3, 1] = -1
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(voxels, image.affine), case.image)  # type: ignore[no-untyped-call]
    assert measure_fingerprint([case], TASK).nonzero_shapes == ((2, 2, 4),)


def test_older_fingerprints_are_read(tmp_path: Path) -> None:
    fingerprint = measure_fingerprint([write_case(tmp_path, "a", (1, 2, 3))], TASK)
    record = json.loads(json.dumps(fingerprint.to_record()))
    older = {key: value for key, value in record.items() if key != "nonzero_shapes"}
    assert Fingerprint.from_record(older) == dataclasses.replace(fingerprint, nonzero_shapes=())
    with pytest.raises(UserError, match=r"unknown or missing: colour, shapes"):
        Fingerprint.from_record({key: value for key, value in older.items() if key != "shapes"} | {"colour": 1})


def test_a_cropped_task_is_planned_for_what_the_crop_leaves(tmp_path: Path) -> None:
    """The published shape of the brain tumours is that after the crop."""
    task = msd_task("Task01_BrainTumour")
    assert task.median_shape is not None
    statistics = (ChannelStatistics(0.0, 1.0, 0.5, 0.2),) * task.in_channels
    spacing = (1.0, 1.0, 1.0)
    whole = Fingerprint(((240, 240, 155),), (spacing,), (240, 240, 155), spacing, statistics, ())
    cropped = make_plan(task, dataclasses.replace(whole, nonzero_shapes=(task.median_shape,)))
    assert cropped.crop_to_nonzero and "each case is cropped" in dict(cropped.reasons)["crop_to_nonzero"]
    direct = make_plan(task, dataclasses.replace(whole, shapes=(task.median_shape,)))
    assert cropped.patch_size == direct.patch_size and not direct.crop_to_nonzero
    assert not make_plan(task, whole).crop_to_nonzero
    measured = make(tmp_path)  # 2 x 2 x 2 of 8 x 10 x 6 voxels: a patch of one level
    assert measured.crop_to_nonzero and measured.patch_size == (8, 8, 8)


def test_fingerprint_refuses_what_it_cannot_measure(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="outside 0 to 1"):
        measure_fingerprint([write_case(tmp_path, "a", (1, 1, 1), label_value=2)], TASK)
    with pytest.raises(UserError, match="nor any other label map has foreground"):
        measure_fingerprint([write_case(tmp_path, "b", (1, 1, 1), label_value=0)], TASK)
    with pytest.raises(UserError, match=r"c\.nii\.gz: 2 channels, not 1"):
        measure_fingerprint([write_case(tmp_path, "c", (1, 1, 1))], msd_task("Task09_Spleen"))
    broken = write_case(tmp_path, "d", (1, 1, 1))
    image: Any = nibabel.loadsave.load(broken.image)
    voxels = np.where(np.asarray(image.dataobj) > 0, np.nan, 0).astype(np.float32)
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(voxels, image.affine), broken.image)  # type: ignore[no-untyped-call]
    with pytest.raises(UserError, match=r"d\.nii\.gz: holds NaN or Inf"):
        measure_fingerprint([broken], TASK)
    with pytest.raises(UserError, match="no training cases"):
        measure_fingerprint([], TASK)


def test_plan_survives_its_file_and_explains_itself(tmp_path: Path) -> None:
    plan = make(tmp_path)
    plan.save(tmp_path / "plan.json")
    assert Plan.load(tmp_path / "plan.json") == plan
    record = json.loads((tmp_path / "plan.json").read_text())
    assert record == plan.to_record() and record["task"]["name"] == "Own"
    reasons = {"spacing_mm", "patch_size", "batch_size", "strides", "width", "intensity"}
    reasons |= {"crop_to_nonzero", "resample_separately"}
    assert set(record["reasons"]) == reasons and all(reason.endswith(".") for reason in record["reasons"].values())


def test_older_plans_are_read_unchanged(tmp_path: Path) -> None:
    plan = make(tmp_path)
    optional = {"crop_to_nonzero", "resample_separately", "keep_largest"}
    older = {key: value for key, value in plan.to_record().items() if key not in optional}
    assert plan.crop_to_nonzero and plan.resample_separately == 2
    assert Plan.from_record(older) == dataclasses.replace(plan, crop_to_nonzero=False, resample_separately=None)
    chosen = dataclasses.replace(plan, resample_separately=0, keep_largest=(1,))
    record = json.loads(json.dumps(chosen.to_record()))
    assert Plan.from_record(record) == chosen and record["keep_largest"] == [1]
    shipped = Plan.load(Path(__file__).parents[2] / "docs" / "results" / "task04_plan.json")
    assert (shipped.crop_to_nonzero, shipped.resample_separately, shipped.keep_largest) == (False, None, ())


def test_intensity_follows_the_modality(tmp_path: Path) -> None:
    plan = make(tmp_path)
    assert [rule.kind for rule in plan.intensity] == ["ct", "mri"]
    assert plan.intensity[0].mean == 1 and plan.intensity[0].std > 0
    named = dataclasses.replace(TASK, modalities=("Computed Tomography", "SPECT"))
    plan = make_plan(named, measure_fingerprint([write_case(tmp_path, "c", (1, 2, 3))], named))
    assert [rule.kind for rule in plan.intensity] == ["ct", "mri"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"colour": 1}, "unknown keys colour"),
        ({"format": 7}, "plan format 7"),
        ({"patch_size": [9, 8, 8]}, "must be multiples"),
        ({"width": 30}, "multiple of 4"),
        ({"strides": []}, "strides must be 3 whole numbers"),
        ({"strides": [[2, 2]]}, "strides must be 3 whole numbers"),
        ({"strides": [[-2, -2, -2], [-1, -1, -1]]}, "strides must be 3 whole numbers"),
        ({"strides": [[0, 1, 1]]}, "strides must be 3 whole numbers"),
        ({"strides": [[2.0, 2, 2]]}, "strides must be 3 whole numbers"),
        ({"strides": 2}, "strides must be 3 whole numbers"),
        ({"patch_size": [8, 8]}, "patch_size must be 3 whole numbers"),
        ({"patch_size": [0, 8, 8]}, "patch_size must be 3 whole numbers"),
        ({"patch_size": 8}, "patch_size must be 3 whole numbers"),
        ({"patch_size": [2, 8, 8], "strides": [[1, 2, 2]]}, "level 0 a first axis of 2 voxels"),
        ({"patch_size": [8, 8, 8], "strides": [[2, 2, 2]] * 2}, "level 2 a first axis of 2 voxels"),
        ({"patch_size": [8, 4, 4], "strides": [[4, 2, 2]]}, "level 1 a first axis of 2 voxels"),
        ({"patch_size": [1, 2, 2], "strides": [[1, 2, 2]]}, "leave level 1 one voxel"),
        ({"batch_size": 2.5}, "batch_size, width and memory_bytes must be whole"),
        ({"batch_size": True}, "batch_size, width and memory_bytes must be whole"),
        ({"width": -4}, "batch_size, width and memory_bytes must be whole"),
        ({"spacing_mm": [1, 1]}, "spacing_mm must be 3 positive"),
        ({"spacing_mm": [1, 1, 0]}, "spacing_mm must be 3 positive"),
        ({"spacing_mm": [1, 1, float("nan")]}, "spacing_mm must be 3 positive"),
        ({"crop_to_nonzero": 1}, "crop_to_nonzero must be true or false, got 1"),
        ({"resample_separately": 3}, "resample_separately must be an axis, 0 to 2, or null, got 3"),
        ({"resample_separately": True}, "resample_separately must be an axis"),
        ({"keep_largest": 1}, "keep_largest must be classes from 1 to 1"),
        ({"keep_largest": [0]}, "keep_largest must be classes from 1 to 1"),
        ({"keep_largest": [2]}, "keep_largest must be classes from 1 to 1"),
        ({"keep_largest": [1, 1]}, "keep_largest must name each class once"),
        ({"intensity": 5}, "'intensity' must be a list"),
        ({"reasons": []}, "'reasons' an object"),
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


@pytest.mark.parametrize(
    "change", [{"kind": "pet"}, {"std": 0.0}, {"mean": float("inf")}, {"lower": "0"}, {"lower": 2.0, "upper": 1.0}]
)
def test_an_intensity_rule_without_sense_is_refused(change: dict[str, Any]) -> None:
    sound: dict[str, Any] = {"kind": "ct", "lower": 0.0, "upper": 1.0, "mean": 0.5, "std": 0.2}
    IntensityRule(**sound)
    with pytest.raises(ValueError, match="intensity"):
        IntensityRule(**(sound | change))


def test_levels_of_two_voxels_along_other_axes_are_sound(tmp_path: Path) -> None:
    plan = dataclasses.replace(make(tmp_path), patch_size=(4, 2, 8), strides=((1, 1, 2), (1, 1, 2)))
    assert plan.patch_size == (4, 2, 8)


def test_plans_of_any_dataset_are_sound_and_survive_their_file() -> None:
    """A plan checks itself, so this says that the rules give none that it refuses, whatever the data are like."""
    rng = np.random.default_rng(0)
    statistics = ChannelStatistics(0.0, 1.0, 0.5, 0.2)
    smallest = set()
    for _ in range(3000):
        count = int(rng.integers(1, 4))
        shapes = tuple(triple(np.exp(rng.uniform(0, np.log(600), 3)).astype(int)) for _ in range(count))
        spacings = tuple(triple(np.exp(rng.uniform(np.log(0.2), np.log(8), 3)).round(6)) for _ in range(count))
        fingerprint = Fingerprint(shapes, spacings, shapes[0], spacings[0], (statistics,) * 2, (1, 1))
        try:
            plan = make_plan(TASK, fingerprint, int(np.exp(rng.uniform(np.log(2**27), np.log(2**36)))))
        except UserError as error:
            assert "--memory" in str(error)
            continue
        assert Plan.from_record(json.loads(json.dumps(plan.to_record()))) == plan
        smallest.add(min(size[0] for size in level_sizes(plan.patch_size, plan.strides)))
    assert 2 not in smallest and {1, 3, 4} <= smallest


def triple(values: Any) -> Any:
    return tuple(values.tolist())


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
