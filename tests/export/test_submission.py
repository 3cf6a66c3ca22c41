"""The archive of the leaderboard: what goes in, under which name, and what keeps it from being written."""

import gzip
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_nas.data.check import Finding
from monai_nas.data.synthetic import write_phantoms
from monai_nas.errors import UserError
from monai_nas.export.submission import load_share, write_submission
from monai_nas.export.submission_check import check_submission
from monai_nas.tasks import MSD_TASKS, msd_task

TASK = "Task04_Hippocampus"
CASE = "hippocampus_003.nii.gz"


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Task04 with three test cases, 002 to 004; its labelsTs are sound predictions."""
    return write_phantoms(msd_task(TASK), tmp_path_factory.mktemp("submission") / TASK, 1, 3, seed=0, scale=0.2)


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / TASK))


@pytest.fixture(scope="module")
def decathlon(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The folders of all ten tasks with one test case each, and those of their predictions."""
    root = tmp_path_factory.mktemp("decathlon")
    for task in MSD_TASKS:
        folder = write_phantoms(task, root / "data" / task.name, 1, 1, seed=0, scale=0.2)
        shutil.copytree(folder / "labelsTs", root / "pred" / task.name)
    return root / "data", root / "pred"


def relist(data: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((data / "dataset.json").read_text())
    change(record)
    (data / "dataset.json").write_text(json.dumps(record))


def rewrite(path: Path, change: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    image = nibabel.loadsave.load(path)
    array, affine = change(np.asanyarray(image.dataobj).copy(), np.array(image.affine))
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(array, affine, dtype=array.dtype), path)


def with_value(value: float, dtype: type) -> Callable[[Any, Any], tuple[Any, Any]]:
    def change(array: Any, affine: Any) -> tuple[Any, Any]:
        array = array.astype(dtype)
        array[1, 1, 1] = value
        return array, affine

    return change


def errors(findings: list[Finding]) -> list[str]:
    return [str(finding) for finding in findings if finding.severity == "error"]


def warnings_of(findings: list[Finding]) -> list[str]:
    """The warnings, but for the one that phantoms are fewer than the published cases."""
    return [str(f) for f in findings if f.severity == "warning" and not f.file.endswith("dataset.json")]


def test_round_trip(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder" / "task04.zip"
    findings = write_submission(data, data / "labelsTs", out)
    assert [finding.severity for finding in findings] == ["warning"]
    assert "lists 3 test cases, published are 130" in findings[0].message
    assert [path.name for path in out.parent.iterdir()] == ["task04.zip"]
    with zipfile.ZipFile(out) as archive:
        assert archive.namelist() == [f"{TASK}/hippocampus_00{number}.nii.gz" for number in (2, 3, 4)]
        for name in archive.namelist():
            label = nibabel.nifti1.Nifti1Image.from_bytes(gzip.decompress(archive.read(name)))
            truth = nibabel.loadsave.load(data / "labelsTs" / Path(name).name)
            image = nibabel.loadsave.load(data / "imagesTs" / Path(name).name)
            assert label.get_data_dtype() == np.uint8
            np.testing.assert_array_equal(np.asanyarray(label.dataobj), np.asanyarray(truth.dataobj))
            np.testing.assert_array_equal(label.affine, image.affine)
            for code in ("qform_code", "sform_code"):
                assert label.header[code] == image.header[code]
    assert check_submission(out, data) == findings


def test_the_bytes_depend_on_the_labels_alone(data: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "a.zip", tmp_path / "b.zip"
    write_submission(data, data / "labelsTs", first)
    relist(data, lambda record: record["test"].reverse())
    for path, dtype in zip(sorted((data / "labelsTs").iterdir()), (np.int16, np.int64, np.uint8), strict=False):
        rewrite(path, lambda array, affine, dtype=dtype: (array.astype(dtype), affine))
    assert not errors(write_submission(data, data / "labelsTs", second))
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("plant", "named"),
    [
        (lambda path: path.unlink(), "missing"),
        (lambda path: path.write_bytes(path.read_bytes()[:-10]), "unreadable"),
        (lambda path: path.write_bytes(b""), "unreadable"),
        (lambda path: rewrite(path, lambda array, affine: (array, affine + 1e-1 * np.eye(4))), "affine"),
        (lambda path: rewrite(path, lambda array, affine: (array[1:], affine)), "shape"),
        (lambda path: rewrite(path, with_value(7, np.uint8)), "label 7"),
        (lambda path: rewrite(path, with_value(256, np.int16)), "label 256"),
        (lambda path: rewrite(path, with_value(1, np.float32)), "float data"),
        (lambda path: rewrite(path, with_value(np.nan, np.float32)), "float data"),
        (lambda path: rewrite(path, lambda array, affine: (np.stack([array] * 3, -1), affine)), "3 channels"),
    ],
)
def test_a_fault_is_named_and_nothing_is_written(
    data: Path, tmp_path: Path, plant: Callable[[Path], object], named: str
) -> None:
    out = tmp_path / "task04.zip"
    out.write_bytes(b"the earlier one")
    plant(data / "labelsTs" / CASE)
    found = errors(write_submission(data, data / "labelsTs", out))
    assert named in found[0]
    assert all(str(data / "labelsTs" / CASE) in line for line in found)
    assert out.read_bytes() == b"the earlier one"


def test_a_lost_test_image_is_named(data: Path, tmp_path: Path) -> None:
    (data / "imagesTs" / CASE).unlink()
    (line,) = errors(write_submission(data, data / "labelsTs", tmp_path / "a.zip"))
    assert f"imagesTs/{CASE}: no such file" in line


def test_an_earlier_archive_is_replaced(data: Path, tmp_path: Path) -> None:
    out = tmp_path / "task04.zip"
    out.write_bytes(b"the earlier one")
    write_submission(data, data / "labelsTs", out)
    assert zipfile.is_zipfile(out)


def test_background_and_other_label_maps_are_warnings(data: Path, tmp_path: Path) -> None:
    rewrite(data / "labelsTs" / CASE, lambda array, affine: (np.zeros_like(array), affine))
    shutil.copy(data / "labelsTs" / CASE, data / "labelsTs" / "stranger.nii.gz")
    (data / "labelsTs" / f"._{CASE}").write_bytes(b"of macOS")
    findings = write_submission(data, data / "labelsTs", tmp_path / "a.zip")
    stranger, empty = warnings_of(findings)
    assert "stranger.nii.gz: left out" in stranger
    assert f"{CASE}: all background" in empty
    assert not errors(findings)
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert len(archive.namelist()) == 3


def test_a_task_of_ones_own_keeps_its_name(data: Path, tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        record |= {"name": "My Organ", "labels": {"0": "background", "1": "a", "2": "b"}}
        record["test"] = [{"image": name} for name in record["test"]]

    own = Path(shutil.move(data, tmp_path / "own"))
    relist(own, change)
    assert write_submission(own, own / "labelsTs", tmp_path / "own.zip") == []
    with zipfile.ZipFile(tmp_path / "own.zip") as archive:
        assert archive.namelist()[0] == "My Organ/hippocampus_002.nii.gz"


@pytest.mark.parametrize("name", ["a/b", "a\\b", "/a", "C:", "..", ".hidden"])
def test_a_name_that_is_no_folder_is_refused(data: Path, tmp_path: Path, name: str) -> None:
    own = Path(shutil.move(data, tmp_path / "own"))
    relist(own, lambda record: record.update(name=name, labels={"0": "background", "1": "a"}))
    with pytest.raises(UserError, match="cannot be a folder's"):
        load_share(own)


def test_test_images_of_other_formats(data: Path, tmp_path: Path) -> None:
    itk = pytest.importorskip("itk")
    given = nibabel.loadsave.load(data / "imagesTs" / CASE)
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ given.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    image = itk.image_from_array(np.asarray(given.dataobj, dtype=np.float32).transpose(2, 1, 0))
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(lps[:3, 3].tolist())
    image.SetDirection(itk.matrix_from_array(lps[:3, :3] / spacing))
    itk.imwrite(image, str(data / "imagesTs" / "hippocampus_003.mha"))
    relist(data, lambda record: record.update(test=["./imagesTs/hippocampus_003.mha"]))
    assert not errors(write_submission(data, data / "labelsTs", tmp_path / "a.zip"))
    assert not errors(check_submission(tmp_path / "a.zip", data))


def test_cases_without_a_place_on_the_leaderboard_stay_out(tmp_path: Path) -> None:
    data = write_phantoms(msd_task("Task03_Liver"), tmp_path / "Task03_Liver", 1, 2, seed=0, scale=0.2)
    for folder in ("imagesTs", "labelsTs"):
        (data / folder / "liver_003.nii.gz").rename(data / folder / "liver_141.nii.gz")
    relist(data, lambda record: record["test"].append(record["test"].pop().replace("003", "141")))
    for _ in range(2):  # with and without a prediction of it
        findings = write_submission(data, data / "labelsTs", tmp_path / "a.zip")
        assert warnings_of(findings)[0].startswith("warning: Task03_Liver/liver_141.nii.gz: left out")
        with zipfile.ZipFile(tmp_path / "a.zip") as archive:
            assert archive.namelist() == ["Task03_Liver/liver_002.nii.gz"]
        (data / "labelsTs" / "liver_141.nii.gz").unlink(missing_ok=True)
    assert not warnings_of(check_submission(tmp_path / "a.zip", data))


def test_all_ten_tasks(decathlon: tuple[Path, Path], tmp_path: Path) -> None:
    data, pred = decathlon
    out = tmp_path / "all.zip"
    findings = write_submission(data, pred, out, task="all")
    assert not errors(findings)
    with zipfile.ZipFile(out) as archive:
        assert [Path(name).parent.name for name in archive.namelist()] == [task.name for task in MSD_TASKS]
    for task in ("all", None):
        assert not errors(check_submission(out, data, task=task))


def test_all_ten_tasks_are_needed(decathlon: tuple[Path, Path], tmp_path: Path) -> None:
    data, pred = (Path(shutil.copytree(folder, tmp_path / folder.name)) for folder in decathlon)
    shutil.rmtree(pred / "Task09_Spleen")
    (line,) = errors(write_submission(data, pred, tmp_path / "all.zip", task="all"))
    assert "Task09_Spleen" in line
    assert not (tmp_path / "all.zip").exists()
    shutil.rmtree(data / "Task02_Heart")
    with pytest.raises(UserError, match=r"no dataset\.json in Task02_Heart: "):
        write_submission(data, pred, tmp_path / "all.zip", task="all")


@pytest.mark.parametrize(
    ("change", "task", "message"),
    [
        (lambda record: record.update(test=[]), None, "no test cases"),
        (lambda record: record["test"].append(record["test"][0]), None, "hippocampus_002 is listed twice"),
        (lambda record: record.update(test=[1]), None, "test entry 1"),
        (lambda record: None, "Task03_Liver", "holds Task04_Hippocampus"),
        (lambda record: record.update(labels={str(n): str(n) for n in range(257)}), None, "257 entries, at most 256"),
    ],
)
def test_a_dataset_that_cannot_be_submitted(
    data: Path, tmp_path: Path, change: Callable[[dict[str, Any]], object], task: str | None, message: str
) -> None:
    relist(data, change)
    with pytest.raises(UserError, match=message) as caught:
        write_submission(data, data / "labelsTs", tmp_path / "a.zip", task=task)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "a.zip").exists()


def test_a_folder_is_no_archive(data: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is a folder"):
        write_submission(data, data / "labelsTs", tmp_path)
