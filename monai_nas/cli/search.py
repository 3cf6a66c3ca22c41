"""``monai-nas search``: find an architecture for a dataset, with its weights."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import (
    Data,
    Device,
    Epochs,
    Float32,
    Minutes,
    PlanFile,
    Preset,
    Seed,
    Task,
    check_length,
    compute_of,
    existing_folder,
)


def search(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="RUN folder to write or to continue.", show_default=False)],
    strategy: Annotated[str, typer.Option("--strategy", help="How the architecture is chosen.")] = "scnas",
    task: Task = None,
    plan: PlanFile = None,
    seed: Seed = 0,
    minutes: Minutes = None,
    epochs: Epochs = None,
    preset: Preset = "cpu",
    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Keep this fold out of the search.")] = None,
    settle: Annotated[
        bool | None,
        typer.Option(
            "--settle/--no-settle",
            help="Whether to end with a phase that trains the chosen operations alone; by default the preset's.",
            show_default=False,
        ),
    ] = None,
    float32: Float32 = False,
    device: Device = None,
) -> None:
    """Search an architecture on a dataset and train its weights; continues an unfinished RUN.

    Example: `monai-nas search --data Task04_Hippocampus --strategy scnas --out runs/search --minutes 30`
    """
    check_length(minutes, epochs)
    existing_folder(data, "dataset.json")

    from monai_nas.pipelines.search import search as run_search
    from monai_nas.plans.plan import Plan
    from monai_nas.tasks.task import load_task

    run_search(
        data,
        out,
        task=load_task(task, data),
        strategy=strategy,
        plan=Plan.load(plan) if plan is not None else None,
        seed=seed,
        minutes=minutes,
        epochs=epochs,
        fold=fold,
        compute=compute_of(float32, device),
        preset=preset,
        settle=settle,
    )
    typer.echo(f"{out}: architecture.json, network.json, plan.json, model.pt, history.csv")
