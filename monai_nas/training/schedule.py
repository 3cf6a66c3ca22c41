"""How long a run is: fixed once, written down, and obeyed ever after, also on resume."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from pathlib import Path

from ignite.engine import Engine, Events

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json

TIMED_STEPS = 16  # of each phase of a run whose length is asked for in minutes
UNTIMED_STEPS = 4  # the first of those: kernels are chosen and caches filled


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
        names = {field.name for field in fields(cls)}
        if (
            not isinstance(record, dict)
            or set(record) != names
            or any(type(value) is not int for value in record.values())
        ):
            raise UserError(
                f"{path}: not a schedule of {', '.join(sorted(names))}: delete the run's folder and start again"
            )
        schedule = cls(**record)
        if schedule.epoch_length < 1 or min(record.values()) < 0 or schedule.num_epochs < 1:
            raise UserError(f"{path}: a schedule without steps: delete the run's folder and start again")
        return schedule


def epochs_in(seconds: float, step_seconds: float, epoch_length: int) -> int:
    """Return how many whole epochs fit into ``seconds``, at least one."""
    return max(1, int(seconds / (step_seconds * epoch_length)))


def longest_epoch(steps: int, at_most: int) -> int:
    """Return the greatest length of epochs, ``at_most`` or less, that whole epochs make up exactly ``steps`` with.

    Args:
        steps: of the run, 1 or more.
        at_most: steps, such as a pass over the cases, 1 or more.
    """
    return max(length for length in range(1, min(steps, at_most) + 1) if steps % length == 0)


def step_seconds(engine: Engine, run: Callable[[], object]) -> list[float]:
    """Return how long each step of an engine made for timing alone takes, with its batch, in seconds.

    Args:
        engine: of which ``run`` runs the steps.
        run: called once. The first step, which warms caches up, is left out.
    """
    ends: list[float] = []
    engine.add_event_handler(Events.ITERATION_COMPLETED, lambda: ends.append(time.perf_counter()))
    run()
    return [end - before for before, end in pairwise(ends)]


def typical_seconds(timed: Sequence[float]) -> float:
    """Return how long a step usually takes, by the durations of the first steps of a phase, in order.

    The median, as what else runs on the machine makes single steps ten times slower.
    """
    return statistics.median(timed[UNTIMED_STEPS - 1 :])
