"""``monai-nas tasks``: the ten tasks of the Medical Segmentation Decathlon."""

import json
from typing import Annotated

import typer


def tasks(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON list and nothing else.")] = False,
) -> None:
    """List the ten tasks of the Medical Segmentation Decathlon.

    Example: `monai-nas tasks --json`
    """
    from monai_nas.tasks.msd import MSD_TASKS

    if as_json:
        typer.echo(json.dumps([task.to_record() for task in MSD_TASKS], indent=4))
        return

    from rich.console import Console
    from rich.table import Table

    table = Table(title="Medical Segmentation Decathlon")
    table.add_column("name", no_wrap=True)
    for heading in ("modalities", "labels"):
        table.add_column(heading)
    for heading in ("training", "test", "tolerance (mm)"):
        table.add_column(heading, justify="right")
    for task in MSD_TASKS:
        table.add_row(
            task.name,
            ", ".join(task.modalities),
            ", ".join(task.labels[1:]),
            str(task.num_training),
            str(task.num_test),
            f"{task.tolerance_mm:g}",
        )
    Console().print(table)
