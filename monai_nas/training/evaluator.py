"""MONAI's SupervisedEvaluator on preprocessed cases: the quick score inside a run, not the one to report."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from monai.engines import SupervisedEvaluator
from monai.handlers import MeanDice, from_engine
from monai.inferers.inferer import Inferer
from monai.transforms import AsDiscreted, Compose
from torch import Tensor

from monai_nas.compute import Compute


def mean_dice(
    network: Callable[[Tensor], Tensor],
    items: Sequence[dict[str, Any]],
    *,
    num_classes: int,
    inferer: Inferer,
    compute: Compute,
) -> float:
    """Return the mean foreground Dice of a network on preprocessed cases, in [0, 1].

    Scores to report come from files on the original grid: `monai-nas predict`, then `monai-nas evaluate`.

    Args:
        network: (B, C, *S) -> logits (B, K, *S), on its device.
        items: "image" (C, H, W, D) and "label" (1, H, W, D).
        num_classes: with the background.
        inferer: (image, network) -> class scores; a MONAI inferer.
        compute: where to run.
    """
    evaluator = SupervisedEvaluator(
        device=compute.device,
        val_data_loader=[{"image": item["image"][None], "label": item["label"][None]} for item in items],
        network=network,  # type: ignore[arg-type]  # it is only called
        inferer=inferer,
        postprocessing=Compose(
            [
                AsDiscreted(keys="pred", argmax=True, to_onehot=num_classes),
                AsDiscreted(keys="label", to_onehot=num_classes),
            ]
        ),
        key_val_metric={
            "mean_dice": MeanDice(include_background=False, output_transform=from_engine(["pred", "label"]))
        },
    )
    with torch.inference_mode(), compute.autocast():
        evaluator.run()
    return float(evaluator.state.metrics["mean_dice"])
