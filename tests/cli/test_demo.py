"""The demo's composition, with the search replaced by a run that is finished already."""

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from monai_nas.cli.app import app
from monai_nas.files import read_json
from monai_nas.metrics import ScoreTable
from monai_nas.tasks import make_folds, training_cases
from monai_nas.tasks.splits import FOLD_SEED

pytest.importorskip("monai_nas.pipelines.search")


def test_demo_goes_the_whole_way(finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}

    def finish_at_once(data: Path, out: Path, **arguments: object) -> None:
        asked.update(arguments)
        shutil.copytree(finished_run, out, dirs_exist_ok=True)

    monkeypatch.delenv("MSD_ROOT", raising=False)
    monkeypatch.setattr("monai_nas.pipelines.demo.search", finish_at_once)
    monkeypatch.setattr("monai_nas.pipelines.demo.NUM_PHANTOMS", 5)
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo"), "--minutes", "0.5"])
    assert result.exit_code == 0, result.output
    assert asked["minutes"] == 0.5
    names = [case.name for case in training_cases(tmp_path / "demo" / "data" / "Task04_Hippocampus")]
    withheld = make_folds(names, FOLD_SEED)[asked["fold"]]
    scores = tmp_path / "demo" / "search" / "scores.json"
    assert tuple(case.case for case in ScoreTable.load(scores).cases) == withheld
    bundle = tmp_path / "demo" / "bundles" / "msd_task04_hippocampus"
    assert "mean_dice" in read_json(bundle / "configs" / "metadata.json")["eval_metrics"]
    for made in (bundle, scores, "Anterior"):
        assert str(made) in result.stdout.replace("\n", "")


def test_demo_refuses_an_msd_root_without_the_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MSD_ROOT", str(tmp_path / "absent"))
    result = CliRunner().invoke(app, ["demo", "--out", str(tmp_path / "demo")])
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert len(result.stderr.splitlines()) == 1
