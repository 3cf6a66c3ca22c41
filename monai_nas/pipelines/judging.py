"""How candidates are compared: the Dice of each on the same foreground regions, in one process."""

import logging
import math
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.transforms.utils import generate_spatial_bounding_box
from torch import Tensor

from monai_nas.compute import Compute
from monai_nas.inference.predictor import sliding_window
from monai_nas.metrics import dice
from monai_nas.plans.plan import Plan
from monai_nas.strategies import CoarseToFine, Scores

logger = logging.getLogger(__name__)

REGION_MM = 192.0  # at most, of a foreground region (hypersegnas.txt, section 4)
OVERLAP = 0.25  # of windows: candidates are compared with each other, and there are many
TOLD_EVERY_SECONDS = 60.0


def regions_dice(
    network: Callable[[Tensor], Tensor], regions: Sequence[dict[str, Any]], plan: Plan, compute: Compute
) -> Scores:
    """Return of each case the mean foreground Dice, in [0, 1], of the classes that it or its map has; None without any.

    MONAI's metrics would gather the scores of all processes, which judge different networks here.

    Args:
        network: (B, C, *S) -> logits (B, K, *S), on its device, in evaluation mode.
        regions: "image" (C, H, W, D) and "label" (1, H, W, D).
        plan: gives the window and the number of classes.
        compute: where to run.
    """
    inferer = sliding_window(plan.patch_size, compute.device, OVERLAP)
    num_classes, scores = plan.task.num_classes, list[float | None]()
    with torch.inference_mode(), compute.autocast():
        for region in regions:
            logits = torch.as_tensor(inferer(compute.place(region["image"][None]), network))
            classes = logits[0].argmax(dim=0).cpu().numpy()
            known = [score for score in dice(classes, region["label"][0].numpy(), num_classes) if not math.isnan(score)]
            scores.append(statistics.fmean(known) if known else None)
    return tuple(scores)


def foreground_region(item: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Return the case cropped to its foreground, at most ``REGION_MM`` around the middle (hypersegnas.txt, section 4).

    Args:
        item: "image" (C, H, W, D) and "label" (1, H, W, D) at the plan's spacing; without foreground it is kept whole.
        plan: gives spacing and patch; the region is no smaller than a patch, where the case is not.
    """
    label = item["label"]
    start, end = generate_spatial_bounding_box(label, select_fn=lambda values: values > 0)
    if max(end) <= 0:
        return {"image": item["image"], "label": label}
    window = []
    for axis, length in enumerate(label.shape[1:]):
        most = max(round(REGION_MM / plan.spacing_mm[axis]), plan.patch_size[axis])
        size = min(length, most, max(end[axis] - start[axis], plan.patch_size[axis]))
        low = min(max((start[axis] + end[axis] - size) // 2, 0), length - size)
        window.append(slice(low, low + size))
    where = (slice(None), *window)
    return {"image": item["image"][where], "label": label[where]}


class RankingProgress:
    """Tells once a minute how far a ranking is.

    Args:
        search: whose trials are being scored.
        title: of the messages.
    """

    def __init__(self, search: CoarseToFine, title: str) -> None:
        self.search = search
        self.title = title
        self.begin = self.told = time.monotonic()
        self.known = len(search.scores)

    def tell(self) -> None:
        """Log what is left, if there is something and a minute has passed since the last message."""
        now, left = time.monotonic(), self.search.judgements_left()
        if left and now - self.told >= TOLD_EVERY_SECONDS:
            self.told = now
            seconds = (now - self.begin) / (len(self.search.scores) - self.known) * left
            logger.info("%s: ranking, at most %d scores and %d minutes left", self.title, left, round(seconds / 60))
