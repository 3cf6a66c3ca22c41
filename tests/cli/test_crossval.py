"""What `monai-nas crossval` hands on and shows; the work itself is tests/pipelines/test_cross_validate.py's."""

from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from monai_nas.cli.crossval import crossval
from monai_nas.errors import UserError
from monai_nas.metrics.table import PUBLISHED, CaseScores, ScoreTable

runner = CliRunner()
app = typer.Typer()
app.command()(crossval)


def scores(*cases: tuple[str, float]) -> ScoreTable:
    """Return a table of one class with these Dice values."""
    rows = tuple(CaseScores(name, (value,), (value / 2,), 1.0) for name, value in cases)
    return ScoreTable("Task04_Hippocampus", ("hippocampus",), PUBLISHED, rows)


@pytest.fixture()
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of each cross-validation asked for; without --fold it is over, with it fold 0 is left."""
    from monai_nas.pipelines.cross_validate import CrossValidated

    calls: list[dict[str, Any]] = []
    first, second = scores(("a", 0.25)), scores(("b", 0.5), ("c", 1.0))

    def stand_in(data: Path, out: Path, **values: Any) -> CrossValidated:
        calls.append({"data": data, "out": out, **values})
        if values["fold"] is not None:
            return CrossValidated(folds={1: second}, left=(0, 2), scores=None)
        return CrossValidated(folds={1: second, 0: first}, left=(), scores=scores(("a", 0.25), ("b", 0.5), ("c", 0.9)))

    monkeypatch.setattr("monai_nas.pipelines.cross_validate.cross_validate", stand_in)
    return calls


def table_rows(output: str) -> list[list[str]]:
    """Return the cells of the lines that a rich table has drawn."""
    return [[cell.strip() for cell in line.strip("│┃").split("│")] for line in output.splitlines() if "│" in line]


def test_all_folds_end_with_a_table_and_the_ensemble(phantoms: Path, tmp_path: Path, seen: list[Any]) -> None:
    run = tmp_path / "run"
    arguments = [
        "--data",
        str(phantoms),
        "--architecture",
        "res_unet",
        "--out",
        str(run),
        "--epochs",
        "2",
        "--seed",
        "7",
    ]
    result = runner.invoke(app, [*arguments, "--float32", "--device", "cpu"])
    assert result.exit_code == 0, result.output
    (call,) = seen
    assert (call["data"], call["out"], call["fold"], call["seed"], call["epochs"]) == (phantoms, run, None, 7, 2)
    assert (call["minutes"], call["plan"], call["preset"], call["task"].num_classes) == (None, None, "cpu", 3)
    assert call["architecture"].space == "res_unet" and not call["compute"].low_precision
    rows = table_rows(result.stdout)
    assert ["0", "1", "25.0", "12.5"] in rows and ["1", "2", "75.0", "37.5"] in rows
    assert ["all", "3", "55.0", "27.5"] in rows
    assert ["hippocampus", "55.0", "27.5"] in rows
    assert "of the ensemble" in result.stdout.splitlines()[-1]


def test_one_fold_says_what_is_left(phantoms: Path, tmp_path: Path, seen: list[Any]) -> None:
    arguments = ["--data", str(phantoms), "--architecture", "dynunet", "--out", str(tmp_path / "run"), "--fold", "1"]
    result = runner.invoke(app, [*arguments, "--minutes", "1.5"])
    assert result.exit_code == 0, result.output
    assert (seen[0]["fold"], seen[0]["minutes"], seen[0]["epochs"]) == (1, 1.5, None)
    assert ["1", "2", "75.0", "37.5"] in table_rows(result.stdout) and "all" not in result.stdout
    assert "folds left: 0, 2; give the command for each with --fold" in " ".join(result.stdout.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--minutes", "1", "--epochs", "2"], "give one of the two"),
        (["--architecture", "res_unit"], "res_unit: no such file"),
        (["--data", "absent"], "absent: no such folder: give the folder that holds dataset.json"),
        (["--task", "Task04_Hipocampus"], "no such task: did you mean Task04_Hippocampus"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_is_written(
    arguments: list[str], message: str, phantoms: Path, tmp_path: Path, seen: list[Any]
) -> None:
    given = {"--data": str(phantoms), "--architecture": "res_unet", "--out": str(tmp_path / "run")}
    given |= dict(zip(arguments[::2], arguments[1::2], strict=True))
    result = runner.invoke(app, [word for pair in given.items() for word in pair])
    assert isinstance(result.exception, UserError) and message in str(result.exception)
    assert not seen and not (tmp_path / "run").exists()


def test_help_shows_an_example() -> None:
    output = " ".join(runner.invoke(app, ["--help"]).output.split())
    assert "monai-nas crossval --data Task04_Hippocampus" in output.partition("Example")[2]
