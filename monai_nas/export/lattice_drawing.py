"""The grid of an architecture as a figure for a paper, as figures 1 and 5 of HyperSegNAS (Peng et al. 2022)."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.export.figures import ZERO, drawing_style, kind_of, picture_files
from monai_nas.export.shapes import GREY, INK, PALE, TEXT_SIZE, Point, draw_box, draw_wire, text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

GridPath = tuple[int, int, int]  # block, source level, target level
Node = tuple[int, int]  # column, level: column 0 holds the stems, column b + 1 the nodes of block b

SPACES = ("topology", "dints")  # their architectures are grids
DOUBLE = "double"
DASHES: Mapping[str, Any] = {  # in points; the legend names operations in this order
    "conv_3x3x3": "solid",
    "identity": (0, (1.1, 1.1)),
    "pseudo_3d_conv_3x3x1": DOUBLE,
    "pseudo_3d_conv_3x1x3": (0, (4.0, 1.4)),
    "pseudo_3d_conv_1x3x3": (0, (4.0, 1.2, 1.1, 1.2)),
}
OTHER_DASHES: Sequence[Any] = ((0, (2.0, 1.0)), (0, (6.0, 1.0)), (0, (1.0, 2.5)))  # of a user's own operations
LINE_WIDTH, IDENTITY_WIDTH, DOUBLE_WIDTH, GAP_WIDTH = 1.4, 1.1, 2.2, 0.9  # points
LEFT_OUT, SLEEPING, WIRES = (
    "#E9E9E9",
    "#D0D0D0",
    "#A0A0A0",
)  # colours: paths left out, unreached nodes, image and output
# inches from here on
MARGIN, COLUMN, ROW, RADIUS = 0.06, 0.41, 0.37, 0.07  # 12 blocks take 7 inches, the width of a page's text
LEVELS_WIDTH, BOX, BUS, HEADER = 0.42, (0.42, 0.24), 0.14, 0.2
LEGEND_STEP, SWATCH, SWATCH_GAP, LEGEND_GAP = 0.18, 0.36, 0.07, 0.2


@dataclass(frozen=True)
class Lattice:
    """The paths that an architecture keeps, and where the parts of their drawing stand, in inches."""

    num_blocks: int
    num_levels: int
    kept: Mapping[GridPath, str]  # -> operation

    @property
    def operations(self) -> list[str]:
        """Those of the kept paths, in the order of the legend."""
        used = set(self.kept.values())
        return [name for name in DASHES if name in used] + sorted(used - DASHES.keys())

    @property
    def reached(self) -> set[Node]:
        """The nodes at an end of a kept path."""
        return {node for path in self.kept for node in ends(path)}

    @property
    def width(self) -> float:
        """Of the whole figure, with its margins."""
        return 2 * MARGIN + LEVELS_WIDTH + 2 * (BOX[0] + 2 * BUS + RADIUS) + self.num_blocks * COLUMN

    @property
    def height(self) -> float:
        """From the top of the header to the end of the coarsest level."""
        return HEADER + BOX[1] / 2 + (self.num_levels - 1) * ROW + RADIUS

    def at(self, node: Node) -> Point:
        """Return the middle of a node; level 0 is at height 0."""
        column, level = node
        return MARGIN + LEVELS_WIDTH + BOX[0] + 2 * BUS + RADIUS + column * COLUMN, -level * ROW


def all_paths(num_blocks: int, num_levels: int) -> list[GridPath]:
    """Return the paths of a full grid: each keeps its level or moves to a neighbour."""
    levels = range(num_levels)
    return [(b, s, t) for b in range(num_blocks) for s in levels for t in levels if abs(s - t) <= 1]


def ends(path: GridPath) -> tuple[Node, Node]:
    """Return the nodes that a path joins."""
    block, source, target = path
    return (block, source), (block + 1, target)


def lattice_of(architecture: Architecture, source: Path) -> Lattice:
    """Return the paths that an architecture keeps.

    Args:
        architecture: of a space of :data:`SPACES`.
        source: its file, named in errors.

    Raises:
        UserError: when the architecture is no grid, or not all of its paths are decided.
    """
    if architecture.space not in SPACES:
        raise UserError(f"{source}: the space {architecture.space!r} has no grid to draw: give one of {SPACES}")
    settings, choices = dict(architecture.settings), dict(architecture.choices)
    num_blocks, num_levels = settings.get("num_blocks", 0), settings.get("num_levels", 0)
    if type(num_blocks) is not int or type(num_levels) is not int or num_blocks < 1 or num_levels < 2:
        raise UserError(f"{source}: settings {settings}: must be num_blocks, 1 or more, and num_levels, 2 or more")
    wanted = num_blocks * (3 * num_levels - 2)
    if len(choices) != wanted:  # before a mistyped number of blocks fills the memory with paths
        raise UserError(f"{source}: has {len(choices)} decisions, its settings {settings} ask for {wanted}: mend them")
    kept = {}
    for path in all_paths(num_blocks, num_levels):
        decision = f"block_{path[0]:02d}/{path[1]}-{path[2]}"
        if not isinstance(choices.get(decision), str):
            found = repr(choices[decision]) if decision in choices else "missing"
            raise UserError(f"{source}: {decision} is {found}: give the architecture.json of a run")
        if choices[decision] != ZERO:
            kept[path] = choices[decision]
    return Lattice(num_blocks, num_levels, kept)


def lattice_drawings(architecture: Architecture, source: Path) -> dict[str, bytes]:
    """Return the files of the figure of a grid: blocks from left to right, levels from fine to coarse.

    Args:
        architecture: of a space of :data:`SPACES`.
        source: its file, named in errors.

    Returns:
        File name -> content: PNG of 300 dots an inch, and SVG.

    Raises:
        UserError: when matplotlib is missing, or the architecture is no grid.
    """
    lattice = lattice_of(architecture, source)
    with drawing_style(source):
        return picture_files(figure_of(lattice), "lattice")


def figure_of(lattice: Lattice) -> "Figure":
    """Return the figure of a grid with a legend of its operations."""
    from matplotlib.figure import Figure

    legend = legend_rows(lattice.operations, lattice.width - 2 * MARGIN)
    height = 2 * MARGIN + lattice.height + LEGEND_STEP * (len(legend) + 0.5)
    top = height - MARGIN - HEADER - BOX[1] / 2  # of level 0 over the lower border
    figure = Figure(figsize=(lattice.width, height))
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0), xlim=(0, lattice.width), ylim=(-top, height - top))
    axes.set_axis_off()
    draw_names(axes, lattice)
    draw_ends(axes, lattice)
    styles = line_styles(lattice.operations)
    draw_paths(axes, lattice, styles)
    draw_nodes(axes, lattice)
    draw_legend(axes, legend, styles, MARGIN - top)
    return figure


def draw_names(axes: "Axes", lattice: Lattice) -> None:
    """Name the blocks above their paths and the levels on the left, and say how many paths are kept."""
    style: Any = {"size": TEXT_SIZE, "color": GREY, "va": "center_baseline"}
    height = BOX[1] / 2 + HEADER / 2
    axes.text(lattice.at((0, 0))[0], height, "block", ha="center", **style)
    for block in range(lattice.num_blocks):
        axes.text(lattice.at((block, 0))[0] + COLUMN / 2, height, str(block), ha="center", **style)
    for level in range(lattice.num_levels):
        axes.text(MARGIN, -level * ROW, f"level {level}", **style)
    share = f"{len(lattice.kept)} of {len(all_paths(lattice.num_blocks, lattice.num_levels))}\npaths"
    style |= {"ha": "center", "va": "top", "linespacing": 1.1}
    axes.text(lattice.width - MARGIN - BOX[0] / 2, -BOX[1] / 2 - RADIUS / 2, share, **style)


def draw_ends(axes: "Axes", lattice: Lattice) -> None:
    """Draw the image, wired to the stems that are read, and the output, wired to the levels that are reached last.

    In an SVG, "stem.2" and "output.2" are the ids of the wires of level 2.
    """
    last = lattice.num_blocks
    left, right = lattice.at((0, 0))[0] - RADIUS, lattice.at((last, 0))[0] + RADIUS
    for text, corner in (("image", left - 2 * BUS - BOX[0]), ("output", right + 2 * BUS)):
        draw_box(axes, (corner, -BOX[1] / 2), BOX, text, INK, PALE)
    for column, level in sorted(lattice.reached, reverse=True):
        height = -level * ROW
        stem = [(left - 2 * BUS, 0.0), (left - BUS, 0.0), (left - BUS, height), (left, height)]
        output = [(right, height), (right + BUS, height), (right + BUS, 0.0), (right + 2 * BUS, 0.0)]
        for name, end, wire in (("stem", 0, stem), ("output", last, output)):
            if column == end:
                corners = wire if level else [wire[0], wire[-1]]
                draw_wire(axes, corners, 0.0, WIRES, 1.0, f"{name}.{level}", casing=False)


def draw_paths(axes: "Axes", lattice: Lattice, styles: Mapping[str, Mapping[str, Any]]) -> None:
    """Draw a line for each path. In an SVG, "block_03.1-2" is the id of that of the decision "block_03/1-2"."""
    from matplotlib.lines import Line2D

    for path in all_paths(lattice.num_blocks, lattice.num_levels):
        style: dict[str, Any] = {"color": LEFT_OUT, "linewidth": 0.5, "zorder": 0.0}
        if path in lattice.kept:
            style = {**styles[lattice.kept[path]], "gid": f"block_{path[0]:02d}.{path[1]}-{path[2]}"}
        (x0, y0), (x1, y1) = (lattice.at(node) for node in ends(path))
        away = RADIUS / hypot(x1 - x0, y1 - y0)  # dashes start where the node ends
        x, y = away * (x1 - x0), away * (y1 - y0)
        axes.add_line(Line2D([x0 + x, x1 - x], [y0 + y, y1 - y], **style))


def line_styles(operations: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return how paths with these operations are drawn: apart from each other without colour, too."""
    from matplotlib.patheffects import Stroke

    others = [name for name in operations if name not in DASHES]
    styles = {}
    for name in operations:
        colour = kind_of(name).colour
        dashes = DASHES[name] if name in DASHES else OTHER_DASHES[others.index(name) % len(OTHER_DASHES)]
        width = IDENTITY_WIDTH if name == "identity" else LINE_WIDTH
        styles[name] = {"color": colour, "linewidth": width, "solid_capstyle": "butt", "zorder": 2.0}
        if dashes == DOUBLE:
            strokes = (DOUBLE_WIDTH, colour), (GAP_WIDTH, "white")
            styles[name]["path_effects"] = [Stroke(linewidth=points, foreground=paint) for points, paint in strokes]
        else:
            styles[name]["linestyle"] = dashes
    return styles


