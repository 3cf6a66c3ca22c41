"""Who works when, and what is made of the seconds."""

import time

import pytest

from monai_nas.benchmarks.speed.contest import Contender, contest


def test_contenders_work_in_turn_and_the_first_round_is_not_timed() -> None:
    order: list[str] = []

    def worker(name: str) -> Contender:
        return Contender(name, lambda: order.append(name), f"appends {name}")

    shares: list[float] = []
    record = contest([worker("ours"), worker("other")], repetitions=2, tick=shares.append)["contenders"]
    assert order == ["ours", "other"] * 3
    assert [len(values["seconds"]) for values in record.values()] == [2, 2]
    assert record["other"]["about"] == "appends other"
    assert shares == pytest.approx([1 / 6, 2 / 6, 3 / 6, 4 / 6, 5 / 6, 1.0])


def test_who_has_warmed_up_is_timed_from_the_first_round_on() -> None:
    order: list[str] = []
    shares: list[float] = []
    ours = Contender("ours", lambda: order.append("ours"), "")
    record = contest([ours], repetitions=2, warmed_up=True, tick=shares.append)["contenders"]
    assert order == ["ours"] * 2 and len(record["ours"]["seconds"]) == 2 and shares == [0.5, 1.0]


def test_ratios_are_those_of_medians() -> None:
    naps = iter([0.0, 0.0, 0.01, 0.05, 0.01, 0.05, 0.01, 0.6])  # of ours and the other, in turn

    def nap() -> None:
        time.sleep(next(naps))

    record = contest([Contender("ours", nap, ""), Contender("other", nap, "")], repetitions=3)["contenders"]
    assert record["ours"]["times_as_long"] == 1.0
    assert 0.05 <= record["other"]["median_seconds"] < 0.3  # the mean would be above 0.23
    expected = record["other"]["median_seconds"] / record["ours"]["median_seconds"]
    assert record["other"]["times_as_long"] == pytest.approx(expected)
