"""The work of the units of the evidence on grids: each function returns what the unit's result file tells."""

import math
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import chain

import numpy as np

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.grid_evidence_study import FOLD, SEED, TIMED, GridStudy, Record
from monai_nas.errors import UserError
from monai_nas.files import file_sha256, read_json, write_json
from monai_nas.pipelines.budget_costs import basis_of_kind, cost_of_kind
from monai_nas.pipelines.budget_search import BudgetSearch, draw_candidates
from monai_nas.pipelines.one_shot_preset import OneShotPreset
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.pipelines.supernet_run import FILE as SUPERNET
from monai_nas.pipelines.supernet_run import space_of, train_supernet
from monai_nas.pipelines.train import train
from monai_nas.plans.plan import Plan
from monai_nas.spaces import TopologySpace
from monai_nas.strategies import mean_score
from monai_nas.strategies.budget import Budget
from monai_nas.strategies.one_shot import Assistant
from monai_nas.strategies.within_budget import sample_within
from monai_nas.training import Schedule

DRAWS = 5  # for each architecture that is taken: odd, so that one is in the middle
TABLE1_DRAW, CORRELATION_DRAW, RANDOM_DRAW = 1, 2, 3  # streams of random numbers


def teach(study: GridStudy, assistant: Assistant) -> Record:
    """Train the supernet of a variant, or go on with it: one for the minutes asked for, the others as many steps."""
    run = RunFolder(study.runs / "supernets" / assistant)
    file, asked = run.path / "schedule.json", study.settings.supernet_minutes if assistant == TIMED else None
    settings = {"verb": "supernet", "assistant": assistant, "seed": SEED, "minutes": asked, "fold": FOLD}
    run.open(settings | {"data": study.data.resolve().name, "dtype": str(study.compute.dtype)})
    if asked is None:
        write_json(file, study.result(f"supernets/{TIMED}")["schedule"])
    learn, _, folds = study.cases
    plan = run.choose_plan(study.plan, learn, study.task, study.values.adapt)
    run.keep(plan, folds)
    begin = time.perf_counter()
    train_supernet(
        run,
        study.taught,
        plan,
        study.values_of(assistant),
        seed=SEED,
        minutes=asked,
        epochs=None,
        compute=study.compute,
    )
    return {
        "assistant": assistant,
        "seed": SEED,
        "minutes": {"asked": asked, "of_last_part": (time.perf_counter() - begin) / 60},
        "schedule": read_json(file),
        "steps": Schedule.load(file).total_steps,
        "cases": len(study.taught),
        "weights": file_sha256(run.path / SUPERNET),
    }


def draw(study: GridStudy, count: int, stream: int) -> Record:
    """Draw architectures that are spread over training memory."""
    cost_of = cost_of_kind("train_memory", study.plan, study.compute)
    drawn = stratified(space_of(study.plan, study.values), cost_of, count, np.random.default_rng([SEED, stream]))
    return {
        "seed": [SEED, stream],
        "train_memory_bytes": [cost for _, cost in drawn],
        "architectures": [architecture.to_record() for architecture, _ in drawn],
    }


