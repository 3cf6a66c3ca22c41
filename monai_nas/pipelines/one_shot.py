"""Search under budgets: one supernet, then a network for each budget (HyperSegNAS)."""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_nas.compute import Compute
from monai_nas.cost import Calibration
from monai_nas.data.loaders import load_cases
from monai_nas.errors import UserError
from monai_nas.files import file_sha256, read_json
from monai_nas.pipelines.budget_costs import basis_of_kind, cost_of_kind
from monai_nas.pipelines.budget_result import finish, write_pareto
from monai_nas.pipelines.budget_search import BudgetSearch, draw_candidates
from monai_nas.pipelines.judging import foreground_region
from monai_nas.pipelines.one_shot_preset import OneShotPreset, grid_named, one_shot_preset_named
from monai_nas.pipelines.processes import first_alone, joined
from monai_nas.pipelines.run_folder import RunFolder, fold_cases, sound_cases
from monai_nas.pipelines.supernet_run import load_supernet, space_of, supernet_file, train_supernet
from monai_nas.plans.plan import Plan
from monai_nas.strategies.budget import UNITS, Budget
from monai_nas.strategies.within_budget import check_reach
from monai_nas.tasks.splits import Case, make_folds
from monai_nas.tasks.task import SegTask

logger = logging.getLogger(__name__)

JUDGES = 12  # cases that candidates are judged by, at most; of a fifth of the cases, which teach the supernet nothing


def search_within_budgets(
    data: Path,
    out: Path,
    *,
    task: SegTask,
    budgets: Sequence[Budget],
    supernet: Path | None,
    plan: Plan | None,
    seed: int,
    minutes: float | None,
    epochs: int | None,
    fold: int | None,
    compute: Compute,
    preset: str = "cpu",
    num_candidates: int | None = None,
    calibration: Calibration | None = None,
    grid: str | None = None,
    num_blocks: int | None = None,
) -> None:
    """Train a supernet, or take a trained one, and choose a network for each budget; continue an unfinished ``out``.

    Started by torchrun, processes share the ranking and the fine-tuning; the first one trains the supernet.

    Args:
        data: folder with dataset.json.
        out: RUN folder; with several budgets each gets a folder RUN/budget_1, ... of its own.
        task: what is to be segmented.
        budgets: at least one.
        supernet: RUN of a trained supernet of the same data, fold and preset; None trains one.
        plan: of a grid; None derives it from the data, or takes that of ``supernet``.
        seed: of weights, order, augmentation and draws.
        minutes: length of the supernet's training, instead of ``epochs``; where both are None, the preset's.
        epochs: length in passes over the cases.
        fold: kept out of everything; None uses all cases.
        compute: where and in which number format.
        preset: name of the values that are not asked for here.
        num_candidates: to rank for each budget; None takes the preset's.
        calibration: of the device and the number format, with which memory is told with what it takes beside tensors.
        grid: name in :data:`~monai_nas.pipelines.one_shot_preset.GRIDS`; None takes that of ``supernet`` or the preset.
        num_blocks: of the grid; None as for ``grid``.

    Raises:
        UserError: for unsound data, a folder of another run, a budget out of reach, a calibration of another device or
            number format, or a loss that is not finite.
    """
    values = values_for(preset, supernet, grid, num_blocks)
    if calibration is not None:
        calibration.check(compute)
    wanted = values.num_candidates if num_candidates is None else num_candidates
    cases = sound_cases(data, task)
    learn, _, folds = fold_cases(cases, fold)
    teachers, judges = split_for_ranking(learn)
    run = RunFolder(out)
    if supernet is not None:
        plan = plan_of_supernet(supernet, plan, folds)
    plan = run.choose_plan(plan, learn, task, values.adapt)
    if len(plan.strides) < 2:
        raise UserError(
            f"the plan has {len(plan.strides)} stride: a grid needs one for its stem and one for each level"
        )
    settings: dict[str, Any] = {
        "verb": "search",
        "strategy": "hypersegnas",
        "preset": preset,
        "grid": values.grid,
        "blocks": values.num_blocks,
        "seed": seed,
        "minutes": minutes,
        "epochs": epochs,
        "fold": fold,
        "dtype": str(compute.dtype),
        "budgets": [[str(budget), budget.tolerance] for budget in budgets],
        "candidates": wanted,
        "supernet": None if supernet is None else file_sha256(supernet_file(supernet)),
    }
    folders = [out] if len(budgets) == 1 else [out / f"budget_{number}" for number in range(1, len(budgets) + 1)]
    space = space_of(plan, values)
    costs_of = {kind: cache(cost_of_kind(kind, plan, compute)) for kind in UNITS}

    def check() -> None:
        if not (out / "settings.json").exists():  # before a folder is made that other budgets could not use
            for budget in budgets:
                basis = basis_of_kind(budget.kind, plan, compute, calibration)
                check_reach(space, costs_of[budget.kind], budget, basis)

    def draw() -> None:
        for budget, folder in zip(budgets, folders, strict=True):
            basis = basis_of_kind(budget.kind, plan, compute, calibration)
            draw_candidates(folder, budget, space, costs_of[budget.kind], basis, count=wanted, seed=seed)

    with joined(compute):
        first_alone(check)
        first_alone(lambda: run.open(settings))
        first_alone(lambda: run.keep(plan, folds))
        if all((folder / "run.json").exists() for folder in folders) and (out / "pareto.csv").exists():
            logger.info("%s: finished already", out)
            return
        load = partial(load_supernet, plan=plan, values=values, seed=seed, compute=compute)
        if supernet is not None:
            searcher = load(supernet)
        first_alone(draw)  # before a supernet is trained: in vain, where a budget has no network
        taught = load_cases(teachers, task, plan, progress=idist.get_rank() == 0)
        if supernet is None:
            first_alone(
                lambda: train_supernet(
                    run, taught, plan, values, seed=seed, minutes=minutes, epochs=epochs, compute=compute
                )
            )
            searcher = load(out)
        regions = [foreground_region(item, plan) for item in load_cases(judges, task, plan)]
        rows = []
        for budget, folder in zip(budgets, folders, strict=True):
            facts = BudgetSearch(
                folder,
                budget,
                searcher=searcher,
                learn=taught,
                regions=regions,
                plan=plan,
                values=values,
                seed=seed,
                compute=compute,
            ).run()
            kept = ("verb", "strategy", "preset", "grid", "blocks", "supernet", "seed", "minutes", "epochs", "fold")
            facts = {key: settings[key] for key in kept} | {"task": task.name, **facts}
            rows.append(first_alone(partial(finish, folder, out, budget, facts, plan, compute, calibration)) or {})
        first_alone(lambda: write_pareto(out / "pareto.csv", rows))


