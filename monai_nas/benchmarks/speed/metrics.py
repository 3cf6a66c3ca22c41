"""What scoring a label map takes: Dice and surface Dice (NSD) of three classes, beside MONAI's and DeepMind's."""

import importlib.util
import math
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.metrics import DiceMetric, SurfaceDiceMetric
from monai.networks.utils import one_hot
from torch import Tensor

from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, silent
from monai_nas.metrics import dice, surface_dice

CLASSES = ("organ", "tumour", "vessel")
SPACING_MM = (0.8, 0.8, 1.5)
TOLERANCE_MM = 2.0
_NUM_CLASSES = len(CLASSES) + 1  # with the background
_NUM_TUMOURS, _NUM_VESSELS = 6, 8
_SHIFT = 0.004  # of the prediction against the reference: standard deviation, as a share of a side

Labels = npt.NDArray[np.uint8]  # (H, W, D), values 0 to 3
Scores = dict[str, list[float]]  # "dice" and "surface_dice": one number a class


def metrics_contest(*, shape: tuple[int, int, int], repetitions: int, seed: int, tick: Tick = silent) -> dict[str, Any]:
    """Time Dice and NSD of a phantom of three classes.

    Args:
        shape: voxels (H, W, D).
        repetitions: 1 or more.
        seed: of the phantom.
        tick: as for :func:`contest`.

    Returns:
        The record of :func:`contest` with "shape", "spacing_mm" and "tolerance_mm", and for each contender "values" and
        "largest_difference", of any of its values from ours. DeepMind's takes part where ``surface-distance`` is
        installed.
    """
    reference, prediction = phantoms(shape, np.random.default_rng(seed))
    values: dict[str, Scores] = {}

    predicted, true = _one_hot(prediction), _one_hot(reference)

    def contender(name: str, scores: Callable[[], Scores], about: str) -> Contender:
        return Contender(name, lambda: values.update({name: scores()}), about)

    contenders = [
        contender(OURS, lambda: our_scores(prediction, reference), "monai_nas.metrics.dice and surface_dice"),
        contender(
            "monai",
            lambda: monai_scores(predicted, true),
            "DiceMetric and SurfaceDiceMetric(use_subvoxels=True) of one-hot maps that were made before",
        ),
    ]
    if importlib.util.find_spec("surface_distance"):
        about = "compute_dice_coefficient, compute_surface_distances and compute_surface_dice_at_tolerance"
        contenders.append(contender("deepmind", lambda: deepmind_scores(prediction, reference), about))
    record = contest(contenders, repetitions=repetitions, tick=tick)
    for name, entry in record["contenders"].items():
        entry |= {"values": values[name], "largest_difference": _largest_difference(values[name], values[OURS])}
    return {"shape": list(shape), "spacing_mm": list(SPACING_MM), "tolerance_mm": TOLERANCE_MM} | record


def our_scores(prediction: Labels, reference: Labels) -> Scores:
    """Return the scores as ``monai-nas evaluate`` computes them."""
    return {
        "dice": dice(prediction, reference, _NUM_CLASSES),
        "surface_dice": [
            surface_dice(prediction == value, reference == value, SPACING_MM, TOLERANCE_MM)
            for value in range(1, _NUM_CLASSES)
        ],
    }


def monai_scores(predicted: Tensor, true: Tensor) -> Scores:
    """Return the scores of MONAI's metrics of one-hot maps (1, 4, H, W, D)."""
    overlap = DiceMetric(include_background=False, reduction="none")
    overlap(predicted, true)
    surface = SurfaceDiceMetric([TOLERANCE_MM] * len(CLASSES), reduction="none", use_subvoxels=True)
    with warnings.catch_warnings():  # it calls a function of its own with an argument that it has deprecated
        warnings.simplefilter("ignore", FutureWarning)
        surface(predicted, true, spacing=SPACING_MM)
    return {"dice": overlap.aggregate()[0].tolist(), "surface_dice": surface.aggregate()[0].tolist()}


