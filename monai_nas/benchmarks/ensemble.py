"""Is an ensemble better than its members? `python -m monai_nas.benchmarks.ensemble --data DIR --runs RUNS --out FILE`

Keeps one fold of the cases out of everything, cross-validates an architecture on the others as `monai-nas crossval`
does, makes bundles of the ensemble and of each member, and predicts and scores the fold with all of them. The plan is
made from the other cases, too. The same command continues where it was cut.
"""

import argparse
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from monai_nas.benchmarks.evidence import one_line_faults, parse_minutes
from monai_nas.benchmarks.minutes_to_dice import ARCHITECTURE
from monai_nas.benchmarks.withheld_fold import WithheldFold
from monai_nas.compute import choose_compute
from monai_nas.export import write_bundle
from monai_nas.files import read_json, write_json
from monai_nas.metrics import ScoreTable
from monai_nas.metrics.table import METRICS
from monai_nas.networks import load_architecture
from monai_nas.pipelines.cross_validate import cross_validate
from monai_nas.pipelines.evaluate import evaluate_folder
from monai_nas.pipelines.predict import predict_folder
from monai_nas.pipelines.run_folder import environment
from monai_nas.tasks.task import SegTask, load_task

ENSEMBLE = "ensemble"


def score(run: Path, folder: Path, withheld: WithheldFold, task: SegTask) -> ScoreTable:
    """Make a bundle of a run, predict the withheld fold with it and score that, where it has not been done.

    Args:
        run: RUN folder of a training or of a cross-validation.
        folder: for the bundle, its predictions and their scores.
        withheld: the fold.
        task: what is segmented.
    """
    scores = folder / "scores.json"
    if not scores.exists():
        write_bundle(run, folder / "bundle")
        predict_folder(
            folder / "bundle", withheld.images, folder / "predictions", mirror=True, compute=choose_compute()
        )
        evaluate_folder(task, folder / "predictions", withheld.labels, scores)
    return ScoreTable.load(scores)


def summarize(tables: Mapping[str, ScoreTable]) -> dict[str, Any]:
    """Compare the ensemble with its members on the same cases.

    Args:
        tables: the ensemble's and each member's.

    Returns:
        For each metric, in percent: "ensemble", "members" by name, their "mean" and "best", the "gain" of the ensemble
        over the mean; and "p_value" of Wilcoxon's signed-rank test, two-sided, between a case's value by the ensemble
        and the mean of those by the members, each the mean over the classes that the case has.
    """
    members = {name: table for name, table in tables.items() if name != ENSEMBLE}
    summary = {}
    for metric in METRICS:
        single = {name: 100 * table.mean(metric) for name, table in members.items()}
        own, mean = 100 * tables[ENSEMBLE].mean(metric), statistics.fmean(single.values())
        cases = [table.case_means(metric) for table in (tables[ENSEMBLE], *members.values())]
        scored = sorted(set.intersection(*map(set, cases)))
        together = [cases[0][name] for name in scored]
        apart = [statistics.fmean(member[name] for member in cases[1:]) for name in scored]
        summary[metric] = {
            "ensemble": own,
            "members": single,
            "mean": mean,
            "best": max(single.values()),
            "gain": own - mean,
            "p_value": 1.0 if together == apart else float(stats.wilcoxon(together, apart).pvalue),
        }
    return summary


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is left, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dataset.json")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the trainings, bundles and predictions")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--architecture", type=Path, default=ARCHITECTURE, help="of all members (%(default)s)")
    parser.add_argument("--fold", type=int, default=0, help="kept out and scored (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="as of `monai-nas crossval` (%(default)s)")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--minutes", type=parse_minutes, help="of each member's training")
    length.add_argument("--epochs", type=int, help="passes over the cases of each member's training")
    options = parser.parse_args(arguments)
    if options.epochs is not None and options.epochs < 1:
        parser.error("--epochs must be 1 or more")
    with one_line_faults():
        write_json(options.out, compare(options))


def compare(options: argparse.Namespace) -> dict[str, Any]:
    """Train, score and compare; return the record.

    Args:
        options: of :func:`main`.

    Raises:
        UserError: as :func:`~monai_nas.pipelines.cross_validate.cross_validate`.
    """
    withheld = WithheldFold(options.data, options.fold, options.runs / f"without_fold_{options.fold}")
    withheld.link()
    task, run = load_task(None, withheld.training), withheld.folder / "crossval"
    result = cross_validate(
        withheld.training,
        run,
        task=task,
        architecture=load_architecture(str(options.architecture)),
        plan=None,
        fold=None,
        seed=options.seed,
        minutes=options.minutes,
        epochs=options.epochs,
        compute=choose_compute(),
    )
    assert result.scores is not None, "all folds were asked for"
    runs = {ENSEMBLE: run} | {f"fold_{number}": run / f"fold_{number}" for number in result.folds}
    tables = {name: score(folder, withheld.folder / name, withheld, task) for name, folder in runs.items()}
    steps = [read_json(folder / "run.json")["steps"] for name, folder in runs.items() if name != ENSEMBLE]
    return {
        "task": task.name,
        "fold": options.fold,
        "cases": len(withheld.cases),
        "seed": options.seed,
        "minutes": options.minutes,
        "epochs": options.epochs,
        "steps": steps,
        "metrics": summarize(tables),
        "out_of_fold": {metric: 100 * result.scores.mean(metric) for metric in METRICS},
        "environment": environment(choose_compute()),
    }


if __name__ == "__main__":
    main()