def values_for(preset: str, supernet: Path | None, grid: str | None, num_blocks: int | None) -> OneShotPreset:
    """Return the values of a preset, with the grid that is asked for or that a supernet was trained with.

    Raises:
        UserError: for an unknown preset or grid, no block, or others than the supernet's.
    """
    values = one_shot_preset_named(preset)
    chosen: dict[str, Any] = {"preset": preset, "grid": values.grid, "blocks": values.num_blocks}
    if supernet is not None and (file := supernet / "settings.json").exists():
        trained = read_json(file)
        if not isinstance(trained, dict):
            raise UserError(f"{file}: not the settings of a run: restore it")
        chosen |= {name: value for name, value in trained.items() if name in chosen}
    if num_blocks is not None and num_blocks < 1:
        raise UserError(f"--blocks {num_blocks}: a grid has at least one")
    if chosen["preset"] != preset:
        raise UserError(f"--preset {preset}: the supernet of {supernet} has {chosen['preset']}: give that one")
    for name, value in (("grid", grid), ("blocks", num_blocks)):
        if value is not None:
            if supernet is not None and value != chosen[name]:
                raise UserError(f"--{name} {value}: the supernet of {supernet} has {chosen[name]}: leave it out")
            chosen[name] = value
    grid_named(chosen["grid"])  # which refuses unknown ones
    return replace(values, grid=chosen["grid"], num_blocks=chosen["blocks"])


def split_for_ranking(cases: Sequence[Case]) -> tuple[list[Case], list[Case]]:
    """Split the cases into those that teach the supernet and those that candidates are judged by.

    A fifth is kept from the supernet, as scores on what it was taught would tell how well it remembers; at most
    ``JUDGES`` of them are used.
    """
    kept = make_folds([case.name for case in cases], seed=1)[0]
    judges = set(kept[:JUDGES])
    return [case for case in cases if case.name not in kept], [case for case in cases if case.name in judges]


def plan_of_supernet(supernet: Path, plan: Plan | None, folds: dict[str, Any]) -> Plan:
    """Return the plan that a supernet was trained with.

    Raises:
        UserError: when there is none, another one is given, or other cases were kept out.
    """
    trained = Plan.load(supernet / "plan.json")
    if plan is not None and plan != trained:
        raise UserError(f"{supernet / 'plan.json'}: differs from the plan given now: leave --plan out")
    if read_json(supernet / "folds.json") != folds:
        raise UserError(f"{supernet / 'folds.json'}: other cases or another --fold: give those of the supernet's run")
    return trained
