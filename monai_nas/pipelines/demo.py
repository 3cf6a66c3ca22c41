"""The whole way in a few minutes: scans, check, plan, search, bundle, prediction and scores of a withheld fold."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_nas.compute import Compute
from monai_nas.data.synthetic import write_phantoms
from monai_nas.export.bundle import write_bundle
from monai_nas.metrics.table import ScoreTable
from monai_nas.pipelines.evaluate import evaluate_folder
from monai_nas.pipelines.predict import predict_folder
from monai_nas.pipelines.run_folder import fold_cases, plan_for, sound_cases
from monai_nas.pipelines.search import search
from monai_nas.tasks.msd import msd_task
from monai_nas.tasks.splits import Case
from monai_nas.tasks.task import SegTask

logger = logging.getLogger(__name__)

TASK = "Task04_Hippocampus"
SEED = 0
WITHHELD_FOLD = 0
NUM_PHANTOMS = 40  # eight of them withheld
MAX_SCORED = 20  # of the withheld cases, so that the real task stays within the demo's minutes


@dataclass(frozen=True)
class DemoResult:
    """What a demo made: files by what they are, and the scores of the withheld cases."""

    paths: Mapping[str, Path]
    scores: ScoreTable


def run_demo(out: Path, *, minutes: float, compute: Compute) -> DemoResult:
    """Go from scans to a scored bundle; a demo that was cut short is continued.

    Args:
        out: folder for everything that is made.
        minutes: for the search.
        compute: where and how to compute.

    Raises:
        UserError: when MSD_ROOT is set and holds no sound hippocampus task, or ``out`` cannot be written.
    """
    task = msd_task(TASK)
    data = find_or_make_data(task, out / "data" / TASK)
    learn, withheld, _ = fold_cases(sound_cases(data, task), WITHHELD_FOLD)
    plan = plan_for(None, learn, task)
    plan.save(out / "plan.json")
    run, bundle, predictions = out / "search", out / "bundles" / f"msd_{TASK.lower()}", out / "predictions"
    search(
        data,
        run,
        task=task,
        strategy="scnas",
        plan=plan,
        seed=SEED,
        minutes=minutes,
        epochs=None,
        fold=WITHHELD_FOLD,
        compute=compute,
        settle=True,
    )
    images, labels = link_cases(withheld[:MAX_SCORED], out / "withheld")
    write_bundle(run, bundle)
    predict_folder(bundle, images, predictions, mirror=True, compute=compute)
    scores = evaluate_folder(task, predictions, labels, run / "scores.json")
    write_bundle(run, bundle)  # once more: its model card now has the scores
    made = {"data": data, "plan": out / "plan.json", "run": run, "bundle": bundle, "predictions": predictions}
    return DemoResult(paths=made | {"scores": run / "scores.json"}, scores=scores)


def find_or_make_data(task: SegTask, phantoms: Path) -> Path:
    """Return MSD_ROOT's folder of the task where MSD_ROOT is set, else the folder of phantoms, made when absent."""
    root = os.environ.get("MSD_ROOT")
    if root:
        return Path(root) / task.name
    if not (phantoms / "dataset.json").is_file():
        logger.info("drawing %d phantoms: set MSD_ROOT to use real scans", NUM_PHANTOMS)
        write_phantoms(task, phantoms, num_training=NUM_PHANTOMS, num_test=0, seed=SEED)
    return phantoms


def link_cases(cases: Sequence[Case], folder: Path) -> tuple[Path, Path]:
    """Link the files of labelled cases into ``folder``; return its folders of images and of label maps."""
    images, labels = folder / "images", folder / "labels"
    for case in cases:
        _link(case.image, images)
        if case.label is not None:
            _link(case.label, labels)
    return images, labels


def _link(source: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / source.name
    link.unlink(missing_ok=True)
    link.symlink_to(source.resolve())
