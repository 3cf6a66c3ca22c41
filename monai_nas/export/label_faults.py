"""What is wrong with a predicted label map, seen beside the test image that it belongs to?"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_nas.data.check import Finding
from monai_nas.tasks import Image, SegTask

AFFINE_TOLERANCE = 0.01  # voxels between the corners: what is left of a header's rounding
FEW_VALUES = 256  # in one label map; with more there is no point in listing them all


def label_faults(name: str, task: SegTask, image: Image, prediction: Image) -> Iterator[Finding]:
    """Yield what keeps a label map from being scored: channels, grid, number type, values.

    Args:
        name: of the label map, as the findings shall show it.
        task: gives the labels.
        image: the test image.
        prediction: the label map.
    """
    if prediction.num_channels != 1:
        yield Finding("error", name, f"{prediction.num_channels} channels: write one label a voxel")
        return
    if prediction.shape != image.shape:
        message = f"shape {prediction.shape}, but the test image has {image.shape}: write it on that image's grid"
        yield Finding("error", name, message)
    else:
        shift = image.largest_shift(prediction)
        if shift > AFFINE_TOLERANCE:
            message = f"affine differs from the test image's by up to {shift:.3g} voxels: write it on that image's grid"
            yield Finding("error", name, message)
    array = prediction.array
    if array.dtype.kind == "f":
        yield Finding("error", name, f"float data ({array.dtype}): write labels as uint8")
        broken = int(array.size - np.isfinite(array).sum())
        if broken:
            yield Finding("error", name, f"{broken} voxels are NaN or Inf: write labels as uint8")
            return
    values = _values(array)
    foreign = [f"{value:g}" for value in sorted(values) if value not in range(task.num_classes)]
    if foreign:
        shown = ", ".join(foreign[:5]) + (", ..." if len(foreign) > 5 else "")
        yield Finding("error", name, f"label {shown} outside the task's 0 to {task.num_classes - 1}: correct the file")
    if not any(values):
        yield Finding("warning", name, "all background: check that this image shows none of the task's structures")


def _values(array: npt.NDArray[Any]) -> set[float]:
    """Return the distinct values, found slice by slice to save memory; the first few hundred where there are more."""
    values: set[float] = set()
    for index in range(array.shape[2]):
        values.update(np.unique(array[:, :, index]).tolist())
        if len(values) > FEW_VALUES:
            break
    return values
