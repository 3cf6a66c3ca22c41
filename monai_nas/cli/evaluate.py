"""``monai-nas evaluate``: score predicted label maps against the true ones."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import existing_folder


def evaluate(
    pred: Annotated[Path, typer.Option("--pred", help="Folder of predicted CASE.nii.gz.", show_default=False)],
    labels: Annotated[Path, typer.Option("--labels", help="Folder of true CASE.nii.gz.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="File to write, such as scores.json.", show_default=False)],
    task: Annotated[
        str | None,
        typer.Option("--task", help="MSD folder name or a JSON file; by default dataset.json beside --labels."),
    ] = None,
) -> None:
    """Score label maps: Dice and surface Dice of each case and class.

    Example: `monai-nas evaluate --pred predictions --labels labelsTs --out scores.json`
    """
    existing_folder(pred, "the predicted label maps")
    existing_folder(labels, "the true label maps")

    from monai_nas.cli.scores import show_scores
    from monai_nas.pipelines.evaluate import evaluate_folder
    from monai_nas.tasks.task import load_task

    scores = evaluate_folder(load_task(task, labels.resolve().parent), pred, labels, out)
    show_scores(scores)
    typer.echo(f"{out}: written")
