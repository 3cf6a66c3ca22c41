"""``monai-nas draw``: the cells or the grid of an architecture, and the history of a run, as figures."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.errors import UserError

DRAWINGS = "drawings"
HISTORY, ARCHITECTURE = "history.csv", "architecture.json"


def draw(
    file: Annotated[
        Path,
        typer.Argument(help="architecture.json, network.json, history.csv, or a RUN folder.", show_default=False),
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help=f"Folder to write to; by default {DRAWINGS}/ beside FILE, or in RUN.")
    ] = None,
) -> None:
    """Draw the four cells, each alone and all on one page, or the grid, and the history, as PNG and SVG for a paper.

    Needs `monai-nas[reports]`.

    Example: `monai-nas draw runs/search --out figures`
    """
    from monai_nas.files import write_atomic

    folder = out or (file if file.is_dir() else file.parent) / DRAWINGS
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: is a file: give a folder as --out")
    pictures = drawings_of(file)  # all of them before the first is written
    for name, content in pictures.items():
        write_atomic(folder / name, content)
    typer.echo(f"{folder}: {', '.join(pictures)}")


def drawings_of(file: Path) -> dict[str, bytes]:
    """Return the pictures of a file, or of those that a RUN folder holds: file name -> content.

    Raises:
        UserError: when it is missing, holds nothing to draw, or matplotlib is missing.
    """
    from monai_nas.export.cell_drawing import cell_drawings, read_architecture
    from monai_nas.export.history_drawing import history_drawing
    from monai_nas.export.lattice_drawing import SPACES, lattice_drawings

    if file.is_dir():
        found = [file / name for name in (ARCHITECTURE, HISTORY) if (file / name).exists()]
        if not found:
            raise UserError(f"{file}: has neither {ARCHITECTURE} nor {HISTORY}: give the folder of a run")
        return {name: content for path in found for name, content in drawings_of(path).items()}
    if file.suffix.lower() == ".csv":
        return history_drawing(file)
    architecture = read_architecture(file)
    drawers = {"cell_unet": cell_drawings} | dict.fromkeys(SPACES, lattice_drawings)
    if architecture.space not in drawers:
        known = ", ".join(drawers)
        raise UserError(f"{file}: {architecture.space!r} has nothing to draw, only {known} have: give a history.csv")
    return drawers[architecture.space](architecture, file)