def draw_nodes(axes: "Axes", lattice: Lattice) -> None:
    """Draw the stems as squares and the nodes as circles, faint where no path leads."""
    from matplotlib.patches import Circle, Rectangle

    reached, side = lattice.reached, 1.8 * RADIUS
    for column in range(lattice.num_blocks + 1):
        for level in range(lattice.num_levels):
            is_reached = (column, level) in reached
            colour, width, order = (INK, 0.9, 4.0) if is_reached else (SLEEPING, 0.6, 1.0)
            style: Any = {"facecolor": "white", "edgecolor": colour, "linewidth": width, "zorder": order}
            x, y = lattice.at((column, level))
            square = Rectangle((x - side / 2, y - side / 2), side, side, **style)
            axes.add_patch(Circle((x, y), RADIUS, **style) if column else square)


def legend_name(operation: str) -> str:
    """Return an operation in words: "conv_3x3x3" becomes "convolution 3x3x3", with signs of multiplication."""
    words = operation.replace("pseudo_3d_conv_", "pseudo-3D ").replace("conv_", "convolution ").replace("_", " ")
    return re.sub(r"(?<=\d)x(?=\d)", "\N{MULTIPLICATION SIGN}", words)


def entry_width(operation: str) -> float:
    """Return the width of an entry of the legend with the distance to the next one."""
    return SWATCH + SWATCH_GAP + text_width(legend_name(operation)) + LEGEND_GAP


def legend_rows(operations: Sequence[str], width: float) -> list[list[str]]:
    """Return the operations in rows that fit into ``width``."""
    rows: list[list[str]] = [[]]
    for operation in operations:
        if rows[-1] and sum(map(entry_width, [*rows[-1], operation])) - LEGEND_GAP > width:
            rows.append([])
        rows[-1].append(operation)
    return rows


def draw_legend(
    axes: "Axes", rows: Sequence[Sequence[str]], styles: Mapping[str, Mapping[str, Any]], bottom: float
) -> None:
    """Draw the legend's rows over the height ``bottom``."""
    from matplotlib.lines import Line2D

    for row, operations in enumerate(reversed(rows)):
        x, y = MARGIN, bottom + LEGEND_STEP * (row + 0.5)
        for operation in operations:
            axes.add_line(Line2D([x, x + SWATCH], [y, y], **styles[operation]))
            left = x + SWATCH + SWATCH_GAP
            axes.text(left, y, legend_name(operation), size=TEXT_SIZE, va="center_baseline", color=INK)
            x += entry_width(operation)
