"""The RUN folder: one process at a time, nothing of other people's, and nothing lost goes unnoticed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_nas.data.check import check_dataset
from monai_nas.errors import UserError
from monai_nas.files import read_json, save_tensors, write_json
from monai_nas.pipelines.run_folder import RunFolder, sound_cases
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task

SETTINGS = {"verb": "search", "seed": 0}
FOLDS = {"seed": 0, "kept_out": None, "folds": [["a"], ["b"]]}
HOLDER = """
import os, sys, time
from pathlib import Path
from monai_nas.pipelines.run_folder import RunFolder
RunFolder(Path(sys.argv[1])).open({"verb": "search", "seed": 0})
if os.fork() == 0:  # as the worker processes that read ahead, which live on for a while
    time.sleep(60)
print("held", flush=True)
time.sleep(60)
"""


@pytest.fixture()
def plan(phantoms: Path) -> Plan:
    task = load_task(None, phantoms)
    return make_plan(task, measure_fingerprint(training_cases(phantoms), task))


@pytest.fixture()
def begun(tmp_path: Path, plan: Plan) -> RunFolder:
    """A run that has saved its first checkpoint."""
    run = RunFolder(tmp_path / "run")
    run.open(SETTINGS)
    run.keep(plan, FOLDS)
    write_json(run.path / "schedule.json", {})
    record = {"epoch": 1, "step": 2, "rows": [{"loss": 1.0}], "sums": {"loss": (1.5, 2)}, "state": {"a": torch.ones(2)}}
    save_tensors(run.path / "checkpoint.pt", record)
    return run


@pytest.fixture()
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process in the middle of a run in ``tmp_path``/run."""
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            os.killpg(process.pid, signal.SIGKILL)


def test_a_run_that_another_process_holds_is_refused_until_that_is_killed(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    (tmp_path / "run" / ".model.pt.abc.tmp").touch()
    with pytest.raises(UserError, match="run: is in use by another process: wait"):
        RunFolder(tmp_path / "run").open(SETTINGS)
    assert sorted(os.listdir(tmp_path / "run")) == [".model.pt.abc.tmp", "settings.json"], "it is being written"
    holder.kill()
    holder.wait()
    RunFolder(tmp_path / "run").open(SETTINGS)
    assert os.listdir(tmp_path / "run") == ["settings.json"], "no trace of a lock"


def test_a_process_may_open_its_run_again(begun: RunFolder) -> None:
    begun.open(SETTINGS)
    RunFolder(begun.path).open(SETTINGS)


def test_what_a_kill_left_goes_and_the_files_of_others_stay(begun: RunFolder, tmp_path: Path) -> None:
    (begun.path / ".history.csv.abc.tmp").touch()
    begun.open(SETTINGS)
    assert not (begun.path / ".history.csv.abc.tmp").exists()
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / ".settings.json.abc.tmp").touch()
    (foreign / ".thesis.abc.tmp").touch()
    with pytest.raises(UserError, match="not empty and not a run"):
        RunFolder(foreign).open(SETTINGS)
    assert len(os.listdir(foreign)) == 2
    (foreign / ".thesis.abc.tmp").unlink()
    RunFolder(foreign).open(SETTINGS)
    assert os.listdir(foreign) == ["settings.json"]


def test_a_full_disk_at_the_start_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monai_nas.files.os.fsync", full)
    with pytest.raises(UserError, match=r"settings\.json: cannot be written"):
        RunFolder(tmp_path / "new" / "run").open(SETTINGS)
    assert not os.listdir(tmp_path)
    monkeypatch.undo()
    RunFolder(tmp_path / "new" / "run").open(SETTINGS)


@pytest.mark.parametrize("name", ["plan.json", "folds.json", "schedule.json"])
def test_a_run_that_has_lost_a_file_is_not_begun_again(begun: RunFolder, name: str) -> None:
    (begun.path / name).unlink()
    with pytest.raises(UserError, match=rf"{name}: lost by a run that had it"):
        begun.open(SETTINGS)


