"""Published figures and the plans made of them: against what was measured on the one task whose data were at hand."""

from dataclasses import fields, replace
from pathlib import Path

import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.plans import Plan
from monai_nas.plans.published import (
    ARCHITECTURE_TASK,
    THIN_SLICES,
    committed_architecture,
    committed_plan,
    published_fingerprint,
    published_plan,
)
from monai_nas.tasks import MSD_TASKS, SegTask, msd_task

RESULTS = Path(__file__).parents[2] / "docs" / "results"


@pytest.mark.parametrize("task", MSD_TASKS, ids=lambda task: task.name)
def test_committed_plans_are_made_again(task: SegTask) -> None:
    measured = Plan.load(RESULTS / "task04_all_plan.json")
    assert committed_plan(task.name) == (measured if task.name == ARCHITECTURE_TASK else published_plan(task))


def test_figures_of_the_hippocampus_are_those_we_measured() -> None:
    measured, published = committed_plan(ARCHITECTURE_TASK), published_plan(msd_task(ARCHITECTURE_TASK))
    (found,), (told,) = measured.intensity, published.intensity
    assert told.kind == found.kind
    for name in ("lower", "upper", "mean", "std"):
        assert getattr(told, name) == pytest.approx(getattr(found, name), rel=0.05), name
    for field in ("spacing_mm", "patch_size", "strides", "width", "batch_size", "crop_to_nonzero"):
        assert getattr(published, field) == getattr(measured, field), field


@pytest.mark.parametrize("task", MSD_TASKS, ids=lambda task: task.name)
def test_a_published_plan_owns_what_it_rests_on(task: SegTask) -> None:
    plan, fingerprint = published_plan(task), published_fingerprint(task)
    assert (plan.fingerprint.num_cases, plan.fingerprint.class_voxels) == (0, ())
    assert plan.spacing_mm == fingerprint.spacings_mm[0], "the rules leave the published target spacing as it is"
    reasons = dict(plan.reasons)
    assert "monai-nas plan --data" in reasons["fingerprint"]
    assert "median of 1 case" not in str(reasons)
    assert set(reasons) <= {field.name for field in fields(Plan)}
    for rule, modality in zip(plan.intensity, task.modalities, strict=True):
        assert rule.kind == ("ct" if modality == "CT" else "mri")
        assert rule.lower < rule.mean < rule.upper


def test_thick_slices_are_resampled_to_the_thinner_scans_and_halved_later() -> None:
    for name, (distance, _) in THIN_SLICES.items():
        plan = published_plan(msd_task(name))
        assert plan.spacing_mm[2] == distance < plan.fingerprint.median_spacing_mm[2]
        assert min(sum(stride[axis] == 2 for stride in plan.strides) for axis in (0, 1)) == 3
        assert sum(stride[2] == 2 for stride in plan.strides) == (3 if name == "Task08_HepaticVessel" else 2)
    assert published_plan(msd_task("Task05_Prostate")).strides == ((2, 2, 1), (2, 2, 1), (2, 2, 2))


def test_only_skull_stripped_and_padded_scans_are_cropped() -> None:
    assert [task.name for task in MSD_TASKS if published_plan(task).crop_to_nonzero] == [
        "Task01_BrainTumour",
        "Task02_Heart",
    ]


def test_the_architecture_is_that_of_the_trained_network() -> None:
    assert committed_architecture() == Architecture.load(RESULTS / "task04_train_architecture.json")


def test_other_tasks_have_no_figures() -> None:
    with pytest.raises(UserError, match="Mine: no published figures"):
        published_fingerprint(replace(msd_task("Task09_Spleen"), name="Mine"))
    with pytest.raises(UserError, match="Task99_Toe: no plan is shipped"):
        committed_plan("Task99_Toe")
