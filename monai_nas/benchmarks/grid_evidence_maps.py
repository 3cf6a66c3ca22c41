"""Where the channel weights of a MAN change: figure 6 of HyperSegNAS (Peng et al. 2022, equations 6 and 7)."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.evidence_table import interval_95
from monai_nas.benchmarks.grid_evidence_study import SEED, GridStudy, Record
from monai_nas.compute import Compute
from monai_nas.export.figures import drawing_style, picture_bytes
from monai_nas.export.report import COLOURS, DOTS_PER_INCH
from monai_nas.files import write_atomic
from monai_nas.strategies import OneShot

if TYPE_CHECKING:
    from matplotlib.figure import Figure

WINDOW, STRIDE = 16, 4  # voxels; the paper's are 96 and 16, and its scans larger
BATCH = 64  # windows at once
PLANES = (("sagittal", 0), ("coronal", 1), ("axial", 2))  # name, and the RAS axis that it cuts across
PANEL_INCHES = 1.7

Array = npt.NDArray[Any]
Window = tuple[slice, slice, slice]


@dataclass(frozen=True)
class Changes:
    """How channel weights change over the windows of one case."""

    windows: Sequence[Window]
    values: tuple[Array, Array]  # of equations 6 and 7, one number a window
    share: Array  # of foreground in each window


def draw_maps(study: GridStudy) -> Record:
    """Draw figure 6 for the first case kept out, with the MAN of the variant that keeps it; return what all cases show.

    The architectures are those a quarter and three quarters up the list of table 1.
    """
    searcher, listed = study.supernet("kept"), study.architectures("table1/architectures")
    pair = listed[len(listed) // 4], listed[3 * len(listed) // 4]
    cases = [changes_of(searcher, pair, item, study.compute) for item in study.held]
    shown, picture = study.held[0], study.out / "maps" / "maps.png"
    image, label = shown["image"][0].numpy(), shown["label"][0].numpy()
    maps = [averaged(values, cases[0].windows, label.shape) for values in cases[0].values]
    with drawing_style(picture):
        figure = maps_figure(image, label, maps, study.task.labels[1:], study.plan.spacing_mm)
        write_atomic(picture, picture_bytes(figure, "png", DOTS_PER_INCH))
    return {
        "picture": shown["name"],
        "cases": len(cases),
        "seed": SEED,
        "architectures": [architecture.to_record() for architecture in pair],
        "window": WINDOW,
        "stride": STRIDE,
        **{f"equation_{6 + place}": facts_of([(case.values[place], case.share) for case in cases]) for place in (0, 1)},
    }


def changes_of(
    searcher: OneShot, pair: tuple[Architecture, Architecture], item: Mapping[str, Any], compute: Compute
) -> Changes:
    """Return equation 6 with the first architecture, and equation 7 with both, for the windows of a case.

    Args:
        searcher: of a variant with a MAN.
        pair: of its space.
        item: "image" (C, H, W, D) and "label" (1, H, W, D).
        compute: where and in which number format.
    """
    windows = windows_of(item["image"].shape[1:])
    one, other = (channel_weights(searcher, architecture, item["image"], windows, compute) for architecture in pair)
    share = np.array([float((item["label"][0][window] > 0).float().mean()) for window in windows])
    return Changes(windows, (change_with_image(one), change_with_architecture(one, other)), share)


def windows_of(shape: Sequence[int]) -> list[Window]:
    """Return windows of ``WINDOW`` voxels, or the whole axis where it is shorter, that cover a volume."""
    sizes = [min(WINDOW, length) for length in shape]
    starts = [
        sorted({*range(0, length - size, STRIDE), length - size}) for length, size in zip(shape, sizes, strict=True)
    ]
    x, y, z = ([slice(start, start + size) for start in line] for line, size in zip(starts, sizes, strict=True))
    return list(product(x, y, z))


def channel_weights(
    searcher: OneShot, architecture: Architecture, image: Tensor, windows: Sequence[Window], compute: Compute
) -> Tensor:
    """Return the MAN's channel weights (windows, c_tot) for each window of an image (C, H, W, D)."""
    assert searcher.hypernet is not None  # the variant keeps it
    paths = searcher.supernet.one_hot(architecture)["paths"]
    found = []
    with torch.inference_mode(), compute.autocast():
        for start in range(0, len(windows), BATCH):
            patches = torch.stack([image[:, x, y, z] for x, y, z in windows[start : start + BATCH]])
            found.append(searcher.hypernet(compute.place(patches), paths).cpu())
    return torch.cat(found)


