"""Which classes keep only their largest connected component: chosen on predictions of cases withheld from training."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.transforms import Compose
from rich.progress import track

from monai_nas.data.transforms import build, postprocessing
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.metrics import dice
from monai_nas.metrics.table import known_mean, or_null
from monai_nas.plans.plan import Plan
from monai_nas.tasks import read_image

RULE = (
    "Of a class only the largest connected component is kept where that raises the mean of its Dice over the cases, "
    "each predicted by a network that was not trained on it. Every class is decided by itself, as in nnU-Net (Isensee "
    "et al. 2021, Nature Methods 18, 203-211), which before that also tries the rule on all classes as one."
)


@dataclass(frozen=True)
class ComponentChoice:
    """The mean Dice of a class over the cases that have it, without and with the rule; nan where no case has it."""

    label: int
    name: str
    dice_all: float
    dice_largest: float

    @property
    def keep_largest(self) -> bool:
        """Whether the rule raises the mean."""
        return self.dice_largest > self.dice_all


def choose_components(pairs: Sequence[tuple[Path, Path]], plan: Plan) -> tuple[ComponentChoice, ...]:
    """Try the largest-component rule on each class of the predictions.

    Voxels that the rule drops become background, so that it changes the Dice of its own class alone. A case counts for
    a class as in all our scores: not at all where neither map has the class, as 0 where one has it.

    Args:
        pairs: (prediction made without the rule, true label map), of one shape.
        plan: gives the task, and with its post-transforms the very function that predictions go through later.
    """
    num_classes = plan.task.num_classes
    foreground = range(1, num_classes)
    only_largest = _largest_component_step(plan, tuple(foreground))
    without: list[list[float]] = []
    with_rule: list[list[float]] = []
    for prediction_path, reference_path in track(pairs, "trying components", transient=True):
        prediction, reference = _label_map(prediction_path), _label_map(reference_path)
        largest = only_largest({"pred": torch.tensor(prediction[np.newaxis])})["pred"][0].numpy()
        without.append(dice(prediction, reference, num_classes))
        with_rule.append(dice(largest, reference, num_classes))
    return tuple(
        ComponentChoice(
            label=label,
            name=plan.task.labels[label],
            dice_all=known_mean(values[label - 1] for values in without),
            dice_largest=known_mean(values[label - 1] for values in with_rule),
        )
        for label in foreground
    )


def save_choices(choices: Sequence[ComponentChoice], num_cases: int, path: Path) -> None:
    """Write what was chosen and why; :func:`load_keep_largest` reads the choice back."""
    classes = [
        {
            "label": choice.label,
            "name": choice.name,
            "mean_dice_all_components": or_null(choice.dice_all),
            "mean_dice_largest_component": or_null(choice.dice_largest),
            "keep_largest": choice.keep_largest,
        }
        for choice in choices
    ]
    write_json(path, {"rule": RULE, "num_cases": num_cases, "classes": classes})


def load_keep_largest(path: Path) -> tuple[int, ...]:
    """Return the classes of which only the largest component is kept, from a file of :func:`save_choices`.

    Raises:
        UserError: when it is no such file.
    """
    record = read_json(path)
    try:
        return tuple(int(entry["label"]) for entry in record["classes"] if entry["keep_largest"])
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(
            f"{path}: lists no classes ({error}): delete it, and the same command writes it again"
        ) from error


def _largest_component_step(plan: Plan, classes: tuple[int, ...]) -> Compose:
    """Return the one step of the post-transforms that keeps the largest component of each of ``classes``."""
    steps = postprocessing(plan.task, replace(plan, keep_largest=classes), "")
    (step,) = (step for step in steps if "KeepLargest" in step["_target_"])
    return build([step])


def _label_map(path: Path) -> npt.NDArray[np.uint8]:
    """Return the labels (H, W, D) of a file."""
    labels: npt.NDArray[Any] = read_image(path).array[..., 0]
    return labels.astype(np.uint8)
