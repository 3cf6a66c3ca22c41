"""Searches on tiny phantoms: what they write, that a break leaves no trace, and what they refuse."""

import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute, choose_compute
from monai_nas.errors import UserError
from monai_nas.files import load_tensors, read_json, save_tensors, write_json
from monai_nas.networks import build_network
from monai_nas.pipelines import epochs
from monai_nas.pipelines import search as module
from monai_nas.pipelines.search import search
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task
from monai_nas.training import Schedule

COMPUTE: Compute = choose_compute(low_precision=False, device="cpu")
SAME_BYTES = tuple(f"{name}.json" for name in ("architecture", "network", "plan", "folds", "schedule"))
SAME_BYTES += ("model.pt", "history.csv")


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    """A plan so small that a step takes a fraction of a second."""
    task = load_task(None, phantoms)
    measured = make_plan(task, measure_fingerprint(training_cases(phantoms), task))
    return dataclasses.replace(measured, width=4, patch_size=(8, 8, 8), strides=((2, 2, 2),))


@pytest.fixture(scope="module", autouse=True)
def little_scoring() -> Iterator[None]:
    """Most of a tiny search would otherwise go into the comparison at its end."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "GAP_CASES", 2)
        patch.setattr(module, "GAP_DRAWS", 2)
        yield


def run_search(data: Path, out: Path, plan: Plan | None, **changes: Any) -> None:
    """Search for four epochs, two of them with sampling; arguments by name change what is asked for."""
    arguments: dict[str, Any] = {
        "task": load_task(None, data),
        "strategy": "scnas",
        "plan": plan,
        "seed": 3,
        "minutes": None,
        "epochs": 4,
        "fold": None,
        "compute": COMPUTE,
        "settle": True,
    }
    search(data, out, **(arguments | changes))


@pytest.fixture(scope="module")
def finished(phantoms: Path, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A search that went through without a break: 10 cases, 5 in each half, so 3 steps an epoch."""
    out = tmp_path_factory.mktemp("search") / "run"
    run_search(phantoms, out, plan)
    return out


def test_a_run_holds_what_a_bundle_needs(finished: Path, plan: Plan) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {*SAME_BYTES, "run.json", "gap.json", "settings.json", "tensorboard"} == names
    assert Plan.load(finished / "plan.json") == plan
    definition = read_json(finished / "network.json")
    assert definition.pop("_target_") == "monai_nas.networks.build_network"
    assert Architecture.load(finished / "architecture.json").to_record() == definition["architecture"]
    network = build_network(**definition)
    network.load_state_dict(load_tensors(finished / "model.pt"))
    with torch.no_grad():
        assert network(torch.zeros(1, 1, 8, 8, 8)).shape == (1, plan.task.num_classes, 8, 8, 8)


def test_facts_of_a_run(finished: Path) -> None:
    facts = read_json(finished / "run.json")
    assert (facts["verb"], facts["strategy"], facts["seed"], facts["steps"]) == ("search", "scnas", 3, 4 * 3)
    mean = sum(facts["dice_sampled"]) / len(facts["dice_sampled"])
    assert facts["dice_gap"] == pytest.approx(mean - facts["dice_extracted"])
    assert all(0 <= score <= 1 for score in [facts["dice_extracted"], *facts["dice_sampled"]])
    assert facts["num_parameters"] == sum(value.numel() for value in load_tensors(finished / "model.pt").values())
    assert read_json(finished / "schedule.json") == {"epoch_length": 3, "search_epochs": 2, "fixed_epochs": 2}


def test_history_tells_the_phases_apart(finished: Path) -> None:
    header, *lines = (line.split(",") for line in (finished / "history.csv").read_text().splitlines())
    rows = [dict(zip(header, line, strict=True)) for line in lines]
    assert [row["epoch"] for row in rows] == ["1", "2", "3", "4"]
    assert [bool(row["alpha_loss"]) for row in rows] == [True, True, False, False]
    assert sum(name.startswith("entropy/") for name in header) == 4 * 14
    assert sum(float(rows[-1][name]) for name in header if name.startswith("share/")) == pytest.approx(1)


