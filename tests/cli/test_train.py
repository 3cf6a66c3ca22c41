"""What `monai-nas train --architecture` takes: a file, or the name of a network made by hand."""

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from monai_nas.architecture import Architecture
from monai_nas.cli.app import app

runner = CliRunner()


@pytest.mark.parametrize("name", ["res_unet", "dynunet"])
def test_a_name_reaches_the_training(
    name: str, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("monai_nas.pipelines.train.train", lambda *places, **values: seen.append(values))
    arguments = ["--data", str(phantoms), "--architecture", name, "--out", str(tmp_path / "run")]
    assert runner.invoke(app, ["train", *arguments]).exit_code == 0
    assert seen[0]["architecture"] == Architecture.create(name, {}, {}) and seen[0]["teachers"] == ()
    assert runner.invoke(app, ["train", *arguments, "--teacher", "runs/a", "--teacher", "runs/b"]).exit_code == 0
    assert [str(run) for run in seen[1]["teachers"]] == ["runs/a", "runs/b"]


def test_a_wrong_name_is_one_line_with_the_right_ones(phantoms: Path, tmp_path: Path) -> None:
    arguments = ["--data", str(phantoms), "--architecture", "res_unit", "--out", str(tmp_path / "run")]
    result = runner.invoke(app, ["train", *arguments])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: res_unit: ") and line.endswith("dynunet, res_unet")
    assert not (tmp_path / "run").exists()


def test_help_names_them() -> None:
    output = runner.invoke(app, ["train", "--help"]).output
    assert "--architecture res_unet" in " ".join(output.split())