def test_a_finished_run_without_its_weights_is_not_begun_again(begun: RunFolder) -> None:
    write_json(begun.path / "run.json", {})
    save_tensors(begun.path / "model.pt", {})
    begun.open(SETTINGS)
    assert not (begun.path / "checkpoint.pt").exists() and begun.finished
    (begun.path / "model.pt").unlink()
    with pytest.raises(UserError, match=r"model\.pt: lost by a run that had it"):
        begun.open(SETTINGS)


@pytest.mark.parametrize(
    ("settings", "message"), [([1], "not the settings of a run"), ({}, "started with verb None, now 'search'")]
)
def test_damaged_settings_are_named(begun: RunFolder, settings: Any, message: str) -> None:
    write_json(begun.path / "settings.json", settings)
    with pytest.raises(UserError, match=rf"settings\.json: .*{message}"):
        begun.open(SETTINGS)


def test_data_that_have_changed_since_the_beginning_are_refused(begun: RunFolder, plan: Plan) -> None:
    before = {name: (begun.path / name).read_bytes() for name in ("folds.json", "plan.json")}
    begun.keep(plan, FOLDS)
    with pytest.raises(UserError, match=r"folds\.json: lists other cases or folds"):
        begun.keep(plan, FOLDS | {"folds": [["a"], ["b"], ["new"]]})
    assert before == {name: (begun.path / name).read_bytes() for name in before}


def damage(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda record: record | changes


@pytest.mark.parametrize(
    "change",
    [
        lambda record: [record],
        lambda record: {"epoch": 1},
        damage(epoch="1"),
        damage(epoch=-1),
        damage(epoch=2),
        damage(step=-1),
        damage(step=0.5),
        damage(sums=[1.5]),
        damage(rows=5),
        damage(rows=["loss"]),
        damage(state=[1]),
    ],
)
def test_a_checkpoint_of_another_form_is_named(begun: RunFolder, change: Callable[[dict[str, Any]], Any]) -> None:
    record = begun.checkpoint()
    assert record is not None
    save_tensors(begun.path / "checkpoint.pt", change(record))
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a checkpoint of this program: delete it"):
        begun.checkpoint()


def test_a_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "run"):
        with pytest.raises(UserError, match=rf"{path}: cannot be created .*a file lies where a folder is needed"):
            RunFolder(path).open(SETTINGS)


def test_warnings_of_the_data_are_one_line_and_errors_name_the_file(
    phantoms: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    task = load_task(None, phantoms)
    assert len(sound_cases(phantoms, task)) == 10
    (line,) = caplog.messages
    assert "2 warnings, the first: dataset.json: lists 10 training cases" in line
    record = read_json(phantoms / "dataset.json")
    write_json(tmp_path / "dataset.json", record)
    with pytest.raises(UserError, match=rf"{tmp_path}/imagesTr: no such folder.*errors in all; see `monai-nas check"):
        sound_cases(tmp_path, task)


def test_a_copy_without_the_unlabelled_scans_can_be_trained_on(phantoms: Path, tmp_path: Path) -> None:
    task, data = load_task(None, phantoms), Path(shutil.copytree(phantoms, tmp_path / "data"))
    shutil.rmtree(data / "imagesTs")
    assert len(sound_cases(data, task)) == 10
    assert "imagesTs: no such folder" in " ".join(
        finding.file + ": " + finding.message for finding in check_dataset(data, task)
    )


@pytest.mark.parametrize("folder", ["imagesTr", "labelsTr", "imagesTs"])
def test_a_listed_file_that_is_damaged_or_lost_stops_a_training(folder: str, phantoms: Path, tmp_path: Path) -> None:
    task, data = load_task(None, phantoms), Path(shutil.copytree(phantoms, tmp_path / "data"))
    file = sorted((data / folder).iterdir())[0]
    file.write_bytes(b"x")
    with pytest.raises(UserError, match=rf"{file}: unreadable.*the only error; see `monai-nas check"):
        sound_cases(data, task)
    file.unlink()
    with pytest.raises(UserError, match=rf"{file}: no such file"):
        sound_cases(data, task)
