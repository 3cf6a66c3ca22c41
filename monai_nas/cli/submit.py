"""``monai-nas submit``: the leaderboard's archive, written or checked. One line a finding."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_nas.cli.errors import USER_FAULT
from monai_nas.cli.options import existing_folder
from monai_nas.errors import UserError

if TYPE_CHECKING:
    from monai_nas.data.check import Finding

LAYOUT = (
    "layout TaskNN_Name/case.nii.gz as two public projects submit it; the site's own instructions are unverified: read "
    "them before you upload (docs/submission.md)"
)


def submit(
    data: Annotated[
        Path,
        typer.Option("--data", help="Folder of dataset.json; of TaskNN_Name folders for several.", show_default=False),
    ],
    pred: Annotated[
        Path | None,
        typer.Option("--pred", help="Folder of predicted CASE.nii.gz; with --task all, of TaskNN_Name folders."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="ZIP to write.")] = None,
    check: Annotated[Path | None, typer.Option("--check", help="ZIP to check, instead of --pred and --out.")] = None,
    task: Annotated[
        str | None, typer.Option("--task", help="MSD folder name, JSON file or all; by default DIR/dataset.json.")
    ] = None,
) -> None:
    """Write the archive of label maps for the Decathlon's leaderboard, or check one; exit status 2 on a fault.

    Example: `monai-nas submit --data Task04_Hippocampus --pred predictions --out task04.zip`, then
    `monai-nas submit --check task04.zip --data Task04_Hippocampus`
    """
    existing_folder(data, "dataset.json, or those of several tasks")
    if check is not None:
        if pred is not None or out is not None:
            raise UserError("--check goes without --pred and --out: write first, then check")
        if not check.is_file():
            raise UserError(f"{check}: no such file: give the ZIP to check")

        from monai_nas.export.submission_check import check_submission

        _report(check, check_submission(check, data, task=task))
        return
    if pred is None or out is None:
        raise UserError("--pred and --out: give both to write an archive, or --check to check one")
    existing_folder(pred, "the predicted label maps")

    from monai_nas.export.submission import write_submission

    _report(out, write_submission(data, pred, out, task=task))
    typer.echo(f"{out}: written; {LAYOUT}", err=True)


def _report(archive: Path, findings: Sequence["Finding"]) -> None:
    """Print the findings; leave with exit status 2 when one is an error."""
    for finding in findings:
        typer.echo(str(finding))
    errors = sum(finding.severity == "error" for finding in findings)
    typer.echo(f"{archive}: {errors} errors, {len(findings) - errors} warnings", err=True)
    if errors:
        raise typer.Exit(USER_FAULT)
