"""``monai-nas train``: train the network of a given architecture."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import (
    ArchitectureOption,
    Data,
    Device,
    Epochs,
    Float32,
    Minutes,
    PlanFile,
    Preset,
    RunOut,
    Seed,
    Task,
    check_length,
    compute_of,
    existing_folder,
)


def train(
    data: Data,
    architecture: ArchitectureOption,
    out: RunOut,
    task: Task = None,
    plan: PlanFile = None,
    init: Annotated[
        Path | None, typer.Option("--init", help="Weights to start from, such as a search's model.pt.")
    ] = None,
    teacher: Annotated[
        list[Path] | None,
        typer.Option(
            "--teacher",
            help="Finished RUN of a better network, whose probabilities are learnt instead of the labels, by Dice and "
            "cross-entropy; of several their mean.",
            show_default=False,
        ),
    ] = None,
    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Keep this fold for validation.")] = None,
    minutes: Minutes = None,
    epochs: Epochs = None,
    preset: Preset = "cpu",
    seed: Seed = 0,
    float32: Float32 = False,
    device: Device = None,
) -> None:
    """Train the network of an architecture; continues an unfinished RUN.

    Example: `monai-nas train --data Task04_Hippocampus --architecture runs/search/architecture.json --out runs/train`

    With a network made by hand, to compare: `monai-nas train --data Task04_Hippocampus --architecture res_unet --out
    runs/res_unet`
    """
    check_length(minutes, epochs)
    existing_folder(data, "dataset.json")

    from monai_nas.networks import load_architecture
    from monai_nas.pipelines.train import train as run_training
    from monai_nas.plans.plan import Plan
    from monai_nas.tasks.task import load_task

    run_training(
        data,
        out,
        task=load_task(task, data),
        architecture=load_architecture(architecture),
        plan=Plan.load(plan) if plan is not None else None,
        init=init,
        fold=fold,
        seed=seed,
        minutes=minutes,
        epochs=epochs,
        compute=compute_of(float32, device),
        preset=preset,
        teachers=teacher or (),
    )
    typer.echo(f"{out}: architecture.json, network.json, plan.json, model.pt, history.csv")
