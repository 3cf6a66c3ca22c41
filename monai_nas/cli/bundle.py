"""``monai-nas bundle``: make a MONAI bundle of a run."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import existing_folder


def bundle(
    run: Annotated[Path, typer.Option("--run", help="RUN folder of a search or a training.", show_default=False)],
    out: Annotated[
        Path, typer.Option("--out", help="Bundle to write; its name is the bundle's name.", show_default=False)
    ],
) -> None:
    """Write a MONAI bundle of a search or a training; an earlier bundle of that name is replaced.

    Example: `monai-nas bundle --run runs/search --out bundles/msd_task04_hippocampus`
    """
    existing_folder(run, "model.pt and network.json, as search and train write them")

    from monai_nas.export.bundle import write_bundle

    write_bundle(run, out)
    typer.echo(
        f"{out}: try `python -m monai.bundle run --config_file {out}/configs/inference.json --bundle_root {out}`"
    )
