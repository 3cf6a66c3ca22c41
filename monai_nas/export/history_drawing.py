"""The history of a search or a training as one picture."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from monai_nas.export.cell_drawing import TITLES
from monai_nas.export.cell_layout import NUM_INPUTS
from monai_nas.export.figures import drawing_style, kind_of, picture_files, short_name
from monai_nas.export.history import Array, History, read_history
from monai_nas.export.shapes import GREY, PALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Lines = Mapping[str, Array]

LINE_COLOURS = ("#0072B2", "#D55E00")
LINE_STYLES: Sequence[Any] = ("-", (0, (4, 1.5)), (0, (1, 1.2)))  # of operations of one kind
EDGE_COLOURS = ("#440154", "#31688E", "#35B779", "#E0A800")  # dark to light: edges into the first node, the second, ...
FEW_EPOCHS = 12  # up to here each epoch is marked
LEAST_FALL = 0.05  # share of the undecided value that an axis shows at least: noise must not look like a decision
REFERENCE: Any = {"color": GREY, "linewidth": 0.8, "linestyle": (0, (4, 2)), "zorder": 0}
# inches
PAGE_WIDTH, SMALL_HEIGHT, LARGE_HEIGHT = 7.0, 1.3, 1.5
LEFT, RIGHT, TITLE, EPOCHS, LEGEND, NAMES, BETWEEN = 0.56, 0.08, 0.26, 0.4, 0.22, 1.15, 0.14
NAME_STEP = 0.118  # least distance of the names of two lines


def history_drawing(path: Path) -> dict[str, bytes]:
    """Return the files of the picture of a history.csv.

    For a search: the losses, the temperature and the rate of the weights over all epochs, the last phase shaded; then,
    over the epochs in which operations were sampled, the entropy of each edge and the share of each operation, mean
    over the edges. For a training: loss and rate.

    Returns:
        File name -> content: PNG of 300 dots an inch, and SVG.

    Raises:
        UserError: when matplotlib is missing, or the file is no history; see :func:`read_history`.
    """
    history = read_history(path)
    with drawing_style(path):
        figure = search_figure(history) if history.is_search else training_figure(history)
        return picture_files(figure, "history")


def training_figure(history: History) -> "Figure":
    """Return loss and rate beside each other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(PAGE_WIDTH, TITLE + SMALL_HEIGHT + EPOCHS))
    columns, width = history.columns, (PAGE_WIDTH - 2 * LEFT - RIGHT) / 2
    loss = panel_at(figure, LEFT, TITLE, width, SMALL_HEIGHT)
    draw_lines(loss, "Loss", columns["epoch"], {"loss": columns["loss"]})
    rate = panel_at(figure, 2 * LEFT + width, TITLE, width, SMALL_HEIGHT)
    draw_lines(rate, "Learning rate", columns["epoch"], {"rate": columns["rate"]})
    return figure


def search_figure(history: History) -> "Figure":
    """Return the picture of a search; see :func:`history_drawing`."""
    from matplotlib.figure import Figure

    tops = TITLE, 2 * TITLE + SMALL_HEIGHT + EPOCHS, 3 * TITLE + 2 * EPOCHS + 2 * SMALL_HEIGHT + LEGEND
    figure = Figure(figsize=(PAGE_WIDTH, tops[2] + LARGE_HEIGHT + EPOCHS))
    columns, epochs, num_sampling = history.columns, history.columns["epoch"], history.num_sampling
    width = (PAGE_WIDTH - 3 * LEFT - RIGHT) / 4
    for left, share, title, lines in (
        (LEFT, 2, "Loss", {"loss": columns["loss"], "alpha loss": columns["alpha_loss"]}),
        (2 * LEFT + 2 * width, 1, "Temperature", {"temperature": columns["temperature"]}),
        (3 * LEFT + 3 * width, 1, "Learning rate", {"rate": columns["weight_rate"]}),
    ):
        panel = panel_at(figure, left, tops[0], share * width, SMALL_HEIGHT)
        draw_lines(panel, title, epochs, lines)
        shade_last_phase(panel, epochs, num_sampling, named=share > 1)
        if len(lines) > 1:
            panel.legend(loc="upper right")
        if title == "Temperature":
            draw_log_scale(panel)
    shares, entropies = (
        {name: values[:num_sampling] for name, values in history.under(prefix).items()}
        for prefix in ("share", "entropy")
    )
    draw_entropies(figure, tops[1], epochs[:num_sampling], entropies, len(shares))
    panel = panel_at(figure, LEFT, tops[2], PAGE_WIDTH - LEFT - NAMES, LARGE_HEIGHT)
    draw_shares(panel, epochs[:num_sampling], shares)
    return figure


def panel_at(figure: "Figure", left: float, top: float, width: float, height: float) -> "Axes":
    """Return a new panel; its place is in inches from the upper left corner of the figure."""
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, 1 - (top + height) / up, width / across, height / up))


def draw_lines(panel: "Axes", title: str, epochs: Array, lines: Lines) -> None:
    """Draw named lines over the epochs."""
    for (name, values), colour in zip(lines.items(), LINE_COLOURS, strict=False):
        panel.plot(epochs, values, color=colour, label=name, **_marks(values))
    panel.set_title(title)
    _set_epochs(panel, epochs)


