"""Segmenting one preprocessed volume: ours beside the inferers of MONAI and nnU-Net around the same network."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt
from torch import Tensor

from monai_nas.benchmarks.fresh_process import Growth, in_fresh_process
from monai_nas.benchmarks.speed.contest import Contender, Tick, contest, silent
from monai_nas.benchmarks.speed.nnunet import left_out
from monai_nas.benchmarks.speed.segmenters import REFERENCE, SEGMENTERS, Segmenter, Setting
from monai_nas.files import file_sha256
from monai_nas.plans.rules import stride_product


def inference_contest(setting: Setting, *, repetitions: int, tick: Tick = silent) -> dict[str, Any]:
    """Time the way from a volume, normalised, to its labels, by the same network with the same weights.

    Contenders: "ours", as `monai-nas predict` does it; "monai", MONAI's inferer over each mirrored copy in the same
    number format; "monai_float32", the same in float32 and torch's default layout; "nnunet", nnU-Net's predictor.

    The probabilities of each are compared with those of "monai_float32". Ours, of volumes of up to ``TOGETHER_VOXELS``,
    are those of the same windows with the same weights, so that they differ by the number format alone. Of larger
    volumes each window is mirrored by itself, not the volume. In nnU-Net windows and weights are others, too, and it
    averages logits: its differences are not those of precision.

    Args:
        setting: network, volume and device.
        repetitions: how often each does it.
        tick: called with the share that is done.

    Returns:
        The record of :func:`~monai_nas.benchmarks.speed.contest.contest`, with "equal_labels", the share of voxels on
        which each agrees with "monai_float32", "largest_difference" of a probability from that one's,
        "peak_growth_bytes" of :func:`inference_peaks`, and "left_out", who is not installed.
    """
    absent, image = left_out(), setting.image()
    segmenters = {name: build(setting) for name, build in SEGMENTERS.items() if name not in absent}
    differences = largest_differences(segmenters, image)  # which warms them up: of a large volume each run counts
    labels: dict[str, npt.NDArray[Any]] = {}

    def contender(name: str, segmenter: Segmenter) -> Contender:
        return Contender(name, lambda: labels.update({name: segmenter.labels(image)}), segmenter.about)

    contenders = [contender(name, segmenter) for name, segmenter in segmenters.items()]
    record = contest(contenders, repetitions=repetitions, warmed_up=True, tick=tick)
    return record | {
        "size": list(image.shape[1:]),
        "mirror": setting.mirror,
        "scan": setting.scan and setting.scan.name,
        "weights": setting.weights and file_sha256(setting.weights),
        "equal_labels": {name: float(np.mean(own == labels[REFERENCE])) for name, own in labels.items()},
        "largest_difference": differences,
        "peak_growth_bytes": inference_peaks(setting, list(segmenters)),
        "left_out": absent,
    }


def largest_differences(segmenters: Mapping[str, Segmenter], image: Tensor) -> dict[str, float]:
    """Return the largest difference of a probability from that of the reference, of each; at most two are held."""
    reference = segmenters[REFERENCE].probabilities(image).cpu()
    return {
        name: 0.0 if name == REFERENCE else float((segmenter.probabilities(image).cpu() - reference).abs_().max())
        for name, segmenter in segmenters.items()
    }


def inference_peaks(setting: Setting, names: Sequence[str]) -> dict[str, int]:
    """Return by how many bytes network, volume and prediction make a process grow at most, each in one of its own.

    On a GPU it is what torch allocates there.
    """
    return {name: in_fresh_process(peak_growth, setting, name) for name in names}


def peak_growth(setting: Setting, name: str) -> int:
    """Return the growth of this process, after a volume of one small window, which loads what is loaded once."""
    x, y, z = stride_product(setting.plan.strides)
    patch = (3 * x, 3 * y, 3 * z)
    tiny = replace(setting, plan=replace(setting.plan, patch_size=patch), size=patch, scan=None)
    SEGMENTERS[name](tiny).labels(tiny.image())
    with Growth(setting.place.type) as growth:
        SEGMENTERS[name](setting).labels(setting.image())
    return growth.bytes
