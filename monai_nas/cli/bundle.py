"""``monai-nas bundle``: make a MONAI bundle of a run, or one to be trained."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import existing_folder
from monai_nas.errors import UserError


def bundle(
    out: Annotated[
        Path, typer.Option("--out", help="Bundle to write; its name is the bundle's name.", show_default=False)
    ],
    run: Annotated[Path | None, typer.Option("--run", help="RUN folder of a search or a training.")] = None,
    estimate: Annotated[
        Path | None,
        typer.Option(
            "--estimate",
            help="Where RUN has learnt from all cases: RUN folder of the same network, trained with a fold kept out and"
            " scored on it, or of a cross-validation. The model card tells its scores.",
        ),
    ] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="Without --run: MSD folder name or a JSON file of dataset.json's form.")
    ] = None,
    plan: Annotated[Path | None, typer.Option("--plan", help="Without --run: plan of the task.")] = None,
    architecture: Annotated[
        Path | None,
        typer.Option("--architecture", help="Without --run: architecture.json, or a configuration of a bundle."),
    ] = None,
) -> None:
    """Write a MONAI bundle of a search or a training, or without weights, to be trained by its own train.json.

    An earlier bundle of that name is replaced.

    Example: `monai-nas bundle --run runs/search --out bundles/msd_task04_hippocampus`

    Trained on all cases, with the scores of a fold: `monai-nas bundle --run runs/all --estimate runs/fold_0 --out
    bundles/hippocampus`

    Without weights: `monai-nas bundle --task Task09_Spleen --plan plan.json --architecture architecture.json --out
    bundles/msd_task09_spleen`
    """
    parts = {"--task": task, "--plan": plan, "--architecture": architecture}
    given = [name for name, value in parts.items() if value is not None]
    if run is None and estimate is not None:
        raise UserError("--estimate stands beside --run: give the RUN folder of the weights as --run")
    if run is not None and given:
        raise UserError(f"--run and {', '.join(given)}: give --run alone, or --task, --plan and --architecture")
    if run is not None:
        for folder in (run, estimate):
            if folder is not None:
                existing_folder(folder, "model.pt and network.json, as search and train write them")

        from monai_nas.export.bundle import write_bundle

        write_bundle(run, out, estimate)
        typer.echo(
            f"{out}: try `python -m monai.bundle run --config_file {out}/configs/inference.json --bundle_root {out}`"
        )
        return
    if task is None or plan is None or architecture is None:
        missing = ", ".join(name for name in parts if name not in given)
        raise UserError(f"{missing} missing: give --run alone, or --task, --plan and --architecture")

    from monai_nas.export.bundle import write_untrained_bundle
    from monai_nas.export.cell_drawing import read_architecture
    from monai_nas.plans.plan import Plan
    from monai_nas.tasks.task import load_task

    write_untrained_bundle(
        task=load_task(task, None), plan=Plan.load(plan), architecture=read_architecture(architecture), out=out
    )
    typer.echo(f"{out}: without weights; {out}/docs/README.md tells how to train it")
