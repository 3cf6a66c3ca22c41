"""What :mod:`~monai_nas.benchmarks.growth` measures: pieces of work that can be made of any size, on a processor."""

import itertools
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.grid_step import Setting, sampled_training
from monai_nas.benchmarks.growth_ranking import Ranking
from monai_nas.benchmarks.speed.training_step import noise, own_steps
from monai_nas.compute import choose_compute
from monai_nas.inference.predictor import sliding_window
from monai_nas.inference.volume import Volume, segment
from monai_nas.networks import build_network
from monai_nas.pipelines.budget_costs import cost_of_kind
from monai_nas.pipelines.one_shot_preset import grid_plan, one_shot_preset_named
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.pipelines.supernet_run import space_of
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import ARCHITECTURE_TASK, committed_architecture, committed_plan
from monai_nas.strategies.budget import parse_budget
from monai_nas.strategies.within_budget import sample_within

GRID_WIDTH, GRID_LEVELS, GRID_PATCH = 32, 4, (48, 48, 48)  # as of `monai_nas.benchmarks.grid_step`
COUNTED_STEPS = 8  # whose sampled parameters are counted
BUDGET, TOLERANCE = "train_memory=300MB", 0.05


@dataclass(frozen=True)
class Work:
    """Something that can be done again and again, and what there is to say of it beside its time and memory."""

    run: Callable[[], object]
    facts: Callable[[], dict[str, float]] = dict


@dataclass(frozen=True)
class Series:
    """Work of one kind at several sizes.

    Args:
        title: what is done.
        unit: in what its amount is counted.
        sizes: that are measured, from small to large.
        make: size, seed -> work of that size.
        warm_up: seed -> small work that loads what is loaded once.
        least: the smallest size that can be made.
        step: sizes are multiples of it.
        power: what is counted is a size to this power: 3 where a size is the edge of a cube, in voxels.
        untimed: runs in a process before those whose seconds count.
        timed: runs in a process whose seconds count.
    """

    title: str
    unit: str
    sizes: Sequence[int]
    make: Callable[[int, int], Work]
    warm_up: Callable[[int], Work]
    least: int = 1
    step: int = 1
    power: int = 1
    untimed: int = 1
    timed: int = 3


def volume(edge: int, seed: int) -> Work:
    """Return the segmentation of a cube of noise by the shipped architecture with fresh weights, without mirroring."""
    plan, compute = committed_plan(ARCHITECTURE_TASK), choose_compute(True, "cpu")
    torch.manual_seed(seed)
    network = compute.place(build_network(committed_architecture(), **network_arguments(plan))).eval()
    image = torch.randn(plan.task.in_channels, edge, edge, edge)
    window = sliding_window(plan.patch_size, compute.device)
    scan = Volume(image, (), MetaTensor(torch.empty(0)))
    return Work(lambda: segment(scan, network, window, compute=compute, mirror=False))


def training(plan: Plan, seed: int) -> Work:
    """Return a training step of the shipped architecture on noise, with the plan's patch and batch."""
    torch.manual_seed(seed)
    network = build_network(committed_architecture(), **network_arguments(plan))
    return Work(own_steps(network, noise(plan, seed), choose_compute(True, "cpu"), 1))


def patch_training(edge: int, seed: int) -> Work:
    """Return a training step on cubes of ``edge`` voxels a side, as many as the plan has."""
    return training(replace(committed_plan(ARCHITECTURE_TASK), patch_size=(edge, edge, edge)), seed)


def batch_training(images: int, seed: int) -> Work:
    """Return a training step on so many images with the plan's patch."""
    return training(replace(committed_plan(ARCHITECTURE_TASK), batch_size=images), seed)


def supernet_training(blocks: int, seed: int) -> Work:
    """Return a training step of the topology supernet with its MAN; each run draws an architecture.

    Its facts are the "parameters" of both, and the mean over draws of the "sampled_parameters", which get a gradient.
    """
    setting = Setting(blocks, GRID_LEVELS, GRID_WIDTH, GRID_PATCH, batch=1, steps=10**6, seed=seed, device="cpu")
    learning = sampled_training(setting, low_precision=True, assisted=True)
    numbers = itertools.count()

    def sampled() -> int:
        """Make a step, and count the weights that get a gradient, which the optimiser drops at once."""
        taught: set[Tensor] = set()
        hooks = [weight.register_post_accumulate_grad_hook(taught.add) for weight in learning.network.parameters()]
        learning.step(next(numbers))
        for hook in hooks:
            hook.remove()
        return sum(weight.numel() for weight in taught)

    def facts() -> dict[str, float]:
        drawn = statistics.fmean(sampled() for _ in range(COUNTED_STEPS))
        return {"parameters": learning.num_parameters, "sampled_parameters": drawn}

    return Work(lambda: learning.step(next(numbers)), facts)


def drawing(candidates: int, seed: int) -> Work:
    """Return the draw of so many architectures within :data:`BUDGET`, as a search draws its candidates."""
    cost_of, space, _ = _memory_of_networks()
    budget = parse_budget(BUDGET, TOLERANCE)
    return Work(lambda: sample_within(space, cost_of, budget, count=candidates, rng=np.random.default_rng(seed)))


def one_prediction(seed: int) -> Work:
    """Return a single prediction of what a network costs."""
    cost_of, _, architecture = _memory_of_networks()
    return Work(lambda: cost_of(architecture))


def _memory_of_networks() -> tuple[Callable[[Architecture], float], Any, Architecture]:
    """Return what the budget limits of an architecture, the space, and one architecture of it."""
    plan = grid_plan(committed_plan(ARCHITECTURE_TASK))
    space = space_of(plan, one_shot_preset_named("cpu"))
    kind = parse_budget(BUDGET, TOLERANCE).kind
    return cost_of_kind(kind, plan, choose_compute(True, "cpu")), space, space.sample(np.random.default_rng(0))


def ranking(candidates: int, seed: int) -> Work:
    """Return the ranking of so many candidates in this process."""
    return Work(Ranking(candidates, seed).run)


SERIES = {
    "volume": Series(
        "Volume to segment", "voxels", (48, 64, 96, 128, 160), volume, partial(volume, 24), least=24, power=3, timed=2
    ),
    "patch": Series(
        "Training step, by patch",
        "voxels",
        (24, 32, 48, 64, 80),
        patch_training,
        partial(patch_training, 24),
        least=24,  # three voxels at the bottom, see `monai_nas.benchmarks.grid_step.smallest_patch`
        step=8,
        power=3,
    ),
    "batch": Series(
        "Training step, by batch", "images", (1, 2, 3, 4, 6, 8), batch_training, partial(patch_training, 24)
    ),
    "layers": Series(
        "Step of the supernet",
        "blocks",
        (4, 8, 12, 16, 24),
        supernet_training,
        partial(supernet_training, 1),
        untimed=2,
        timed=10,
    ),
    "drawing": Series(
        "Drawing within a budget", "candidates", (8, 16, 32, 64, 128), drawing, one_prediction, untimed=0, timed=1
    ),
    "ranking": Series("Ranking", "candidates", (4, 8, 16, 32, 64), ranking, partial(ranking, 1), untimed=0, timed=1),
}
