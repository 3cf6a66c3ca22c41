"""``monai-nas report``: a picture of predictions beside the truth."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import existing_folder
from monai_nas.errors import UserError

DEFAULT_CASES = 3


def case_dice(values: Sequence[float]) -> float | None:
    """Return the mean of a case over the classes that it has; None where it has none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else None


def report(
    pred: Annotated[Path, typer.Option("--pred", help="Folder of predicted CASE.nii.gz.", show_default=False)],
    images: Annotated[Path, typer.Option("--images", help="Folder of the scans.", show_default=False)],
    labels: Annotated[Path, typer.Option("--labels", help="Folder of true CASE.nii.gz.", show_default=False)],
    scores: Annotated[Path, typer.Option("--scores", help="scores.json of `monai-nas evaluate`.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Picture to write: .png, .pdf or .svg.", show_default=False)],
    cases: Annotated[int, typer.Option("--cases", min=1, help="How many cases, the worst first.")] = DEFAULT_CASES,
    case: Annotated[list[str] | None, typer.Option("--case", help="A case to show; may be repeated.")] = None,
) -> None:
    """Draw image, truth and prediction on the worst slices of the worst cases, or of chosen ones.

    Needs `monai-nas[reports]`.

    Example: `monai-nas report --pred predictions --images imagesTs --labels labelsTs --scores scores.json --out a.png`
    """
    existing_folder(pred, "the predicted label maps")
    existing_folder(images, "the scans")
    existing_folder(labels, "the true label maps")

    from monai_nas.export.report import PicturedCase, prediction_picture
    from monai_nas.metrics.table import ScoreTable
    from monai_nas.pipelines.image_folder import images_by_case

    table = ScoreTable.load(scores)
    dice = {entry.case: case_dice(entry.dice) for entry in table.cases}
    folders = [images_by_case(folder) for folder in (images, pred, labels)]
    chosen = []
    for name in case or table.worst(cases):
        if name not in dice:
            raise UserError(f"{scores}: has no case {name}: evaluate it first, or choose another --case")
        for folder, files in zip((images, pred, labels), folders, strict=True):
            if name not in files:
                raise UserError(f"{folder}: has no file of case {name}: give the folders that {scores} was made from")
        image, predicted, label = (files[name] for files in folders)
        chosen.append(PicturedCase(name, image, predicted, label, dice[name]))
    prediction_picture(chosen, table.classes, out)
    typer.echo(f"{out}: {', '.join(entry.name for entry in chosen)}")
