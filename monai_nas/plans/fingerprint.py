"""What a dataset is like, measured: shapes, spacings, foreground intensities, class sizes. Decides nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.tasks import Case, SegTask, read_image

SAMPLES_PER_CASE = 10_000  # foreground voxels drawn of each case: a percentile of 0.5 % then rests on 50 of them

Number = TypeVar("Number", int, float)


@dataclass(frozen=True)
class ChannelStatistics:
    """Intensities of one channel over the foreground voxels of all cases, each case with the same weight at most."""

    percentile_00_5: float
    percentile_99_5: float
    mean: float
    std: float


@dataclass(frozen=True)
class Fingerprint:
    """A dataset in numbers. All axes are in RAS order: right, anterior, superior."""

    shapes: tuple[tuple[int, int, int], ...]  # voxels, one per case
    spacings_mm: tuple[tuple[float, float, float], ...]  # one per case
    median_shape: tuple[int, int, int]  # voxels at the cases' own spacing
    median_spacing_mm: tuple[float, float, float]
    channels: tuple[ChannelStatistics, ...]
    class_voxels: tuple[int, ...]  # over all cases, background first
    # voxels of each case's box of non-zero values in any channel; empty: not measured, and nothing is cropped
    nonzero_shapes: tuple[tuple[int, int, int], ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Return the fingerprint as plain JSON values; :meth:`from_record` reads it back."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Any, source: str = "fingerprint") -> "Fingerprint":
        """Return the fingerprint of a JSON record.

        Raises:
            UserError: when a key is unknown or missing.
        """
        names = {field.name for field in fields(cls)}
        required = {field.name for field in fields(cls) if field.default is MISSING}
        if not isinstance(record, Mapping) or not required <= set(record) <= names:
            odd = [type(record).__name__]
            if isinstance(record, Mapping):
                odd = sorted((set(record) - names) | (required - set(record)))
            raise UserError(f"{source}: not a fingerprint (unknown or missing: {', '.join(odd)}): measure it again")
        return cls(
            shapes=tuple(_triple(shape) for shape in record["shapes"]),
            spacings_mm=tuple(_triple(spacing) for spacing in record["spacings_mm"]),
            median_shape=_triple(record["median_shape"]),
            median_spacing_mm=_triple(record["median_spacing_mm"]),
            channels=tuple(ChannelStatistics(**channel) for channel in record["channels"]),
            class_voxels=tuple(record["class_voxels"]),
            nonzero_shapes=tuple(_triple(shape) for shape in record.get("nonzero_shapes", ())),
        )

    def save(self, path: Path) -> None:
        """Write the fingerprint as JSON."""
        write_json(path, self.to_record())

    @classmethod
    def load(cls, path: Path) -> "Fingerprint":
        """Return the fingerprint stored in a JSON file; raises UserError naming the file."""
        return cls.from_record(read_json(path), source=str(path))


def _triple(values: Sequence[Number]) -> tuple[Number, Number, Number]:
    x, y, z = values
    return x, y, z


def measure_fingerprint(cases: Sequence[Case], task: SegTask) -> Fingerprint:
    """Read every case once and measure the dataset. The same cases give the same numbers.

    Args:
        cases: labelled cases.
        task: fixes the number of channels and of classes.

    Raises:
        UserError: when a file is unreadable, does not fit its label map or the task, or when no case has foreground.
    """
    if not cases:
        raise UserError("no training cases to measure: list them in dataset.json under 'training'")
    shapes, spacings, boxes, samples = [], [], [], []
    class_voxels = np.zeros(task.num_classes, dtype=np.int64)
    for index, case in enumerate(cases):
        if case.label is None:
            raise UserError(f"{case.image}: has no label map: only labelled cases can be measured")
        image, label = read_image(case.image), read_image(case.label)
        if image.num_channels != task.in_channels:
            raise UserError(f"{case.image}: {image.num_channels} channels, not {task.in_channels}: run monai-nas check")
        if image.shape != label.shape or label.num_channels != 1:
            raise UserError(f"{case.label}: has shape {label.shape}, its image {image.shape}: run monai-nas check")
        values = label.array[..., 0]
        counts = _count_classes(values, task.num_classes, case.label)
        class_voxels += counts
        foreground = np.flatnonzero(values)
        if foreground.size > SAMPLES_PER_CASE:
            rng = np.random.default_rng(index)
            foreground = np.sort(rng.choice(foreground, SAMPLES_PER_CASE, replace=False, shuffle=False))
        intensities = image.array.reshape(-1, task.in_channels)[foreground].astype(np.float64)
        if not np.isfinite(intensities).all():
            raise UserError(f"{case.image}: holds NaN or Inf: run monai-nas check")
        samples.append(intensities)
        axes = image.ras_axes
        shapes.append(_triple([image.shape[axis] for axis in axes]))
        box = _nonzero_box(image.array)
        boxes.append(_triple([box[axis] for axis in axes]))
        spacings.append(_triple([round(image.spacing_mm[axis], 6) for axis in axes]))
    if class_voxels[1:].sum() == 0:
        raise UserError(f"{cases[0].label}: neither this nor any other label map has foreground: check the labels")
    voxels = np.concatenate(samples)
    return Fingerprint(
        shapes=tuple(shapes),
        spacings_mm=tuple(spacings),
        median_shape=_triple([int(np.ceil(size)) for size in np.median(shapes, axis=0)]),
        median_spacing_mm=_triple([float(size) for size in np.median(spacings, axis=0)]),
        channels=tuple(_statistics(voxels[:, channel]) for channel in range(task.in_channels)),
        class_voxels=tuple(int(count) for count in class_voxels),
        nonzero_shapes=tuple(boxes),
    )


def _nonzero_box(array: npt.NDArray[Any]) -> tuple[int, int, int]:
    """Return the lengths (x, y, z) of the smallest box that holds all non-zero voxels of (x, y, z, channels)."""
    occupied = (array != 0).any(axis=3)
    lengths = []
    for axis in range(3):
        places = np.flatnonzero(occupied.any(axis=tuple({0, 1, 2} - {axis})))
        lengths.append(int(places[-1] - places[0] + 1) if places.size else 0)
    return _triple(lengths)


def _count_classes(values: npt.NDArray[Any], num_classes: int, path: Path) -> npt.NDArray[np.int64]:
    """Return the number of voxels of each class in a label map."""
    finite = np.nan_to_num(values, nan=-1.0) if values.dtype.kind == "f" else values
    numbers = finite.astype(np.int64)
    if numbers.min() < 0 or numbers.max() >= num_classes or not np.array_equal(numbers, values):
        raise UserError(f"{path}: has values outside 0 to {num_classes - 1}: run monai-nas check")
    return np.bincount(numbers.ravel(), minlength=num_classes).astype(np.int64)


def _statistics(intensities: npt.NDArray[np.float64]) -> ChannelStatistics:
    """Return the statistics of one channel's foreground intensities."""
    lower, upper = np.percentile(intensities, [0.5, 99.5])
    return ChannelStatistics(float(lower), float(upper), float(intensities.mean()), float(intensities.std()))
