"""What is attached to any engine: progress with time left, loggers, and the record that makes a run resumable."""

import csv
import io
import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ignite.engine import Engine, Events
from ignite.handlers.base_logger import BaseLogger
from ignite.handlers.mlflow_logger import MLflowLogger
from ignite.handlers.tensorboard_logger import TensorboardLogger
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from monai_nas.errors import UserError, remedy
from monai_nas.files import save_tensors, write_atomic

logger = logging.getLogger(__name__)

Scalars = dict[str, float]


def scalars(engine: Engine) -> Scalars:
    """Return the floats of the engine's last output."""
    output: Any = engine.state.output
    return {name: value for name, value in output.items() if isinstance(value, float)}


def attach_progress(engine: Engine, title: str, total_steps: int) -> None:
    """Show a bar with the loss, the time elapsed and the time left while ``engine`` runs.

    Where standard output is no terminal, a line is logged at the end of each epoch instead.
    """
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[loss]}"),
    )
    task = bar.add_task(title, total=total_steps, loss="")

    def update(engine: Engine) -> None:
        bar.update(task, completed=engine.state.iteration, loss=f"loss {scalars(engine)['loss']:.3f}")

    def log_epoch(engine: Engine) -> None:
        state, left = engine.state, bar.tasks[task].time_remaining
        logger.info(
            "%s: epoch %d of %s, loss %.3f, %s minutes left",
            title,
            state.epoch,
            state.max_epochs,
            scalars(engine)["loss"],
            "?" if left is None else round(left / 60),
        )

    if not bar.console.is_terminal:
        engine.add_event_handler(Events.EPOCH_COMPLETED, log_epoch)
    engine.add_event_handler(Events.STARTED, bar.start)
    engine.add_event_handler(Events.ITERATION_COMPLETED, update)
    engine.add_event_handler(Events.COMPLETED, bar.stop)
    engine.add_event_handler(Events.EXCEPTION_RAISED, _stop_and_raise(bar))


def _stop_and_raise(bar: Progress) -> Callable[[Engine, Exception], None]:
    def handle(engine: Engine, error: Exception) -> None:
        bar.stop()
        raise error

    return handle


def attach_record(
    engine: Engine,
    *,
    run: Path,
    end_epoch: Callable[[float], Scalars],
    state: Callable[[], Mapping[str, Any]],
    rows: list[Scalars],
    sums: dict[str, tuple[float, int]],
    save_every_seconds: float,
) -> None:
    """Keep the mean scalars of each epoch, and write history.csv and checkpoint.pt together, within epochs too.

    Rows and sums are part of the checkpoint, so a resumed run rewrites the history that belongs to its state.

    Args:
        engine: its ``output`` must hold floats under names; what is no float is left out.
        run: the RUN folder.
        end_epoch: called with the epoch's mean loss; returns further scalars of the epoch.
        state: everything needed to continue.
        rows: of the epochs before, from the checkpoint; is appended to.
        sums: of each scalar over the steps of the epoch under way, with their number, from the checkpoint; is kept.
        save_every_seconds: least time between two checkpoints; the last epoch is always saved.
    """
    saved = time.monotonic()

    def save(step: int) -> None:
        nonlocal saved
        # In this order: a kill between the two leaves the history ahead, and the resumed run writes it again.
        if rows:
            write_history(run / "history.csv", rows)
        record = {"epoch": len(rows), "step": step, "rows": rows, "sums": sums, "state": dict(state())}
        save_tensors(run / "checkpoint.pt", record)
        saved = time.monotonic()

    def is_due() -> bool:
        return time.monotonic() - saved >= save_every_seconds

    def close_step(engine: Engine) -> None:
        for name, value in scalars(engine).items():
            total, count = sums.get(name, (0.0, 0))
            sums[name] = (total + value, count + 1)
        step = engine.state.iteration % (engine.state.epoch_length or 1)
        if step > 0 and is_due():  # after the last step the epoch is closed first
            save(step)

    def close_epoch(engine: Engine) -> None:
        means = {name: total / count for name, (total, count) in sums.items()}
        sums.clear()
        rows.append({"epoch": engine.state.epoch} | means | end_epoch(means["loss"]))
        if engine.state.epoch == engine.state.max_epochs or is_due():
            save(0)

    engine.add_event_handler(Events.ITERATION_COMPLETED, close_step)
    engine.add_event_handler(Events.EPOCH_COMPLETED, close_epoch)


def write_history(path: Path, rows: list[Scalars]) -> None:
    """Write one line an epoch; a column that an epoch lacks is left empty."""
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(path, text.getvalue())


def attach_loggers(engine: Engine, run: Path) -> None:
    """Log the scalars of each step to RUN/tensorboard, and to MLflow where MLFLOW_TRACKING_URI is set.

    Raises:
        UserError: when the folder cannot be written, or MLFLOW_TRACKING_URI is set and mlflow is not installed.
    """
    try:
        loggers: list[BaseLogger] = [TensorboardLogger(log_dir=str(run / "tensorboard"))]
    except OSError as error:
        raise UserError(f"{run / 'tensorboard'}: cannot be written ({error.strerror}): {remedy(error)}") from error
    if os.environ.get("MLFLOW_TRACKING_URI"):
        try:
            loggers.append(MLflowLogger())
        except ModuleNotFoundError as error:
            raise UserError("MLFLOW_TRACKING_URI is set: pip install monai-nas[mlflow], or unset it") from error
    for target in loggers:
        target.attach_output_handler(
            engine,
            event_name=Events.ITERATION_COMPLETED,
            tag="run",
            output_transform=lambda output: {name: float(value) for name, value in output.items()},
        )
        engine.add_event_handler(Events.COMPLETED, target.close)