def _one_hot(labels: Labels) -> Tensor:
    return one_hot(torch.from_numpy(labels)[None, None], _NUM_CLASSES, dtype=torch.uint8)


def deepmind_scores(prediction: Labels, reference: Labels) -> Scores:
    """Return the scores of the package ``surface-distance``."""
    import surface_distance  # optional

    scores: Scores = {"dice": [], "surface_dice": []}
    for value in range(1, _NUM_CLASSES):
        predicted, true = prediction == value, reference == value
        with warnings.catch_warnings():  # it is not maintained and uses names that scipy has deprecated
            warnings.simplefilter("ignore", DeprecationWarning)
            distances = surface_distance.compute_surface_distances(true, predicted, SPACING_MM)
        agreement = surface_distance.compute_surface_dice_at_tolerance(distances, TOLERANCE_MM)
        scores["dice"].append(float(surface_distance.compute_dice_coefficient(true, predicted)))
        scores["surface_dice"].append(float(agreement))
    return scores


def _largest_difference(scores: Scores, ours: Scores) -> float:
    """Return the largest difference; inf when a number is nan in one of the two only."""
    largest = 0.0
    for metric, values in scores.items():
        for value, our in zip(values, ours[metric], strict=True):
            if math.isnan(value) != math.isnan(our):
                return math.inf
            largest = max(largest, 0.0 if math.isnan(our) else abs(value - our))
    return largest


def phantoms(shape: Sequence[int], rng: np.random.Generator) -> tuple[Labels, Labels]:
    """Draw an organ of a tenth of the volume with tumours and winding vessels, and a prediction that misses a little.

    Args:
        shape: voxels (H, W, D).
        rng: draws places, sizes, bumps and shifts.

    Returns:
        Reference and prediction (H, W, D): the same parts, each shifted, and with other bumps.
    """
    axes = np.meshgrid(*(np.linspace(0.0, 1.0, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    reference, prediction = np.zeros(shape, dtype=np.uint8), np.zeros(shape, dtype=np.uint8)

    def paint(value: int, part: Callable[[list[Any]], Any]) -> None:
        for labels, shift in ((reference, 0.0), (prediction, _SHIFT)):
            labels[part([axis - shift * rng.standard_normal() for axis in axes])] = value

    def lump(centre: Any, radii: Any) -> Callable[[list[Any]], Any]:
        return lambda place: _squares(place, centre, radii) + _bumps(place, rng) < 1.0

    def vessel(second: float, third: float, phase: float, radius: float) -> Callable[[list[Any]], Any]:
        return lambda place: _squares(place[1:], _path(place[0], second, third, phase), [radius] * 2) < 1.0

    paint(1, lump([0.45, 0.5, 0.5], [0.28, 0.28, 0.33]))
    for _ in range(_NUM_TUMOURS):
        paint(2, lump(rng.uniform(0.3, 0.6, 3).tolist(), [rng.uniform(0.05, 0.09)] * 3))
    for _ in range(_NUM_VESSELS):
        paint(3, vessel(rng.uniform(0.3, 0.7), rng.uniform(0.3, 0.7), rng.uniform(0.0, 6.0), rng.uniform(0.01, 0.02)))
    return reference, prediction


def _squares(place: Sequence[Any], centre: Sequence[Any], radii: Sequence[float]) -> Any:
    """Return the squared distance from a centre, in radii."""
    return sum(((x - c) / r) ** 2 for x, c, r in zip(place, centre, radii, strict=True))


def _bumps(place: Sequence[Any], rng: np.random.Generator) -> Any:
    """Return waves of a few periods a side, a quarter high."""
    x, y, z = (np.sin(2 * np.pi * (rng.uniform(2.0, 5.0) * axis + rng.random())) for axis in place)
    return 0.25 * x * y * z


def _path(first: Any, second: float, third: float, phase: float) -> list[Any]:
    """Return where a winding vessel is along the second and third axis."""
    return [second + 0.2 * np.sin(7 * first + phase), third + 0.15 * np.cos(9 * first + phase)]
