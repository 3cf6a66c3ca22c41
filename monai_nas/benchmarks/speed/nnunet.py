"""nnU-Net v2 as a peer: its network, training steps, batches and predictor. It comes with the extra ``peers``."""

import io
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from importlib.util import find_spec
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from monai_nas.benchmarks.speed.nnunet_plans import (
    CONFIGURATION,
    DATASET,
    OUR_AXES,
    Axes,
    coarsest_first,
    nnunet_dataset,
    nnunet_plans,
    products,
    turned,
)
from monai_nas.plans.plan import Plan

PEER = "nnunet"
PACKAGE = "nnunetv2"


def left_out() -> dict[str, str]:
    """Return why nnU-Net takes no part, by its name in records; nothing where it is installed."""
    return {} if find_spec(PACKAGE) else {PEER: "not installed: pip install monai-nas[peers]"}


def title() -> str:
    """Return nnU-Net's name with the version that is installed."""
    return f"nnU-Net {version(PACKAGE)}"


def nnunet_network(plan: Plan, *, deep_supervision: bool = False, axes: Axes = OUR_AXES) -> nn.Module:
    """Return nnU-Net's plain U-Net for a plan of ours, with fresh weights; see :func:`nnunet_plans`.

    Args:
        plan: gives channels, classes, strides and spacing.
        deep_supervision: return the logits of all levels but the last, finest first, instead of the finest alone.
        axes: in which order the network takes the plan's axes.
    """
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # optional
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    plans = PlansManager(nnunet_plans(plan, axes))
    network: nn.Module = nnUNetTrainer.build_network_architecture(
        plans, plans.get_configuration(CONFIGURATION), plan.task.in_channels, plan.task.num_classes, deep_supervision
    )
    return network


def nnunet_steps(plan: Plan, batch: Mapping[str, Tensor], steps: int, device: torch.device) -> Callable[[], float]:
    """Return what runs ``steps`` updates of nnU-Net's trainer on one batch, and returns the last loss.

    All of it is nnU-Net's: :func:`nnunet_network` with deep supervision, Dice and cross-entropy, clipped gradients, SGD
    with a Nesterov momentum of 0.99; on a processor in float32 and torch's layout, on a GPU compiled, under autocast.

    Args:
        plan: gives channels, classes, strides, spacing and patch.
        batch: "image" (B, C, *patch) float32 and "label" (B, 1, *patch).
        steps: of each piece of work.
        device: where to train.
    """
    axes = coarsest_first(plan)
    image, label = (_turned_tensor(batch[key], axes) for key in ("image", "label"))
    levels = accumulate([(1, 1, 1), *(turned(stride, axes) for stride in plan.strides[:-1])], products)
    target = [label[:, :, ::x, ::y, ::z].to(torch.int16).contiguous() for x, y, z in levels]
    with _trainer(plan, axes, device) as trainer:
        trainer.network.train()

    def run() -> float:
        losses = [trainer.train_step({"data": image, "target": target})["loss"] for _ in range(steps)]
        return float(losses[-1])

    return run


def nnunet_training(
    items: Sequence[Mapping[str, Any]], plan: Plan, device: torch.device
) -> tuple[nn.Module, torch.optim.Optimizer, Callable[[float], float]]:
    """Return nnU-Net's network and optimiser, and what trains them for a step on its batches of cases in memory.

    Axes are in nnU-Net's order, see :func:`coarsest_first`; batches are those of :func:`nnunet_batches`, steps those of
    :func:`nnunet_steps`.

    Args:
        items: of :func:`~monai_nas.data.loaders.load_cases`.
        plan: gives channels, classes, strides, spacing, patch and batch.
        device: where to train.

    Returns:
        Network, optimiser and the step, which takes the share of the training that is over, in [0, 1), for the rate by
        nnU-Net's rule, and returns the loss.
    """
    batches = nnunet_batches(items, plan)
    with _trainer(plan, coarsest_first(plan), device) as trainer:
        trainer.network.train()

    def step(share: float) -> float:
        trainer.lr_scheduler.step(share * trainer.num_epochs)
        return float(trainer.train_step(next(batches))["loss"])

    network: nn.Module = getattr(trainer.network, "_orig_mod", trainer.network)  # on a GPU it is compiled
    return network, trainer.optimizer, step


