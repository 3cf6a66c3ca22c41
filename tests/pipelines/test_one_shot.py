"""Searches under budgets on tiny phantoms: what they write, that a break leaves no trace, what they refuse."""

import csv
import dataclasses
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from ignite.engine import Engine, Events

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute, choose_compute
from monai_nas.cost import Calibration
from monai_nas.errors import UserError
from monai_nas.files import load_tensors, read_json, write_json
from monai_nas.networks import build_network
from monai_nas.pipelines import budget_costs, epochs
from monai_nas.pipelines import one_shot as module
from monai_nas.pipelines.budget_costs import basis_of_kind, cost_of_kind
from monai_nas.pipelines.budget_search import BudgetSearch
from monai_nas.pipelines.one_shot import search_within_budgets, split_for_ranking
from monai_nas.pipelines.one_shot_preset import ONE_SHOT_PRESETS
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.pipelines.supernet_run import space_of
from monai_nas.plans.plan import Plan
from monai_nas.spaces import TopologySpace
from monai_nas.strategies import mean_score
from monai_nas.strategies.budget import parse_budget
from monai_nas.strategies.within_budget import reach
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task
from monai_nas.training import Schedule

COMPUTE: Compute = choose_compute(low_precision=False, device="cpu")
CPU = ONE_SHOT_PRESETS["cpu"]
ANNEALED_IN_HALF = dataclasses.replace(CPU.supernet, annealing_share=0.5)  # the second of two epochs
LITTLE = dataclasses.replace(CPU, supernet=ANNEALED_IN_HALF, num_judging_parts=2, num_finalists=2, fine_tuning_steps=6)
SMALL, LARGE = parse_budget("parameters=12K", 0.2), parse_budget("parameters=30K", 0.2)


@pytest.fixture(autouse=True)
def little_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "one_shot_preset_named", lambda name: LITTLE)


def run(data: Path, out: Path, plan: Plan | None, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "task": load_task(None, data),
        "budgets": [SMALL, LARGE],
        "supernet": None,
        "plan": plan,
        "seed": 3,
        "minutes": None,
        "epochs": 2,
        "fold": None,
        "compute": COMPUTE,
        "num_candidates": 4,
        "calibration": Calibration("cpu", "float32", 0.25),
    }
    search_within_budgets(data, out, **(arguments | changes))


