"""``monai-nas check``: is a folder a sound dataset? One line a finding."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.errors import USER_FAULT
from monai_nas.cli.options import Task, existing_folder


def check(
    data: Annotated[Path, typer.Argument(help="Folder that holds dataset.json.", show_default=False)],
    task: Task = None,
) -> None:
    """Read every scan of a dataset and print one line a finding; exit status 2 when one is an error.

    Example: `monai-nas check Task04_Hippocampus`
    """
    from monai_nas.data.check import check_dataset
    from monai_nas.tasks.task import load_task

    existing_folder(data, "dataset.json")
    findings = check_dataset(data, load_task(task, data))
    for finding in findings:
        typer.echo(f"{finding.severity}: {finding.file}: {finding.message}")
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{data}: {errors} errors, {len(findings) - errors} warnings", err=True)
    if errors:
        raise typer.Exit(USER_FAULT)
