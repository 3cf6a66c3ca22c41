"""Each fault planted in a sound dataset of phantoms is found, named, and of the right severity."""

import gzip
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_nas.data.check import Finding, check_dataset
from monai_nas.data.synthetic import write_phantoms
from monai_nas.tasks import SegTask

TASK = SegTask("Own", "", ("CT",), ("background", "organ", "tumour"), 4, 1, None, (1.0, 1.0, 1.0))
IMAGE, LABEL = "imagesTr/own_002.nii.gz", "labelsTr/own_002.nii.gz"
Fault = Callable[[Path], object]


@pytest.fixture(scope="session")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_phantoms(TASK, tmp_path_factory.mktemp("check") / "own", 4, 1, seed=0, scale=0.4)


@pytest.fixture
def data(sound: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sound, tmp_path / "own"))


def rewrite(path: Path, change: Callable[[Any, Any], tuple[Any, Any]]) -> None:
    image = nibabel.loadsave.load(path)
    assert isinstance(image, nibabel.nifti1.Nifti1Image)
    array, affine = change(np.asanyarray(image.dataobj).copy(), np.array(image.affine))
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call]


def with_value(value: float) -> Callable[[Any, Any], tuple[Any, Any]]:
    def change(array: Any, affine: Any) -> tuple[Any, Any]:
        array = array.astype(np.float32)
        array[1, 1, 1] = value
        return array, affine

    return change


