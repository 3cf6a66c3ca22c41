"""``monai-nas demo``: the whole way, from scans to a scored bundle, in minutes."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import Device, Float32, check_length, compute_of


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for everything it makes.")] = Path("demo"),
    minutes: Annotated[float, typer.Option("--minutes", help="Time for the search.")] = 2.0,
    float32: Float32 = False,
    device: Device = None,
) -> None:
    """Go the whole way: check, plan, search, bundle, predict, score. Uses phantoms, or MSD_ROOT's hippocampi if set.

    Example: `monai-nas demo --out demo --minutes 2`
    """
    check_length(minutes, None)

    from monai_nas.cli.scores import show_scores
    from monai_nas.pipelines.demo import run_demo

    made = run_demo(out, minutes=minutes, compute=compute_of(float32, device))
    show_scores(made.scores)
    for name, path in made.paths.items():
        typer.echo(f"{name:12} {path}")
