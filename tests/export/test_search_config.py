"""search.json: with another strategy or preset it searches as the command line does."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import monai.bundle
import pytest
from typer.testing import CliRunner

from monai_nas.cli.app import app
from monai_nas.export import FinishedRun, load_run
from monai_nas.export.search_config import search_config
from monai_nas.files import read_json, write_json
from monai_nas.pipelines import one_shot, search_by_name
from monai_nas.pipelines import search as search_module
from monai_nas.pipelines.one_shot_preset import NUM_LEVELS, ONE_SHOT_PRESETS, grid_plan
from monai_nas.pipelines.preset import PRESETS
from monai_nas.plans.plan import Plan

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")

BUDGET = "parameters=20K"


@pytest.fixture
def runs(finished_run: Path) -> dict[str, FinishedRun]:
    """What a search of each strategy leaves for its bundle."""
    run = load_run(finished_run)
    run = replace(run, facts=dict(run.facts) | {"fold": None})  # its plan is that of all cases
    facts = dict(run.facts) | {"strategy": "hypersegnas", "budget": BUDGET, "tolerance": 0.1}
    return {"scnas": run, "hypersegnas": replace(run, facts=facts, plan=grid_plan(run.plan))}


def run_config(run: FinishedRun, data: Path, folder: Path, **overrides: Any) -> None:
    """Do what ``python -m monai.bundle run --config_file configs/search.json`` does."""
    file = folder / "search.json"
    write_json(file, search_config(run))
    settings: dict[str, Any] = {"config_file": str(file), "logging_file": False, "dataset_dir": str(data)}
    monai.bundle.run(**settings, output_dir=str(folder / "run"), **overrides)


@pytest.mark.parametrize(
    ("own", "options"),
    [
        ("scnas", {"strategy": "hypersegnas", "budgets": [BUDGET], "tolerance": 0.2}),
        ("hypersegnas", {"strategy": "scnas"}),
        ("scnas", {"preset": "paper"}),
        ("hypersegnas", {"preset": "paper", "budgets": ["flops=5G"]}),
    ],
)
def test_a_switch_asks_for_what_the_command_line_asks_for(
    own: str,
    options: dict[str, Any],
    runs: dict[str, FinishedRun],
    phantoms: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[dict[str, Any]] = []
    for name in ("search", "search_within_budgets"):

        def record(data: Path, out: Path, *, called: str, **values: Any) -> None:
            values.pop("tolerance", None)
            calls.append(values | {"called": called})

        monkeypatch.setattr(search_by_name, name, partial(record, called=name))
    run_config(runs[own], phantoms, tmp_path, **options)
    words = ["search", "--data", phantoms, "--out", tmp_path / "run"]
    words += ["--strategy", options.get("strategy", own), "--preset", options.get("preset", "cpu")]
    words += [word for budget in options.get("budgets", []) for word in ("--budget", budget)]
    if "budgets" in options:
        words += ["--tolerance", options.get("tolerance", 0.1)]
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    bundle, command_line = calls
    assert bundle == command_line and bundle["plan"] is None


def test_its_own_strategy_keeps_plan_and_budget(
    runs: dict[str, FinishedRun], phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[dict[str, Any]] = []
    monkeypatch.setattr(search_by_name, "search", lambda *_, **values: calls.append(values))
    monkeypatch.setattr(search_by_name, "search_within_budgets", lambda *_, **values: calls.append(values))
    for run in runs.values():
        run_config(run, phantoms, tmp_path)
    assert [call["plan"] for call in calls] == [run.plan for run in runs.values()]
    assert [str(budget) for budget in calls[1]["budgets"]] == [BUDGET] and calls[1]["budgets"][0].tolerance == 0.1


def narrow(plan: Plan) -> Plan:
    """Return a plan so narrow that a step takes a fraction of a second."""
    return replace(plan, width=4)


def test_an_scnas_bundle_searches_a_grid(
    runs: dict[str, FinishedRun], phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = runs["scnas"].plan
    tiny = replace(
        ONE_SHOT_PRESETS["cpu"], adapt=lambda plan: narrow(grid_plan(plan)), num_finalists=1, fine_tuning_steps=1
    )
    monkeypatch.setattr(one_shot, "one_shot_preset_named", lambda name: tiny)
    options = {"strategy": "hypersegnas", "budgets": [BUDGET], "tolerance": 0.9, "num_candidates": 1, "epochs": 1}
    run_config(runs["scnas"], phantoms, tmp_path, **options)
    plan = Plan.load(tmp_path / "run" / "plan.json")
    assert len(own.strides) < len(plan.strides) == NUM_LEVELS
    assert (plan.strides, plan.patch_size) == (grid_plan(own).strides, grid_plan(own).patch_size)
    assert read_json(tmp_path / "run" / "run.json")["strategy"] == "hypersegnas"
    assert read_json(tmp_path / "run" / "architecture.json")["settings"]["num_levels"] == NUM_LEVELS


def test_a_hypersegnas_bundle_searches_cells(
    runs: dict[str, FinishedRun], phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = replace(PRESETS["cpu"], adapt=narrow)
    monkeypatch.setattr(search_module, "preset_named", lambda name: tiny)
    run_config(runs["hypersegnas"], phantoms, tmp_path, strategy="scnas", epochs=2)
    plan, rules = Plan.load(tmp_path / "run" / "plan.json"), runs["scnas"].plan
    assert (plan.strides, plan.patch_size) == (rules.strides, rules.patch_size)
    assert read_json(tmp_path / "run" / "architecture.json")["space"] == "cell_unet"