def nnunet_batches(items: Sequence[Mapping[str, Any]], plan: Plan) -> Iterator[dict[str, Any]]:
    """Return nnU-Net's training batches of cases in memory, without end, prepared in this process.

    Its loader crops, a third of the patches around foreground; its transforms augment them, and make the labels of
    deep supervision. Axes are in its order: that of the longest voxels first. numpy and torch draw from their global
    generators.

    Args:
        items: of :func:`~monai_nas.data.loaders.load_cases`.
        plan: gives patch, batch, strides and spacing.

    Returns:
        "data" (B, C, *patch) float32, "target" a list of labels (B, 1, ...) int16, finest first, and "keys".
    """
    axes = coarsest_first(plan)
    cases = _Cases(items, plan, axes)
    with _trainer(plan, axes, torch.device("cpu")) as trainer:
        trainer.get_tr_and_val_datasets = lambda: (cases, cases)
        batches: Iterator[dict[str, Any]] = trainer.get_dataloaders()[0]
    return batches


def nnunet_predictor(network: nn.Module, plan: Plan, *, mirror: bool, device: torch.device) -> Any:
    """Return nnU-Net's ``nnUNetPredictor`` around a network, with the settings that it has by default.

    Neighbouring windows lie half a window apart or less, all equally far; in MONAI it is half, and the last is at the
    edge. Both weight windows with a Gaussian, but MONAI's has no values below a thousandth. Logits, of windows and of
    the mirrored copies of each, are averaged, in float16.

    Args:
        network: maps patches (B, C, *patch) to logits (B, K, *patch); on the device, in evaluation mode.
        plan: gives patch and classes.
        mirror: average over the eight mirrored copies.
        device: on a processor nnU-Net computes in float32, on a GPU under autocast.
    """
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor  # optional
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    with redirect_stdout(io.StringIO()):  # it prints what it does not do on a processor
        predictor = nnUNetPredictor(use_mirroring=mirror, device=device, allow_tqdm=False)
    plans = PlansManager(nnunet_plans(plan))
    predictor.manual_initialization(
        network,
        plans,
        plans.get_configuration(CONFIGURATION),
        [network.state_dict()],
        nnunet_dataset(plan),
        "nnUNetTrainer",
        inference_allowed_mirroring_axes=(0, 1, 2),
    )
    return predictor


class Turned(nn.Module):
    """A network that takes the axes of space in another order, made to take them in ours.

    Args:
        network: maps (B, C, *S) to (B, K, *S), whose axis i of S is ours number ``axes[i]``.
        axes: a permutation of (0, 1, 2).
    """

    def __init__(self, network: nn.Module, axes: Axes) -> None:
        super().__init__()
        self.network = network
        self.axes = tuple(axes)
        self.back = tuple(self.axes.index(axis) for axis in range(len(self.axes)))

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, K, H, W, D) of an image (B, C, H, W, D)."""
        return _turned_tensor(self.network(_turned_tensor(image, self.axes)), self.back)


class _Cases:
    """Preprocessed cases, as nnU-Net's loader asks for them."""

    def __init__(self, items: Sequence[Mapping[str, Any]], plan: Plan, axes: Axes) -> None:
        from nnunetv2.preprocessing.preprocessors.default_preprocessor import DefaultPreprocessor  # optional

        self.cases: dict[str, tuple[Any, Any, None, dict[str, Any]]] = {}
        for number, item in enumerate(items):
            image, label = (_turned_tensor(item[key][None], axes)[0].numpy() for key in ("image", "label"))
            places = DefaultPreprocessor._sample_foreground_locations(label, list(range(1, plan.task.num_classes)))
            self.cases[str(number)] = image, label.astype(np.int16), None, {"class_locations": places}
        self.identifiers = list(self.cases)

    def load_case(self, identifier: str) -> tuple[Any, Any, None, dict[str, Any]]:
        """Return image (C, ...), label (1, ...), no earlier segmentation, and the voxels of each class."""
        return self.cases[identifier]


@contextmanager
def _trainer(plan: Plan, axes: Axes, device: torch.device) -> Iterator[Any]:
    """Yield nnU-Net's trainer, ready to train, and quiet; what it writes goes to a folder that is gone afterwards."""
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer  # optional

    with tempfile.TemporaryDirectory() as folder, redirect_stdout(io.StringIO()):
        case = Path(folder, DATASET, CONFIGURATION, "case.b2nd")  # by such endings it chooses the reader
        case.parent.mkdir(parents=True)
        case.touch()
        with _environment(nnUNet_preprocessed=folder, nnUNet_results=folder, nnUNet_n_proc_DA="0"):  # no processes
            trainer = nnUNetTrainer(nnunet_plans(plan, axes), CONFIGURATION, 0, nnunet_dataset(plan), device)
            trainer.initialize()
            yield trainer


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _turned_tensor(tensor: Tensor, axes: Axes) -> Tensor:
    """Return a tensor (B, C, H, W, D) with its axes of space in another order."""
    return tensor.permute(0, 1, *(2 + axis for axis in axes)).contiguous()
