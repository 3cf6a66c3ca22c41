"""One training of so many minutes from nothing, and the Dice that it reaches: a unit of `minutes_to_dice`."""

import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from monai_nas.benchmarks.evidence_runs import Tick, read_starts, run_to_its_end
from monai_nas.benchmarks.minutes_to_dice_peers import STOCK, trained_network
from monai_nas.benchmarks.speed.contest import OURS, plain_compute
from monai_nas.benchmarks.speed.nnunet import PEER
from monai_nas.benchmarks.withheld_fold import WithheldFold
from monai_nas.compute import Compute, choose_compute
from monai_nas.data.case_cache import VARIABLE
from monai_nas.data.transforms import build, preprocessing
from monai_nas.errors import UserError
from monai_nas.export.finished_run import build_from
from monai_nas.files import load_weights, read_json, write_json
from monai_nas.inference import write_labels
from monai_nas.inference.predictor import sliding_window
from monai_nas.inference.volume import labels_on_file, read_volume, segment
from monai_nas.metrics import ScoreTable
from monai_nas.pipelines.evaluate import evaluate_folder
from monai_nas.pipelines.run_folder import processor
from monai_nas.plans.plan import Plan
from monai_nas.tasks.task import SegTask, load_task

SEARCHED = "ours_search"
TIMES_OURS = {STOCK: 3, PEER: 5}  # after which they are stopped
ABOUT = {
    OURS: "monai-nas train, of an architecture that was searched before",
    SEARCHED: "monai-nas search, with the weights that it leaves",
    STOCK: f"MONAI's DynUNet, dataset, loader, loss, Adam, float32; stopped at {TIMES_OURS[STOCK]} times our minutes",
    PEER: f"nnU-Net's trainer, network, batch, loader and transforms; stopped at {TIMES_OURS[PEER]} times our minutes",
}


@dataclass(frozen=True)
class MinutesStudy:
    """What all units share."""

    data: Path  # folder that holds dataset.json
    runs: Path  # gets a folder for each unit
    architecture: Path  # architecture.json of "ours"
    fold: int  # kept out, and scored
    seed: int  # of weights, order and augmentation

    @cached_property
    def task(self) -> SegTask:
        """What is segmented."""
        return load_task(None, self.data)

    @cached_property
    def withheld(self) -> WithheldFold:
        """The fold, and a dataset of the other cases, which is all that contenders see."""
        return WithheldFold(self.data, self.fold, self.runs)

    def prepare(self) -> None:
        """Write down what the runs depend on, and link the cases: those of the fold, and the others as a dataset.

        Raises:
            UserError: when the runs were made with something else, or there is no such fold.
        """
        settings = {
            "task": self.task.name,
            "architecture": read_json(self.architecture),
            "seed": self.seed,
            "fold": self.fold,
            "folds": self.withheld.folds,
            "processor": processor(),
        }
        file = self.runs / "settings.json"
        if file.exists():
            before = read_json(file)
            if changed := [key for key in settings if before.get(key) != settings[key]]:
                raise UserError(f"{file}: made with another {changed[0]}: give the same one, or choose another --runs")
        write_json(file, settings)
        self.withheld.link()


