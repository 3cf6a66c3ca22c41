"""Is this folder a sound dataset in the MSD's layout? One finding per problem, the file named."""

from collections import Counter
from collections.abc import Container, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from monai_nas.errors import UserError
from monai_nas.tasks import Case, Image, SegTask, load_task, read_image, training_cases, unlabelled_cases
from monai_nas.tasks.images import SAME_GRID, UnreadableImage
from monai_nas.tasks.splits import IMAGE_ENDINGS, case_name, is_hidden

OUTLIER_DEVIATIONS = 3.0  # robust standard deviations of the logarithm ...
OUTLIER_FACTOR = 1.5  # ... and at least this factor from the median: smaller differences are everyday


@dataclass(frozen=True)
class Finding:
    """One problem of one file. Errors keep a dataset from being trained on, warnings do not."""

    severity: Literal["error", "warning"]
    file: str  # relative to the dataset's folder
    message: str  # what is wrong, the value found, the remedy; one line

    def __str__(self) -> str:
        return f"{self.severity}: {self.file}: {self.message}"


def check_dataset(data: Path, task: SegTask | None = None) -> list[Finding]:
    """Look at every file of a dataset.

    Args:
        data: the folder that holds dataset.json.
        task: what the dataset should be; by default what its dataset.json says.

    Returns:
        All findings, in the order of dataset.json; those of the dataset as a whole come first.
    """
    try:
        task = task or load_task(None, data)
        training, test = training_cases(data), unlabelled_cases(data)
    except UserError as error:
        return [Finding("error", "dataset.json", str(error).removeprefix(f"{data / 'dataset.json'}: "))]
    findings = [*_check_listing(data, task, training, test)]
    spacings: dict[Path, tuple[float, float, float]] = {}
    for case in training:
        findings += _check_training_case(data, task, case, spacings)
    for folder in sorted({case.image.parent for case in test}):
        if not folder.is_dir():
            findings.append(Finding("warning", _name(data, folder), "no such folder: its cases cannot be predicted"))
    for case in test:
        if case.image.parent.is_dir():
            findings += _check_scan(data, task, case.image, spacings)
    return findings + _check_spacings(data, spacings)


def _name(data: Path, path: Path) -> str:
    """Return the path as it stands in dataset.json."""
    return str(path.relative_to(data)) if path.is_relative_to(data) else str(path)


def _check_listing(data: Path, task: SegTask, training: Sequence[Case], test: Sequence[Case]) -> Iterator[Finding]:
    """Check the folders, the number of cases, and files that dataset.json does not list."""
    if not training:
        yield Finding("error", "dataset.json", "lists no training cases: add them under 'training'")
    listed = [path for case in training for path in case.files]
    for folder in sorted({path.parent for path in listed}):
        if not folder.is_dir():
            yield Finding("error", _name(data, folder), "no such folder: restore it")
    for cases, published, kind in ((training, task.num_training, "training"), (test, task.num_test, "test")):
        if len(cases) != published:
            message = f"lists {len(cases)} {kind} cases, published are {published}: check that the copy is whole"
            yield Finding("warning", "dataset.json", message)
        for name, count in Counter(case.name for case in cases).items():
            if count > 1:
                yield Finding("error", "dataset.json", f"lists {kind} case {name} {count} times: keep one entry")
    yield from _check_unlisted(data, training)


def _check_unlisted(data: Path, training: Sequence[Case]) -> Iterator[Finding]:
    """Check for training files that dataset.json does not list.

    One without a partner is an error where labels are named as their images are, as in the MSD; where dataset.json
    names them otherwise, what belongs to an unlisted file cannot be told.
    """
    known = {path.resolve() for case in training for path in case.files}
    images, labels = (_unlisted_in(data / folder, known) for folder in ("imagesTr", "labelsTr"))
    named_alike = all(case.label is not None and case_name(case.label) == case.name for case in training)
    for name in sorted({*images, *labels}):
        if named_alike and name not in labels:
            yield Finding("error", _name(data, images[name]), "has no label in labelsTr: add it, or remove the image")
        elif named_alike and name not in images:
            yield Finding("error", _name(data, labels[name]), "has no image in imagesTr: add it, or remove the label")
        else:
            for file in (files[name] for files in (images, labels) if name in files):
                yield Finding("warning", _name(data, file), "is not listed in dataset.json and will not be used")


def _unlisted_in(folder: Path, known: Container[Path]) -> dict[str, Path]:
    """Return the image files of a folder that are not known, by case name, without hidden ones."""
    files = sorted(folder.iterdir()) if folder.is_dir() else []
    return {
        case_name(file): file
        for file in files
        if file.name.lower().endswith(IMAGE_ENDINGS) and not is_hidden(file) and file.resolve() not in known
    }


