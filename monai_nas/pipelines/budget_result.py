"""What a search under budgets ends with: the network of each budget, what it costs, and a table of all."""

import csv
import io
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.cost import Calibration, memory_text
from monai_nas.files import make_folder, read_json, write_atomic, write_json
from monai_nas.pipelines.budget_costs import basis_of_kind, cost_of_kind
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.plans.plan import Plan
from monai_nas.strategies.budget import UNITS, Budget, cost_text

logger = logging.getLogger(__name__)


def finish(
    folder: Path,
    out: Path,
    budget: Budget,
    facts: Mapping[str, Any],
    plan: Plan,
    compute: Compute,
    calibration: Calibration | None,
) -> dict[str, Any]:
    """Close the RUN of one budget, say what its network costs, and return its line of pareto.csv.

    Args:
        folder: RUN of the budget; it gets the plan and the folds, then run.json.
        out: RUN of the whole search; the same where there is one budget.
        budget: that was asked for.
        facts: for run.json, of :class:`~monai_nas.pipelines.budget_search.BudgetSearch`.
        plan: that the costs are counted for.
        compute: likewise; latency is measured on its device.
        calibration: of that device and number format, None where there is none.
    """
    make_folder(folder)
    for name in ("plan.json", "folds.json"):
        if folder != out:
            write_json(folder / name, read_json(out / name))
    architecture = Architecture.load(folder / "architecture.json")
    costs = {
        kind: facts["cost"] if kind == budget.kind else cost_of_kind(kind, plan, compute)(architecture)
        for kind in UNITS
    }
    RunFolder(folder).finish(
        {"num_parameters": round(costs["parameters"]), **facts, "costs": costs},
        compute,
    )
    words = [
        f"{kind} {cost_text(kind, cost)} {basis_of_kind(kind, plan, compute, calibration)}"
        for kind, cost in costs.items()
    ]
    logger.info("%s: the network for %s has %s", folder, budget, "; ".join(map(str.strip, words)))
    step = memory_text(
        round(costs["train_memory"]),
        size=plan.patch_size,
        batch_size=plan.batch_size,
        compute=compute,
        calibration=calibration,
    )
    dice = {key: facts[key] for key in ("dice_inherited", "dice_fine_tuned")}
    return {"budget": str(budget), "cost": facts["cost"], **dice, **costs, "train_memory_in_words": step}


def write_pareto(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write one line a budget: what was asked, how good the network is, what it costs, and what the memory is of."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(file, text.getvalue())
