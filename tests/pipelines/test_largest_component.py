"""The largest-component rule is chosen class by class, where it raises the mean Dice of withheld cases."""

import math
from collections.abc import Sequence
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
import pytest

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.inference import write_labels
from monai_nas.pipelines.largest_component import ComponentChoice, choose_components, load_keep_largest, save_choices
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task

Labels = npt.NDArray[np.uint8]


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    """A plan of a task with two foreground classes."""
    task = load_task(None, phantoms)
    return make_plan(task, measure_fingerprint(training_cases(phantoms), task))


def row(*labels: int) -> Labels:
    """Return labels along one line, with background all around."""
    volume = np.zeros((len(labels) + 2, 3, 3), dtype=np.uint8)
    volume[1:-1, 1, 1] = labels
    return volume


def write_pairs(folder: Path, pairs: Sequence[tuple[Labels, Labels]]) -> list[tuple[Path, Path]]:
    """Write (prediction, truth) as files in ``folder``; return their places."""
    folder.mkdir(exist_ok=True)
    paths = []
    for number, pair in enumerate(pairs):
        image = folder / f"image_{number}.nii.gz"
        nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(pair[0], np.eye(4)), image)  # type: ignore[no-untyped-call]
        prediction, reference = (folder / name / image.name for name in ("predicted", "true"))
        for labels, path in zip(pair, (prediction, reference), strict=True):
            write_labels(labels, image, path)
        paths.append((prediction, reference))
    return paths


def test_each_class_is_decided_by_itself(plan: Plan, tmp_path: Path) -> None:
    # Class 1: three voxels found and one island of one: Dice 6/7 with it, 1 without.
    # Class 2: both parts of two and one voxels are real: Dice 1 with both, 2 * 2 / (2 + 3) = 4/5 with the larger.
    pairs = [(row(1, 0, 1, 1, 1, 0, 2, 2, 0, 2), row(0, 0, 1, 1, 1, 0, 2, 2, 0, 2))]
    first, second = choose_components(write_pairs(tmp_path, pairs), plan)
    assert (first.label, first.name, first.keep_largest) == (1, plan.task.labels[1], True)
    assert (first.dice_all, first.dice_largest) == pytest.approx((6 / 7, 1.0))
    assert (second.label, second.name, second.keep_largest) == (2, plan.task.labels[2], False)
    assert (second.dice_all, second.dice_largest) == pytest.approx((1.0, 4 / 5))


def test_the_mean_over_the_cases_decides(plan: Plan, tmp_path: Path) -> None:
    # Class 1 gains 1/7 in the first case and loses 1/5 in the second; the third does not have it.
    pairs = [
        (row(1, 0, 1, 1, 1), row(0, 0, 1, 1, 1)),
        (row(1, 1, 0, 1), row(1, 1, 0, 1)),
        (row(2, 2), row(2, 2)),
    ]
    first, second = choose_components(write_pairs(tmp_path, pairs), plan)
    assert (first.dice_all, first.dice_largest) == pytest.approx(((6 / 7 + 1) / 2, (1 + 4 / 5) / 2))
    assert not first.keep_largest
    assert (second.dice_all, second.dice_largest) == (1.0, 1.0) and not second.keep_largest, "no gain, no rule"


def test_components_that_touch_at_a_corner_are_one_and_classes_do_not_join(plan: Plan, tmp_path: Path) -> None:
    diagonal = np.zeros((4, 4, 4), dtype=np.uint8)
    diagonal[1, 1, 1] = diagonal[2, 2, 2] = 1
    split = row(1, 1, 2, 1)  # the single voxel of class 1 hangs on class 2 only
    (corner, _), (joined, _) = (
        choose_components(write_pairs(tmp_path / name, [(labels, labels)]), plan)
        for name, labels in (("corner", diagonal), ("joined", split))
    )
    assert corner.dice_largest == 1.0
    assert joined.dice_largest == pytest.approx(4 / 5)


def test_a_class_that_no_case_has_is_left_alone(plan: Plan, tmp_path: Path) -> None:
    choices = choose_components(write_pairs(tmp_path, [(row(1, 1), row(1, 1))]), plan)
    assert math.isnan(choices[1].dice_all) and not choices[1].keep_largest
    save_choices(choices, 1, tmp_path / "postprocessing.json")
    assert read_json(tmp_path / "postprocessing.json")["classes"][1]["mean_dice_all_components"] is None


def test_the_file_tells_what_was_chosen_and_why(tmp_path: Path) -> None:
    path = tmp_path / "postprocessing.json"
    choices = [ComponentChoice(1, "liver", 0.75, 0.5), ComponentChoice(2, "cancer", 0.5, 0.75)]
    save_choices(choices, 7, path)
    assert load_keep_largest(path) == (2,)
    record = read_json(path)
    assert record["num_cases"] == 7 and "raises the mean" in record["rule"]
    assert record["classes"][1] == {
        "label": 2,
        "name": "cancer",
        "mean_dice_all_components": 0.5,
        "mean_dice_largest_component": 0.75,
        "keep_largest": True,
    }
    write_json(path, {"classes": [{"label": 1}]})
    with pytest.raises(UserError, match=r"postprocessing\.json: lists no classes .*delete it"):
        load_keep_largest(path)
