"""The Decathlon leaderboard's archive, written from predicted label maps.

Layout: at the archive's root one folder a task, in it one label map a test case, ``TaskNN_Name/case.nii.gz``. Sources:

- ``autonnunet/evaluation/utils.py::compress_msd_submission`` in github.com/automl/AutoNNUNet, and
  ``yucca/evaluation/challenge_preparation_scripts/prepare_decathlon.py`` in github.com/Sllambias/yucca: two public
  projects write it so, and both leave out the cases of ``LEFT_OUT``, the first of them "according to the MSD".
- github.com/Ziyan-Huang/FLARE22/issues/2 quotes the leaderboard's log: it loads the files of
  ``/input/Task01_BrainTumour``, and a submission is unpacked into ``/input/`` (documentation of evalutils).

Unverified: the site's own instructions, of which only the first page of decathlon-10.grand-challenge.org could be read
here. Number type and grid are therefore those that no reader refuses: uint8, on the test image's grid.
"""

import io
import logging
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from monai_nas.data.check import Finding, read_or_report
from monai_nas.errors import UserError
from monai_nas.export.label_faults import label_faults
from monai_nas.files import write_atomic
from monai_nas.tasks import MSD_TASKS, SegTask, load_task, unlabelled_cases
from monai_nas.tasks.images import label_file
from monai_nas.tasks.splits import is_hidden

logger = logging.getLogger(__name__)

LEFT_OUT = {  # test images without a place on the leaderboard: see the sources above
    "Task03_Liver": tuple(f"liver_{number}" for number in (141, 156, 160, 161, 162, 164, 167, 182, 189, 190)),
    "Task08_HepaticVessel": ("hepaticvessel_247",),
}


@dataclass(frozen=True)
class TaskShare:
    """What one task adds to an archive."""

    task: SegTask
    images: Mapping[str, Path]  # name in the archive, "Task04_Hippocampus/hippocampus_267.nii.gz" -> its test image
    left_out: tuple[str, ...]  # names in the archive of the test cases that the leaderboard does not take

    def check_number(self) -> Iterator[Finding]:
        """Compare the number of test cases with the published one."""
        count = len(self.images) + len(self.left_out)
        if count != self.task.num_test:
            message = f"lists {count} test cases, published are {self.task.num_test}: the leaderboard needs them all"
            yield Finding("warning", f"{self.task.name}/dataset.json", message)


def is_all(task: str | None) -> bool:
    """Whether the user asks for all ten tasks at once."""
    return task is not None and task.lower() == "all"


def load_share(data: Path, name: str | None = None) -> TaskShare:
    """Return the share of one task.

    Args:
        data: the folder that holds dataset.json; the cases are those under "test".
        name: of an MSD task, or a JSON file; None takes ``data``/dataset.json.

    Raises:
        UserError: when there is no such task or dataset.json, it is another MSD task's, a case is listed twice, or the
            task's name or number of labels has no place in an archive.
    """
    path = data / "dataset.json"
    task, found = load_task(name, data), load_task(None, data)
    if task != found and {task, found} <= set(MSD_TASKS):
        raise UserError(f"--task {task.name}: {data} holds {found.name}: give the task's own folder")
    as_path = PureWindowsPath(task.name)  # which knows both kinds of separators, and drives
    if len(as_path.parts) != 1 or as_path.anchor or is_hidden(task.name):
        raise UserError(f"{path}: the name {task.name!r} cannot be a folder's: write one without slashes or colons")
    images: dict[str, Path] = {}
    for case in unlabelled_cases(data):
        entry = f"{task.name}/{case.name}.nii.gz"
        if entry in images:
            raise UserError(f"{path}: test case {case.name} is listed twice: keep one entry")
        images[entry] = case.image
    unwanted = [f"{task.name}/{case}.nii.gz" for case in LEFT_OUT.get(task.name, ())]
    left_out = tuple(entry for entry in unwanted if images.pop(entry, None) is not None)
    return TaskShare(task, images, left_out)


def load_all_shares(data: Path) -> list[TaskShare]:
    """Return the shares of the ten MSD tasks; raises UserError where ``data`` lacks one of their folders."""
    absent = [task.name for task in MSD_TASKS if not (data / task.name / "dataset.json").is_file()]
    if absent:
        raise UserError(f"{data}: no dataset.json in {', '.join(absent)}: --task all takes the folder of all ten tasks")
    return [load_share(data / task.name, task.name) for task in MSD_TASKS]


def write_submission(data: Path, predictions: Path, out: Path, *, task: str | None = None) -> list[Finding]:
    """Write an archive of predicted label maps, or nothing when one of them has a fault.

    Label maps in another integer type than uint8 are rewritten. Float data are refused, also where they are whole
    numbers: these come from interpolation or probabilities more often than not, and what is written here is what
    :func:`monai_nas.export.submission_check.check_submission` passes. The bytes depend on the labels and the headers of
    the test images alone. The archive is held in memory until it is whole: some hundred MB for all ten tasks.

    Args:
        data: the task's folder with dataset.json; with ``task`` "all", the folder of the TaskNN_Name folders.
        predictions: the folder of CASE.nii.gz; with ``task`` "all", the folder of the TaskNN_Name folders.
        out: the ZIP to write; an earlier one is replaced.
        task: an MSD task, a JSON file, or "all"; None takes ``data``/dataset.json.

    Returns:
        All findings; the archive has been written when none of them is an error.

    Raises:
        UserError: when a folder, dataset.json or the task is not there, no test case is listed, or the archive cannot
            be written.
    """
    if out.is_dir():
        raise UserError(f"{out}: is a folder: give the name of the ZIP file to write")
    shares = load_all_shares(data) if is_all(task) else [load_share(data, task)]
    for share in shares:
        if not share.images:
            raise UserError(f"{data}: {share.task.name} lists no test cases: add them under 'test' in dataset.json")
    findings: list[Finding] = []
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for share in shares:
            findings += _add_task(archive, share, predictions / share.task.name if is_all(task) else predictions)
    if not any(finding.severity == "error" for finding in findings):
        write_atomic(out, content.getvalue())
    return findings


def _add_task(archive: zipfile.ZipFile, share: TaskShare, folder: Path) -> Iterator[Finding]:
    """Check the label maps in a folder and add them to the archive."""
    logger.info("%s: %d label maps", share.task.name, len(share.images))
    yield from share.check_number()
    for entry in share.left_out:
        yield Finding("warning", entry, "left out: the leaderboard does not take this case, see docs/submission.md")
    known = {PurePosixPath(entry).name for entry in (*share.images, *share.left_out)}
    for path in sorted(folder.glob("*.nii.gz")):
        if path.name not in known and not is_hidden(path):
            yield Finding("warning", str(path), "left out: no case under 'test' in dataset.json has this name")
    for entry, source in sorted(share.images.items()):
        path = folder / PurePosixPath(entry).name
        if not path.is_file():
            yield Finding("error", str(path), f"missing: predict it from {source}")
            continue
        image = yield from read_or_report(source, str(source))
        prediction = yield from read_or_report(path, str(path))
        if image is None or prediction is None:
            continue
        faults = list(label_faults(str(path), share.task, image, prediction))
        yield from faults
        if not any(fault.severity == "error" for fault in faults):
            stamp = zipfile.ZipInfo(entry)  # of 1980, so that the same label maps give the same bytes
            stamp.external_attr = 0o644 << 16
            archive.writestr(stamp, label_file(prediction.array[..., 0].astype(np.uint8), source))
