"""The length of a run: counted, timed, written down."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from ignite.engine import Engine

from monai_nas.errors import UserError
from monai_nas.training import Schedule, epochs_in, longest_epoch, step_seconds, typical_seconds


def test_counts_follow_from_the_epochs() -> None:
    schedule = Schedule(epoch_length=5, search_epochs=2, fixed_epochs=3)
    assert (schedule.num_epochs, schedule.search_steps, schedule.total_steps) == (5, 10, 25)


def test_it_survives_its_file(tmp_path: Path) -> None:
    schedule = Schedule(5, 2, 3)
    schedule.save(tmp_path / "schedule.json")
    assert Schedule.load(tmp_path / "schedule.json") == schedule


@pytest.mark.parametrize(
    "content",
    [
        '{"epoch_length": 5}',
        '{"epoch_length": 5, "hours": 1}',
        "[1, 2, 3]",
        "3",
        '{"epoch_length": 5, "search_epochs": 2.5, "fixed_epochs": 1}',
        '{"epoch_length": 5, "search_epochs": true, "fixed_epochs": 1}',
    ],
)
def test_another_file_is_refused_with_its_name(tmp_path: Path, content: str) -> None:
    (tmp_path / "schedule.json").write_text(content)
    with pytest.raises(UserError, match=r"schedule\.json: not a schedule"):
        Schedule.load(tmp_path / "schedule.json")


@pytest.mark.parametrize(
    ("steps", "at_most", "length"),
    [(5000, 23, 20), (180_000, 23, 20), (100, 66, 50), (5000, 9999, 5000), (7, 5, 1), (12, 12, 12)],
)
def test_whole_epochs_make_up_the_steps_exactly(steps: int, at_most: int, length: int) -> None:
    assert longest_epoch(steps, at_most) == length


@pytest.mark.parametrize(("length", "search", "fixed"), [(0, 1, 1), (5, 0, 0), (5, -1, 3)])
def test_a_schedule_without_steps_is_refused(tmp_path: Path, length: int, search: int, fixed: int) -> None:
    Schedule(length, search, fixed).save(tmp_path / "schedule.json")
    with pytest.raises(UserError, match=r"schedule\.json: a schedule without steps"):
        Schedule.load(tmp_path / "schedule.json")


@pytest.mark.parametrize(
    ("seconds", "step_seconds", "epochs"), [(100.0, 1.0, 10), (109.0, 1.0, 10), (5.0, 1.0, 1), (0.0, 1.0, 1)]
)
def test_whole_epochs_fit_and_one_at_least(seconds: float, step_seconds: float, epochs: int) -> None:
    assert epochs_in(seconds, step_seconds, 10) == epochs


def test_steps_are_timed_with_their_batches_and_without_the_first() -> None:
    def batches() -> Iterator[float]:
        for seconds in (0.5, 0.01, 0.04, 0.01):
            time.sleep(seconds)
            yield seconds

    engine = Engine(lambda engine, batch: None)
    timed = step_seconds(engine, lambda: engine.run(batches(), epoch_length=4))
    assert len(timed) == 3 and max(timed) < 0.2
    assert timed[1] >= 0.04 and min(timed) >= 0.01


def test_neither_the_first_steps_nor_a_busy_moment_count() -> None:
    assert typical_seconds([9.0, 8.0, 7.0, 1.0, 1.2, 50.0, 1.1, 1.0]) == pytest.approx(1.1)
