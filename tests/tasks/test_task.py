"""Tasks as values: the MSD's facts, a user's own dataset.json, and what is refused."""

import json
from pathlib import Path
from typing import Any

import pytest

from monai_nas.errors import UserError
from monai_nas.tasks import MSD_TASKS, SegTask, load_task, msd_task

OWN = {
    "name": "Sarcoma",
    "modality": {"0": "CT"},
    "labels": {"0": "background", "1": "tumour"},
    "numTraining": 18,
    "numTest": 6,
    "training": [],
    "test": [],
}


def write(folder: Path, **changes: Any) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "dataset.json").write_text(json.dumps(OWN | changes))
    return folder


@pytest.mark.parametrize("task", MSD_TASKS, ids=lambda task: task.name)
def test_record_round_trip_through_json(task: SegTask) -> None:
    assert SegTask.from_record(json.loads(json.dumps(task.to_record()))) == task
    assert task.labels[0] == "background" and task.sources and task.tolerance_mm


def test_the_ten_tasks_have_the_published_tolerances_and_channels() -> None:
    assert [task.tolerance_mm for task in MSD_TASKS] == [5, 4, 7, 1, 4, 2, 5, 3, 3, 4]
    assert [task.name[:6] for task in MSD_TASKS] == [f"Task{number:02d}" for number in range(1, 11)]
    assert [task.in_channels for task in MSD_TASKS] == [4, 1, 1, 1, 2, 1, 1, 1, 1, 1]


def test_own_dataset_json_is_enough_and_has_no_tolerance(tmp_path: Path) -> None:
    task = load_task(None, write(tmp_path / "Task11_Sarcoma"))
    assert (task.name, task.labels, task.modalities) == ("Sarcoma", ("background", "tumour"), ("CT",))
    assert (task.tolerance_mm, task.num_training, task.in_channels, task.num_classes) == (None, 18, 1, 2)


def test_the_number_of_cases_may_be_text_or_absent(tmp_path: Path) -> None:
    task = load_task(None, write(tmp_path / "text", numTraining="18", numTest="0"))
    assert (task.num_training, task.num_test) == (18, 0)
    listing = {key: value for key, value in OWN.items() if key not in ("numTraining", "numTest")}
    (tmp_path / "dataset.json").write_text(json.dumps(listing | {"training": [{}] * 3, "test": ["a"]}))
    task = load_task(None, tmp_path)
    assert (task.num_training, task.num_test) == (3, 1)


def test_msd_task_is_recognised_by_name_or_folder_and_labels(tmp_path: Path) -> None:
    spleen = {"name": "Spleen", "labels": {"0": "background", "1": "Spleen"}}
    assert load_task(None, write(tmp_path / "mine", **spleen)) is msd_task("Task09_Spleen")
    assert load_task(None, write(tmp_path / "Task09_Spleen", labels=spleen["labels"])) is msd_task("Task09_Spleen")
    other = load_task(None, write(tmp_path / "other", name="Spleen"))
    assert other.tolerance_mm is None and other.labels == ("background", "tumour")


def test_load_task_by_name_and_by_file(tmp_path: Path) -> None:
    assert load_task("Task04_Hippocampus", None) is msd_task("Task04_Hippocampus")
    assert load_task(str(write(tmp_path) / "dataset.json"), None).name == "Sarcoma"
    with pytest.raises(UserError, match=r"Task04_Hipocampus.*did you mean Task04_Hippocampus"):
        load_task("Task04_Hipocampus", None)
    with pytest.raises(UserError, match=r"dataset\.json: no such file"):
        load_task(None, tmp_path / "absent")
    with pytest.raises(UserError, match="did you mean Task09_Spleen"):
        msd_task("Spleen")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"labels": {"0": "background", "2": "tumour"}}, "'labels' is numbered"),
        ({"labels": {"background": 0, "tumour": 1}}, "not numbers"),
        ({"labels": {"0": "background"}}, "'labels' has 1 entry"),
        ({"labels": {"0": "background", "1": "lesion", "2": "Lesion"}}, "'labels' has 'lesion' 2 times"),
        ({"labels": {str(number): f"part {number}" for number in range(257)}}, "'labels' has 257 entries, at most 256"),
        ({"modality": None}, "'modality' is None"),
        ({"numTraining": "many"}, "'numTraining' is 'many'"),
        ({"numTraining": "-3"}, "'numTraining' is '-3'"),
    ],
)
def test_faulty_dataset_json_is_refused_in_one_line(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        load_task(None, write(tmp_path, **changes))
    assert "dataset.json" in str(caught.value) and "\n" not in str(caught.value)


def test_unknown_and_missing_keys_of_a_record_are_named() -> None:
    record = msd_task("Task09_Spleen").to_record()
    with pytest.raises(UserError, match=r"plan\.json: unknown keys colour"):
        SegTask.from_record(record | {"colour": 1}, "plan.json")
    del record["labels"]
    with pytest.raises(UserError, match="lacks labels"):
        SegTask.from_record(record)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", 5),
        ("modalities", []),
        ("modalities", "CT"),
        ("labels", ["background"]),
        ("labels", ["background", 1]),
        ("num_training", 2.5),
        ("median_shape", [1, 2]),
        ("median_spacing_mm", [1, 1, 0]),
        ("tolerance_mm", "1"),
        ("tolerance_mm", -1),
        ("sources", None),
    ],
)
def test_values_that_a_task_cannot_have_are_named(key: str, value: Any) -> None:
    record = json.loads(json.dumps(msd_task("Task09_Spleen").to_record())) | {key: value}
    with pytest.raises(UserError, match=rf"plan\.json: the task's {key} is"):
        SegTask.from_record(record, "plan.json")