@pytest.fixture(scope="module")
def finished(phantoms: Path, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one_shot") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "one_shot_preset_named", lambda name: LITTLE)
        run(phantoms, out, plan)
    return out


def test_a_calibration_of_another_device_is_refused_at_once(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="calibration of cuda in float16, needed is cpu in float32"):
        run(phantoms, tmp_path / "run", plan, calibration=Calibration("cuda", "float16", 0.25))
    assert not (tmp_path / "run").exists()


def test_each_budget_has_a_run_that_a_bundle_can_be_made_of(finished: Path, plan: Plan) -> None:
    for folder, budget in ((finished / "budget_1", SMALL), (finished / "budget_2", LARGE)):
        architecture = Architecture.load(folder / "architecture.json")
        definition = read_json(folder / "network.json")
        assert definition.pop("_target_") == "monai_nas.networks.build_network"
        network = build_network(**definition)
        network.load_state_dict(load_tensors(folder / "model.pt"))
        count = sum(parameter.numel() for parameter in network.parameters())
        facts = read_json(folder / "run.json")
        assert budget.contains(count) and facts["cost"] == facts["num_parameters"] == count
        assert facts["strategy"] == "hypersegnas" and facts["budget"] == str(budget)
        assert Plan.load(folder / "plan.json") == plan and (folder / "folds.json").exists()
        assert (folder / "history.csv").read_text().startswith("epoch,loss")
        record = read_json(folder / "candidates.json")
        assert len(record["costs"]) == 4 and all(map(budget.contains, record["costs"]))
        assert architecture.to_record() in record["architectures"]
    rows = list(csv.DictReader((finished / "pareto.csv").read_text().splitlines()))
    assert [row["budget"] for row in rows] == [str(SMALL), str(LARGE)]
    assert float(rows[0]["flops"]) > 0 and float(rows[0]["latency"]) > 0
    for row in rows:
        assert "GB of tensors (patch 16x16x16, batch 2, float32, cpu), about " in row["train_memory_in_words"]
        assert row["train_memory_in_words"].endswith(" GB with scratch memory")
        assert float(row["parameters"]) == float(row["cost"])


def test_the_chosen_is_the_best_of_the_fine_tuned(finished: Path) -> None:
    folder = finished / "budget_1"
    ranking, record = read_json(folder / "ranking.json"), read_json(folder / "candidates.json")
    assert len(ranking["inherited"]) == 4 and len(ranking["fine_tuned"]) == 2
    assert all(len(parts) == LITTLE.num_judging_parts for parts in ranking["inherited"].values())
    best = max(ranking["fine_tuned"], key=lambda index: mean_score(*ranking["fine_tuned"][index]))
    assert read_json(folder / "architecture.json") == record["architectures"][int(best)]
    assert (folder / "model.pt").read_bytes() == (folder / "finalists" / f"{int(best):04d}" / "model.pt").read_bytes()


def test_a_break_at_any_stage_leaves_no_trace(
    phantoms: Path, plan: Plan, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut after the supernet, in each part of the ranking, after a fine-tuning: the same bytes in the end."""
    whole = BudgetSearch._score
    left = 0

    def score(self: BudgetSearch, *arguments: Any) -> float:
        nonlocal left
        left -= 1
        if left < 0:
            raise KeyboardInterrupt
        return whole(self, *arguments)

    out = tmp_path / "run"
    for allowed in (0, 2, 3, 4):
        left = allowed
        monkeypatch.setattr(BudgetSearch, "_score", score)
        with pytest.raises(KeyboardInterrupt):
            run(phantoms, out, plan)
    monkeypatch.setattr(BudgetSearch, "_score", whole)
    run(phantoms, out, plan)
    for name in ("architecture.json", "network.json", "model.pt", "history.csv", "candidates.json", "ranking.json"):
        for folder in ("budget_1", "budget_2"):
            assert (out / folder / name).read_bytes() == (finished / folder / name).read_bytes(), name


def test_a_kill_between_weights_and_checkpoint_leaves_no_checkpoint(
    phantoms: Path, finished: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    finalist = max((out / "budget_1" / "finalists").iterdir())
    ranking = read_json(out / "budget_1" / "ranking.json")
    del ranking["fine_tuned"][str(int(finalist.name))]
    write_json(out / "budget_1" / "ranking.json", ranking)
    (out / "budget_1" / "run.json").unlink()
    for folder in (out, finalist):
        (folder / "checkpoint.pt").touch()
    run(phantoms, out, None)
    assert not list(out.rglob("checkpoint.pt"))
    assert (out / "budget_1" / "model.pt").read_bytes() == (finished / "budget_1" / "model.pt").read_bytes()


def test_a_kill_before_the_table_of_all_budgets_costs_nothing(phantoms: Path, finished: Path, tmp_path: Path) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "pareto.csv").unlink()  # which is written last
    run(phantoms, out, None)
    rows = [list(csv.DictReader((folder / "pareto.csv").read_text().splitlines())) for folder in (out, finished)]
    assert [row | {"latency": ""} for row in rows[0]] == [row | {"latency": ""} for row in rows[1]]
    assert (out / "budget_1" / "model.pt").read_bytes() == (finished / "budget_1" / "model.pt").read_bytes()


@pytest.mark.parametrize(
    ("part", "step"),
    [
        pytest.param("supernet", 2, id="in the supernet"),
        pytest.param("supernet", 6, id="in annealing"),
        pytest.param("finalists", 4, id="in fine-tuning"),
    ],
)
def test_a_break_inside_an_epoch_costs_what_came_after_the_checkpoint(
    part: str, step: int, phantoms: Path, plan: Plan, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut before the step of this number, from 0; the next start goes on with it, and the bytes are the same."""
    whole, out, steps = epochs.attach_record, tmp_path / "run", list[int]()

    def attach(engine: Engine, *, broken: bool, run: Path, **arguments: Any) -> None:
        whole(engine, run=run, **arguments)
        if ("finalists" in run.parts) != (part == "finalists"):
            return

        @engine.on(Events.ITERATION_STARTED)
        def note() -> None:
            steps.append(engine.state.iteration - 1)
            if broken and steps[-1] == step:
                raise KeyboardInterrupt

    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(epochs, "attach_record", partial(attach, broken=True))
    with pytest.raises(KeyboardInterrupt):
        run(phantoms, out, plan, budgets=[SMALL])
    for folder in (out, *out.glob("finalists/*")):
        (folder / ".checkpoint.pt.x.tmp").touch()  # as a kill leaves it
    monkeypatch.setattr(epochs, "attach_record", partial(attach, broken=False))
    run(phantoms, out, plan, budgets=[SMALL])
    assert steps[: step + 2] == [*range(step + 1), step], "no step but the cut one is done again"
    assert not list(out.rglob("*.tmp"))
    assert (out / "supernet.pt").read_bytes() == (finished / "supernet.pt").read_bytes()
    assert (out / "history.csv").read_bytes() == (finished / "history.csv").read_bytes()
    for name in ("architecture.json", "network.json", "model.pt", "candidates.json", "ranking.json"):
        assert (out / name).read_bytes() == (finished / "budget_1" / name).read_bytes(), name


def test_the_preset_s_steps_are_met_exactly(
    phantoms: Path, plan: Plan, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten steps, where a pass over the cases has four."""
    values = dataclasses.replace(LITTLE, minutes=None, steps=10, fine_tuning_steps=10)
    monkeypatch.setattr(module, "one_shot_preset_named", lambda name: values)
    asked = list[Schedule]()

    def stop(run: RunFolder, schedule: Schedule, *arguments: Any, **options: Any) -> None:
        asked.append(schedule)
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_nas.pipelines.supernet_run.run_epochs", stop)
    monkeypatch.setattr("monai_nas.pipelines.budget_search.run_epochs", stop)
    for name, supernet in (("whole", None), ("again", finished)):
        with pytest.raises(KeyboardInterrupt):
            run(phantoms, tmp_path / name, plan, budgets=[SMALL], epochs=None, supernet=supernet)
    assert [schedule.total_steps for schedule in asked] == [10, 10]


def test_a_trained_supernet_answers_another_budget(
    phantoms: Path, plan: Plan, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train_supernet", None)  # would be called if the trained one were not taken
    out = tmp_path / "run"
    run(phantoms, out, None, supernet=finished, budgets=[SMALL])
    assert (out / "model.pt").read_bytes() == (finished / "budget_1" / "model.pt").read_bytes()
    assert read_json(out / "run.json")["budget"] == str(SMALL)
    with pytest.raises(UserError, match=r"folds\.json.*--fold"):
        run(phantoms, tmp_path / "other", None, supernet=finished, budgets=[SMALL], fold=0)
    with pytest.raises(UserError, match=r"plan\.json.*leave --plan out"):
        other = dataclasses.replace(plan, width=8)
        run(phantoms, tmp_path / "other", other, supernet=finished, budgets=[SMALL])


def test_a_budget_out_of_reach_names_the_reach(phantoms: Path, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="out of reach: networks of this grid take"):
        run(phantoms, tmp_path / "run", None, supernet=finished, budgets=[parse_budget("parameters=1", 0.05)])


@pytest.mark.parametrize("order", [1, -1])
def test_a_budget_out_of_reach_is_refused_before_a_supernet_is_trained(
    phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    monkeypatch.setattr(module, "train_supernet", None)  # would be called
    budgets = [SMALL, parse_budget("parameters=1T", 0.05)][::order]
    with pytest.raises(UserError, match="parameters=1T: out of reach: networks of this grid take"):
        run(phantoms, tmp_path / "run", plan, budgets=budgets)
    assert not (tmp_path / "run").exists(), "the same --out can be used for another budget"


def test_a_band_without_a_network_is_found_before_a_supernet_is_trained(
    phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "train_supernet", None)  # would be called
    with pytest.raises(UserError, match=r"none was found there.*widen --tolerance"):
        run(phantoms, tmp_path / "run", plan, budgets=[SMALL, parse_budget("parameters=30001", 1e-9)])


def test_a_memory_out_of_reach_names_patch_batch_and_number_format(
    phantoms: Path, finished: Path, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r"out of reach.* to .* MB of tensors \(patch 16x16x16, batch 2, float32, cpu\)$"
    ):
        run(phantoms, tmp_path / "run", None, supernet=finished, budgets=[parse_budget("train_memory=1KB", 0.05)])


def test_the_costs_of_the_chosen_network_are_told(
    phantoms: Path, finished: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "budget_1" / "run.json").unlink()
    with caplog.at_level("INFO"):
        run(phantoms, out, None)
    (line,) = (text for text in caplog.messages if "budget_1: the network for parameters=12K has train_memory" in text)
    assert "MB of tensors (patch 16x16x16, batch 2, float32, cpu); inference_memory" in line
    assert "; parameters 1" in line and line.endswith("ms (patch 16x16x16, batch 1, float32, cpu)")


def test_only_the_first_process_measures(
    phantoms: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Others would take the processor from it while it measures time."""
    out = shutil.copytree(finished, tmp_path / "run")
    (out / "budget_1" / "run.json").unlink()
    monkeypatch.setattr("ignite.distributed.get_rank", lambda: 1)
    monkeypatch.setattr(budget_costs, "seconds_of_pass", None)  # would be called
    run(phantoms, out, None)
    assert not (out / "budget_1" / "run.json").exists(), "only the first process writes"


def test_memory_of_a_gpu_is_called_an_estimate(plan: Plan) -> None:
    gpu = dataclasses.replace(COMPUTE, device=torch.device("cuda"))
    assert "float32, cuda), an estimate, not measured" in basis_of_kind("inference_memory", plan, gpu)
    assert "estimate" not in basis_of_kind("latency", plan, gpu)
    calibration = Calibration("cuda", "float32", 0.25)
    assert "estimate" not in basis_of_kind("train_memory", plan, gpu, calibration)
    assert "an estimate" in basis_of_kind("inference_memory", plan, gpu, calibration), "it is of a training"


def test_a_budget_that_differs_in_its_last_digit_is_another(phantoms: Path, plan: Plan, finished: Path) -> None:
    with pytest.raises(UserError, match="started with budgets"):
        run(phantoms, finished, plan, budgets=[SMALL, parse_budget("parameters=30001", 0.2)])


def test_without_a_supernet_one_has_to_be_trained(phantoms: Path, plan: Plan, finished: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"supernet\.pt: no such file"):
        run(phantoms, tmp_path / "run", None, supernet=finished / "budget_1", budgets=[SMALL])


def test_judges_do_not_teach(phantoms: Path) -> None:
    cases = training_cases(phantoms)
    teachers, judges = split_for_ranking(cases)
    assert len(teachers) == 8 and len(judges) == 2 and not set(teachers) & set(judges)


@pytest.mark.parametrize("kind", ["train_memory", "inference_memory", "flops", "parameters", "latency"])
def test_more_paths_cost_more(plan: Plan, kind: str) -> None:
    space = space_of(plan, CPU)
    cost = cost_of_kind(kind, plan, COMPUTE)
    names = [decision.name for decision in space.decisions]
    full = space.create(dict.fromkeys(names, "conv_3x3x3"))
    straight = space.create(dict.fromkeys(names, "zero") | {name: "identity" for name in names if name.endswith("0-0")})
    assert cost(full) > cost(straight) > 0


@pytest.mark.slow
def test_the_reach_of_training_memory_is_that_of_all_networks(plan: Plan) -> None:
    """The dearest network of this grid is none with one operation everywhere."""
    space = TopologySpace(num_blocks=1, num_levels=2)
    cost = cost_of_kind("train_memory", dataclasses.replace(plan, width=8, patch_size=(32, 32, 32)), COMPUTE)
    costs = {architecture: cost(architecture) for architecture in space.enumerate()}
    assert reach(space, costs.__getitem__) == (min(costs.values()), max(costs.values()))
    uniform = [space.create({one.name: name for one in space.decisions}) for name in space.operations]
    assert max(costs[architecture] for architecture in uniform) < max(costs.values())
