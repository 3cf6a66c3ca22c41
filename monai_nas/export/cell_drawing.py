"""The four cells of an architecture as figures for a paper, as figures 3 to 6 of SCNAS (Kim et al. 2019)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.export.cell_layout import (
    CONCAT_WIDTH,
    INPUT_WIDTH,
    LABEL_HEIGHT,
    MARGIN,
    NODE_HEIGHT,
    NODE_WIDTH,
    NUM_INPUTS,
    OUTPUT_WIDTH,
    CellLayout,
    Edge,
    all_edges,
)
from monai_nas.export.figures import KINDS, ZERO, drawing_style, kind_of, picture_files, short_name, tint
from monai_nas.export.shapes import GREY, INK, PALE, TEXT_SIZE, draw_box, draw_wire, text_width
from monai_nas.files import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Cell = Mapping[Edge, str]  # the operation on each edge

TITLES = {  # in the order of the paper's figures
    "encoder_normal": "Encoder-normal cell",
    "reduction": "Reduction cell",
    "decoder_normal": "Decoder-normal cell",
    "expansion": "Expansion cell",
}
NOTES = {"reduction": "edges from the inputs are strided", "expansion": "inputs are upsampled first"}
INPUTS = (r"$c_{k{-}2}$", r"$c_{k{-}1}$")
OUTPUT = r"$c_k$"
GATHERED = "#A0A0A0"  # wires to the concatenation
# inches from here on
LABEL_WIDTH, LABEL_PAD = 0.78, 0.05  # the paper's operations fit, so that all of its cells have one size
LEAST_WIDTH, TITLE_HEIGHT, LEGEND_STEP, BETWEEN = 3.2, 0.2, 0.18, 0.14
SWATCH, SWATCH_GAP, LEGEND_GAP = (0.2, 0.1), 0.06, 0.17


@dataclass(frozen=True)
class LegendEntry:
    """A text of the legend, with a swatch where it has a colour."""

    text: str
    colour: str | None
    dashed: bool = False

    @property
    def width(self) -> float:
        """With its swatch and the distance to the next entry, in inches."""
        swatch = 0.0 if self.colour is None else SWATCH[0] + SWATCH_GAP
        return swatch + text_width(self.text) + LEGEND_GAP


def read_architecture(path: Path) -> Architecture:
    """Return the architecture of an architecture.json, or the one in a network.json or a bundle's configuration.

    Raises:
        UserError: naming the file, when it holds none.
    """
    record = read_json(path)
    for key in ("network_def", "network", "architecture"):  # an ensemble's members are its "network"
        record = record.get(key, record) if isinstance(record, dict) else record
    return Architecture.from_record(record, source=str(path))


def cells_of(architecture: Architecture, source: Path) -> dict[str, Cell]:
    """Return the operation on each edge of each of the four cells, in the order of :data:`TITLES`.

    Args:
        architecture: of the space of cells.
        source: its file, named in errors.

    Raises:
        UserError: when the architecture has no cells, or not all edges of each.
    """
    if architecture.space != "cell_unet":
        raise UserError(
            f"{source}: the space {architecture.space!r} has no cells to draw: give a 'cell_unet', or a history.csv"
        )
    num_nodes, choices = dict(architecture.settings).get("num_nodes"), dict(architecture.choices)
    if not isinstance(num_nodes, int) or num_nodes < 1:
        raise UserError(f"{source}: num_nodes is {num_nodes!r}, not 1 or more: give the architecture.json of a run")
    cells = {name: {(i, j): f"{name}/{i}-{j}" for i, j in all_edges(num_nodes)} for name in TITLES}
    decisions = [decision for cell in cells.values() for decision in cell.values()]
    for decision in (*decisions, *choices):
        if decision not in decisions or not isinstance(choices.get(decision), str):
            found = repr(choices[decision]) if decision in choices else "missing"
            raise UserError(f"{source}: {decision} is {found}: give an architecture.json of {num_nodes} nodes a cell")
    return {name: {edge: choices[decision] for edge, decision in cell.items()} for name, cell in cells.items()}


def cell_drawings(architecture: Architecture, source: Path) -> dict[str, bytes]:
    """Return the files of five figures: each cell alone, and "cells" with the four on one page.

    Args:
        architecture: of the space of cells.
        source: its file, named in errors.

    Returns:
        File name -> content: PNG of 300 dots an inch, and SVG.

    Raises:
        UserError: when matplotlib is missing, or the architecture has no cells.
    """
    cells = cells_of(architecture, source)
    with drawing_style(source):
        files: dict[str, bytes] = {}
        for cell_type in cells:
            files |= picture_files(figure_of({cell_type: cells[cell_type]}), cell_type)
        return files | picture_files(figure_of(cells), "cells")


def figure_of(cells: Mapping[str, Cell]) -> "Figure":
    """Return a figure of some cells, one below the other, with a legend of their operations."""
    from matplotlib.figure import Figure

    shown = {name: {edge: op for edge, op in cell.items() if op != ZERO} for name, cell in cells.items()}
    operations = sorted({operation for cell in shown.values() for operation in cell.values()})
    label_width = max([LABEL_WIDTH, *(text_width(short_name(name)) + 2 * LABEL_PAD for name in operations)])
    num_nodes = max(target for cell in cells.values() for _, target in cell) - NUM_INPUTS + 1
    layouts = {name: CellLayout(num_nodes, tuple(cell), label_width) for name, cell in shown.items()}
    some = next(iter(layouts.values()))
    width = max(some.width, LEAST_WIDTH)
    legend = legend_rows(operations, any(layout.unfed for layout in layouts.values()), width - 2 * MARGIN)
    above, below = some.farthest(1) + LABEL_HEIGHT / 2, LABEL_HEIGHT / 2 - some.concat_height
    step = TITLE_HEIGHT + above + below + BETWEEN
    height = step * len(cells) + LEGEND_STEP * len(legend) + 2 * MARGIN
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    top = height - MARGIN
    for name, cell in shown.items():
        axes.text(MARGIN, top, TITLES[name], weight="bold", size=8, va="top", color=INK)
        axes.text(width - MARGIN, top, NOTES.get(name, ""), size=TEXT_SIZE, va="top", ha="right", color=GREY)
        draw_cell(axes, name, cell, layouts[name], top - TITLE_HEIGHT - above)
        top -= step
    for row in legend:
        draw_legend_row(axes, row, top - LEGEND_STEP / 2)
        top -= LEGEND_STEP
    return figure


def legend_rows(operations: Sequence[str], has_unfed: bool, width: float) -> list[list[LegendEntry]]:
    """Return the entries of the legend in rows that fit into ``width``."""
    kinds = [kind for kind in KINDS if kind in {kind_of(operation) for operation in operations}]
    entries = [LegendEntry(kind.title, kind.colour) for kind in kinds]
    if has_unfed:
        entries.append(LegendEntry("node without input: zeros", INK, dashed=True))
    if any("_3x3x3" in operation for operation in operations):
        entries.append(LegendEntry("kernels 3\N{MULTIPLICATION SIGN}3\N{MULTIPLICATION SIGN}3", None))
    rows: list[list[LegendEntry]] = [[]]
    for entry in entries:
        if rows[-1] and sum(item.width for item in [*rows[-1], entry]) - LEGEND_GAP > width:
            rows.append([])
        rows[-1].append(entry)
    return rows


def draw_legend_row(axes: "Axes", row: Sequence[LegendEntry], y: float) -> None:
    """Draw a row of the legend around the height ``y``."""
    x = MARGIN
    for entry in row:
        text_x = x
        if entry.colour is not None:
            face = "white" if entry.dashed else tint(entry.colour)
            corner, size = (x, y - SWATCH[1] / 2), SWATCH
            draw_box(axes, corner, size, "", entry.colour, face, rounding=SWATCH[1] / 2.5, dashed=entry.dashed)
            text_x += SWATCH[0] + SWATCH_GAP
        axes.text(text_x, y, entry.text, size=TEXT_SIZE, va="center_baseline", color=INK if entry.colour else GREY)
        x += entry.width


def draw_cell(axes: "Axes", name: str, cell: Cell, layout: CellLayout, y: float) -> None:
    """Draw a cell with its line of nodes at the height ``y``.

    In an SVG, "reduction.0-2" is the id of the wire that the decision "reduction/0-2" is about, and
    "reduction.0-2.label" that of its label.
    """
    for node in layout.nodes:
        draw_wire(axes, layout.concat_wire(node), y, GATHERED, 1.0, f"{name}.{node}-concat", casing=False)
    outermost_first = sorted(cell, key=lambda edge: -layout.lanes[edge].rank)
    for edge in outermost_first:
        draw_wire(axes, layout.wire(edge), y, kind_of(cell[edge]).colour, 2.0, f"{name}.{edge[0]}-{edge[1]}")
    for edge, operation in cell.items():
        centre, colour = layout.label(edge), kind_of(operation).colour
        width, height = layout.label_width, LABEL_HEIGHT
        left = (centre[0] - width / 2, y + centre[1] - height / 2)
        text, box = short_name(operation), (width, height)
        gid = f"{name}.{edge[0]}-{edge[1]}.label"
        draw_box(axes, left, box, text, colour, tint(colour), rounding=height / 2, gid=gid)
    for source, text in enumerate(INPUTS):
        low, high = layout.input_span(source)
        draw_box(axes, (MARGIN, y + low), (INPUT_WIDTH, high - low), text, INK, PALE, size=8.0)
    for node in layout.nodes:
        left = (layout.node_x(node) - NODE_WIDTH / 2, y - NODE_HEIGHT / 2)
        dashed = node in layout.unfed
        draw_box(axes, left, (NODE_WIDTH, NODE_HEIGHT), str(node - NUM_INPUTS), INK, "white", size=8.0, dashed=dashed)
    low, high = layout.concat_height - LABEL_HEIGHT / 2, NODE_HEIGHT / 2
    draw_box(axes, (layout.concat_x, y + low), (CONCAT_WIDTH, high - low), "concatenation", GATHERED, PALE, rotation=90)
    middle = (low + high) / 2
    wire = [(layout.concat_x + CONCAT_WIDTH, middle), (layout.output_x, middle)]
    draw_wire(axes, wire, y, GATHERED, 1.0, f"{name}.output", casing=False)
    corner = (layout.output_x, y + middle - NODE_HEIGHT / 2)
    draw_box(axes, corner, (OUTPUT_WIDTH, NODE_HEIGHT), OUTPUT, INK, PALE, size=8.0)
