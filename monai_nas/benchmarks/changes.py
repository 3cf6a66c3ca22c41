"""What each change to the training step brought: the step as it is, beside the step with one change undone.

`python -m monai_nas.benchmarks.changes --out FILE` on Linux, on a processor. The variants take turns in one process;
but what the C library does with freed memory is decided once, so that is counted in two: page faults of a step, and
seconds in the system.
"""

import argparse
import resource
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from rich.progress import Progress
from torch import Tensor
from torch.nn import functional as F

from monai_nas import compute
from monai_nas.benchmarks.speed import training_step as speed
from monai_nas.benchmarks.speed.contest import OURS, Contender, contest
from monai_nas.benchmarks.speed.training_step import loss_of_monai, noise, own_steps
from monai_nas.compute import choose_compute
from monai_nas.files import write_json
from monai_nas.networks import build_network
from monai_nas.ops import Node, blocks, candidates, fast
from monai_nas.ops.functions import MaxPool3, TakeEvery
from monai_nas.ops.instance_norm import InstanceNorm
from monai_nas.pipelines.run_folder import environment, network_arguments
from monai_nas.plans.published import ARCHITECTURE_TASK, committed_architecture, committed_plan
from monai_nas.skeletons import cell_unet

WARM_UP = 10  # steps whose page faults are not counted: the allocator needs some to know its blocks


def max_pool_under_autocast(features: Tensor, stride: list[int]) -> Tensor:
    """Pool as :func:`monai_nas.ops.fast.max_pool` does, but let autocast choose the number format of strided pools."""
    if max(stride) > 1:
        return F.max_pool3d(features, 3, stride, 1)
    pooled: Tensor = MaxPool3.apply(features)  # type: ignore[no-untyped-call]
    return pooled


def dilated_at_stride_1(features: Tensor, weight: Tensor, stride: list[int], rate: int) -> Tensor:
    """Convolve as :func:`monai_nas.ops.fast.dilated_convolution` does, but take what a stride leaves out afterwards."""
    if not any(rate % step for step in stride):
        return DILATED(features, weight, stride, rate)
    every: Tensor = TakeEvery.apply(DILATED(features, weight, [1] * len(stride), rate), stride)  # type: ignore[no-untyped-call]
    return every


def activated_anew(node: Node) -> Tensor:
    """Return the LeakyReLU of a node's features, computed for each that reads it."""
    return fast.leaky_relu(node[0])


def max_pooled_anew(node: Node, stride: list[int]) -> Tensor:
    """Return the maximum over neighbours of a node's features, computed for each that reads it."""
    return fast.max_pool(node[0], stride)


def slow_adam(*arguments: Any, fused: bool, **options: Any) -> torch.optim.Optimizer:
    """Return Adam that goes from weight to weight."""
    return ADAM(*arguments, **options)


ADAM = torch.optim.Adam
DILATED = fast._dilated_convolution_on_cpu
Undone = Callable[[], AbstractContextManager[object]]
UNDONE: dict[str, Undone] = {
    OURS: nullcontext,
    "norms voxel by voxel": partial(patch.object, fast, "NarrowInstanceNorm", InstanceNorm),
    "strides after dilated convolutions": partial(
        patch.object, fast, "_dilated_convolution_on_cpu", dilated_at_stride_1
    ),
    "strided max pooling in 32 bits": partial(patch.object, fast, "_max_pool_on_cpu", max_pool_under_autocast),
    "LeakyReLU for each reader": partial(patch.object, blocks, "activated", activated_anew),
    "maximum for each reader": partial(patch.object, candidates, "max_pooled", max_pooled_anew),
    "gradients of nodes with gaps": partial(patch.object, cell_unet, "join", partial(torch.cat, dim=1)),
    "one-hot labels": partial(patch.object, speed, "segmentation_loss", loss_of_monai),
    "Adam weight by weight": partial(patch.object, torch.optim, "Adam", slow_adam),
}


def training_step(seed: int) -> Callable[[], object]:
    """Return what does a training step of the shipped network on noise."""
    plan = committed_plan(ARCHITECTURE_TASK)
    torch.manual_seed(seed)
    network = build_network(committed_architecture(), **network_arguments(plan))
    return own_steps(network, noise(plan, seed), choose_compute(True, "cpu"), 1)


def undone(change: Undone, seed: int) -> Callable[[], object]:
    """Return what does a training step without a change."""
    with change():
        step = training_step(seed)

    def run() -> None:
        with change():
            step()

    return run


def memory_traffic(*, kept: bool, steps: int, seed: int) -> dict[str, float]:
    """Return page faults and seconds in the system, a step; call it in a fresh process.

    Args:
        kept: whether the process keeps the memory that it frees.
        steps: to count in.
        seed: of weights and batch.
    """
    with nullcontext() if kept else patch.object(compute, "keep_freed_memory", lambda: None):
        step = training_step(seed)
        for _ in range(WARM_UP):
            step()
        before = resource.getrusage(resource.RUSAGE_SELF)
        for _ in range(steps):
            step()
        after = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "page_faults": (after.ru_minflt - before.ru_minflt) / steps,
        "system_seconds": (after.ru_stime - before.ru_stime) / steps,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--steps", type=int, default=30, help="of each variant (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights and batch (%(default)s)")
    options = parser.parse_args(arguments)
    if options.steps < 1:
        parser.error("--steps must be 1 or more")
    traffic = {}
    for name, kept in (("kept", True), ("given_back", False)):
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            traffic[name] = pool.submit(memory_traffic, kept=kept, steps=options.steps, seed=options.seed).result()
    contenders = [Contender(name, undone(change, options.seed), "one step") for name, change in UNDONE.items()]
    with Progress(transient=True) as progress:
        bar = progress.add_task("training steps", total=1.0)
        record = contest(
            contenders, repetitions=options.steps, tick=lambda share: progress.update(bar, completed=share)
        )
    facts = {"steps": options.steps, "seed": options.seed, "environment": environment(choose_compute(True, "cpu"))}
    write_json(options.out, facts | {"freed_memory": traffic} | record)


if __name__ == "__main__":
    main()