def _check_training_case(
    data: Path, task: SegTask, case: Case, spacings: dict[Path, tuple[float, float, float]]
) -> Iterator[Finding]:
    """Check one image with its label; note the image's spacing."""
    image = yield from _check_scan(data, task, case.image, spacings)
    if case.label is None:
        return
    label = yield from read_or_report(case.label, _name(data, case.label))
    if label is None:
        return
    name = _name(data, case.label)
    if label.num_channels != 1:
        yield Finding("error", name, f"label map with {label.num_channels} channels: store one value for each voxel")
        return
    if image is not None and image.shape != label.shape:
        yield Finding("error", name, f"shape {label.shape}, but the image has {image.shape}: resample the label")
    elif image is not None:
        shift = image.largest_shift(label)
        if shift > SAME_GRID:
            message = f"affine differs from the image's by up to {shift:.3g} voxels: correct the wrong one's header"
            yield Finding("error", name, message)
    yield from _check_labels(name, task, label.array)


def _check_scan(
    data: Path, task: SegTask, path: Path, spacings: dict[Path, tuple[float, float, float]]
) -> Generator[Finding, None, Image | None]:
    """Check one image by itself and note its spacing; return it where it is readable."""
    image = yield from read_or_report(path, _name(data, path))
    if image is not None:
        spacings[path] = image.spacing_mm
        yield from _check_image(_name(data, path), task, image)
    return image


def read_or_report(path: Path, name: str) -> Generator[Finding, None, Image | None]:
    """Return the image; where it is unreadable, yield that under ``name`` and return None."""
    try:
        return read_image(path)
    except UnreadableImage as error:
        yield Finding("error", name, error.reason)
        return None


def _check_image(name: str, task: SegTask, image: Image) -> Iterator[Finding]:
    """Check the number of channels, and that all voxels are finite and not all 0."""
    if image.num_channels != task.in_channels:
        message = (
            f"{image.num_channels} channels, but {task.name} has {task.in_channels} ({', '.join(task.modalities)})"
        )
        yield Finding("error", name, f"{message}: correct the file or 'modality' in dataset.json")
    if image.array.dtype.kind == "f":
        broken = int(image.array.size - np.isfinite(image.array).sum())
        if broken:
            yield Finding("error", name, f"{broken} voxels are NaN or Inf: replace them by finite values")
    if not image.array.any():
        yield Finding("error", name, "all voxels are 0: restore the file, or remove its entry")


def _check_labels(name: str, task: SegTask, array: npt.NDArray[Any]) -> Iterator[Finding]:
    """Check that a label map holds the task's labels, and all of them."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        yield Finding("error", name, "label map with NaN or Inf: write whole numbers")
        return
    values = _values(array)
    allowed = f"0 to {task.num_classes - 1}"
    foreign = [f"{value:g}" for value in values if value not in range(task.num_classes)]
    if foreign:
        shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        message = f"label {shown} outside the task's {allowed}: correct the file or 'labels' in dataset.json"
        yield Finding("error", name, message)
    absent = [task.labels[value] for value in range(1, task.num_classes) if value not in values]
    if not any(value != 0 for value in values):
        yield Finding("warning", name, "all background: check that the structures were drawn")
    elif absent:
        yield Finding("warning", name, f"no voxel of {', '.join(absent)}: check that this is so in the patient")


def _values(array: npt.NDArray[Any]) -> list[float]:
    """Return the distinct values, by counting where they are small whole numbers, which is ten times faster."""
    whole = array.astype(np.int64)
    if whole.min() >= 0 and whole.max() < 65536 and np.array_equal(whole, array):
        return [float(value) for value in np.flatnonzero(np.bincount(whole.ravel()))]
    return [float(value) for value in np.unique(array)]


def _check_spacings(data: Path, spacings: Mapping[Path, tuple[float, float, float]]) -> list[Finding]:
    """Return a warning for each image whose spacing lies far from the others', on a logarithmic scale."""
    if len(spacings) < 3:
        return []
    logs = np.log(np.array(list(spacings.values())))  # (cases, 3)
    median = np.median(logs, axis=0)
    deviation = 1.4826 * np.median(np.abs(logs - median), axis=0)
    limit = np.maximum(OUTLIER_DEVIATIONS * deviation, np.log(OUTLIER_FACTOR))
    usual = " x ".join(f"{size:.3g}" for size in np.exp(median))
    return [
        Finding(
            "warning",
            _name(data, path),
            f"spacing {' x '.join(f'{size:.3g}' for size in spacing)} mm, the median is {usual}: check the header",
        )
        for (path, spacing), row in zip(spacings.items(), logs, strict=True)
        if (np.abs(row - median) > limit + 1e-6).any()
    ]
