"""Write the plans and the bundles of the ten MSD tasks anew: python -m monai_nas.export.msd_bundles --out bundles.

In a source tree only. Kept as they are: the architecture, and plan and weights of the task on which it was searched.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from monai_nas.errors import UserError
from monai_nas.export.bundle import put_bundle, write_untrained_bundle
from monai_nas.export.finished_run import FinishedRun, build_from
from monai_nas.files import load_weights, read_json
from monai_nas.metrics import ScoreTable
from monai_nas.plans.published import (
    ARCHITECTURE_TASK,
    committed_architecture,
    committed_plan,
    published_plan,
)
from monai_nas.tasks.msd import MSD_TASKS, msd_task
from monai_nas.tasks.task import SegTask

ROOT = Path(__file__).parents[2]
PLANS = ROOT / "monai_nas" / "plans" / "msd"
RESULTS = ROOT / "docs" / "results"


def bundle_name(task: SegTask) -> str:
    """Return "msd_task03_liver" for Task03_Liver."""
    return f"msd_{task.name.lower()}"


def write_published_plans(folder: Path) -> None:
    """Write the plans that rest on published figures, of all tasks but the measured one, as TaskNN_Name.json."""
    for task in MSD_TASKS:
        if task.name != ARCHITECTURE_TASK:
            published_plan(task).save(folder / f"{task.name}.json")


def write_msd_bundles(out: Path, models: Path) -> None:
    """Write the ten bundles into ``out``.

    Args:
        out: folder of the bundles.
        models: models/ of the trained task's bundle, which may be the one in ``out``.

    Raises:
        UserError: when the weights are not those of the shipped architecture, or a bundle cannot be written.
    """
    for task in MSD_TASKS:
        place = out / bundle_name(task)
        if task.name == ARCHITECTURE_TASK:
            put_bundle(trained_run(models), place)
        else:
            plan, architecture = committed_plan(task.name), committed_architecture()
            write_untrained_bundle(task=task, plan=plan, architecture=architecture, out=place)


def trained_run(models: Path) -> FinishedRun:
    """Return the run whose bundle is shipped with weights, from its result files in docs/ and its weights."""
    task = msd_task(ARCHITECTURE_TASK)
    run = FinishedRun.from_parts(task, committed_plan(task.name), committed_architecture())
    network = build_from(run.network_def, "architecture.json")
    load_weights(network, models / "model.pt")
    trained = replace(run, weights=network.state_dict(), facts=read_json(RESULTS / "task04_all_run.json"))
    scores = ScoreTable.load(RESULTS / "task04_train_scores.json")  # of the training that kept a fold out
    return replace(
        trained, estimate=replace(trained, facts=read_json(RESULTS / "task04_train_run.json"), scores=scores)
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the nine plans into the package, then the ten bundles."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundles; its Task04 bundle has weights")
    out = parser.parse_args(arguments).out
    try:
        write_published_plans(PLANS)
        write_msd_bundles(out, out / bundle_name(msd_task(ARCHITECTURE_TASK)) / "models")
    except UserError as error:
        raise SystemExit(f"error: {error}") from error


if __name__ == "__main__":
    main()
