"""The command line: its help, its output for scripts, and what a user's mistakes look like."""

import errno
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from monai_nas import __version__
from monai_nas.cli.app import app
from monai_nas.errors import UserError
from monai_nas.files import load_tensors, read_json, save_tensors, write_json

VERBS = (
    "tasks",
    "check",
    "plan",
    "search",
    "train",
    "crossval",
    "bundle",
    "predict",
    "evaluate",
    "submit",
    "report",
    "draw",
    "demo",
)
runner = CliRunner()


def fault(*arguments: str | Path) -> str:
    """Run a command that must fail by the user's fault; return the one line that it prints on stderr."""
    result = runner.invoke(app, [str(argument) for argument in arguments])
    lines = result.stderr.splitlines()
    assert result.exit_code == 2, result.output
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith("error: ")
    return lines[0]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_shows_an_example(verb: str) -> None:
    result = runner.invoke(app, [verb, "--help"])
    assert result.exit_code == 0
    assert f"monai-nas {verb}" in result.output.partition("Example")[2]


def help_of(verb: str) -> str:
    """Return the help of a verb without its frame and line breaks."""
    return " ".join(runner.invoke(app, [verb, "--help"], env={"COLUMNS": "200"}).output.replace("│", " ").split())


def test_the_help_of_search_tells_the_lengths_of_both_strategies() -> None:
    one_shot_preset, preset = (
        pytest.importorskip(f"monai_nas.pipelines.{name}") for name in ("one_shot_preset", "preset")
    )
    cells, grid = preset.PRESETS, one_shot_preset.ONE_SHOT_PRESETS
    minutes = f"by default {cells['cpu'].minutes:g}, with --strategy hypersegnas {grid['cpu'].minutes:g}."
    steps = f"the default is {cells['paper'].epochs} epochs, with hypersegnas {grid['paper'].steps} steps."
    assert f"{minutes} With --preset paper {steps}" in help_of("search")
    assert f"by default {cells['cpu'].minutes:g}, with --preset paper {cells['paper'].epochs} epochs" in help_of(
        "train"
    )


def test_version() -> None:
    assert runner.invoke(app, ["--version"]).output.strip() == __version__


def test_tasks_json_is_a_pure_list() -> None:
    command = [sys.executable, "-W", "error", "-m", "monai_nas", "tasks", "--json"]
    tasks = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    assert len(tasks) == 10
    assert tasks[3]["name"] == "Task04_Hippocampus"


def test_tasks_table_names_each_task_in_full() -> None:
    output = runner.invoke(app, ["tasks"]).output
    assert "Task08_HepaticVessel" in output
    assert "Task01_BrainTumour" in output


def test_an_unknown_verb_is_a_usage_error() -> None:
    result = runner.invoke(app, ["serch"])
    assert result.exit_code == 2
    assert "serch" in result.stderr


def test_check_passes_sound_data(phantoms: Path) -> None:
    assert runner.invoke(app, ["check", str(phantoms)]).exit_code == 0


def test_check_prints_one_line_for_a_missing_label(phantoms: Path, tmp_path: Path) -> None:
    data = shutil.copytree(phantoms, tmp_path / phantoms.name)
    victim = sorted((data / "labelsTr").iterdir())[0]
    victim.unlink()
    result = runner.invoke(app, ["check", str(data)])
    errors = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert result.exit_code == 2
    assert len(errors) == 1
    assert victim.name in errors[0]


