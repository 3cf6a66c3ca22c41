"""From predicted and true label maps to a table of scores."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from monai_nas.errors import UserError
from monai_nas.metrics import CaseScores, ScoreTable, dice, surface_dice
from monai_nas.metrics.table import LARGEST_SPACING, PUBLISHED
from monai_nas.pipelines.image_folder import images_by_case
from monai_nas.tasks import Image, SegTask, read_image
from monai_nas.tasks.images import SAME_GRID


def evaluate_folder(task: SegTask, pred: Path, labels: Path, out: Path) -> ScoreTable:
    """Score the predictions in a folder against the label maps of the same case names in another.

    Args:
        task: gives the classes and the tolerance of the surface Dice; without a published one it is the largest voxel
            spacing of each label file.
        pred: folder of predicted label maps.
        labels: folder of true label maps; the scores are computed on their grids.
        out: file for the table, usually scores.json.

    Raises:
        UserError: when a prediction is missing or superfluous, lies on another grid, or has values that are no class.
    """
    pairs = _pairs(pred, labels)
    table = ScoreTable(
        task=task.name,
        classes=task.labels[1:],
        tolerance_source=LARGEST_SPACING if task.tolerance_mm is None else PUBLISHED,
        cases=tuple(_score(name, prediction, reference, task) for name, (prediction, reference) in pairs.items()),
    )
    table.save(out)
    return table


def _pairs(pred: Path, labels: Path) -> dict[str, tuple[Path, Path]]:
    """Return (prediction, reference) by case name; every file must have its counterpart."""
    predictions, references = images_by_case(pred), images_by_case(labels)
    missing = [name for name in references if name not in predictions]
    superfluous = [name for name in predictions if name not in references]
    if missing:
        raise UserError(
            f"{pred / missing[0]}.nii.gz: no such prediction ({len(missing)} of {len(references)} missing): "
            "predict all cases of the label folder"
        )
    if superfluous:
        raise UserError(
            f"{predictions[superfluous[0]]}: no label of this name in {labels} ({len(superfluous)} such predictions): "
            "move it away or add its label"
        )
    return {name: (predictions[name], reference) for name, reference in references.items()}


def _score(name: str, prediction_path: Path, reference_path: Path, task: SegTask) -> CaseScores:
    predicted, true = read_image(prediction_path), read_image(reference_path)
    if predicted.shape != true.shape:
        raise UserError(f"{prediction_path}: has shape {predicted.shape}, its label {true.shape}: predict on that grid")
    shift = true.largest_shift(predicted)
    if shift > SAME_GRID:
        raise UserError(
            f"{prediction_path}: its affine differs from its label's by up to {shift:.3g} voxels: predict on that grid"
        )
    prediction = _label_map(predicted, prediction_path, task)
    reference = _label_map(true, reference_path, task)
    spacing_mm = tuple(round(length, 6) for length in true.spacing_mm)  # float32 noise would decide about distances
    tolerance_mm = max(spacing_mm) if task.tolerance_mm is None else task.tolerance_mm
    return CaseScores(
        case=name,
        dice=tuple(dice(prediction, reference, task.num_classes)),
        surface_dice=tuple(
            surface_dice(prediction == value, reference == value, spacing_mm, tolerance_mm)
            for value in range(1, task.num_classes)
        ),
        tolerance_mm=tolerance_mm,
    )


def _label_map(image: Image, path: Path, task: SegTask) -> npt.NDArray[Any]:
    """Return the integer labels (H, W, D) of a file."""
    if image.num_channels != 1:
        raise UserError(f"{path}: has {image.num_channels} channels: a label map has one")
    values = image.array[..., 0]
    if sum(np.count_nonzero(values == value) for value in range(task.num_classes)) < values.size:
        wrong = next(value for value in np.unique(values).tolist() if value not in range(task.num_classes))
        raise UserError(
            f"{path}: has the value {wrong:g}, {task.name} has labels 0 to {task.num_classes - 1}: "
            "correct the file or give the right --task"
        )
    labels: npt.NDArray[Any] = values.astype(np.min_scalar_type(task.num_classes - 1))
    return labels
