"""How well do networks fit the cases that they learnt from, and how well others? Bundles of one fold, side by side.

    python -m monai_nas.benchmarks.fitting --data DIR --fold 0 --out FILE NAME=BUNDLE [NAME=BUNDLE ...]

Each bundle predicts the fold that none of them has seen, and as many of the other cases, as `monai-nas predict` does by
default; both are scored. A network that fits what it learnt from better than the rest of them, and the fold worse,
has learnt by heart. Differences are paired by the case of the fold.
"""

import argparse
import statistics
import tempfile
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from monai_nas.benchmarks.evidence import one_line_faults
from monai_nas.benchmarks.evidence_result import cost_of
from monai_nas.benchmarks.evidence_table import CONFIDENCE, interval_95
from monai_nas.benchmarks.paper_cost import SIZE
from monai_nas.compute import choose_compute
from monai_nas.errors import UserError
from monai_nas.files import file_sha256, read_json, write_json
from monai_nas.metrics import ScoreTable
from monai_nas.metrics.table import METRICS
from monai_nas.pipelines.demo import link_cases
from monai_nas.pipelines.evaluate import evaluate_folder
from monai_nas.pipelines.predict import predict_folder
from monai_nas.pipelines.run_folder import environment, fold_cases
from monai_nas.tasks.splits import Case, training_cases
from monai_nas.tasks.task import SegTask, load_task

LEARNT, KEPT_OUT = "learnt", "kept_out"


def parse_bundle(text: str) -> tuple[str, Path]:
    """Return name and folder of "NAME=BUNDLE"."""
    name, equals, folder = text.partition("=")
    if not (name and equals and folder):
        raise argparse.ArgumentTypeError(f"{text!r} is no NAME=BUNDLE, such as taught=bundles/taught")
    return name, Path(folder)


def check_fold(bundle: Path, fold: int) -> None:
    """Make sure that a bundle's network has not seen the fold.

    Raises:
        UserError: when another fold, or none, was kept out of its training.
    """
    kept_out = read_json(bundle / "configs" / "search.json").get("fold")
    if kept_out is None:
        raise UserError(f"{bundle}: no fold was kept out of its training: train it with --fold {fold}")
    if kept_out != fold:
        raise UserError(
            f"{bundle}: fold {kept_out} was kept out of its training, not {fold}: train it with --fold {fold}"
        )


def scores_of(bundle: Path, cases: Sequence[Case], task: SegTask) -> ScoreTable:
    """Return the scores of a bundle's predictions of labelled cases."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, labels = link_cases(cases, folder / "cases")
        predict_folder(bundle, images, folder / "predictions", mirror=True, compute=choose_compute())
        return evaluate_folder(task, folder / "predictions", labels, folder / "scores.json")


def difference(first: ScoreTable, second: ScoreTable) -> dict[str, Any]:
    """Return the first scores minus the second, case by case, in percent.

    Returns:
        For each metric, under "dice_percent" and so on: the "mean" over the cases, its "interval_95" by Student's t,
        and "share_of_cases_better", whose value is higher with the first. A case's value is the mean over its classes.
    """
    summary = {}
    for metric in METRICS:
        ours, theirs = first.case_means(metric), second.case_means(metric)
        apart = [100 * (ours[case] - theirs[case]) for case in ours if case in theirs]
        summary[f"{metric}_percent"] = {
            "mean": statistics.fmean(apart),
            "interval_95": interval_95(apart),
            "share_of_cases_better": statistics.fmean(value > 0 for value in apart),
        }
    return summary


def summarize(tables: Mapping[str, Mapping[str, ScoreTable]]) -> dict[str, Any]:
    """Return means by bundle, and the differences of each bundle to those before it on the fold.

    Args:
        tables: by the bundle's name, those of ``LEARNT`` and ``KEPT_OUT``.
    """
    means = {
        name: {
            f"{metric}_percent": {part: 100 * table.mean(metric) for part, table in parts.items()} for metric in METRICS
        }
        for name, parts in tables.items()
    }
    differences = {
        f"{later}_minus_{earlier}": difference(tables[later][KEPT_OUT], tables[earlier][KEPT_OUT])
        for earlier, later in combinations(tables, 2)
    }
    return {"bundles": means, "differences": differences}


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, score, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundles", type=parse_bundle, nargs="+", metavar="NAME=BUNDLE", help="to be compared")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dataset.json")
    parser.add_argument("--fold", type=int, default=0, help="that none of them has seen (%(default)s)")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    options = parser.parse_args(arguments)
    if len(dict(options.bundles)) < len(options.bundles):
        parser.error("a NAME is given twice: give each bundle its own")
    with one_line_faults():
        write_json(options.out, compare(dict(options.bundles), options.data, options.fold))


def compare(bundles: Mapping[str, Path], data: Path, fold: int) -> dict[str, Any]:
    """Score the bundles and return the record.

    Raises:
        UserError: for a fold that does not exist or that a bundle's network has seen, or an incomplete bundle.
    """
    for bundle in bundles.values():
        check_fold(bundle, fold)
    task = load_task(None, data)
    learn, held, _ = fold_cases(training_cases(data), fold)
    evenly = [learn[index * len(learn) // len(held)] for index in range(len(held))]
    parts = {LEARNT: evenly, KEPT_OUT: held}
    tables = {
        name: {part: scores_of(bundle, cases, task) for part, cases in parts.items()}
        for name, bundle in bundles.items()
    }
    summary = summarize(tables)
    for name, bundle in bundles.items():
        cost = cost_of(read_json(bundle / "configs" / "inference.json")["network_def"], SIZE, 1, 4)
        summary["bundles"][name] |= {
            "million_parameters": cost.num_parameters / 1e6,
            "gflops_128x128x128": cost.flops / 1e9,
            "weights_sha256": file_sha256(bundle / "models" / "model.pt"),
        }
    return {
        "task": task.name,
        "fold": fold,
        "cases": {part: len(cases) for part, cases in parts.items()},
        "confidence": CONFIDENCE,
        **summary,
        "environment": environment(choose_compute()),
    }


if __name__ == "__main__":
    main()
