"""How long a run is: fixed once, written down, and obeyed ever after, also on resume."""

import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json


@dataclass(frozen=True)
class Schedule:
    """The length of a run in steps, by epochs of equal length."""

    epoch_length: int  # steps
    search_epochs: int  # with sampling of operations; 0 in a training
    fixed_epochs: int  # with one network: the last phase of a search, all of a training

    @property
    def num_epochs(self) -> int:
        """All epochs."""
        return self.search_epochs + self.fixed_epochs

    @property
    def search_steps(self) -> int:
        """Steps with sampling."""
        return self.search_epochs * self.epoch_length

    @property
    def total_steps(self) -> int:
        """All steps."""
        return self.num_epochs * self.epoch_length

    def save(self, path: Path) -> None:
        """Write the schedule as JSON, whole or not at all."""
        write_json(path, asdict(self))

    @classmethod
    def load(cls, path: Path) -> "Schedule":
        """Return the schedule of a JSON file; raises UserError naming the file."""
        record = read_json(path)
        try:
            return cls(**record)
        except TypeError as error:
            raise UserError(f"{path}: not a schedule ({error}): delete the run's folder and start again") from error


def epochs_in(seconds: float, step_seconds: float, epoch_length: int) -> int:
    """Return how many whole epochs fit into ``seconds``, at least one."""
    return max(1, int(seconds / (step_seconds * epoch_length)))


def seconds_per_step(step: Callable[[Any], object], batches: Iterator[Any], count: int) -> float:
    """Return the mean duration of a step and of its batch in seconds; the first, which warms caches up, is left out.

    Args:
        step: runs one step, on objects made for timing alone.
        batches: of which the next ``count`` are taken.
        count: at least two. The mean, as steps that draw operations differ in cost and their costs add up.
    """
    durations = []
    for _ in range(count):
        start = time.perf_counter()
        step(next(batches))
        durations.append(time.perf_counter() - start)
    return statistics.fmean(durations[1:])