@dataclass(frozen=True)
class Unit:
    """A contender's training of a given length."""

    contender: str  # of ABOUT
    minutes: float  # of training that are asked for; reading and preprocessing come on top

    @property
    def name(self) -> str:
        """Name of the folder."""
        return f"{self.contender}_{self.minutes:g}_minutes"

    def command(self, study: MinutesStudy) -> list[str]:
        """Return the command that trains, with a folder for preprocessed cases that no start has used before."""
        folder = study.runs / self.name
        cache = folder / "cache" / str(len(read_starts(folder)))
        words = {
            OURS: ["monai_nas", "train", "--architecture", str(study.architecture)],
            SEARCHED: ["monai_nas", "search", "--strategy", "scnas"],
        }.get(self.contender, ["monai_nas.benchmarks.minutes_to_dice_peers", self.contender])
        words += ["--data", str(study.withheld.training), "--seed", str(study.seed)]
        words += ["--minutes", f"{self.minutes:g}", "--out", str(folder / "run")]
        return ["env", f"{VARIABLE}={cache}", sys.executable, "-m", *words]

    def result(self, study: MinutesStudy) -> dict[str, Any] | None:
        """Return what :meth:`work` wrote, None where it has not been done."""
        file = study.runs / self.name / "result.json"
        return dict(read_json(file)) if file.exists() else None

    def work(self, study: MinutesStudy, tick: Tick) -> dict[str, Any]:
        """Train, predict and score, as far as that has not been done; write and return the result.

        Args:
            study: prepared.
            tick: called about twice a second while a process trains.

        Raises:
            UserError: when the training fails.
            KeyboardInterrupt: on Ctrl-C, when its process has ended.
        """
        folder = study.runs / self.name
        run = folder / "run"
        run_to_its_end(self.command(study), self.name, folder, tick)
        facts, starts = read_json(run / "run.json"), read_starts(folder)
        begin = time.perf_counter()
        scores = score(self.contender, run, study)
        counted, restarts = minutes_of(starts, (run / "run.json").stat().st_mtime, facts["minutes_of_last_part"])
        record = {
            "asked_minutes": self.minutes,
            "minutes": counted,
            "restart_minutes": restarts,
            "starts": len(starts),
            "scoring_minutes": (time.perf_counter() - begin) / 60,
            "dice": scores.mean("dice"),
            "steps": facts["steps"],
            "num_parameters": facts["num_parameters"],
            "environment": facts["environment"],
        }
        write_json(folder / "result.json", record)
        shutil.rmtree(folder / "cache", ignore_errors=True)
        return record


def minutes_of(starts: Sequence[Mapping[str, Any]], ended: float, last_part: float) -> tuple[float, float]:
    """Return the minutes that a training took from nothing, and those that its restarts took, which do not count.

    Of a start that was cut, what came after its last checkpoint was lost and does not count; one without a checkpoint
    counts as if it had not been. Each later start reads the cases anew, for as long as the last one did.

    Args:
        starts: of :func:`~monai_nas.benchmarks.evidence_runs.read_starts`.
        ended: when the training ended, seconds since the epoch.
        last_part: minutes of the last start, without what came before its first step.
    """
    ends = [later["checkpoint_before"] or 0.0 for later in starts[1:]] + [ended]
    spans = [(end - start["began"]) / 60 for start, end in zip(starts, ends, strict=True) if end > start["began"]]
    reading = max(0.0, spans[-1] - last_part)
    restarts = sum(min(reading, span) for span in spans[1:])
    return sum(spans) - restarts, restarts


def score(contender: str, run: Path, study: MinutesStudy) -> ScoreTable:
    """Predict the cases of the fold that have no label map beside ``run`` yet, and score all on their own grids.

    All contenders are predicted alike: sliding window, mirrored, by our code; each in the number format it trained in.
    """
    plan = Plan.load(run / "plan.json")
    network, compute = _trained(contender, run, plan)
    network = compute.place(network, len(plan.patch_size)).eval()
    transforms, window = (
        build(preprocessing(plan.task, plan, ("image",))),
        sliding_window(plan.patch_size, compute.device),
    )
    folder = run.parent / "predictions"
    for case in study.withheld.cases:
        if (folder / f"{case.name}.nii.gz").exists():
            continue
        volume = read_volume(case.image, transforms)
        labels = segment(volume, network, window, compute=compute, mirror=True)
        labels = labels_on_file(labels, volume.turned, transforms, ())
        write_labels(labels, case.image, folder / f"{case.name}.nii.gz")
    return evaluate_folder(study.task, folder, study.withheld.labels, run.parent / "scores.json")


def _trained(contender: str, run: Path, plan: Plan) -> tuple[nn.Module, Compute]:
    """Return the network of a finished training, and how it computes."""
    if contender not in (OURS, SEARCHED):
        return trained_network(contender, plan, run / "model.pt"), plain_compute(None)
    network = build_from(read_json(run / "network.json"), run / "network.json")
    load_weights(network, run / "model.pt")
    return network, choose_compute()
