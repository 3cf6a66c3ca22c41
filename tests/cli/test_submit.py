"""``monai-nas submit``: what it prints, and with which exit status it leaves."""

import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import typer
from typer.testing import CliRunner, Result

from monai_nas.cli.app import GuardedGroup
from monai_nas.cli.submit import submit
from monai_nas.data.synthetic import write_phantoms
from monai_nas.tasks import msd_task

TASK = "Task04_Hippocampus"
app = typer.Typer(cls=GuardedGroup, add_completion=False, pretty_exceptions_enable=False)
app.command()(submit)
app.callback()(lambda: None)  # with one command alone typer makes no group


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(msd_task(TASK), tmp_path_factory.mktemp("submit") / TASK, 1, 5, seed=0, scale=0.2)


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / TASK))


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["submit", *map(str, arguments)])


def spoil(archive: Path, name: str, change: Callable[[Path], object], folder: Path) -> None:
    """Change or remove one label map of an archive, as someone would by hand."""
    with zipfile.ZipFile(archive) as opened:
        opened.extractall(folder)
    change(folder / TASK / name)
    with zipfile.ZipFile(archive, "w") as opened:
        for path in sorted((folder / TASK).iterdir()):
            opened.write(path, f"{TASK}/{path.name}")


def rewrite(path: Path, dtype: type, value: float, shift_mm: float) -> None:
    image = nibabel.loadsave.load(path)
    array, affine = np.asanyarray(image.dataobj).astype(dtype), np.array(image.affine)
    array[0, 0, 0], affine[2, 3] = value, affine[2, 3] + shift_mm
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(array, affine, dtype=array.dtype), path)


def test_write_then_check(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out" / "task04.zip"
    written = run("--task", TASK, "--data", data, "--pred", data / "labelsTs", "--out", out)
    assert written.exit_code == 0, written.output
    assert "0 errors, 1 warnings" in written.stderr
    assert "unverified" in written.stderr
    checked = run("--check", out, "--data", data, "--task", TASK)
    assert checked.exit_code == 0, checked.output
    assert checked.stdout == written.stdout
    assert checked.stdout.startswith(f"warning: {TASK}/dataset.json: lists 5 test cases")


def test_each_fault_of_an_archive_is_a_line(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "task04.zip"
    run("--data", data, "--pred", data / "labelsTs", "--out", out)
    changes = (
        lambda path: path.unlink(),
        lambda path: rewrite(path, np.uint8, 0, 3.0),
        lambda path: rewrite(path, np.uint8, 7, 0.0),
        lambda path: rewrite(path, np.float32, 0, 0.0),
    )
    for number, change in enumerate(changes, start=2):
        spoil(out, f"hippocampus_00{number}.nii.gz", change, tmp_path / f"unpacked{number}")
    result = run("--check", out, "--data", data)
    assert result.exit_code == 2
    lines = [line for line in result.stdout.splitlines() if line.startswith("error: ")]
    assert len(lines) == 4
    for number, (line, named) in enumerate(zip(lines, ("missing", "affine", "label 7", "float"), strict=True), start=2):
        assert f"{TASK}/hippocampus_00{number}.nii.gz: " in line
        assert named in line
    assert result.stderr.endswith("4 errors, 1 warnings\n")


def test_an_empty_label_map_is_no_error(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "task04.zip"
    path = data / "labelsTs" / "hippocampus_002.nii.gz"
    image = nibabel.loadsave.load(path)
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(np.zeros(image.shape, np.uint8), image.affine), path)
    assert run("--data", data, "--pred", data / "labelsTs", "--out", out).exit_code == 0
    result = run("--check", out, "--data", data)
    assert result.exit_code == 0
    assert "hippocampus_002.nii.gz: all background" in result.stdout


def test_a_fault_of_a_prediction_keeps_the_archive_from_being_written(data: Path, tmp_path: Path) -> None:
    (data / "labelsTs" / "hippocampus_002.nii.gz").unlink()
    result = run("--data", data, "--pred", data / "labelsTs", "--out", tmp_path / "new" / "task04.zip")
    assert result.exit_code == 2
    assert "hippocampus_002.nii.gz: missing" in result.stdout
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--data", "{data}"), "--pred and --out"),
        (("--data", "{data}", "--pred", "{data}/labelsTs"), "--pred and --out"),
        (("--data", "{data}", "--check", "{data}/dataset.json", "--out", "a.zip"), "--check goes without"),
        (("--data", "{data}", "--check", "{data}/absent.zip"), "absent.zip: no such file"),
        (("--data", "{data}", "--check", "{data}"), "no such file"),
        (("--data", "{data}/absent", "--check", "{data}/dataset.json"), "absent: no such folder"),
        (("--data", "{data}", "--pred", "{data}/absent", "--out", "a.zip"), "absent: no such folder"),
        (("--data", "{data}", "--pred", "{data}/labelsTs", "--out", "{data}"), "is a folder"),
        (("--data", "{data}", "--pred", "{data}/labelsTs", "--out", "{data}/dataset.json/a.zip"), "cannot be created"),
        (("--data", "{data}", "--pred", "{data}/labelsTs", "--out", "a.zip", "--task", "Task04_Hipocampus"), "did you"),
        (("--data", "{data}", "--pred", "{data}/labelsTs", "--out", "a.zip", "--task", "all"), "Task01_BrainTumour"),
        (("--data", "{data}/imagesTs", "--pred", "{data}/labelsTs", "--out", "a.zip"), "dataset.json: no such file"),
    ],
)
def test_a_users_mistake_is_one_line(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], named: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = run(*(argument.format(data=data) for argument in arguments))
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert named in line
    assert not (tmp_path / "a.zip").exists()


def test_a_damaged_archive_is_one_finding(data: Path) -> None:
    result = run("--check", data / "dataset.json", "--data", data)
    assert result.exit_code == 2
    assert result.stdout.startswith("error: dataset.json: not a ZIP file")


def test_help_shows_an_example() -> None:
    assert "monai-nas submit" in run("--help").output.partition("Example")[2]
