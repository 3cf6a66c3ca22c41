"""Means over cases and classes, and the JSON form."""

import json
import math
from pathlib import Path

import pytest

from monai_nas.errors import UserError
from monai_nas.metrics import CaseScores, ScoreTable
from monai_nas.metrics.table import LARGEST_SPACING, PUBLISHED

NAN = math.nan


def table(source: str = PUBLISHED, tolerances: tuple[float, float] = (1.0, 1.0)) -> ScoreTable:
    return ScoreTable(
        task="Task00_Two",
        classes=("left", "right"),
        tolerance_source=source,
        cases=(
            CaseScores("case_1", (0.9, NAN), (0.8, NAN), tolerances[0]),
            CaseScores("case_2", (0.5, 0.4), (0.6, 0.0), tolerances[1]),
        ),
    )


def test_means_leave_nan_out_per_class() -> None:
    # The mean over classes of class means, (0.7 + 0.4) / 2; not the mean of all numbers, nor of the cases' means.
    assert table().class_means("dice") == pytest.approx((0.7, 0.4))
    assert table().mean("dice") == pytest.approx(0.55)
    assert table().mean("surface_dice") == pytest.approx((0.7 + 0.0) / 2)


def test_a_class_that_no_case_has_is_null_and_not_in_the_mean() -> None:
    scores = ScoreTable("T", ("a", "b"), PUBLISHED, (CaseScores("c", (0.5, NAN), (0.5, NAN), 1.0),))
    assert scores.mean("dice") == 0.5
    assert scores.to_record()["per_class"]["dice"] == {"a": 0.5, "b": None}


def test_the_worst_cases_come_first() -> None:
    assert table().worst() == ("case_2", "case_1")
    assert table().worst(1) == ("case_2",)


def test_the_file_is_plain_json_and_reads_back(tmp_path: Path) -> None:
    path = tmp_path / "scores.json"
    table().save(path)
    record = json.loads(path.read_text(), parse_constant=lambda word: pytest.fail(f"{word} is not JSON"))
    assert record["cases"][0]["dice"] == {"left": 0.9, "right": None}
    assert record["num_cases"] == 2
    assert record["tolerance_mm"] == 1.0
    assert ScoreTable.load(path).to_record() == record


def test_it_says_where_the_tolerance_comes_from() -> None:
    record = table(LARGEST_SPACING, (1.0, 3.3)).to_record()
    assert record["tolerance_source"] == "largest spacing"
    assert record["tolerance_mm"] is None  # differs from case to case
    assert [entry["tolerance_mm"] for entry in record["cases"]] == [1.0, 3.3]


def test_bad_tables_are_rejected(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tolerance_source"):
        table("guessed")
    with pytest.raises(ValueError, match="2 scores"):
        ScoreTable("T", ("a", "b"), PUBLISHED, (CaseScores("c", (0.5,), (0.5, 0.5), 1.0),))
    with pytest.raises(ValueError, match="metric"):
        table().mean("accuracy")
    path = tmp_path / "scores.json"
    path.write_text('{"classes": ["a"]}')
    with pytest.raises(UserError, match=r"scores\.json: not a table of scores"):
        ScoreTable.load(path)