def break_at(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make searches save each step and stop at a step of the whole run."""
    original = epochs.attach_record

    def attach(engine: Engine, **arguments: Any) -> None:
        original(engine, **arguments)

        @engine.on(Events.ITERATION_STARTED(once=step))
        def stop() -> None:
            raise KeyboardInterrupt

    monkeypatch.setattr(epochs, "attach_record", attach)
    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "0")


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(1, marks=pytest.mark.slow, id="before any checkpoint"),
        pytest.param(2, marks=pytest.mark.slow, id="in the first epoch"),
        pytest.param(5, id="while sampling"),
        pytest.param(8, id="in the last phase"),
        pytest.param(12, marks=pytest.mark.slow, id="in the last step"),
    ],
)
def test_a_break_leaves_no_trace(
    step: int, finished: Path, phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    break_at(step, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_search(phantoms, out, plan)
    assert not (out / "model.pt").exists() and (out / "checkpoint.pt").exists() == (step > 1)
    monkeypatch.undo()
    torch.manual_seed(step)
    run_search(phantoms, out, plan)
    for name in SAME_BYTES:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name
    assert not (out / "checkpoint.pt").exists()


def test_a_break_after_the_last_step_leaves_no_trace(
    finished: Path, phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "sampling_gap", stop)
    with pytest.raises(KeyboardInterrupt):
        run_search(phantoms, tmp_path / "run", plan)
    monkeypatch.undo()
    run_search(phantoms, tmp_path / "run", plan)
    for name in SAME_BYTES:
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name
    before, after = (read_json(run / "run.json") for run in (finished, tmp_path / "run"))
    assert [before[key] for key in ("dice_extracted", "dice_sampled")] == [
        after[key] for key in ("dice_extracted", "dice_sampled")
    ]


@pytest.mark.slow
def test_a_killed_process_ends_in_the_same_bytes(finished: Path, phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    plan.save(tmp_path / "plan.json")
    out = tmp_path / "run"
    arguments = ["search", "--data", str(phantoms), "--out", str(out), "--plan", str(tmp_path / "plan.json")]
    arguments += ["--seed", "3", "--epochs", "4", "--float32", "--device", "cpu"]
    command = [sys.executable, "-m", "monai_nas", *arguments]
    threads = str(torch.get_num_threads())  # sums in other orders differ
    environment = os.environ | {"OMP_NUM_THREADS": threads, "MONAI_NAS_CHECKPOINT_SECONDS": "0"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while not (out / "checkpoint.pt").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL and not (out / "run.json").exists()
    subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
    for name in SAME_BYTES:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_a_finished_run_is_left_alone(finished: Path, phantoms: Path, plan: Plan) -> None:
    before = (finished / "run.json").stat().st_mtime_ns
    run_search(phantoms, finished, plan)
    assert (finished / "run.json").stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, "started with seed 3, now 4"),
        ({"epochs": 5}, "started with epochs 4, now 5"),
        ({"settle": False}, "started with settle True, now False"),
    ],
)
def test_other_settings_are_not_continued(
    finished: Path, phantoms: Path, plan: Plan, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=rf"settings\.json: this run was {message}"):
        run_search(phantoms, finished, plan, **changes)


def test_minutes_are_written_down_and_obeyed_on_resume(
    phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "run"
    break_at(4, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_search(phantoms, out, plan, minutes=1.0, epochs=None)
    schedule = read_json(out / "schedule.json")
    assert schedule["search_epochs"] >= 1 and schedule["fixed_epochs"] >= 1
    assert 3 < schedule["epoch_length"] <= module.EPOCH_STEPS  # a pass has 3, too few for a mean loss
    other = {"epoch_length": 3, "search_epochs": 2, "fixed_epochs": 1}  # as if the machine had been slower
    write_json(out / "schedule.json", other)
    monkeypatch.undo()
    monkeypatch.setattr(module, "step_seconds", None)  # would be called if the file were not obeyed
    run_search(phantoms, out, plan, minutes=1.0, epochs=None)
    assert read_json(out / "schedule.json") == other and read_json(out / "run.json")["steps"] == 9


def test_timing_does_not_touch_the_run(
    phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run whose steps were timed equals one of the same length without: the timed steps leave no trace."""
    out = tmp_path / "run"
    run_search(phantoms, out, plan, minutes=1e-4, epochs=None)
    schedule = read_json(out / "schedule.json")
    assert schedule == {"epoch_length": 1, "search_epochs": 1, "fixed_epochs": 1}
    monkeypatch.setattr(module, "step_seconds", lambda *arguments: [])
    monkeypatch.setattr(module, "schedule_within", lambda *arguments: Schedule(**schedule))
    run_search(phantoms, tmp_path / "other", plan, minutes=1e-4, epochs=None)
    assert (out / "model.pt").read_bytes() == (tmp_path / "other" / "model.pt").read_bytes()


def test_time_is_shared_between_the_phases() -> None:
    timed = [1.0] * (module.TIMED_STEPS - 1) + [100.0] + [0.5] * (module.TIMED_STEPS - 1)
    assert module.schedule_within(1000.0, timed, 10, settle=True) == Schedule(10, 40, 120)
    assert module.schedule_within(1000.0, timed[: module.TIMED_STEPS - 1], 10, settle=False) == Schedule(10, 100, 0)
    assert module.schedule_within(5.0, timed, 10, settle=True) == Schedule(2, 1, 3)


@pytest.mark.parametrize(
    ("patch", "strides", "share", "expected"),
    [
        ((40, 56, 40), ((2, 2, 2),) * 3, 0.6, (24, 32, 24)),
        ((104, 96, 32), ((2, 2, 1), (2, 2, 2), (2, 2, 2)), 0.6, (64, 56, 20)),
        ((24, 24, 24), ((2, 2, 2),) * 3, 0.6, (24, 24, 24)),
        ((40, 56, 40), ((2, 2, 2),) * 3, 1.0, (40, 56, 40)),
    ],
)
def test_sampling_steps_read_small_patches(
    plan: Plan, patch: tuple[int, int, int], strides: Any, share: float, expected: tuple[int, int, int]
) -> None:
    whole = dataclasses.replace(plan, patch_size=patch, strides=strides)
    assert module.sampling_plan(whole, share) == dataclasses.replace(whole, patch_size=expected)


def test_without_the_last_phase_all_epochs_sample(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    run_search(phantoms, tmp_path / "run", plan, settle=False, epochs=1, fold=0)
    schedule = read_json(tmp_path / "run" / "schedule.json")
    assert schedule == {"epoch_length": 2, "search_epochs": 1, "fixed_epochs": 0}
    folds = read_json(tmp_path / "run" / "folds.json")
    assert folds["kept_out"] == 0 and len(folds["folds"]) == 5


def test_one_half_teaches_the_weights_and_the_other_the_alphas(
    phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, list[str]] = {}
    original = module.search_batches

    def spy(weight_half: Any, alpha_half: Any, everything: Any, *rest: Any, **others: Any) -> Any:
        for key, half in (("weights", weight_half), ("alphas", alpha_half), ("all", everything)):
            seen[key] = [item["name"] for item in half]
        return original(weight_half, alpha_half, everything, *rest, **others)

    monkeypatch.setattr(module, "search_batches", spy)
    run_search(phantoms, tmp_path / "run", plan, epochs=1, fold=1)
    kept_out = set(read_json(tmp_path / "run" / "folds.json")["folds"][1])
    assert not set(seen["weights"]) & set(seen["alphas"]) and not kept_out & set(seen["all"])
    assert set(seen["weights"]) | set(seen["alphas"]) == set(seen["all"]) and len(seen["all"]) == 8


def test_faults_are_told_before_anything_is_written(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="unknown search strategy 'scnass': did you mean 'scnas'"):
        run_search(phantoms, tmp_path / "run", plan, strategy="scnass")
    with pytest.raises(UserError, match="fold 9 does not exist: choose 0 to 4"):
        run_search(phantoms, tmp_path / "run", plan, fold=9)
    with pytest.raises(UserError, match=r"no_data.dataset\.json"):
        run_search(tmp_path / "no_data", tmp_path / "run", plan, task=plan.task)
    assert not (tmp_path / "run").exists()


def test_a_foreign_folder_is_refused(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty and not a run"):
        run_search(phantoms, tmp_path, plan)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_broken_checkpoint_is_named(phantoms: Path, plan: Plan, tmp_path: Path, finished: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    for name in ("settings.json", "schedule.json", "plan.json", "folds.json"):
        (out / name).write_bytes((finished / name).read_bytes())
    (out / "checkpoint.pt").write_bytes(b"half a che")
    with pytest.raises(UserError, match=r"checkpoint\.pt: not a file of weights"):
        run_search(phantoms, out, plan)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"state": {"supernet": {}}}, "is of another run"),
        ({"state": {}}, "is of another run"),
        ({"epoch": 99, "rows": [{}] * 99}, "is of a longer run than schedule"),
    ],
)
def test_a_checkpoint_of_another_run_is_named(
    phantoms: Path,
    plan: Plan,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: dict[str, Any],
    message: str,
) -> None:
    out = tmp_path / "run"
    break_at(5, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        run_search(phantoms, out, plan)
    monkeypatch.undo()
    save_tensors(out / "checkpoint.pt", load_tensors(out / "checkpoint.pt") | change)
    with pytest.raises(UserError, match=rf"checkpoint\.pt: {message}"):
        run_search(phantoms, out, plan)
