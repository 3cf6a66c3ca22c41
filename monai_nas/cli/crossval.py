"""``monai-nas crossval``: train, predict and score fold by fold, and make one ensemble of the networks."""

from typing import TYPE_CHECKING, Annotated

import typer

from monai_nas.cli.options import (
    ArchitectureOption,
    Data,
    Device,
    Float32,
    PlanFile,
    Preset,
    RunOut,
    Seed,
    Task,
    check_length,
    compute_of,
    existing_folder,
)

if TYPE_CHECKING:
    from monai_nas.pipelines.cross_validate import CrossValidated


def crossval(
    data: Data,
    architecture: ArchitectureOption,
    out: RunOut,
    task: Task = None,
    plan: PlanFile = None,
    fold: Annotated[
        int | None, typer.Option("--fold", min=0, help="Run this fold alone, from 0 on; by default all of them.")
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option("--minutes", help="Time for each fold's training; by default 30, with --preset paper 400 epochs."),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option("--epochs", help="Passes over the cases in each fold, instead of --minutes.")
    ] = None,
    preset: Preset = "cpu",
    seed: Seed = 0,
    float32: Float32 = False,
    device: Device = None,
) -> None:
    """Cross-validate an architecture in five folds and make an ensemble of the networks; continues an unfinished RUN.

    Example: `monai-nas crossval --data Task04_Hippocampus --architecture runs/search/architecture.json --out runs/cv`

    On several machines: give each its `--fold`, with one RUN on a disk that they share; or copy the folders fold_0,
    fold_1, ... into one RUN afterwards and give the command there. Then `monai-nas bundle --run RUN` writes the bundle.
    """
    check_length(minutes, epochs)
    existing_folder(data, "dataset.json")

    from monai_nas.cli.scores import show_scores
    from monai_nas.networks import load_architecture
    from monai_nas.pipelines.cross_validate import cross_validate
    from monai_nas.plans.plan import Plan
    from monai_nas.tasks.task import load_task

    result = cross_validate(
        data,
        out,
        task=load_task(task, data),
        architecture=load_architecture(architecture),
        plan=Plan.load(plan) if plan is not None else None,
        fold=fold,
        seed=seed,
        minutes=minutes,
        epochs=epochs,
        compute=compute_of(float32, device),
        preset=preset,
    )
    _show_folds(result)
    if result.scores is None:
        left = ", ".join(map(str, result.left))
        typer.echo(f"{out}: folds left: {left}; give the command for each with --fold, or once without")
    else:
        show_scores(result.scores)
        typer.echo(f"{out}: scores.json, postprocessing.json; plan.json, network.json, model.pt of the ensemble")


def _show_folds(result: "CrossValidated") -> None:
    """Print the mean Dice and surface Dice of each finished fold, and of all cases, in percent."""
    from rich.console import Console
    from rich.table import Table

    from monai_nas.metrics.table import METRICS

    table = Table(title="each case by the network that has not seen it, percent")
    table.add_column("fold")
    for heading in ("cases", "Dice", "surface Dice"):
        table.add_column(heading, justify="right")
    rows = [(str(fold), scores) for fold, scores in sorted(result.folds.items())]
    if result.scores is not None:
        rows.append(("all", result.scores))
    for name, scores in rows:
        if name == "all":
            table.add_section()
        table.add_row(name, str(len(scores.cases)), *(f"{100 * scores.mean(metric):.1f}" for metric in METRICS))
    Console().print(table)
