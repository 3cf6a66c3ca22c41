"""Search by the name of a strategy: what the command line and the bundles' search.json call."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai_nas.compute import Compute
from monai_nas.cost import Calibration
from monai_nas.errors import UserError
from monai_nas.pipelines.one_shot import search_within_budgets
from monai_nas.pipelines.search import search
from monai_nas.plans.plan import Plan
from monai_nas.strategies.budget import parse_budget
from monai_nas.tasks.task import SegTask

BUDGETED = "hypersegnas"  # trains one supernet, and answers budgets


def search_by_name(
    data: Path,
    out: Path,
    *,
    task: SegTask,
    strategy: str,
    plan: Plan | None,
    seed: int,
    minutes: float | None,
    epochs: int | None,
    fold: int | None,
    compute: Compute,
    preset: str = "cpu",
    settle: bool | None = None,
    budgets: Sequence[str] = (),
    tolerance: float = 0.05,
    num_candidates: int | None = None,
    supernet: Path | None = None,
    calibration: Path | None = None,
    grid: str | None = None,
    num_blocks: int | None = None,
) -> None:
    """Run :func:`~monai_nas.pipelines.search.search` or :func:`~monai_nas.pipelines.one_shot.search_within_budgets`.

    Args:
        data: folder with dataset.json.
        out: RUN folder.
        task: what is to be segmented.
        strategy: "hypersegnas", or a registered strategy.
        plan: how; None derives it from the data.
        seed: of every draw.
        minutes: length, instead of ``epochs``.
        epochs: length in passes over the cases.
        fold: kept out of everything.
        compute: where and in which number format.
        preset: name of the values that are not asked for here.
        settle: see ``search``; None under budgets.
        budgets: KIND=AMOUNT, at least one for "hypersegnas" and none for others.
        tolerance: share of a budget that a network may stay below it.
        num_candidates: to rank for each budget.
        supernet: RUN of a trained supernet.
        calibration: file of ``python -m monai_nas.benchmarks.training_memory``, of this device and number format.
        grid: name of the space that a supernet is of; None takes that of ``supernet``, or the preset's.
        num_blocks: of the grid; None as for ``grid``.

    Raises:
        UserError: for arguments that do not go together, and as the two raise it.
    """
    common: dict[str, Any] = {
        "task": task,
        "plan": plan,
        "seed": seed,
        "minutes": minutes,
        "epochs": epochs,
        "fold": fold,
        "compute": compute,
        "preset": preset,
    }
    if strategy != BUDGETED and supernet is None:
        if budgets:
            raise UserError(f"--budget {budgets[0]}: --strategy {strategy} knows no budgets, use --strategy {BUDGETED}")
        if calibration is not None:
            raise UserError(f"--calibration {calibration}: --strategy {strategy} knows no budgets: leave it out")
        if num_candidates is not None:
            raise UserError(f"--candidates {num_candidates}: --strategy {strategy} ranks none: leave it out")
        for name, value in (("grid", grid), ("blocks", num_blocks)):
            if value is not None:
                raise UserError(f"--{name} {value}: --strategy {strategy} searches cells: leave it out")
        search(data, out, strategy=strategy, settle=settle, **common)
        return
    if not budgets:
        raise UserError(f"--strategy {BUDGETED}: say what the network may cost, such as --budget train_memory=2GB")
    if settle is not None:
        raise UserError(f"--{'' if settle else 'no-'}settle: --strategy {BUDGETED} has no such phase: leave it out")
    if supernet is not None and (minutes, epochs) != (None, None):
        raise UserError(f"--supernet {supernet}: is trained already: leave --minutes and --epochs out")
    search_within_budgets(
        data,
        out,
        budgets=[parse_budget(text, tolerance) for text in budgets],
        supernet=supernet,
        num_candidates=num_candidates,
        calibration=None if calibration is None else Calibration.load(calibration),
        grid=grid,
        num_blocks=num_blocks,
        **common,
    )