def draw_log_scale(panel: "Axes") -> None:
    """Give the upright axis a logarithmic scale with plain numbers."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    panel.set_yscale("log")
    panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    panel.yaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


def shade_last_phase(panel: "Axes", epochs: Array, num_sampling: int, *, named: bool) -> None:
    """Shade the epochs after the last one in which operations were sampled."""
    if num_sampling == len(epochs):
        return
    start, end = epochs[num_sampling - 1] + 0.5, panel.get_xlim()[1]
    panel.axvspan(start, end, color=PALE, linewidth=0, zorder=0)
    if named:
        panel.set_title("shaded: the chosen operations alone", loc="right", weight="normal", color=GREY)


def draw_entropies(figure: "Figure", top: float, epochs: Array, entropies: Lines, num_operations: int) -> None:
    """Draw the entropy of each edge in nats, a panel a cell type, below the line of undecided edges."""
    from matplotlib.lines import Line2D

    cell_types = list(dict.fromkeys(name.partition("/")[0] for name in entropies))
    cell_types.sort(key=[*TITLES, *cell_types].index)
    width = (PAGE_WIDTH - LEFT - RIGHT + BETWEEN) / len(cell_types) - BETWEEN
    undecided = float(np.log(num_operations))
    lowest = min([(1 - LEAST_FALL) * undecided, *(float(values.min()) for values in entropies.values())])
    room = 0.06 * (undecided - lowest)
    nodes = set()
    for place, cell_type in enumerate(cell_types):
        panel = panel_at(figure, LEFT + place * (width + BETWEEN), top, width, SMALL_HEIGHT)
        panel.axhline(undecided, **REFERENCE)
        edges = {name: values for name, values in entropies.items() if name.startswith(f"{cell_type}/")}
        for name, values in edges.items():
            node = int(name.rpartition("-")[2]) - NUM_INPUTS
            nodes.add(node)
            panel.plot(epochs, values, color=_edge_colour(node), linewidth=0.8, **_marks(values, 1.5))
        panel.plot(epochs, np.mean(list(edges.values()), axis=0), color="black", linewidth=2.0, **_marks(epochs, 3.5))
        panel.set_title(TITLES.get(cell_type, cell_type))
        _set_epochs(panel, epochs)
        panel.set_ylim(lowest - room, undecided + room)
        if place:
            panel.tick_params(labelleft=False)
        else:
            panel.set_ylabel("entropy of an edge, nats")
    handles = [Line2D([], [], color=_edge_colour(node), label=f"into node {node}") for node in sorted(nodes)]
    handles.append(Line2D([], [], color="black", linewidth=2.0, label="mean"))
    handles.append(Line2D([], [], **REFERENCE, label=f"undecided: log {num_operations}"))
    foot = 1 - (top + SMALL_HEIGHT + EPOCHS + LEGEND) / figure.get_size_inches()[1]
    figure.legend(handles=handles, loc="lower center", bbox_to_anchor=(0.5, foot), ncols=len(handles), handlelength=1.5)


def draw_shares(panel: "Axes", epochs: Array, shares: Lines) -> None:
    """Draw the mean probability of each operation in percent, each line named at its end."""
    drawn: dict[str, int] = {}  # lines of a kind so far
    for operation, values in shares.items():
        kind = kind_of(operation)
        style = LINE_STYLES[drawn.get(kind.title, 0) % len(LINE_STYLES)]
        drawn[kind.title] = drawn.get(kind.title, 0) + 1
        panel.plot(epochs, 100 * values, color=kind.colour, linestyle=style, clip_on=False, **_marks(values))
    panel.axhline(100 / len(shares), **REFERENCE)
    panel.set_title("Mean probability of each operation over all edges, %")
    _set_epochs(panel, epochs)
    panel.set_xlim(right=epochs[-1])
    equal, (low, high) = 100 / len(shares), panel.get_ylim()
    low, high = min(low, (1 - LEAST_FALL) * equal), max(high, (1 + LEAST_FALL) * equal)
    step = (high - low) * NAME_STEP / LARGE_HEIGHT
    heights = spread([100 * float(values[-1]) for values in shares.values()], step)
    beside = panel.get_yaxis_transform()  # (share of the width, percent)
    for (operation, values), height in zip(shares.items(), heights, strict=True):
        colour = kind_of(operation).colour
        panel.plot(
            [1.003, 1.025], [100 * values[-1], height], color=colour, linewidth=0.6, transform=beside, clip_on=False
        )
        name = f"{100 * values[-1]:.1f}  {short_name(operation)}"
        panel.text(1.03, height, name, color=colour, va="center_baseline", transform=beside)
    panel.set_ylim(low, high)


def spread(heights: Sequence[float], step: float) -> list[float]:
    """Return the heights moved as little as may be (least squares) so that any two are ``step`` apart."""
    order = sorted(range(len(heights)), key=lambda place: heights[place])
    blocks: list[list[float]] = []  # of heights less their steps: where they fall, they are pooled
    for rank, place in enumerate(order):
        blocks.append([heights[place] - rank * step])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    pooled = [float(np.mean(block)) for block in blocks for _ in block]
    moved = dict(zip(order, (value + rank * step for rank, value in enumerate(pooled)), strict=True))
    return [moved[place] for place in range(len(heights))]


def _set_epochs(panel: "Axes", epochs: Array) -> None:
    """Give the level axis whole epochs and a name."""
    from matplotlib.ticker import MaxNLocator

    room = 0.5 if len(epochs) <= FEW_EPOCHS else 0.02 * len(epochs)
    panel.set_xlim(epochs[0] - room, epochs[-1] + room)
    panel.xaxis.set_major_locator(MaxNLocator(nbins=6, steps=[1, 2, 5, 10], integer=True, min_n_ticks=1))
    panel.set_xlabel("epoch")


def _marks(values: Array, size: float = 2.5) -> dict[str, Any]:
    """Return the style that marks each epoch where there are few; the size is in points."""
    return {"marker": "o", "markersize": size} if np.isfinite(values).sum() <= FEW_EPOCHS else {}


def _edge_colour(node: int) -> str:
    """Return the colour of the edges into an intermediate node."""
    return EDGE_COLOURS[node % len(EDGE_COLOURS)]
