"""What searches have in common, against counts by hand and an enumeration of all shuffles."""

import itertools
import statistics

import pytest

from monai_nas.benchmarks.evidence_searches import compare_searches

ONE = {"up/0-2": "conv", "up/1-2": "conv", "up/2-3": "zero", "down/0-2": "pool", "down/1-2": "zero"}
OTHER = {"up/0-2": "conv", "up/1-2": "zero", "up/2-3": "pool", "down/0-2": "pool", "down/1-2": "pool"}


def test_agreement_of_two_by_hand() -> None:
    compared = compare_searches({"a": ONE, "b": OTHER})
    assert compared is not None
    assert compared["same_operation"] == {"mean": 2 / 5, "by_pair": {"a, b": 2 / 5}}  # up/0-2 and down/0-2
    assert compared["edges"] == {"up": 6, "down": 4}
    assert compared["operations"] == {
        "up": {"conv": 3, "pool": 1, "zero": 2},
        "down": {"conv": 0, "pool": 3, "zero": 1},
    }


def test_chance_is_the_mean_over_all_shuffles_within_cells() -> None:
    compared = compare_searches({"a": ONE, "b": OTHER})
    assert compared is not None
    shares = [
        sum(value == ONE[edge] for edge, value in zip(OTHER, (*up, *down), strict=True)) / 5
        for up in itertools.permutations(list(OTHER.values())[:3])
        for down in itertools.permutations(list(OTHER.values())[3:])
    ]
    assert compared["by_chance"]["mean"] == pytest.approx(statistics.fmean(shares))


def test_three_searches_make_three_pairs() -> None:
    compared = compare_searches({"a": ONE, "b": OTHER, "c": ONE})
    assert compared is not None and compared["searches"] == 3
    assert compared["same_operation"]["by_pair"] == {"a, b": 2 / 5, "a, c": 1.0, "b, c": 2 / 5}
    assert compared["same_operation"]["mean"] == pytest.approx(3 / 5)


def test_one_search_says_nothing() -> None:
    assert compare_searches({"a": ONE}) is None
