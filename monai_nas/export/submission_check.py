"""Is this archive one that the leaderboard can score? One finding a fault, whoever wrote the archive."""

import gzip
import logging
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from monai_nas.data.check import Finding, read_or_report
from monai_nas.errors import REMEDIES, UserError
from monai_nas.export.label_faults import label_faults
from monai_nas.export.submission import TaskShare, is_all, load_all_shares, load_share
from monai_nas.tasks import MSD_TASKS, SegTask, read_image
from monai_nas.tasks.images import UnreadableImage
from monai_nas.tasks.splits import is_hidden

logger = logging.getLogger(__name__)

MOST_BYTES_A_VOXEL = 16  # of an unpacked file: what has more is no label map, and could fill the disk
HEADER_BYTES = 1024**2
CHUNK_BYTES = 1024**2


def check_submission(archive: Path, data: Path, *, task: str | None = None) -> list[Finding]:
    """Look at every file of an archive, one at a time; nothing is unpacked under a name that the archive gives.

    Args:
        archive: the ZIP.
        data: the task's folder with dataset.json, or the folder that holds the folders of several tasks.
        task: an MSD task, a JSON file, or "all" for the ten; None takes ``data``/dataset.json, or where there is none,
            the tasks in ``data`` of which the archive has a folder: an MSD task there of which it has none is an error,
            as the leaderboard needs them all.

    Returns:
        All findings, those of names first.

    Raises:
        UserError: when the task or dataset.json is not there, or the archive has no folder of a task in ``data``.
    """
    try:
        opened = zipfile.ZipFile(archive)
    except Exception as error:  # a dozen types for damaged tables of contents
        message = f"not a ZIP file, or a damaged one ({_reason(error)}): make it again"
        return [Finding("error", archive.name, message)]
    with opened:
        entries: dict[str, zipfile.ZipInfo] = {}
        findings = list(_list_entries(opened, entries))
        shares, absent = _expected_shares(archive, data, task, entries)
        findings += [_without_folder(share, data) for share in absent]
        findings += _compare_names(shares, entries)
        for share in shares:
            logger.info("%s: %d label maps", share.task.name, len(share.images))
            for name in sorted(share.images.keys() & entries.keys()):
                findings += _check_entry(opened, entries[name], name, share.task, share.images[name])
    return findings


def _list_entries(opened: zipfile.ZipFile, entries: dict[str, zipfile.ZipInfo]) -> Iterator[Finding]:
    """Fill ``entries`` with the files of an archive, systems' own left out; yield what is wrong with their names."""
    for entry in opened.infolist():
        path = PureWindowsPath(entry.filename)  # which knows both kinds of separators, and drives
        name = str(PurePosixPath(entry.filename))
        if path.anchor or ".." in path.parts:
            yield Finding("error", entry.filename, "a path that leads out of the archive: remove it")
        elif not (entry.is_dir() or "__MACOSX" in path.parts or is_hidden(name)):
            if name in entries:
                yield Finding("error", name, "stored more than once: keep one of them")
            entries[name] = entry


def _expected_shares(
    archive: Path, data: Path, task: str | None, entries: Mapping[str, zipfile.ZipInfo]
) -> tuple[list[TaskShare], list[TaskShare]]:
    """Return the shares to look for file by file, and those of which the archive has no folder though it should."""
    if is_all(task):
        return load_all_shares(data), []
    if task is not None or (data / "dataset.json").is_file():
        return [load_share(data, task)], []
    folders = {PurePosixPath(name).parts[0] for name in entries}
    there = [load_share(path.parent) for path in sorted(data.glob("*/dataset.json"))]
    shares = [share for share in there if share.task.name in folders]
    if not shares:
        raise UserError(f"{archive}: no folder of a task in {data}: give the folder that holds its dataset.json")
    others = [share for share in there if share.task.name not in folders and share.images]
    return shares, [share for share in others if share.task in MSD_TASKS]


def _without_folder(share: TaskShare, data: Path) -> Finding:
    """Return the one line for a task that an archive has no label map of."""
    message = (
        f"no such folder in the archive, but {data} holds the task: predict its {len(share.images)} test cases, or "
        "give one task's own folder as --data to check that task alone"
    )
    return Finding("error", share.task.name, message)


def _compare_names(shares: list[TaskShare], entries: Mapping[str, zipfile.ZipInfo]) -> Iterator[Finding]:
    """Yield the files that are missing, and those that should not be there."""
    images = {name: source for share in shares for name, source in share.images.items()}
    left_out = {name for share in shares for name in share.left_out}
    for share in shares:
        yield from share.check_number()
    for name in sorted(images.keys() - entries.keys()):
        yield Finding("error", name, f"missing: predict it from {images[name]}")
    for name in sorted(entries.keys() - images.keys()):
        if name in left_out:
            yield Finding("warning", name, "the leaderboard does not take this case: leave it out")
        else:
            yield Finding("error", name, "no test case of dataset.json, as TASK/CASE.nii.gz, is called so: remove it")


def _check_entry(
    opened: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str, task: SegTask, source: Path
) -> Iterator[Finding]:
    """Check one label map of an archive, unpacked to a temporary folder."""
    image = yield from read_or_report(source, str(source))
    if image is None:
        return
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "prediction.nii"
        try:
            _unpack(opened, entry, path, HEADER_BYTES + MOST_BYTES_A_VOXEL * int(np.prod(image.shape)))
            prediction = read_image(path)
        except UnreadableImage as error:
            yield Finding("error", name, error.reason)
            return
        except Exception as error:  # a dozen types for damaged files
            if isinstance(error, OSError) and error.errno in REMEDIES:  # such as a full disk: not the archive's fault
                raise
            yield Finding("error", name, f"unreadable ({_reason(error)}): replace the file")
            return
        yield from label_faults(name, task, image, prediction)
        number_type = prediction.array.dtype
        if number_type.kind in "iu" and number_type != np.uint8:
            yield Finding("warning", name, f"{number_type}, not uint8: `monai-nas submit` rewrites it")


def _unpack(opened: zipfile.ZipFile, entry: zipfile.ZipInfo, path: Path, limit: int) -> None:
    """Write the .nii of a .nii.gz in an archive, to the end where the checksums stand, and at most ``limit`` bytes."""
    with opened.open(entry) as packed, gzip.open(packed) as content, path.open("wb") as file:
        while chunk := content.read(CHUNK_BYTES):
            if file.tell() + len(chunk) > limit:
                raise ValueError(f"unpacks to more than {MOST_BYTES_A_VOXEL} bytes for each voxel of the test image")
            file.write(chunk)


def _reason(error: Exception) -> str:
    """Return the last line of the message, or the error's type where there is none."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]
