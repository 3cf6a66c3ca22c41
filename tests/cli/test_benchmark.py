"""The verb benchmark: its file, its table, and what it refuses."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from monai_nas.benchmarks.speed import suite
from monai_nas.benchmarks.speed.contest import silent
from monai_nas.benchmarks.speed.nnunet import left_out
from monai_nas.benchmarks.speed.segmenters import Setting
from monai_nas.benchmarks.speed.suite import Settings
from monai_nas.cli.app import main
from monai_nas.plans.published import committed_architecture, committed_plan
from monai_nas.spaces import CellUNetSpace


def run(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as left:
        main(["benchmark", *words])
    return left.value.code


def test_parts_are_written_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = replace(
        committed_plan("Task04_Hippocampus"), patch_size=(16, 16, 16), batch_size=1, strides=((2, 2, 2),) * 2, width=8
    )
    plan.save(tmp_path / "plan.json")
    out = tmp_path / "speed.json"
    CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0)).save(tmp_path / "architecture.json")
    words = [
        "--architecture",
        str(tmp_path / "architecture.json"),
        "--plan",
        str(tmp_path / "plan.json"),
        "--part",
        "cost",
        "--part",
        "batches",
        "--repetitions",
        "1",
    ]
    assert run(*words, "--out", str(out)) == 0
    record = json.loads(out.read_text())
    assert list(record["contests"]) == ["cost", "batches"] and record["repetitions"] == 1
    assert record["environment"]["versions"]["torch"]
    shown = capsys.readouterr().out
    assert "measured" in shown and "times as long" in shown and str(out) in shown.replace("\n", "")
    assert ("nnunet: not installed" in shown) == bool(left_out())


def test_volumes_have_the_size_asked_for(tmp_path: Path) -> None:
    out = tmp_path / "speed.json"
    assert run("--part", "metrics", "--size", "24", "28", "20", "--repetitions", "1", "--out", str(out)) == 0
    assert json.loads(out.read_text())["contests"]["metrics"]["shape"] == [24, 28, 20]
    settings = Settings(
        committed_architecture(), committed_plan("Task04_Hippocampus"), 1, 0, "cpu", (24, 28, 20), False
    )
    asked: list[Setting] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(suite, "inference_contest", lambda setting, **_: asked.append(setting))
        settings.inference(silent)
    assert asked[0].size == (24, 28, 20) and asked[0].mirror is False


def test_a_scan_of_other_channels_is_refused(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scan = next((phantoms / "imagesTr").glob("*.nii.gz"))
    words = ["--part", "inference", "--image", str(scan), "--out", str(tmp_path / "speed.json")]
    plan = tmp_path / "plan.json"
    committed_plan("Task05_Prostate").save(plan)
    assert run(*words, "--plan", str(plan)) == 2
    fault = capsys.readouterr().err
    assert scan.name in fault.replace("\n", "") and "channels" in fault and not (tmp_path / "speed.json").exists()


def test_an_unknown_part_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--part", "teleport", "--out", str(tmp_path / "speed.json")) == 2
    fault = capsys.readouterr().err
    assert "teleport" in fault and "training_step" in fault and not (tmp_path / "speed.json").exists()


def test_a_missing_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--out", str(tmp_path / "missing" / "speed.json")) == 2
    assert "missing" in capsys.readouterr().err
