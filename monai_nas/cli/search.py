"""``monai-nas search``: find an architecture for a dataset, with its weights."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import (
    Data,
    Device,
    Epochs,
    Float32,
    RunOut,
    Seed,
    Task,
    check_length,
    compute_of,
    existing_folder,
    tolerance_of,
)
from monai_nas.errors import UserError


def search(
    data: Data,
    out: RunOut,
    strategy: Annotated[str, typer.Option("--strategy", help="How the architecture is chosen.")] = "scnas",
    task: Task = None,
    plan: Annotated[
        Path | None,
        typer.Option(
            "--plan",
            help="Plan to follow as it is, with its patch, batch and strides; by default made from the data, by the "
            "rule of --strategy and --preset.",
        ),
    ] = None,
    seed: Seed = 0,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Time to take; by default 30, with --strategy hypersegnas 60. With --preset paper the default is 400 "
            "epochs, with hypersegnas 180000 steps.",
        ),
    ] = None,
    epochs: Epochs = None,
    preset: Annotated[
        str,
        typer.Option(
            "--preset",
            help="cpu: minutes or hours on what you have; paper: the values of the strategy's paper, SCNAS or "
            "HyperSegNAS, with --plan all but its plan's: patch, batch, strides, width, intensities.",
        ),
    ] = "cpu",
    fold: Annotated[int | None, typer.Option("--fold", min=0, help="Keep this fold out of the search.")] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(
            "--budget",
            help="What the network may cost, with --strategy hypersegnas: train_memory=2GB, inference_memory=512MB, "
            "flops=50G, parameters=2M or latency=80ms; once for each network wanted.",
        ),
    ] = None,
    tolerance: Annotated[
        str | None,
        typer.Option(
            "--tolerance", help="How far below a --budget a network may stay and still be its answer; by default 5%."
        ),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option("--candidates", min=1, help="Networks to rank for each budget; by default the preset's."),
    ] = None,
    supernet: Annotated[
        Path | None,
        typer.Option("--supernet", help="RUN of --strategy hypersegnas: search again in its trained supernet."),
    ] = None,
    grid: Annotated[
        str | None,
        typer.Option(
            "--grid",
            help="What a supernet of --strategy hypersegnas holds: topology, skip connections and 3x3x3 convolutions, "
            "the default; topology_pseudo_3d, with convolutions in a plane and across it as well, for thick slices; "
            "dints, the grid of DiNTS with its five operations and a norm on each path, for strides of 2 on all axes.",
        ),
    ] = None,
    blocks: Annotated[
        int | None, typer.Option("--blocks", min=1, help="Columns of the --grid; by default 12.", show_default=False)
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            "--calibration",
            help="JSON file that `python -m monai_nas.benchmarks.training_memory` wrote on this device: says what a "
            "training step takes beside its tensors. Without one the memory of a GPU is an estimate.",
        ),
    ] = None,
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

    Example: `monai-nas search --data Task04_Hippocampus --strategy hypersegnas --out runs/grid --budget
    train_memory=2GB --budget train_memory=1GB`. There --minutes is the time of the supernet's training; ranking and
    fine-tuning come on top. Under torchrun processes share them.
    """
    check_length(minutes, epochs)
    if tolerance is not None and not budget:
        raise UserError(f"--tolerance {tolerance}: of no budget: add --budget, or leave it out")
    existing_folder(data, "dataset.json")

    from monai_nas.pipelines.search_by_name import search_by_name
    from monai_nas.plans.plan import Plan
    from monai_nas.tasks.task import load_task

    search_by_name(
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
        budgets=budget or [],
        tolerance=tolerance_of(tolerance or "5%"),
        num_candidates=candidates,
        supernet=supernet,
        calibration=calibration,
        grid=grid,
        num_blocks=blocks,
    )
    folders = f"budget_1 ... budget_{len(budget)}, pareto.csv; in each " if budget and len(budget) > 1 else ""
    typer.echo(f"{out}: {folders}architecture.json, network.json, plan.json, model.pt, history.csv")