def stratified(
    space: TopologySpace, cost_of: Callable[[Architecture], float], count: int, rng: np.random.Generator
) -> list[tuple[Architecture, float]]:
    """Return architectures with their costs, by rising cost: the middle ones of ``count`` equal shares of many draws.

    Args:
        space: sampled by its law, whose densities are uniform.
        cost_of: by which they are sorted.
        count: how many.
        rng: of the draws.
    """
    drawn: dict[Architecture, float] = {}
    while len(drawn) < DRAWS * count:
        architecture = space.sample(rng)
        drawn[architecture] = cost_of(architecture)
    ranked = sorted(drawn.items(), key=lambda item: item[1])
    return ranked[DRAWS // 2 :: DRAWS]


def score_variant(study: GridStudy, variant: Assistant) -> Record:
    """Score the architectures of table 1 with the shared weights of a variant's supernet."""
    searcher = study.supernet(variant)
    scores = [
        study.score(searcher.network(architecture)) for architecture in study.architectures("table1/architectures")
    ]
    return {
        "variant": variant,
        "dice": [dice for dice, _ in scores],
        "seconds_per_volume": [seconds for _, seconds in scores],
    }


def measure_length(study: GridStudy) -> Record:
    """Train the architecture in the middle for the minutes asked for; say how many epochs all others have then."""
    architectures = study.architectures("correlation/architectures")
    minutes = study.settings.train_minutes
    record = train_network(study, "correlation/length", architectures[len(architectures) // 2], minutes=minutes)
    return record | {"epochs": max(1, round(record["steps"] / steps_of_pass(study, study.plan)))}


def estimate(study: GridStudy) -> Record:
    """Score the correlation's architectures with inherited and with fine-tuned weights, as a search does.

    It is the search itself, given these candidates, all of them finalists, and the whole cases of the fold as judges.
    """
    drawn = study.result("correlation/architectures")
    costs, folder = drawn["train_memory_bytes"], study.runs / "correlation" / "estimates"
    write_json(folder / "candidates.json", {"costs": costs, "architectures": drawn["architectures"]})
    values = replace(study.values, num_finalists=len(costs))
    _search(study, "correlation/estimates", study.budget(), values=values, regions=study.held).run()
    ranking = read_json(folder / "ranking.json")
    return {
        "seed": SEED,
        "fine_tuning_steps": values.fine_tuning_steps,
        **{
            fidelity: [mean_score(chain.from_iterable(parts[str(index)])) for index in range(len(costs))]
            for fidelity, parts in ranking.items()
        },
    }


def train_drawn(study: GridStudy, name: str, index: int, seed: int) -> Record:
    """Train one of the correlation's architectures from scratch."""
    architecture = study.architectures("correlation/architectures")[index]
    return {"index": index, **train_network(study, name, architecture, seed=seed)}


def choose(study: GridStudy) -> Record:
    """Choose a network within the budget, in the annealed supernet."""
    return choose_within(study, "chosen/search", study.budget())


def choose_within(study: GridStudy, name: str, budget: Budget) -> Record:
    """Draw candidates, rank and fine-tune them, or go on with it.

    Args:
        study: what all units share.
        name: of the unit, and of its folder under ``runs``.
        budget: of the network.

    Returns:
        The facts of run.json, the architecture, and the minutes of it all, data included; null where it was cut.
    """
    begin, folder = time.perf_counter(), study.runs / name
    was_begun = folder.exists()
    cost_of = cost_of_kind(budget.kind, study.plan, study.compute)
    basis = basis_of_kind(budget.kind, study.plan, study.compute)
    draw_candidates(
        folder, budget, space_of(study.plan, study.values), cost_of, basis, count=study.settings.candidates, seed=SEED
    )
    facts = _search(study, name, budget, values=study.values, regions=study.regions).run()
    minutes = None if was_begun else (time.perf_counter() - begin) / 60
    return {"seed": SEED, "minutes": minutes, **facts, "architecture": read_json(folder / "architecture.json")}


def draw_within(study: GridStudy) -> Record:
    """Draw random architectures of the budget, one for each pair."""
    budget, rng = study.budget(), np.random.default_rng([SEED, RANDOM_DRAW])
    cost_of = cost_of_kind(budget.kind, study.plan, study.compute)
    found = sample_within(space_of(study.plan, study.values), cost_of, budget, count=study.settings.pairs, rng=rng)
    return {
        "seed": [SEED, RANDOM_DRAW],
        "budget": str(budget),
        "costs": list(found.values()),
        "architectures": [architecture.to_record() for architecture in found],
    }


def chosen(study: GridStudy) -> Architecture:
    """Return what the search for the median memory chose."""
    return Architecture.from_record(study.result("chosen/search")["architecture"])


def train_chosen(study: GridStudy, name: str, seed: int) -> Record:
    """Train the chosen architecture from scratch."""
    return train_network(study, name, chosen(study), seed=seed)


def train_random(study: GridStudy, name: str, seed: int) -> Record:
    """Train the random architecture of a pair from scratch."""
    return train_network(study, name, study.architectures("chosen/random")[seed], seed=seed)


def train_beside(study: GridStudy, name: str, first: str, find: Callable[[], Architecture], seed: int) -> Record:
    """Train an architecture from scratch: with the first seed for the minutes asked for, with others as many epochs."""
    architecture = find()
    record = train_equally(study, name, first, architecture, seed=seed, minutes=study.settings.train_minutes)
    return record | {"architecture": architecture.to_record()}


def train_equally(
    study: GridStudy,
    name: str,
    first: str,
    architecture: Architecture,
    *,
    seed: int,
    minutes: float,
    plan: Plan | None = None,
) -> Record:
    """Train from scratch: the unit ``first`` for the minutes, the others as many epochs as it had then.

    So they are worth the same on a machine that is slower another day.

    Raises:
        UserError: when the minutes are less than a pass over the cases, which is what lengths are counted in.
    """
    if name != first:
        return train_network(study, name, architecture, seed=seed, epochs=study.result(first)["epochs"], plan=plan)
    record = train_network(study, name, architecture, seed=seed, minutes=minutes, plan=plan)
    epochs, rest = divmod(record["steps"], steps_of_pass(study, plan or study.plan))
    if rest:
        raise UserError(f"{name}: {minutes:g} minutes are less than a pass over the cases takes: ask for more")
    return record | {"epochs": epochs}


def steps_of_pass(study: GridStudy, plan: Plan) -> int:
    """Return the steps of a pass over the cases, an epoch of a training."""
    return math.ceil(len(study.cases[0]) / plan.batch_size)


def train_network(
    study: GridStudy,
    name: str,
    architecture: Architecture,
    *,
    seed: int = SEED,
    minutes: float | None = None,
    epochs: int | None = None,
    plan: Plan | None = None,
) -> Record:
    """Train from scratch, or go on with it; return what it took and reached on the fold.

    Args:
        study: what all units share.
        name: of the unit, and of its folder under ``runs``.
        architecture: of any space.
        seed: of weights, order and augmentation.
        minutes: of training, instead of ``epochs``.
        epochs: passes over the cases; where both are None, as many as in the correlation.
        plan: how; None takes the study's.
    """
    run, plan = study.runs / name, plan or study.plan
    if minutes is None and epochs is None:
        epochs = study.result("correlation/length")["epochs"]
    train(
        study.data,
        run,
        task=study.task,
        architecture=architecture,
        plan=plan,
        init=None,
        fold=FOLD,
        seed=seed,
        minutes=minutes,
        epochs=epochs,
        compute=study.compute,
    )
    facts = read_json(run / "run.json")
    kept = ("seed", "minutes", "minutes_of_last_part", "steps", "num_parameters", "dice_of_fold")
    memory = cost_of_kind("train_memory", plan, study.compute)(architecture)
    return {"space": architecture.space, "train_memory_bytes": memory, **{key: facts[key] for key in kept}}


def _search(study: GridStudy, name: str, budget: Budget, values: OneShotPreset, regions: list[Record]) -> BudgetSearch:
    """Return a search in the annealed supernet, in the folder of a unit."""
    return BudgetSearch(
        study.runs / name,
        budget,
        searcher=study.supernet("annealed"),
        learn=study.taught,
        regions=regions,
        plan=study.plan,
        values=values,
        seed=SEED,
        compute=study.compute,
    )
