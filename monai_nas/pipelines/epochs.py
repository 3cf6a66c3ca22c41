"""What searches and trainings do alike: run the epochs that are left, so that a kill at any moment costs little."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from ignite.engine import Engine

from monai_nas.errors import UserError
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.training import Schedule, attach_loggers, attach_progress, attach_record

logger = logging.getLogger(__name__)


class Learner(Protocol):
    """What changes in a run, whole."""

    def end_epoch(self, mean_loss: float) -> dict[str, float]: ...

    def state_dict(self) -> Mapping[str, Any]: ...

    def load_state_dict(self, state: dict[str, Any]) -> None: ...


def checkpoint_seconds() -> float:
    """Return the least time between two checkpoints, MONAI_NAS_CHECKPOINT_SECONDS or a minute.

    Raises:
        UserError: when the variable is not a number.
    """
    text = os.environ.get("MONAI_NAS_CHECKPOINT_SECONDS", "60")
    try:
        return float(text)
    except ValueError as error:
        raise UserError(f"MONAI_NAS_CHECKPOINT_SECONDS={text}: not a number: give seconds, or unset it") from error


def run_epochs(
    run: RunFolder,
    schedule: Schedule,
    learner: Learner,
    start: Callable[[int], tuple[Engine, Callable[[], object]]],
    *,
    title: str,
) -> float:
    """Run the steps after the last checkpoint, or all; return how many minutes that took.

    Args:
        run: holds the checkpoint and gets history.csv and tensorboard.
        schedule: the length of the run.
        learner: is brought to the state of the checkpoint.
        start: called with the number of finished steps; returns an engine whose state the learner holds, and what runs
            it on the batches that are left.
        title: of the progress bar.
    """
    checkpoint, step = run.checkpoint(), 0
    rows: list[dict[str, float]] = []
    sums: dict[str, tuple[float, int]] = {}
    if checkpoint is not None:
        file = run.path / "checkpoint.pt"
        try:
            learner.load_state_dict(checkpoint["state"])
        except (KeyError, TypeError, ValueError, RuntimeError, AttributeError) as error:
            raise UserError(f"{file}: is of another run: restore it, or delete it to start the run again") from error
        step = checkpoint["epoch"] * schedule.epoch_length + checkpoint["step"]
        if step > schedule.total_steps:
            raise UserError(f"{file}: is of a longer run than schedule.json: restore that, or delete both")
        rows, sums = checkpoint["rows"], checkpoint["sums"]
        del checkpoint  # a second copy of the weights and moments
        logger.info("%s: continuing after step %d of %d", run.path, step, schedule.total_steps)
    begin = time.perf_counter()
    engine, go = start(step)
    attach_progress(engine, title, schedule.total_steps)
    attach_loggers(engine, run.path)
    attach_record(
        engine,
        run=run.path,
        end_epoch=learner.end_epoch,
        state=learner.state_dict,
        rows=rows,
        sums=sums,
        save_every_seconds=checkpoint_seconds(),
    )
    if step < schedule.total_steps:
        engine.load_state_dict(
            {"iteration": step, "epoch_length": schedule.epoch_length, "max_epochs": schedule.num_epochs}
        )
        go()
    return (time.perf_counter() - begin) / 60
