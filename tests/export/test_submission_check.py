"""Each fault planted in a sound archive is named; archives made by others, damaged or hostile, do no harm."""

import gzip
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_nas.data.synthetic import write_phantoms
from monai_nas.errors import UserError
from monai_nas.export.submission import write_submission
from monai_nas.export.submission_check import check_submission
from monai_nas.tasks import SegTask, msd_task, read_image, unlabelled_cases

TASK = "Task04_Hippocampus"
NAMES = [f"{TASK}/hippocampus_00{number}.nii.gz" for number in range(2, 8)]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny Task04 with six test cases; its labelsTs are sound predictions."""
    return write_phantoms(msd_task(TASK), tmp_path_factory.mktemp("check") / TASK, 1, len(NAMES), seed=0, scale=0.2)


@pytest.fixture(scope="module")
def sound(data: Path) -> Mapping[str, bytes]:
    """The entries of a sound archive."""
    write_submission(data, data / "labelsTs", data.parent / "sound.zip")
    with zipfile.ZipFile(data.parent / "sound.zip") as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, entries: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)
    return path


def changed(
    content: bytes,
    array: Callable[[np.ndarray], np.ndarray] = lambda array: array,
    affine: Callable[[np.ndarray], np.ndarray] = lambda affine: affine,
    slope: float | None = None,
) -> bytes:
    image = nibabel.nifti1.Nifti1Image.from_bytes(gzip.decompress(content))
    output = nibabel.nifti1.Nifti1Image(array(np.asanyarray(image.dataobj).copy()), affine(np.array(image.affine)))
    if slope is not None:
        output.header.set_slope_inter(slope, 0)
    return gzip.compress(output.to_bytes())


def with_value(value: float, dtype: type = np.uint8) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array = array.astype(dtype)
        array[1, 1, 1] = value
        return array

    return change


def shifted(affine: np.ndarray) -> np.ndarray:
    affine[0, 3] += 5.0
    return affine


def faults(archive: Path, data: Path, task: str | None = None) -> list[str]:
    """The findings as lines, but for the one that phantoms are fewer than the published cases."""
    found = [str(finding) for finding in check_submission(archive, data, task=task)]
    assert all("\n" not in line for line in found)
    return [line for line in found if "dataset.json: lists" not in line]


def test_the_judged_archive(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    missing, moved, seven, floating, *fine = NAMES
    entries = {name: content for name, content in sound.items() if name != missing}
    entries[moved] = changed(sound[moved], affine=shifted)
    entries[seven] = changed(sound[seven], with_value(7))
    entries[floating] = changed(sound[floating], with_value(1, np.float32))
    found = faults(pack(tmp_path / "a.zip", entries), data)
    assert len(found) == 4
    for line, name, part in zip(found, NAMES, ("missing", "affine", "label 7", "float data"), strict=False):
        assert line.startswith(f"error: {name}: ")
        assert part in line
    assert not [line for line in found if any(name in line for name in fine)]


def test_a_sound_archive_has_no_fault(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    assert faults(pack(tmp_path / "a.zip", sound), data) == []


@pytest.mark.parametrize(
    ("spoil", "named"),
    [
        (lambda content: changed(content, lambda array: array[:, 1:]), "error: {}: shape"),
        (lambda content: changed(content, lambda array: np.stack([array] * 3, -1)), "error: {}: 3 channels"),
        (lambda content: changed(content, with_value(np.nan, np.float32)), "error: {}: float data"),
        (lambda content: changed(content, slope=0.5), "error: {}: float data"),
        (lambda content: changed(content, with_value(1, np.int16)), "warning: {}: int16, not uint8"),
        (lambda content: changed(content, with_value(-1, np.int16)), "error: {}: label -1"),
        (lambda content: changed(content, np.zeros_like), "warning: {}: all background"),
        (lambda content: changed(content, affine=lambda affine: 1e-6 * affine), "error: {}: affine differs"),
        (lambda content: gzip.decompress(content), "error: {}: unreadable"),
        (lambda content: content[:-20], "error: {}: unreadable"),
        (lambda content: content[:-8] + bytes(8), "error: {}: unreadable"),  # gzip's checksum
        (lambda content: gzip.compress(gzip.decompress(content)[:-9]), "error: {}: unreadable"),
        (lambda content: gzip.compress(b"no NIfTI at all" * 100), "error: {}: unreadable"),
        (lambda content: gzip.compress(bytes(10**7)), "error: {}: unreadable (unpacks to more than 16 bytes"),
        (lambda content: b"", "error: {}: unreadable"),
    ],
)
def test_one_spoilt_file_is_named(
    data: Path, sound: Mapping[str, bytes], tmp_path: Path, spoil: Callable[[bytes], bytes], named: str
) -> None:
    found = faults(pack(tmp_path / "a.zip", {**sound, NAMES[2]: spoil(sound[NAMES[2]])}), data)
    assert found[0].startswith(named.format(NAMES[2]))
    assert all(NAMES[2] in line for line in found)


@pytest.mark.parametrize("name", ["../evil.nii.gz", "/evil.nii.gz", "a/../../evil", "C:\\evil", "..\\evil", "../"])
def test_a_path_out_of_the_archive_is_named_and_not_followed(
    data: Path, sound: Mapping[str, bytes], tmp_path: Path, name: str
) -> None:
    archive = pack(
        tmp_path / "deep" / "a.zip" if (tmp_path / "deep").mkdir() is None else tmp_path, {**sound, name: b""}
    )
    (line,) = faults(archive, data)
    assert line == f"error: {name}: a path that leads out of the archive: remove it"
    assert [path.name for path in tmp_path.iterdir()] == ["deep"]


def test_nothing_is_left_in_the_temporary_folder(
    data: Path, sound: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    faults(pack(tmp_path / "a.zip", {**sound, NAMES[0]: b"spoilt"}), data)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_files_of_systems_and_folders_are_ignored(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    extra = {f"__MACOSX/{NAMES[0]}": b"", f"{TASK}/._hippocampus_002.nii.gz": b"", ".DS_Store": b"", f"{TASK}/": b""}
    assert faults(pack(tmp_path / "a.zip", {**sound, **extra}), data) == []


def test_extra_files_are_named(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    extra = ["Task03_Liver/liver_132.nii.gz", f"{TASK}/hippocampus_001.nii.gz", f"{TASK}/readme.txt"]
    found = faults(pack(tmp_path / "a.zip", {**sound, **dict.fromkeys(extra, b"")}), data)
    assert [line.partition(": no test case")[0] for line in found] == [f"error: {name}" for name in sorted(extra)]


def test_a_folder_above_the_tasks_is_a_fault(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    found = faults(pack(tmp_path / "a.zip", {f"predictions/{name}": content for name, content in sound.items()}), data)
    assert len([line for line in found if ": missing" in line]) == len(NAMES)
    assert len([line for line in found if line.startswith("error: predictions/")]) == len(NAMES)


def test_a_name_stored_twice_is_a_fault(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    archive = pack(tmp_path / "a.zip", {**sound, f"./{NAMES[1]}": sound[NAMES[1]]})
    assert faults(archive, data) == [f"error: {NAMES[1]}: stored more than once: keep one of them"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: b"no ZIP",
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-40] + bytes(40),
    ],
)
def test_a_damaged_archive_is_one_finding(
    data: Path, sound: Mapping[str, bytes], tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    archive = pack(tmp_path / "a.zip", sound)
    archive.write_bytes(spoil(archive.read_bytes()))
    (line,) = faults(archive, data)
    assert line.startswith("error: a.zip: not a ZIP file, or a damaged one (")


def test_a_damaged_entry_is_named(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in sound.items():
            archive.writestr(name, content)
    content = bytearray(buffer.getvalue())
    content[content.index(sound[NAMES[3]]) + 40] ^= 1
    (tmp_path / "a.zip").write_bytes(content)
    (line,) = faults(tmp_path / "a.zip", data)
    assert line.startswith(f"error: {NAMES[3]}: unreadable")


def test_a_lost_test_image_is_named(data: Path, sound: Mapping[str, bytes], tmp_path: Path) -> None:
    copy = Path(shutil.copytree(data, tmp_path / TASK))
    (copy / "imagesTs" / "hippocampus_004.nii.gz").unlink()
    (line,) = faults(pack(tmp_path / "a.zip", sound), copy)
    assert "imagesTs/hippocampus_004.nii.gz: no such file" in line


def test_a_full_disk_is_not_the_archives_fault(
    data: Path, sound: Mapping[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monai_nas.export.submission_check._unpack", full)
    with pytest.raises(OSError, match="No space"):
        check_submission(pack(tmp_path / "a.zip", sound), data)


@pytest.fixture
def two_tasks(tmp_path: Path) -> tuple[Path, Mapping[str, bytes]]:
    """A folder of two task folders, and the entries of a sound archive of both."""
    entries: dict[str, bytes] = {}
    for name in ("Task03_Liver", "Task09_Spleen"):
        folder = write_phantoms(msd_task(name), tmp_path / "data" / name, 1, 2, seed=0, scale=0.2)
        write_submission(folder, folder / "labelsTs", tmp_path / "one.zip")
        with zipfile.ZipFile(tmp_path / "one.zip") as archive:
            entries |= {entry: archive.read(entry) for entry in archive.namelist()}
    return tmp_path / "data", entries


def test_an_archive_of_several_tasks(two_tasks: tuple[Path, Mapping[str, bytes]], tmp_path: Path) -> None:
    data, entries = two_tasks
    assert faults(pack(tmp_path / "a.zip", entries), data) == []
    fewer = {name: content for name, content in entries.items() if name != "Task09_Spleen/spleen_002.nii.gz"}
    (line,) = faults(pack(tmp_path / "a.zip", fewer), data)
    assert line.startswith("error: Task09_Spleen/spleen_002.nii.gz: missing")
    with pytest.raises(UserError, match=r"no dataset\.json in Task01_BrainTumour"):
        check_submission(tmp_path / "a.zip", data, task="all")
    with pytest.raises(UserError, match="no folder of a task in"):
        check_submission(pack(tmp_path / "a.zip", {"spleen_002.nii.gz": b""}), data)


def test_a_task_of_the_folder_that_the_archive_lacks_is_named(
    data: Path, sound: Mapping[str, bytes], two_tasks: tuple[Path, Mapping[str, bytes]], tmp_path: Path
) -> None:
    folder, entries = two_tasks
    own = SegTask("Own", "", ("CT",), ("background", "organ"), 1, 1)
    write_phantoms(own, folder / "Task11_Own", 1, 1, seed=0, scale=0.2)  # which no leaderboard asks for
    assert faults(pack(tmp_path / "a.zip", entries), folder) == []
    shutil.copytree(data, folder / TASK)
    (line,) = faults(tmp_path / "a.zip", folder)
    assert line.startswith(f"error: {TASK}: no such folder in the archive")
    assert f"its {len(NAMES)} test cases" in line
    assert faults(pack(tmp_path / "b.zip", {**entries, **sound}), folder) == []
    assert faults(pack(tmp_path / "c.zip", sound), folder / TASK) == [], "one task against its own folder"


def test_a_case_without_a_place_on_the_leaderboard_is_a_warning(
    two_tasks: tuple[Path, Mapping[str, bytes]], tmp_path: Path
) -> None:
    data, entries = two_tasks
    liver = data / "Task03_Liver"
    (liver / "imagesTs" / "liver_003.nii.gz").rename(liver / "imagesTs" / "liver_141.nii.gz")
    text = (liver / "dataset.json").read_text().replace("imagesTs/liver_003", "imagesTs/liver_141")
    (liver / "dataset.json").write_text(text)
    renamed = {name.replace("liver_003", "liver_141"): content for name, content in entries.items()}
    (line,) = faults(pack(tmp_path / "a.zip", renamed), data)
    assert line.startswith("warning: Task03_Liver/liver_141.nii.gz: ")


@pytest.mark.realdata
def test_the_real_task04(msd_root: Path, tmp_path: Path) -> None:
    data = msd_root / TASK
    cases = unlabelled_cases(data)
    (tmp_path / "pred").mkdir()
    for case in cases:
        image = read_image(case.image)
        zeros = nibabel.nifti1.Nifti1Image(np.zeros(image.shape, dtype=np.uint8), image.affine)
        nibabel.loadsave.save(zeros, tmp_path / "pred" / f"{case.name}.nii.gz")
    write_submission(data, tmp_path / "pred", tmp_path / "a.zip", task=TASK)
    found = faults(tmp_path / "a.zip", data)
    assert len(found) == len(cases) == len(json.loads((data / "dataset.json").read_text())["test"])
    assert all(line.endswith("structures") and line.startswith("warning: ") for line in found)
