"""``monai-nas report``: the cases that it picks, and a user's mistakes."""

import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from typer.testing import CliRunner, Result

from monai_nas.cli.app import app
from monai_nas.pipelines.evaluate import evaluate_folder
from monai_nas.tasks import load_task

pytest.importorskip("matplotlib", reason="pictures need monai-nas[reports]")


@pytest.fixture(scope="module")
def scored(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three phantoms with predictions and scores: the first is shifted, the second empty, the third the truth."""
    folder = tmp_path_factory.mktemp("scored")
    names = [path.name for path in sorted((phantoms / "labelsTr").iterdir())[:3]]
    for source, target in (("imagesTr", "images"), ("labelsTr", "labels"), ("labelsTr", "pred")):
        (folder / target).mkdir()
        for name in names:
            shutil.copy(phantoms / source / name, folder / target / name)
    for name, change in zip(names, (lambda labels: np.roll(labels, 2, axis=0), np.zeros_like), strict=False):
        label = nibabel.load(folder / "labels" / name)
        changed = change(np.asarray(label.dataobj).astype(np.uint8))
        nibabel.save(nibabel.Nifti1Image(changed, label.affine), folder / "pred" / name)
    evaluate_folder(load_task(None, phantoms), folder / "pred", folder / "labels", folder / "scores.json")
    return folder


def report(folder: Path, out: Path, *more: str) -> Result:
    arguments = [f"--{name}={folder / name}" for name in ("pred", "images", "labels")]
    return CliRunner().invoke(app, ["report", *arguments, f"--scores={folder / 'scores.json'}", f"--out={out}", *more])


def names_in(result: Result) -> list[str]:
    assert result.exit_code == 0, result.output
    return result.stdout.strip().partition(": ")[2].split(", ")


def test_the_worst_cases_come_first(scored: Path, tmp_path: Path) -> None:
    first, second, third = sorted(path.name.removesuffix(".nii.gz") for path in (scored / "pred").iterdir())
    assert names_in(report(scored, tmp_path / "three.png")) == [second, first, third]
    assert names_in(report(scored, tmp_path / "one.png", "--cases=1")) == [second]
    assert names_in(report(scored, tmp_path / "chosen.png", f"--case={third}", f"--case={first}")) == [third, first]
    assert (tmp_path / "three.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_help_shows_an_example() -> None:
    assert "monai-nas report" in CliRunner().invoke(app, ["report", "--help"]).output.partition("Example")[2]


def test_an_unknown_case_is_one_line(scored: Path, tmp_path: Path) -> None:
    result = report(scored, tmp_path / "a.png", "--case=nobody")
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert "nobody" in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_folders_of_other_cases_are_one_line(scored: Path, phantoms: Path, tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    shutil.copy(next((phantoms / "imagesTs").iterdir()), tmp_path / "images")
    for name in ("pred", "labels", "scores.json"):
        (tmp_path / name).symlink_to(scored / name)
    result = report(tmp_path, tmp_path / "a.png")
    assert result.exit_code == 2
    assert "has no file of case" in result.stderr
    assert not (tmp_path / "a.png").exists()
