"""When to kill a run: at a moment of the whole, or of a stage of a search under a budget, which its folder tells."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from monai_nas.errors import UserError
from monai_nas.files import load_tensors
from monai_nas.pipelines.one_shot_preset import one_shot_preset_named
from monai_nas.pipelines.supernet_run import FILE
from monai_nas.training import Schedule

BUDGETED = "hypersegnas"  # the verb that has stages
VERBS = ("search", "train", BUDGETED)
STAGES = ("drawing", "supernet", "annealing", "ranking", "fine_tuning")


@dataclass(frozen=True)
class Moment:
    """When to kill."""

    stage: str | None  # one of STAGES; None counts from the start of the command
    share: float  # of the duration of the stage, or of the whole run


def draw_moments(verb: str, kills: int, seed: int) -> list[Moment]:
    """Return when to kill a verb: shares uniform in [0, 1), of a run that has stages of each of them in turn."""
    rng = np.random.default_rng([seed, VERBS.index(verb)])
    stages: Sequence[str | None] = STAGES if verb == BUDGETED else (None,)
    return [Moment(stages[number % len(stages)], float(rng.random())) for number in range(kills)]


def state_files(out: Path) -> list[Path]:
    """Return the files of a RUN folder and of the folders in it, but for TensorBoard's logs."""
    return sorted(path for path in out.rglob("*") if "tensorboard" not in path.parts and path.is_file())


def last_written(out: Path) -> float:
    """Return when a file of the run was last written, by the clock of ``time.time``; 0 where there is none."""
    times = [0.0]
    for path in state_files(out):
        try:
            times.append(path.stat().st_mtime)
        except FileNotFoundError:  # a temporary name, renamed meanwhile
            continue
    return max(times)


def stage_of(out: Path) -> str | None:
    """Return the stage that a search under one budget goes on with; None before it has begun, and when it is over."""
    if not (out / "settings.json").exists() or (out / "pareto.csv").exists():
        return None
    if not (out / "candidates.json").exists():
        return "drawing"
    steps = _finished_steps(out)
    if (out / FILE).exists():  # looked for after the checkpoint, which goes when this file comes
        return "fine_tuning" if (out / "finalists").exists() else "ranking"
    if not (out / "schedule.json").exists():
        return "supernet"
    total = Schedule.load(out / "schedule.json").total_steps
    first_annealed = one_shot_preset_named("cpu").supernet.first_annealed_step(total)
    return "annealing" if steps >= first_annealed else "supernet"


def _finished_steps(out: Path) -> int:
    """Return how many steps of the supernet's training the checkpoint holds."""
    file = out / "checkpoint.pt"
    try:
        epoch, step = _place(file, file.stat().st_mtime_ns)
        return epoch * Schedule.load(out / "schedule.json").epoch_length + step
    except (FileNotFoundError, UserError):
        return 0


@lru_cache(maxsize=1)
def _place(file: Path, written: int) -> tuple[int, int]:
    """Return epoch and step of a checkpoint; it is read once for each time that it was written."""
    record = load_tensors(file)
    return record["epoch"], record["step"]


@dataclass
class Watch:
    """Says when to kill a command that starts now.

    A stage has begun when this command has written a state that belongs to it, so that its own start does not count.
    """

    out: Path  # its RUN folder
    stage: str | None
    after: float  # seconds from the beginning of the stage, or of the command
    began: float = field(default_factory=time.time)
    entered: float | None = None
    left: float | None = None

    def __call__(self) -> bool:
        """Return whether the moment has come; to be asked again and again."""
        now = time.time()
        if self.stage is None:
            self.entered = self.began
        elif stage_of(self.out) != self.stage:
            self.left = now if self.entered is not None and self.left is None else self.left
        elif self.entered is None and last_written(self.out) >= self.began:
            self.entered = now
        return self.entered is not None and self.left is None and now - self.entered >= self.after

    @property
    def lasted(self) -> float | None:
        """Seconds that the stage, or the command, took until it was left, or until now; None where it never began."""
        return None if self.entered is None else (self.left or time.time()) - self.entered


class Timeline:
    """Watches a command to its end and kills it never: ``seconds`` says how long each of its stages took."""

    def __init__(self, out: Path) -> None:
        self.out = out
        self.before = time.time()
        self.seconds: dict[str | None, float] = {}

    def __call__(self) -> bool:
        now, stage = time.time(), stage_of(self.out)
        self.seconds[stage] = self.seconds.get(stage, 0.0) + now - self.before
        self.before = now
        return False
