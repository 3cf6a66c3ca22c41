"""The picture of `monai_nas.benchmarks.growth`: a panel for each thing that grows, with its exponents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_nas.errors import UserError
from monai_nas.export.figures import drawing_style, picture_bytes
from monai_nas.export.history_drawing import draw_log_scale, panel_at
from monai_nas.files import read_json, write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SECONDS, MEMORY = "#0072B2", "#D55E00"  # Okabe-Ito colours: safe for all eyes
NAMES = {SECONDS: "seconds, left", MEMORY: "growth of the process in MiB, right"}
COLUMNS = 3
LEAST_RANGE = 6.0  # an axis shows its values within at least such a factor: small changes must not look large
# inches
PAGE_WIDTH, HEIGHT, SIDE, TITLE, AMOUNTS, LEGEND = 7.0, 1.15, 0.42, 0.52, 0.42, 0.3


@dataclass(frozen=True)
class Curve:
    """Values over the amounts of a panel, the straight line beside them, and what is said of it in the title."""

    values: Sequence[float]
    line: Sequence[float] | None
    note: str
    colour: str


@dataclass(frozen=True)
class Panel:
    """What one panel shows."""

    title: str
    unit: str
    amounts: Sequence[float]
    names: Sequence[str]  # of the amounts
    curves: Sequence[Curve]


def growth_picture(source: Path, out: Path) -> None:
    """Draw the series of a file of figures, each in a panel with logarithmic axes.

    Args:
        source: JSON file of the benchmark.
        out: picture file; its ending, such as .png, .pdf or .svg, gives the format.

    Raises:
        UserError: when matplotlib is missing, the file cannot be read or holds no series, or ``out`` has an ending that
            is no picture's.
    """
    series = read_json(source).get("series")
    if not series:
        raise UserError(f"{source}: no series in it: measure some with python -m monai_nas.benchmarks.growth")
    with drawing_style(source):
        from matplotlib.figure import Figure

        ending = out.suffix.removeprefix(".").lower()
        if ending not in Figure().canvas.get_supported_filetypes():
            raise UserError(f"{out}: {out.suffix or 'no ending'} is no picture format: use .png, .pdf or .svg")
        write_atomic(out, picture_bytes(growth_figure(list(map(panel_of, series.values()))), ending))


def panel_of(record: Mapping[str, Any]) -> Panel:
    """Return what is drawn of a series."""
    if "points" not in record:
        return panel_of_processes(record)
    points = record["points"]
    amounts = [point["amount"] for point in points.values()]
    curves = []
    for key, fit, colour in (("median_seconds", "seconds", SECONDS), ("median_growth_mib", "memory", MEMORY)):
        values = [point[key] for point in points.values()]
        found = record[fit]
        if found is None:
            curves.append(Curve(values, None, f"{fit}: no exponent", colour))
            continue
        line = [found["factor"] * amount ** found["exponent"] for amount in amounts]
        exponent = round(found["exponent"], 2) + 0.0  # which makes 0 of -0
        curves.append(Curve(values, line, f"{fit}: exponent {exponent:.2f} ± {found['standard_error']:.2f}", colour))
    suffix = "³" if record["power"] > 1 else ""
    return Panel(record["title"], record["unit"], amounts, [f"{size}{suffix}" for size in points], curves)


def panel_of_processes(record: Mapping[str, Any]) -> Panel:
    """Return what is drawn of one and two processes: the line halves the seconds, and keeps the memory of each."""
    ways = [record["one"], record["two"]]
    amounts = [way["processes"] for way in ways]
    seconds, memory = ([way[key] for way in ways] for key in ("median_seconds", "median_growth_mib"))
    halved = [seconds[0] / amount for amount in amounts]
    alone, beside = record["efficiency"], record["efficiency_beside_another"]
    curves = [
        Curve(seconds, halved, f"efficiency {alone:.2f}; beside a load {beside:.2f}", SECONDS),
        Curve(memory, None, "memory: of each process", MEMORY),
    ]
    return Panel(record["title"], record["unit"], amounts, [str(amount) for amount in amounts], curves)


def growth_figure(panels: Sequence[Panel]) -> "Figure":
    """Return the panels, row by row."""
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    row, rows = TITLE + HEIGHT + AMOUNTS, -(-len(panels) // COLUMNS)
    figure = Figure(figsize=(PAGE_WIDTH, rows * row + LEGEND))
    column = PAGE_WIDTH / COLUMNS
    for place, panel in enumerate(panels):
        down, across = divmod(place, COLUMNS)
        left, top = across * column + SIDE, down * row + TITLE
        draw_panel(panel_at(figure, left, top, column - 2 * SIDE, HEIGHT), panel)
    handles = [Line2D([], [], color=colour, marker="o", markersize=2.5, label=name) for colour, name in NAMES.items()]
    handles.append(Line2D([], [], color="black", linestyle=(0, (4, 2)), linewidth=0.8, label="power law, or half"))
    figure.legend(handles=handles, loc="lower center", ncols=len(handles))
    return figure


def draw_panel(panel: "Axes", content: Panel) -> None:
    """Draw the seconds on the left axis and the memory on the right one; their notes stand below the title."""
    from matplotlib.ticker import NullLocator

    panel.set_title(content.title, pad=21)
    panel.set_xscale("log")
    other = panel.twinx()
    other.spines["right"].set_visible(True)
    for axes, curve, height in zip((panel, other), content.curves, (1.13, 1.02), strict=True):
        axes.plot(content.amounts, curve.values, color=curve.colour, marker="o", markersize=2.5, linewidth=0.9)
        if curve.line is not None:
            axes.plot(content.amounts, curve.line, color=curve.colour, linestyle=(0, (4, 2)), linewidth=0.8)
        panel.text(0, height, curve.note, color=curve.colour, transform=panel.transAxes)
        axes.tick_params(axis="y", colors=curve.colour, labelsize=6)
        if min(curve.values) > 0:
            draw_log_scale(axes)
            axes.set_ylim(*wide(curve.values))
    panel.set_xticks(content.amounts, content.names, fontsize=6)
    panel.xaxis.set_minor_locator(NullLocator())
    panel.set_xlabel(content.unit, labelpad=1.5)


def wide(values: Sequence[float]) -> tuple[float, float]:
    """Return limits of an axis around positive values, at least a factor of :data:`LEAST_RANGE` apart."""
    middle = float(np.sqrt(min(values) * max(values)))
    half = max(1.3 * max(values) / middle, LEAST_RANGE**0.5)
    return middle / half, middle * half
