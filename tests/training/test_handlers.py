"""The record that makes a run resumable."""

import csv
from pathlib import Path

import pytest
from ignite.engine import Engine, Events
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from monai_nas.files import load_tensors
from monai_nas.training import attach_loggers, attach_progress, attach_record
from monai_nas.training.handlers import write_history


def build(
    run: Path,
    rows: list[dict[str, float]],
    sums: dict[str, tuple[float, int]] | None = None,
    first_step: int = 0,
    save_every_seconds: float = 0.0,
) -> Engine:
    """Return an engine whose loss at step t is t, counted over the whole run."""
    steps = iter(range(first_step, 100))
    engine = Engine(lambda engine, batch: {"loss": float(next(steps)), "image": batch})
    attach_record(
        engine,
        run=run,
        end_epoch=lambda mean_loss: {"twice": 2 * mean_loss},
        state=lambda: {"mark": len(rows)},
        rows=rows,
        sums={} if sums is None else sums,
        save_every_seconds=save_every_seconds,
    )
    return engine


def read(run: Path) -> list[dict[str, str]]:
    with (run / "history.csv").open() as file:
        return list(csv.DictReader(file))


def test_history_holds_the_mean_of_each_epoch(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    build(tmp_path, rows).run([0, 0], max_epochs=3)
    expected = [{"epoch": 1, "loss": 0.5, "twice": 1.0}, {"epoch": 2, "loss": 2.5, "twice": 5.0}]
    assert rows == [*expected, {"epoch": 3, "loss": 4.5, "twice": 9.0}]
    assert [{name: float(value) for name, value in row.items()} for row in read(tmp_path)] == rows
    assert load_tensors(tmp_path / "checkpoint.pt") == {
        "epoch": 3,
        "step": 0,
        "rows": rows,
        "sums": {},
        "state": {"mark": 3},
    }


def test_a_resumed_run_continues_the_history(tmp_path: Path) -> None:
    whole: list[dict[str, float]] = []
    build(tmp_path / "whole", whole).run([0, 0], max_epochs=4)
    build(tmp_path / "broken", []).run([0, 0], max_epochs=2)
    checkpoint = load_tensors(tmp_path / "broken" / "checkpoint.pt")
    engine = build(tmp_path / "broken", checkpoint["rows"], first_step=4)
    engine.load_state_dict({"epoch": checkpoint["epoch"], "epoch_length": 2, "max_epochs": 4})
    engine.run([0, 0])
    assert (tmp_path / "broken" / "history.csv").read_bytes() == (tmp_path / "whole" / "history.csv").read_bytes()


def test_a_checkpoint_in_the_midst_of_an_epoch_holds_its_part(tmp_path: Path) -> None:
    """However long an epoch is: a kill loses what came after the last checkpoint, and no mean changes."""
    whole: list[dict[str, float]] = []
    build(tmp_path / "whole", whole).run([0, 0, 0], max_epochs=2)
    engine = build(tmp_path / "broken", [])

    @engine.on(Events.ITERATION_STARTED(once=6))
    def kill() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        engine.run([0, 0, 0], max_epochs=2)
    checkpoint = load_tensors(tmp_path / "broken" / "checkpoint.pt")
    assert (checkpoint["epoch"], checkpoint["step"], checkpoint["sums"]) == (1, 2, {"loss": (7.0, 2)})
    engine = build(tmp_path / "broken", checkpoint["rows"], checkpoint["sums"], first_step=5)
    engine.load_state_dict({"iteration": 5, "epoch_length": 3, "max_epochs": 2})
    engine.run([0, 0, 0])
    assert checkpoint["rows"] == whole and engine.state.iteration == 6
    broken, unbroken = tmp_path / "broken", tmp_path / "whole"
    assert (broken / "history.csv").read_bytes() == (unbroken / "history.csv").read_bytes()
    assert load_tensors(broken / "checkpoint.pt") == load_tensors(unbroken / "checkpoint.pt")


def test_only_the_last_epoch_is_saved_while_the_time_between_is_short(tmp_path: Path) -> None:
    rows: list[dict[str, float]] = []
    engine = build(tmp_path, rows, save_every_seconds=1000.0)
    saved: list[bool] = []
    engine.add_event_handler(Events.EPOCH_COMPLETED, lambda: saved.append((tmp_path / "checkpoint.pt").exists()))
    engine.run([0], max_epochs=3)
    assert saved == [False, False, True]


def test_columns_that_an_epoch_lacks_are_left_empty(tmp_path: Path) -> None:
    write_history(tmp_path / "history.csv", [{"epoch": 1, "loss": 0.5}, {"epoch": 2, "alpha_loss": 1.0}])
    assert (tmp_path / "history.csv").read_text() == "epoch,loss,alpha_loss\n1,0.5,\n2,,1.0\n"


def test_progress_ends_with_the_run_and_passes_errors_on(capsys: pytest.CaptureFixture[str]) -> None:
    engine = Engine(lambda engine, batch: {"loss": 0.25})
    attach_progress(engine, "search", 2)
    engine.run([0, 0], max_epochs=1)
    assert "search" in capsys.readouterr().out

    def fail(engine: Engine, batch: int) -> dict[str, float]:
        raise RuntimeError("broken")

    failing = Engine(fail)
    attach_progress(failing, "search", 2)
    with pytest.raises(RuntimeError, match="broken"):
        failing.run([0])


def test_tensorboard_gets_the_scalars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    engine = Engine(lambda engine, batch: {"loss": float(batch)})
    attach_loggers(engine, tmp_path)
    engine.run([0, 1, 2, 3], max_epochs=1)
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert events.Tags()["scalars"] == ["run/loss"]
    assert [event.value for event in events.Scalars("run/loss")] == [0.0, 1.0, 2.0, 3.0]


def test_a_kill_between_the_two_files_leaves_no_gap_in_the_history(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The history may be ahead of the checkpoint, never behind: a finished checkpoint is not followed by an epoch."""

    def kill(path: Path, state: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("monai_nas.training.handlers.save_tensors", kill)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path, []).run([0], max_epochs=1)
    assert len(read(tmp_path)) == 1 and not (tmp_path / "checkpoint.pt").exists()