def change_with_image(weights: Tensor) -> Array:
    """Return the distance of each window's weights (windows, c_tot) from their mean over windows: equation 6."""
    return (weights - weights.mean(dim=0)).norm(dim=1).numpy()


def change_with_architecture(first: Tensor, second: Tensor) -> Array:
    """Return the distance between two architectures' weights (windows, c_tot), window by window: equation 7."""
    return (first - second).norm(dim=1).numpy()


def averaged(values: Array, windows: Sequence[Window], shape: Sequence[int]) -> Array:
    """Return a volume whose voxels have the mean value of the windows that hold them."""
    total, count = np.zeros(shape), np.zeros(shape)
    for value, window in zip(values, windows, strict=True):
        total[window] += value
        count[window] += 1
    return total / count


def facts_of(cases: Sequence[tuple[Array, Array]]) -> Record:
    """Return how the change of windows goes with their share of foreground, as means over cases.

    Args:
        cases: change and share of the windows of each. One whose windows all have foreground, or none, or the same
            value, is left out where there is nothing to compare.
    """
    groups = {"with_foreground": [c[s > 0] for c, s in cases], "without_foreground": [c[s == 0] for c, s in cases]}
    means = {f"mean_{name}": [float(group.mean()) for group in found if group.size] for name, found in groups.items()}
    varied = [(change, share) for change, share in cases if np.ptp(change) > 0 and np.ptp(share) > 0]
    rhos = [float(stats.spearmanr(change, share).statistic) for change, share in varied]
    return {
        **{name: statistics.fmean(values) if values else None for name, values in means.items()},
        "spearman_with_share": statistics.fmean(rhos) if rhos else None,
        "spearman_interval_95": interval_95(rhos),
    }


def maps_figure(
    image: Array, label: Array, maps: Sequence[Array], classes: Sequence[str], spacing_mm: Sequence[float]
) -> "Figure":
    """Return a figure with a row for each plane: the image, its labels, and both maps.

    Args:
        image: (x, y, z), RAS.
        label: likewise, 0 for the background; slices are cut where it has the largest area.
        maps: of equations 6 and 7, likewise.
        classes: names of the label values 1, 2, ...
        spacing_mm: of the voxels.
    """
    from matplotlib.colors import ListedColormap
    from matplotlib.figure import Figure
    from matplotlib.patches import Patch

    figure = Figure(figsize=(4 * PANEL_INCHES, 3.5 * PANEL_INCHES), layout="constrained")
    panels = figure.subplots(len(PLANES), 2 + len(maps))
    colours = [COLOURS[index % len(COLOURS)] for index in range(len(classes))]
    titles = ("image", "labels", r"$\Delta\omega^{a}(I)$, eq. 6", r"$\Delta\omega^{I}(a_i, a_j)$, eq. 7")
    for row, (plane, axis) in zip(panels, PLANES, strict=True):
        others = tuple(other for other in range(3) if other != axis)
        index = int((label > 0).sum(axis=others).argmax())
        grey, structures = image.take(index, axis=axis).T, label.take(index, axis=axis).T
        for panel in row[:2]:
            panel.imshow(grey, cmap="gray", origin="lower")
        row[1].imshow(
            np.ma.masked_equal(structures, 0),
            cmap=ListedColormap(colours),
            vmin=0.5,
            vmax=len(classes) + 0.5,
            alpha=0.6,
            origin="lower",
            interpolation="nearest",
        )
        for panel, values in zip(row[2:], maps, strict=True):
            shown = panel.imshow(
                values.take(index, axis=axis).T,
                cmap="viridis",
                vmin=float(values.min()),
                vmax=float(values.max()),
                origin="lower",
            )
            panel.contour(structures > 0, levels=[0.5], colors="white", linewidths=0.8)
            if axis == PLANES[-1][1]:
                figure.colorbar(shown, ax=panel, location="bottom", shrink=0.9)
        for panel, title in zip(row, titles, strict=True):
            panel.set(xticks=[], yticks=[], aspect=spacing_mm[others[1]] / spacing_mm[others[0]])
            panel.spines[:].set_visible(False)
            if axis == PLANES[0][1]:
                panel.set_title(title)
        row[0].set_ylabel(plane)
    handles = [Patch(color=colour, label=name) for colour, name in zip(colours, classes, strict=True)]
    figure.legend(handles=handles, loc="outside lower left", ncols=len(handles))
    return figure
