"""``monai-nas bundle``: its two forms, and what is neither."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from monai_nas.cli.app import app
from monai_nas.files import read_json

runner = CliRunner()


def bundle(*arguments: str | Path) -> tuple[int, str]:
    """Run the verb; return its exit status and what it says on stderr."""
    result = runner.invoke(app, ["bundle", *map(str, arguments)])
    return result.exit_code, result.stderr


def test_a_bundle_to_be_trained_is_made_of_task_plan_and_a_bundles_architecture(
    finished_run: Path, tmp_path: Path
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    parts = ("--task", "task04_hippocampus", "--plan", finished_run / "plan.json")
    assert bundle(*parts, "--architecture", finished_run / "architecture.json", "--out", first) == (0, "")
    assert bundle(*parts, "--architecture", first / "configs" / "inference.json", "--out", second) == (0, "")
    config = read_json(first / "configs" / "inference.json")
    assert config == read_json(second / "configs" / "inference.json")
    assert config["network_def"]["architecture"] == read_json(finished_run / "architecture.json")
    assert not (first / "models").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ("", "--task, --plan, --architecture missing"),
        ("--task Task09_Spleen --plan plan.json", "--architecture missing"),
        ("--run runs/search --plan plan.json", "--run and --plan: give --run alone"),
        ("--run absent", "absent: no such folder"),
        ("--run . --estimate absent", "absent: no such folder"),
        ("--estimate runs/fold_0 --task Task09_Spleen", "--estimate stands beside --run"),
        ("--task Task09_Spleen --plan absent.json --architecture absent.json", "absent.json: no such file"),
        ("--task Spline --plan plan.json --architecture architecture.json", "Spline: no such task"),
    ],
)
def test_neither_form_is_one_line(options: str, says: str, tmp_path: Path) -> None:
    status, message = bundle(*options.split(), "--out", tmp_path / "bundle")
    assert status == 2
    assert says in message
    assert len(message.splitlines()) == 1
    assert not (tmp_path / "bundle").exists()
