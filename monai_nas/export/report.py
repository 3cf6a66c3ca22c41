"""Pictures for papers and pages: image, truth and prediction beside each other on real slices."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nibabel
import numpy as np
import numpy.typing as npt

from monai_nas.errors import UserError
from monai_nas.export.figures import drawing_style, picture_bytes
from monai_nas.export.shapes import GREY, TEXT_SIZE, text_width
from monai_nas.files import write_atomic
from monai_nas.tasks.images import Image, read_image

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Array = npt.NDArray[Any]

PLANES = (("axial", 2), ("coronal", 1), ("sagittal", 0))  # name, and the RAS axis that it cuts across
COLUMNS = ("image", "truth", "prediction")
COLOURS = ("#E69F00", "#56B4E9", "#CC79A7", "#009E73", "#F0E442", "#D55E00", "#0072B2")  # Okabe-Ito: safe for all eyes
PANEL_INCHES, LEFT_INCHES, RIGHT_INCHES, TOP_INCHES, LEGEND_INCHES = 1.2, 0.42, 0.05, 0.36, 0.2
GAP = 0.06  # between planes, of a panel's width
LEGEND_COLUMNS, DOTS_PER_INCH = 8, 200
SLICES = "slices with the most wrong voxels"
NAME_POINTS = 8.0  # of a case; smaller where the name is longer than its row is high
CONTEXT = 1.5  # side of the window, of the longest side of the structures
SCALE_BARS_MM = (1, 2, 5, 10, 20, 50, 100, 200)
GREY_PERCENTILES = (0.5, 99.5)  # of what is seen of a slice: black and white


@dataclass(frozen=True)
class PicturedCase:
    """One row of the picture: an image with its predicted and its true label map, all on one grid."""

    name: str
    image: Path
    pred: Path
    label: Path
    dice: float | None = None  # mean over the classes, in [0, 1], as evaluated; printed beside the row


@dataclass(frozen=True)
class Volume:
    """The three arrays of a case in RAS order, with what is shown of them."""

    image: Array  # (x, y, z), first channel
    pred: Array
    label: Array
    spacing_mm: tuple[float, float, float]
    slices: tuple[int, int, int]  # index along each axis of the slice that is shown
    box: tuple[tuple[int, int], ...]  # first and last voxel of the structures along each axis, of both label maps

    def window_mm(self, axis: int) -> tuple[tuple[float, float], float]:
        """Return centre and side of the square that is shown of a slice across ``axis``, in the image where it fits."""
        others = _others(axis)
        structures = [(self.box[other][1] - self.box[other][0] + 1) * self.spacing_mm[other] for other in others]
        extents = [self.image.shape[other] * self.spacing_mm[other] for other in others]
        side = min(CONTEXT * max(structures), max(extents))
        centre = []
        for other, extent in zip(others, extents, strict=True):
            middle = (sum(self.box[other]) + 1) / 2 * self.spacing_mm[other]
            inside = min(max(middle, side / 2), extent - side / 2) if extent > side else extent / 2
            centre.append(inside - self.spacing_mm[other] / 2)  # voxel 0 is centred at 0
        return (centre[0], centre[1]), side


def prediction_picture(cases: Sequence[PicturedCase], classes: Sequence[str], out: Path) -> None:
    """Draw a row a case: the three planes, each as the image, with the true outlines and with the predicted ones.

    Each plane is cut where most voxels are wrong, so that no choice flatters the prediction; where none is, through the
    largest area of the truth. Views are radiological: the patient's left is on the viewer's right.

    Args:
        cases: from top to bottom.
        classes: names of the label values 1, 2, ...
        out: picture file; its ending, such as .png, .pdf or .svg, gives the format.

    Raises:
        UserError: when matplotlib is missing, a file cannot be read, the grids of a case differ, or ``out`` has an
            ending that is no picture's.
    """
    with drawing_style(out):
        from matplotlib.figure import Figure

        ending = out.suffix.removeprefix(".").lower()
        if ending not in Figure().canvas.get_supported_filetypes():
            raise UserError(f"{out}: {out.suffix or 'no ending'} is no picture format: use .png, .pdf or .svg")
        figure = prediction_figure(cases, classes)
        write_atomic(out, picture_bytes(figure, ending, DOTS_PER_INCH))


def prediction_figure(cases: Sequence[PicturedCase], classes: Sequence[str]) -> "Figure":
    """Return the figure of :func:`prediction_picture`."""
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    per_plane = len(COLUMNS)
    ratios = ([*[1.0] * per_plane, GAP] * len(PLANES))[:-1]
    bottom = LEGEND_INCHES * (1 + math.ceil(len(classes) / LEGEND_COLUMNS))
    width = LEFT_INCHES + PANEL_INCHES * sum(ratios) + RIGHT_INCHES
    height = TOP_INCHES + bottom + PANEL_INCHES * len(cases)
    figure = Figure(figsize=(width, height))
    grid = figure.add_gridspec(
        len(cases),
        len(ratios),
        width_ratios=ratios,
        left=LEFT_INCHES / width,
        right=1 - RIGHT_INCHES / width,
        top=1 - TOP_INCHES / height,
        bottom=bottom / height,
        wspace=0.03,
        hspace=0.03,
    )
    for row, case in enumerate(cases):
        volume = load_volume(case)
        for place, (plane, axis) in enumerate(PLANES):
            for column, labels in enumerate((None, volume.label, volume.pred)):
                panel = figure.add_subplot(grid[row, (per_plane + 1) * place + column])
                draw_panel(panel, volume, labels, axis, len(classes))
                if row == 0:
                    panel.set_title(COLUMNS[column], fontsize=8, pad=3, loc="center", weight="normal")
                if place == column == 0:
                    score = "" if case.dice is None else f"\nDice {100 * case.dice:.1f}"
                    fitting = 0.95 * PANEL_INCHES / text_width(case.name) * TEXT_SIZE
                    panel.set_ylabel(case.name + score, fontsize=min(NAME_POINTS, fitting))
                if column == 0:
                    draw_marks(panel, volume.window_mm(axis)[1], "P" if axis == 0 else "R")
                if row == column == 0:
                    middle = (LEFT_INCHES + PANEL_INCHES * (per_plane / 2 + place * (per_plane + GAP))) / width
                    figure.text(middle, 1 - 0.04 / height, plane, ha="center", va="top", fontsize=9, weight="bold")
    handles = [
        Patch(facecolor=(colour, 0.3), edgecolor=colour, label=name)
        for name, colour in zip(classes, map(colour_of, range(len(classes))), strict=True)
    ]
    figure.legend(handles=handles, loc="lower center", ncols=min(len(handles), LEGEND_COLUMNS), fontsize=8)
    figure.text(1 - RIGHT_INCHES / width, 0.08 / height, SLICES, ha="right", va="bottom", color=GREY)
    return figure


def load_volume(case: PicturedCase) -> Volume:
    """Read a case, turn it to RAS, and choose what is shown of it.

    Raises:
        UserError: when a file cannot be read or the grids differ.
    """
    files = [read_image(path) for path in (case.image, case.pred, case.label)]
    for path, file in zip((case.pred, case.label), files[1:], strict=True):
        if file.shape != files[0].shape:
            raise UserError(
                f"{path}: has shape {file.shape}, its image {files[0].shape}: give the folders of one dataset"
            )
    image, pred, label = (_turned_to_ras(file) for file in files)
    spacing = [files[0].spacing_mm[axis] for axis in files[0].ras_axes]
    wrong = label != pred  # (x, y, z)
    shown = wrong if wrong.any() else label > 0
    box = [np.flatnonzero(((label > 0) | (pred > 0)).any(axis=_others(axis))) for axis in range(3)]
    if not box[0].size:  # neither has a structure: the whole volume
        box = [np.arange(extent) for extent in image.shape]
    areas = [shown.sum(axis=_others(axis)) for axis in range(3)]
    i, j, k = (int(area.argmax()) if area.any() else area.size // 2 for area in areas)
    return Volume(
        image=image,
        pred=pred,
        label=label,
        spacing_mm=(spacing[0], spacing[1], spacing[2]),
        slices=(i, j, k),
        box=tuple((int(voxels[0]), int(voxels[-1])) for voxels in box),
    )


def draw_panel(panel: "Axes", volume: Volume, labels: Array | None, axis: int, num_structures: int) -> None:
    """Draw one slice across ``axis`` with the outlines of ``labels``, if any, in mm, anterior or superior up."""
    across, up = _others(axis)
    index = volume.slices[axis]
    steps = volume.spacing_mm[across], volume.spacing_mm[up]
    grey = volume.image.take(index, axis=axis).T  # (up, across)
    mask = np.zeros_like(grey) if labels is None else labels.take(index, axis=axis).T
    extent = [bound * step for step, size in zip(steps, grey.shape[::-1], strict=True) for bound in (-0.5, size - 0.5)]
    columns, rows = (np.arange(size) * step for size, step in zip(grey.shape[::-1], steps, strict=True))  # mm
    (horizontal, vertical), side = volume.window_mm(axis)
    half = side / 2
    seen = grey[np.ix_(abs(rows - vertical) <= half, abs(columns - horizontal) <= half)]
    black, white = np.percentile(seen, GREY_PERCENTILES)
    panel.imshow(
        grey,
        cmap="gray",
        vmin=float(black),
        vmax=float(max(white, black + 1e-6)),
        origin="lower",
        extent=(extent[0], extent[1], extent[2], extent[3]),
        interpolation="bicubic",
    )
    for structure in range(num_structures):
        inside = mask == structure + 1
        if not inside.any():
            continue
        colour = colour_of(structure)
        field = np.pad(inside.astype(float), 1)  # a structure at the border of the volume has an outline there too
        place = [
            np.concatenate([[line[0] - step], line, [line[-1] + step]])
            for line, step in zip((columns, rows), steps, strict=True)
        ]
        panel.contourf(*place, field, levels=[0.5, 1.5], colors=[colour], alpha=0.22)
        panel.contour(*place, field, levels=[0.5], colors=[colour], linewidths=1.3)
    rightwards = -half if across == 0 else half  # x grows to the patient's right, which is on the viewer's left
    panel.set_xlim(horizontal - rightwards, horizontal + rightwards)
    panel.set_ylim(vertical - half, vertical + half)
    panel.set_facecolor("black")
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set_visible(False)


def draw_marks(panel: "Axes", side_mm: float, side_letter: str) -> None:
    """Draw a bar of a round length, under a third of the panel, and the letter of the side that lies to the left."""
    from matplotlib.patheffects import withStroke

    length = max([bar for bar in SCALE_BARS_MM if bar <= side_mm / 3], default=SCALE_BARS_MM[0])
    start, end, height = 0.06, 0.06 + length / side_mm, 0.07  # of the panel
    outline = [withStroke(linewidth=2.5, foreground="black")]  # white marks must also show on white tissue
    style: dict[str, Any] = {"transform": panel.transAxes, "color": "white", "path_effects": outline}
    panel.plot([start, end], [height, height], linewidth=1.5, solid_capstyle="butt", **style)
    panel.text(start, height + 0.03, f"{length} mm", va="bottom", fontsize=7, **style)
    panel.text(0.03, 0.5, side_letter, va="center", fontsize=7, **style)


def colour_of(structure: int) -> str:
    """Return the colour of the structure with label value ``structure + 1``."""
    return COLOURS[structure % len(COLOURS)]


def _others(axis: int) -> tuple[int, int]:
    """Return the two axes that are not ``axis``, the one drawn across first."""
    first, second = (other for other in range(3) if other != axis)
    return first, second


def _turned_to_ras(image: Image) -> Array:
    """Return the first channel (x, y, z) with its axes to the right, anterior and superior."""
    orientation = nibabel.orientations.io_orientation(image.affine)
    turned: Array = nibabel.orientations.apply_orientation(image.array[..., 0], orientation)
    return turned
