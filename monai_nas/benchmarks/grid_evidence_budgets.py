"""The work of the part "budgets": one supernet, three budgets, the smallest a third of the largest."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.fresh_process import in_fresh_process
from monai_nas.benchmarks.grid_evidence_runs import choose_within, train_equally
from monai_nas.benchmarks.grid_evidence_study import FOLD, SEED, TOLERANCE, GridStudy, Record
from monai_nas.benchmarks.training_memory import live_peak
from monai_nas.errors import UserError
from monai_nas.files import read_json
from monai_nas.pipelines.budget_costs import basis_of_kind, cost_of_kind
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.pipelines.supernet_run import space_of
from monai_nas.plans.plan import Plan
from monai_nas.strategies.budget import Budget, parse_budget
from monai_nas.strategies.within_budget import check_reach, reach

THIRDS = {"largest": 3, "middle": 2, "smallest": 1}  # of the largest budget
ROUNDED_TO = 3 * 2**20  # bytes: a third of the largest is whole megabytes
AMOUNTS = "budgets/amounts"
FIRST, FIRST_SHIPPED = "budgets/largest_0", "budgets/shipped_0"  # trained for minutes, the others as many epochs


@dataclass(frozen=True)
class Shipped:
    """The network that this project ships for the task: what was trained, how, and what that reached."""

    architecture: Architecture
    plan: Plan
    facts: Record  # run.json of its training

    @classmethod
    def load(cls, prefix: str) -> "Shipped":
        """Read PREFIX_train_architecture.json, PREFIX_plan.json and PREFIX_train_run.json.

        Raises:
            UserError: when one is missing or damaged, or when the training did not keep the fold out.
        """
        run = Path(f"{prefix}_train_run.json")
        facts = read_json(run)
        if facts.get("fold") != FOLD or "dice_of_fold" not in facts:
            raise UserError(f"{run}: fold {facts.get('fold')} was kept out, not {FOLD}: its Dice is of other cases")
        architecture = Architecture.load(Path(f"{prefix}_train_architecture.json"))
        return cls(architecture, Plan.load(Path(f"{prefix}_plan.json")), facts)


def set_budgets(study: GridStudy) -> Record:
    """Choose the three budgets: a largest one, two thirds and a third of it.

    The largest is the one asked for. By default it is what the dearest network of the grid takes to train, in whole
    megabytes that three divides: the larger it is, the more room its third leaves above the cheapest network.

    Raises:
        UserError: when one is out of reach, naming the reachable range.
    """
    space, asked = space_of(study.plan, study.values), study.settings.largest
    kind = "train_memory" if asked is None else parse_budget(asked, TOLERANCE).kind
    cost_of = cache(cost_of_kind(kind, study.plan, study.compute))
    low, high = reach(space, cost_of)
    limit = high // ROUNDED_TO * ROUNDED_TO if asked is None else parse_budget(asked, TOLERANCE).limit
    budgets = {name: Budget(kind, limit * thirds / 3, TOLERANCE) for name, thirds in THIRDS.items()}
    for budget in budgets.values():
        check_reach(space, cost_of, budget, basis_of_kind(kind, study.plan, study.compute))
    return {"reach": [low, high], "budgets": {name: str(budget) for name, budget in budgets.items()}}


def choose_for(study: GridStudy, name: str) -> Record:
    """Search in the annealed supernet for the budget of a name, as for one more budget."""
    budget = parse_budget(study.result(AMOUNTS)["budgets"][name], TOLERANCE)
    limit = budget.limit if budget.kind == "train_memory" else None
    return {"limit_bytes": limit, **choose_within(study, search_of(name), budget)}


def measure(study: GridStudy, name: str) -> Record:
    """Train the chosen network for two steps in a fresh process; return promised and measured memory, and other costs.

    Both are the peak of live tensor bytes of a training step.
    """
    architecture, plan = chosen(study, name), study.plan
    arguments = {"architecture": architecture, **network_arguments(plan)}
    peak = in_fresh_process(live_peak, arguments, plan.patch_size, plan.batch_size, compute=study.compute, seed=SEED)
    return {"measured_bytes": peak, **costs_of(architecture, plan, study)}


def retrain(study: GridStudy, unit: str, name: str, seed: int) -> Record:
    """Train the chosen network from scratch: the first of the largest for the minutes asked for, others as long."""
    minutes = study.settings.retrain_minutes
    return train_equally(study, unit, FIRST, chosen(study, name), seed=seed, minutes=minutes)


def describe(study: GridStudy, shipped: Shipped) -> Record:
    """Return what the shipped network took and reached, in the last of its trainings, and what it costs."""
    kept = ("seed", "steps", "num_parameters", "dice_of_fold", "minutes_of_last_part")
    facts = {key: shipped.facts[key] for key in kept}
    return {**costs_of(shipped.architecture, shipped.plan, study), "width": shipped.plan.width, **facts}


def train_shipped(study: GridStudy, unit: str, seed: int, shipped: Shipped) -> Record:
    """Train the shipped architecture from scratch by its own plan, for the minutes that the largest network had."""
    minutes, plan = study.settings.retrain_minutes, shipped.plan
    return train_equally(study, unit, FIRST_SHIPPED, shipped.architecture, seed=seed, minutes=minutes, plan=plan)


def search_of(name: str) -> str:
    """Return the unit that searches for a budget."""
    return f"budgets/search_{name}"


def chosen(study: GridStudy, name: str) -> Architecture:
    """Return what the search for a budget chose."""
    return Architecture.from_record(study.result(search_of(name))["architecture"])


def costs_of(architecture: Architecture, plan: Plan, study: GridStudy) -> Record:
    """Return predicted training memory and FLOPs at the plan's patch, for the study's number format."""
    kinds = {"train_memory_bytes": "train_memory", "flops": "flops"}
    return {key: cost_of_kind(kind, plan, study.compute)(architecture) for key, kind in kinds.items()}
