"""Shapes of a drawing in inches: boxes with a text, and wires of level and upright pieces with an arrow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path as Line

Point = tuple[float, float]

INK, GREY, PALE = "#222222", "#666666", "#EEEEEE"
WIRE, CASING, BORDER = 1.1, 3.4, 0.8  # points
TEXT_SIZE = 6.5  # points
CORNER, HEAD = 0.07, 0.075  # inches: radius of a wire's corner, length of an arrow's head


def text_width(text: str) -> float:
    """Return the width of a small text in inches."""
    from matplotlib.font_manager import FontProperties
    from matplotlib.textpath import text_to_path

    width, _, _ = text_to_path.get_text_width_height_descent(text, FontProperties(size=TEXT_SIZE), ismath=False)
    return float(width) / 72


def draw_box(
    axes: "Axes",
    corner: Point,
    size_inches: tuple[float, float],
    text: str,
    edge_colour: str,
    face_colour: Any,
    *,
    size: float = TEXT_SIZE,
    rounding: float = 0.05,
    rotation: float = 0.0,
    dashed: bool = False,
    gid: str | None = None,
) -> None:
    """Draw a box with rounded corners and a text in its middle."""
    from matplotlib.patches import FancyBboxPatch

    width, height = size_inches
    box = FancyBboxPatch(
        corner,
        width,
        height,
        boxstyle=f"round,pad=0,rounding_size={rounding}",
        facecolor=face_colour,
        edgecolor=edge_colour,
        linewidth=BORDER,
        linestyle=(0, (2, 2)) if dashed else "solid",
        zorder=4,
    )
    axes.add_patch(box)
    middle = corner[0] + width / 2, corner[1] + height / 2
    upright = "center" if rotation else "center_baseline"
    axes.text(*middle, text, size=size, ha="center", va=upright, rotation=rotation, color=INK, zorder=5, gid=gid)


def draw_wire(
    axes: "Axes", points: Sequence[Point], y: float, colour: str, order: float, name: str, *, casing: bool = True
) -> None:
    """Draw a wire with an arrow at its end; its casing parts it from the wires that it crosses."""
    from matplotlib.patches import PathPatch, Polygon

    corners = [(x, y + height) for x, height in points]
    (x0, y0), (x1, y1) = corners[-2:]
    length = abs(x1 - x0) + abs(y1 - y0)  # the last piece is level or upright
    along = ((x1 - x0) / length, (y1 - y0) / length)
    neck = (x1 - along[0] * HEAD, y1 - along[1] * HEAD)
    line = rounded([*corners[:-1], neck])
    if casing:
        axes.add_patch(PathPatch(line, fill=False, edgecolor="white", linewidth=CASING, capstyle="butt", zorder=order))
    axes.add_patch(
        PathPatch(line, fill=False, edgecolor=colour, linewidth=WIRE, capstyle="butt", zorder=order, gid=name)
    )
    side = (-along[1] * HEAD * 0.42, along[0] * HEAD * 0.42)
    barbs = [(neck[0] + side[0], neck[1] + side[1]), (neck[0] - side[0], neck[1] - side[1])]
    axes.add_patch(Polygon([(x1, y1), *barbs], facecolor=colour, edgecolor="none", zorder=order))


def rounded(corners: Sequence[Point]) -> "Line":
    """Return a line through level and upright pieces, its corners rounded."""
    from matplotlib.path import Path as Line

    points, codes = [corners[0]], [Line.MOVETO]
    for before, corner, after in zip(corners, corners[1:], corners[2:], strict=False):
        points += [_towards(corner, before), corner, _towards(corner, after)]
        codes += [Line.LINETO, Line.CURVE3, Line.CURVE3]
    return Line([*points, corners[-1]], [*codes, Line.LINETO])


def _towards(corner: Point, other: Point) -> Point:
    """Return the point at :data:`CORNER`, or half of the way, from a corner to another."""
    across, up = other[0] - corner[0], other[1] - corner[1]
    length = abs(across) + abs(up)
    share = min(CORNER, length / 2) / length
    return corner[0] + across * share, corner[1] + up * share