def test_plan_prints_reasons_and_obeys_the_memory(phantoms: Path, tmp_path: Path) -> None:
    out = tmp_path / "plan.json"
    result = runner.invoke(app, ["plan", "--data", str(phantoms), "--out", str(out), "--memory", "4GB"])
    assert result.exit_code == 0, result.output
    assert "patch_size" in result.stdout
    assert read_json(out)["memory_bytes"] == 4 * 1024**3


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "absent"),
        ("plan", "--data", "absent", "--out", "plan.json"),
        ("search", "--data", "absent", "--out", "run"),
        ("train", "--data", "absent", "--architecture", "architecture.json", "--out", "run"),
        ("crossval", "--data", "absent", "--architecture", "architecture.json", "--out", "run"),
        ("bundle", "--run", "absent", "--out", "bundle"),
        ("predict", "--bundle", "absent", "--images", ".", "--out", "out"),
        ("evaluate", "--pred", "absent", "--labels", ".", "--out", "scores.json"),
    ],
    ids=lambda arguments: arguments[0],
)
def test_a_missing_folder_is_one_line(
    arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "absent: no such folder" in fault(*arguments)
    assert not list(tmp_path.iterdir()), "nothing must be written"


def test_a_file_in_place_of_a_folder_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    assert "is a file" in fault("check", path)


@pytest.mark.parametrize("memory", ["8QB", "much", "-1GB", "0", "8 8"])
def test_memory_that_is_no_amount_is_one_line(memory: str, phantoms: Path, tmp_path: Path) -> None:
    assert memory in fault("plan", "--data", phantoms, "--out", tmp_path / "plan.json", f"--memory={memory}")


@pytest.mark.parametrize("budget", [("--minutes=5", "--epochs=5"), ("--minutes=0",), ("--epochs=0",)], ids=str)
def test_an_impossible_time_budget_is_one_line(budget: tuple[str, ...], phantoms: Path, tmp_path: Path) -> None:
    assert budget[0].split("=")[0] in fault("search", "--data", phantoms, "--out", tmp_path / "run", *budget)
    assert not (tmp_path / "run").exists()


def test_an_unknown_device_is_one_line(phantoms: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai_nas.pipelines.search")
    message = fault("search", "--data", phantoms, "--out", tmp_path / "run", "--device", "abacus")
    assert "abacus" in message


def test_an_unknown_task_is_one_line(phantoms: Path, tmp_path: Path) -> None:
    message = fault("plan", "--data", phantoms, "--task", "Task04_Hipocampus", "--out", tmp_path / "plan.json")
    assert "Task04_Hippocampus" in message


def test_an_unknown_strategy_is_one_line(phantoms: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai_nas.pipelines.search")
    assert "snas" in fault("search", "--data", phantoms, "--out", tmp_path / "run", "--strategy", "snas")


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (("--strategy", "hypersegnas"), "--budget train_memory=2GB"),
        (("--budget", "flops=1G"), "--strategy scnas knows no budgets"),
        (("--candidates", "9"), "--candidates 9: --strategy scnas ranks none"),
        (("--calibration", "memory.json"), "--calibration memory.json: --strategy scnas knows no budgets"),
        (("--grid", "dints"), "--grid dints: --strategy scnas searches cells"),
        (("--blocks", "6"), "--blocks 6: --strategy scnas searches cells"),
        (
            ("--strategy", "hypersegnas", "--budget", "flops=1G", "--grid", "cube"),
            "--grid cube: unknown, choose one of",
        ),
        (("--tolerance", "3%"), "--tolerance 3%: of no budget"),
        (("--strategy", "hypersegnas", "--budget", "flops=1G", "--no-settle"), "--no-settle: --strategy hypersegnas"),
        (("--strategy", "hypersegnas", "--budget", "memory=1GB"), "'memory' is unknown"),
        (("--strategy", "hypersegnas", "--budget", "flops=1G", "--tolerance", "wide"), "--tolerance wide"),
        (("--strategy", "hypersegnas", "--budget", "flops=1G", "--tolerance", "200%"), "--tolerance 200%"),
        (("--supernet", "runs/none", "--budget", "flops=1G", "--minutes", "5"), "leave --minutes and --epochs out"),
        (("--supernet", "runs/none", "--budget", "flops=1G"), "plan.json: no such file"),
    ],
)
def test_a_wrong_budget_is_one_line(options: tuple[str, ...], says: str, phantoms: Path, tmp_path: Path) -> None:
    assert says in fault("search", "--data", phantoms, "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", ['{"a": 1}', "[]", "{", '{"format": 1, "space": "cell_unet"}'])
def test_a_wrong_architecture_file_is_one_line(content: str, phantoms: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai_nas.pipelines.train")
    path = tmp_path / "architecture.json"
    path.write_text(content)
    assert str(path) in fault("train", "--data", phantoms, "--architecture", path, "--out", tmp_path / "run")
    assert not (tmp_path / "run" / "model.pt").exists()


def test_an_architecture_of_unknown_operations_is_one_line(phantoms: Path, finished_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai_nas.pipelines.train")
    record = read_json(finished_run / "architecture.json")
    record["choices"] = dict.fromkeys(record["choices"], "conv_9x9x9")
    write_json(tmp_path / "architecture.json", record)
    arguments = ("--architecture", tmp_path / "architecture.json", "--epochs", "1")
    assert "conv_9x9x9" in fault("train", "--data", phantoms, *arguments, "--out", tmp_path / "run")


def test_weights_of_another_network_are_one_line(phantoms: Path, finished_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("monai_nas.pipelines.train")
    save_tensors(tmp_path / "other.pt", {"weight": torch.zeros(3)})
    arguments = ("--architecture", finished_run / "architecture.json", "--init", tmp_path / "other.pt", "--epochs", "1")
    assert "other.pt" in fault("train", "--data", phantoms, *arguments, "--out", tmp_path / "run")


def test_bundling_weights_of_another_network_is_one_line(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    weights = load_tensors(run / "model.pt")
    weights["surplus"] = torch.zeros(1)
    save_tensors(run / "model.pt", weights)
    message = fault("bundle", "--run", run, "--out", tmp_path / "bundle")
    assert "model.pt" in message
    assert "surplus" in message
    assert not (tmp_path / "bundle").exists()


def test_bundling_an_unfinished_run_is_one_line(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / "model.pt").unlink()
    assert "finish the run" in fault("bundle", "--run", run, "--out", tmp_path / "bundle")


def test_predicting_with_a_bundle_without_weights_is_one_line(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(bundle, tmp_path / bundle.name)
    (copy / "models" / "model.pt").unlink()
    message = fault("predict", "--bundle", copy, "--images", phantoms / "imagesTs", "--out", tmp_path / "out")
    assert "monai-nas train" in message
    assert not (tmp_path / "out").exists()


def test_predict_and_evaluate_write_what_they_promise(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    out, scores = tmp_path / "out", tmp_path / "scores.json"
    images, labels = tmp_path / "data" / "imagesTr", tmp_path / "data" / "labelsTr"
    for name, folder in (("imagesTr", images), ("labelsTr", labels)):
        folder.mkdir(parents=True)
        for path in sorted((phantoms / name).iterdir())[:2]:
            shutil.copy(path, folder)
    shutil.copy(phantoms / "dataset.json", tmp_path / "data")
    arguments = ["predict", "--bundle", str(bundle), "--images", str(images), "--out", str(out), "--no-mirror"]
    result = runner.invoke(app, arguments)
    assert result.exit_code == 0, result.output
    assert sorted(path.name for path in out.iterdir()) == sorted(path.name for path in images.iterdir())
    result = runner.invoke(app, ["evaluate", "--pred", str(out), "--labels", str(labels), "--out", str(scores)])
    assert result.exit_code == 0, result.output
    assert read_json(scores)["num_cases"] == 2
    assert "Anterior" in result.stdout


def break_plan(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """Let the making of any plan raise ``error``."""

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr("monai_nas.plans.fingerprint.measure_fingerprint", fail)


def test_a_full_disk_is_one_line(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_plan(monkeypatch, OSError(errno.ENOSPC, "No space left on device", "cache.pt"))
    message = fault("plan", "--data", phantoms, "--out", tmp_path / "plan.json")
    assert message == "error: cache.pt: No space left on device: free some space or choose another folder"


def test_a_fault_inside_a_transform_is_found(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrapped = RuntimeError("applying transform LoadImaged")
    wrapped.__cause__ = UserError("scan.nii.gz: broken:\n replace it")
    break_plan(monkeypatch, wrapped)
    assert fault("plan", "--data", phantoms, "--out", tmp_path / "p") == "error: scan.nii.gz: broken: replace it"


def test_a_bug_is_not_hidden(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_plan(monkeypatch, ZeroDivisionError("bug"))
    result = runner.invoke(app, ["plan", "--data", str(phantoms), "--out", str(tmp_path / "plan.json")])
    assert isinstance(result.exception, ZeroDivisionError)


def test_ctrl_c_leaves_with_130(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    break_plan(monkeypatch, KeyboardInterrupt())
    result = runner.invoke(app, ["plan", "--data", str(phantoms), "--out", str(tmp_path / "plan.json")])
    assert result.exit_code == 130
    assert result.stderr.startswith("interrupted")
