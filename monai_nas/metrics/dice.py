"""The Dice overlap of integer label maps."""

import math
from typing import Any

import numpy as np
import numpy.typing as npt


def dice(prediction: npt.NDArray[Any], reference: npt.NDArray[Any], num_classes: int) -> list[float]:
    """Return 2 |P and R| / (|P| + |R|) for each class but the background.

    Args:
        prediction: integer label map (H, W, D).
        reference: integer label map of the same shape.
        num_classes: number of label values, background included.

    Returns:
        Fractions in [0, 1] of classes 1 to ``num_classes - 1``: nan where a class is absent from both maps, 0 where it
        is absent from one.

    Raises:
        ValueError: when shapes differ or a value is no class.
    """
    if prediction.shape != reference.shape:
        raise ValueError(f"prediction has shape {prediction.shape}, reference {reference.shape}")
    for name, labels in (("prediction", prediction), ("reference", reference)):
        if labels.size and (labels.min() < 0 or labels.max() >= num_classes):
            raise ValueError(f"{name} has values {labels.min()} to {labels.max()}, not 0 to {num_classes - 1}")
    return [_overlap(prediction == value, reference == value) for value in range(1, num_classes)]


def _overlap(prediction: npt.NDArray[np.bool_], reference: npt.NDArray[np.bool_]) -> float:
    """Return the Dice of two masks; nan when both are empty."""
    size = np.count_nonzero(prediction) + np.count_nonzero(reference)
    return 2.0 * float(np.count_nonzero(prediction & reference)) / float(size) if size else math.nan