def relist(data: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads((data / "dataset.json").read_text())
    change(record)
    (data / "dataset.json").write_text(json.dumps(record))


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def zero_spacing(path: Path) -> None:
    header = bytearray(gzip.decompress(path.read_bytes()))
    header[280:296] = bytes(16)  # srow_x of the NIfTI header
    path.write_bytes(gzip.compress(bytes(header)))


def scale_both(data: Path) -> None:
    for name in (IMAGE, LABEL):
        rewrite(data / name, lambda array, affine: (array, affine @ np.diag([1, 1, 2, 1])))


def test_sound_data_has_no_findings(data: Path) -> None:
    for name in ("imagesTr/._own_001.nii.gz", "labelsTr/._own_001.nii.gz", "imagesTr/._x.nii.gz", "imagesTs/._y.nii"):
        (data / name).write_bytes(b"\0\5\26\7")
    relist(data, lambda record: record["training"].append({"image": "imagesTr/._x.nii.gz", "label": "x"}))
    assert check_dataset(data) == []


FAULTS: list[tuple[str, Fault, str, str]] = [
    ("no label", lambda data: (data / LABEL).unlink(), LABEL, "no such file"),
    ("no image", lambda data: (data / IMAGE).unlink(), IMAGE, "no such file"),
    ("shape", lambda data: rewrite(data / LABEL, lambda a, f: (a[:-1], f)), LABEL, "the image has"),
    ("affine", lambda data: rewrite(data / LABEL, lambda a, f: (a, f @ np.diag([1, 1, 1.1, 1]))), LABEL, "affine"),
    ("flip", lambda data: rewrite(data / LABEL, lambda a, f: (a, f @ np.diag([-1, 1, 1, 1]))), LABEL, "affine"),
    ("channels", lambda data: rewrite(data / IMAGE, lambda a, f: (np.stack([a, a], -1), f)), IMAGE, "2 channels"),
    ("foreign label", lambda data: rewrite(data / LABEL, with_value(3)), LABEL, "label 3 outside"),
    ("negative label", lambda data: rewrite(data / LABEL, with_value(-1)), LABEL, "label -1 outside"),
    ("fraction", lambda data: rewrite(data / LABEL, with_value(0.5)), LABEL, "label 0.5 outside"),
    ("nan label", lambda data: rewrite(data / LABEL, with_value(np.nan)), LABEL, "NaN"),
    ("nan", lambda data: rewrite(data / IMAGE, with_value(np.nan)), IMAGE, "1 voxels are NaN or Inf"),
    ("inf", lambda data: rewrite(data / IMAGE, with_value(np.inf)), IMAGE, "1 voxels are NaN or Inf"),
    ("empty", lambda data: rewrite(data / IMAGE, lambda a, f: (a * 0, f)), IMAGE, "all voxels are 0"),
    ("vectors", lambda data: rewrite(data / IMAGE, lambda a, f: (a[..., None, None], f)), IMAGE, "neither x, y, z nor"),
    ("cut", lambda data: (data / IMAGE).write_bytes((data / IMAGE).read_bytes()[:2000]), IMAGE, "unreadable"),
    ("last byte cut", lambda data: (data / LABEL).write_bytes((data / LABEL).read_bytes()[:-1]), LABEL, "unreadable"),
    ("bit rot", lambda data: flip_a_bit(data / IMAGE), IMAGE, "unreadable"),
    ("test cut", lambda data: (data / "imagesTs/own_005.nii.gz").write_text("x"), "imagesTs/own_005.nii.gz", "unread"),
    ("zero spacing", lambda data: zero_spacing(data / IMAGE), IMAGE, "affine"),
    ("no dataset.json", lambda data: (data / "dataset.json").unlink(), "dataset.json", "no such file"),
    ("no JSON", lambda data: (data / "dataset.json").write_text("{"), "dataset.json", "not readable as JSON"),
    ("no labels", lambda data: relist(data, lambda r: r.pop("labels")), "dataset.json", "'labels' is None"),
    ("empty list", lambda data: relist(data, lambda r: r.update(training=[])), "dataset.json", "no training cases"),
    ("twice", lambda data: relist(data, lambda r: r["training"].append(r["training"][0])), "dataset.json", "2 times"),
    (
        "stray image",
        lambda data: shutil.copy(data / IMAGE, data / "imagesTr/z.nii.gz"),
        "imagesTr/z.nii.gz",
        "no label",
    ),
    (
        "stray label",
        lambda data: shutil.copy(data / LABEL, data / "labelsTr/z.nii.gz"),
        "labelsTr/z.nii.gz",
        "no image",
    ),
    ("no folder", lambda data: shutil.rmtree(data / "imagesTr"), "imagesTr", "no such folder"),
]


@pytest.mark.parametrize(("fault", "file", "message"), [row[1:] for row in FAULTS], ids=[row[0] for row in FAULTS])
def test_errors(data: Path, fault: Fault, file: str, message: str) -> None:
    fault(data)
    findings = check_dataset(data)
    assert any(f.severity == "error" and f.file == file and message in f.message for f in findings), findings
    assert all("\n" not in str(finding) for finding in findings)


WARNINGS: list[tuple[str, Fault, str, str]] = [
    ("absent", lambda data: rewrite(data / LABEL, lambda a, f: (np.minimum(a, 1), f)), LABEL, "no voxel of tumour"),
    ("background", lambda data: rewrite(data / LABEL, lambda a, f: (a * 0, f)), LABEL, "all background"),
    ("spacing", scale_both, IMAGE, "spacing"),
    ("count", lambda data: relist(data, lambda r: r.update(numTraining=9)), "dataset.json", "published are 9"),
    ("no test scans", lambda data: shutil.rmtree(data / "imagesTs"), "imagesTs", "cannot be predicted"),
]


@pytest.mark.parametrize(("fault", "file", "message"), [row[1:] for row in WARNINGS], ids=[row[0] for row in WARNINGS])
def test_warnings_are_the_only_finding(data: Path, fault: Fault, file: str, message: str) -> None:
    fault(data)
    (finding,) = check_dataset(data)
    assert (finding.severity, finding.file) == ("warning", file) and message in finding.message


def name_labels_apart(data: Path) -> None:
    """Call the label of imagesTr/own_002.nii.gz labelsTr/own_002_seg.nii.gz, and list it so, without "./"."""
    for label in sorted((data / "labelsTr").iterdir()):
        label.rename(label.with_name(label.name.replace(".nii.gz", "_seg.nii.gz")))
    relist(data, lambda record: [entry.update(renamed(entry)) for entry in record["training"]])


def renamed(entry: dict[str, str]) -> dict[str, str]:
    return {
        "image": entry["image"].removeprefix("./"),
        "label": entry["label"].removeprefix("./").replace(".nii.gz", "_seg.nii.gz"),
    }


def test_labels_need_not_be_named_as_their_images(data: Path) -> None:
    name_labels_apart(data)
    assert check_dataset(data) == []
    shutil.copy(data / IMAGE, data / "imagesTr" / "z.nii.gz")  # whose label could have any name
    (finding,) = check_dataset(data)
    assert (finding.severity, finding.file) == ("warning", "imagesTr/z.nii.gz")
    (data / "imagesTr" / "z.nii.gz").unlink()
    (data / "labelsTr" / "own_002_seg.nii.gz").unlink()
    (finding,) = check_dataset(data)
    assert (finding.severity, finding.file) == ("error", "labelsTr/own_002_seg.nii.gz")


def test_other_ways_of_writing_a_dataset_json_are_sound(data: Path) -> None:
    def rewrite_listing(record: dict[str, Any]) -> None:
        record["test"] = [{"image": path.removeprefix("./")} for path in record["test"]]
        record["numTraining"] = str(record["numTraining"])
        del record["numTest"]

    relist(data, rewrite_listing)
    assert check_dataset(data) == []


def test_a_given_task_overrules_the_dataset_json(data: Path) -> None:
    other = SegTask("Other", "", ("T2", "ADC"), ("background", "organ"), 4, 1)
    messages = [finding.message for finding in check_dataset(data, other)]
    assert sum("1 channels, but Other has 2 (T2, ADC)" in message for message in messages) == 5
    assert sum("label 2 outside" in message for message in messages) == 4


def test_a_finding_is_one_line_with_its_file() -> None:
    assert str(Finding("error", "imagesTr/a.nii.gz", "broken")) == "error: imagesTr/a.nii.gz: broken"


@pytest.mark.realdata
@pytest.mark.parametrize(("folder", "expected"), [("Task04_Hippocampus", 2), ("Task11_Sarcoma", 0)])
def test_real_data_is_sound(msd_root: Path, folder: str, expected: int) -> None:
    findings = check_dataset(msd_root / folder)
    assert len(findings) == expected and all(finding.severity == "warning" for finding in findings)
