"""Blocks of documents: written from the result file, the same when written twice, loud when the file lacks a value."""

import math
from pathlib import Path

import pytest

from monai_nas.errors import UserError
from monai_nas.export.tables import fill_tables, main
from monai_nas.files import write_json
from monai_nas.metrics import CaseScores, ScoreTable


def block(opening: str) -> str:
    return f"before\n\n<!-- {opening} -->\nold\n<!-- end -->\n\nafter\n"


def body(opening: str, folder: Path) -> str:
    text = fill_tables(block(opening), folder)
    assert text.startswith(f"before\n\n<!-- {opening} -->\n")
    assert text.endswith("\n<!-- end -->\n\nafter\n")
    assert fill_tables(text, folder) == text
    return text.partition("-->\n")[2].partition("\n<!-- end")[0]


def test_scores_are_means_in_percent(tmp_path: Path) -> None:
    cases = (
        CaseScores("1", (0.8, math.nan), (1.0, math.nan), 2.0),
        CaseScores("2", (0.9, 0.5), (0.9, 0.25), 2.0),
    )
    ScoreTable("Liver", ("liver", "tumour"), "published", cases).save(tmp_path / "scores.json")
    written = body("scores: scores.json", tmp_path)
    assert "| Liver, 2 cases, % | Dice | NSD at 2 mm |" in written
    assert "| liver | 85.0 | 95.0 |" in written
    assert "| tumour | 50.0 | 25.0 |" in written
    assert "| mean | 67.5 | 60.0 |" in written


def test_values_and_rows_follow_keys(tmp_path: Path) -> None:
    record = {"steps": 12345, "size": [1, 2.5], "a": {"mean": 0.123456, "max": 3}, "b": {"mean": 1.0, "max": 4}}
    write_json(tmp_path / "run.json", record)
    values = body("values: run.json; steps; size as patch; a.mean", tmp_path)
    assert values.splitlines()[2:] == ["| steps | 12,345 |", "| patch | 1, 2.5 |", "| a.mean | 0.1235 |"]
    assert "| size.1 | 2.5 |" in body("values: run.json; size.1", tmp_path)
    with pytest.raises(UserError, match=r"has no value 'size\.2'"):
        body("values: run.json; size.2", tmp_path)
    rows = body("rows: run.json; mean, max as most; a; b as the other", tmp_path)
    assert rows.splitlines()[0] == "| from `run.json` | mean | most |"
    assert rows.splitlines()[2:] == ["| a | 0.1235 | 3 |", "| the other | 1 | 4 |"]


def test_a_picture_is_shown_once_it_is_there(tmp_path: Path) -> None:
    assert body("picture: a.png; what it shows", tmp_path) == "*Not there yet: `a.png`.*"
    (tmp_path / "a.png").touch()
    assert body("picture: a.png; what it shows", tmp_path) == "![what it shows](a.png)"


def test_a_value_that_is_not_there_is_named(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", {"a": {"b": 1}})
    with pytest.raises(UserError, match=r"run\.json: has no value 'a\.c'"):
        fill_tables(block("values: run.json; a.c"), tmp_path)
    with pytest.raises(UserError, match="unknown kind 'score'"):
        fill_tables(block("score: run.json"), tmp_path)


def test_documents_are_written_in_place(tmp_path: Path) -> None:
    document = tmp_path / "page.md"
    document.write_text(block("values: run.json; a"))
    write_json(tmp_path / "run.json", {"a": 7})
    main([str(document)])
    assert "| a | 7 |" in document.read_text()
    with pytest.raises(SystemExit, match=r"absent\.md"):
        main([str(tmp_path / "absent.md")])
