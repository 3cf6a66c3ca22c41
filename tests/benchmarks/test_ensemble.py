"""An ensemble beside its members: a real cross-validation of a tiny network, and the comparison by hand."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_nas.benchmarks import ensemble
from monai_nas.files import read_json
from monai_nas.metrics import CaseScores, ScoreTable
from monai_nas.pipelines import run_folder
from monai_nas.plans.plan import Plan
from monai_nas.spaces import CellUNetSpace
from monai_nas.tasks.splits import make_folds, training_cases


def table_of(*dice: tuple[float, float]) -> ScoreTable:
    cases = tuple(CaseScores(f"case_{index}", own, own, 1.0) for index, own in enumerate(dice))
    return ScoreTable("Task04_Hippocampus", ("Anterior", "Posterior"), "published", cases)


def test_gain_and_test_by_hand() -> None:
    nan = float("nan")
    first = table_of((0.5, 0.7), (0.6, nan), (0.2, 0.2), (nan, nan))
    second = table_of((0.7, 0.9), (0.8, nan), (0.4, 0.4), (nan, nan))
    together = table_of((0.8, 0.9), (0.9, nan), (0.6, 0.6), (nan, nan))
    summary = ensemble.summarize({"ensemble": together, "fold_0": first, "fold_1": second})["dice"]
    means = 100 * (1.3 / 3 + 0.45) / 2, 100 * (1.9 / 3 + 0.65) / 2
    assert list(summary["members"].values()) == pytest.approx(means) and summary["best"] == pytest.approx(means[1])
    assert summary["gain"] == pytest.approx(100 * (2.3 / 3 + 0.75) / 2 - sum(means) / 2)
    assert summary["p_value"] == 0.25, "three cases, all better: twice one of eight orders of signs"
    assert ensemble.summarize({"ensemble": first, "fold_0": first})["dice"]["p_value"] == 1.0


def test_a_fold_is_kept_out_and_what_is_done_stays(phantoms: Path, tmp_path: Path) -> None:
    chosen = run_folder.RunFolder.choose_plan

    def small(self: run_folder.RunFolder, *arguments: Any) -> Plan:
        plan = chosen(self, *arguments)
        return dataclasses.replace(plan, width=4, patch_size=(12, 12, 12), strides=((2, 2, 2), (1, 2, 2)))

    CellUNetSpace(num_nodes=2).sample(np.random.default_rng(1)).save(tmp_path / "architecture.json")
    words = ["--data", str(phantoms), "--runs", str(tmp_path / "runs"), "--out", str(tmp_path / "ensemble.json")]
    words += ["--architecture", str(tmp_path / "architecture.json"), "--epochs", "1", "--fold", "1"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run_folder.RunFolder, "choose_plan", small)
        ensemble.main(words)
    folder, record = tmp_path / "runs" / "without_fold_1", read_json(tmp_path / "ensemble.json")
    names = [case.name for case in training_cases(phantoms)]
    kept_out = set(make_folds(names, 0)[1])
    seen = {case.name for case in training_cases(folder / "training" / phantoms.name)}
    assert seen == set(names) - kept_out and record["cases"] == len(kept_out) == 2
    used = read_json(folder / "crossval" / "folds.json")["folds"]
    assert {name for fold in used for name in fold} == seen
    for name in ("ensemble", *(f"fold_{number}" for number in range(5))):
        scored = {entry["case"] for entry in read_json(folder / name / "scores.json")["cases"]}
        assert scored == kept_out
    dice = record["metrics"]["dice"]
    assert len(dice["members"]) == len(record["steps"]) == 5 and dice["gain"] == dice["ensemble"] - dice["mean"]

    before = {file: file.stat().st_mtime_ns for file in folder.rglob("*") if file.is_file()}
    (tmp_path / "ensemble.json").unlink()
    ensemble.main(words)
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert read_json(tmp_path / "ensemble.json")["metrics"] == record["metrics"]
