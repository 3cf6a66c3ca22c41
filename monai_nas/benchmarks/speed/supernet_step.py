"""A step of a search: of the SCNAS supernet beside float32, and of the topology supernet beside MONAI's DiNTS."""

from collections.abc import Callable
from typing import Any

import torch

from monai_nas.benchmarks.grid_step import TRAININGS, Setting
from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, plain_compute, silent
from monai_nas.benchmarks.speed.training_step import noise
from monai_nas.compute import Compute, choose_compute
from monai_nas.losses import segmentation_loss
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan
from monai_nas.spaces import CellUNetSpace
from monai_nas.strategies import Bilevel, BilevelConfig, SearchBatch
from monai_nas.supernets import CellUNetSupernet

GRID = {  # of TRAININGS: the contender's name, and what it is
    "ours_kept": (OURS, "sampled supernet, 2 candidates, a draw each step"),
    "monai_two": ("monai_two", "MONAI's TopologySearch, the same 2 candidates, float32"),
    "monai": ("monai", "MONAI's TopologySearch as it ships, float32"),
}


def cell_step_contest(
    plan: Plan, *, repetitions: int, seed: int, device: str | None = None, tick: Tick = silent
) -> dict[str, Any]:
    """Time steps of SCNAS: two operations drawn an edge, an update of the weights, one of the alphas, on noise.

    Contenders: "ours", as `monai-nas search` does it, but on whole patches; "float32", the same in float32 and torch's
    default layout, with the same draws.
    """
    compute = choose_compute(True, device)
    plain = plain_compute(device)

    def steps(where: Compute) -> Callable[[], object]:
        torch.manual_seed(seed)
        arguments = network_arguments(plan)
        del arguments["dropout"]  # a supernet has none
        supernet = CellUNetSupernet(CellUNetSpace(), **arguments)
        where.place(supernet, len(plan.patch_size))
        total = repetitions + 1
        strategy = Bilevel(
            supernet,
            loss=segmentation_loss(),
            config=BilevelConfig(warmup_share=0.0),
            search_steps=total,
            total_steps=total,
            seed=seed,
            compute=where,
        )
        batches = [SearchBatch(step, noise(plan, seed), noise(plan, seed + 1)) for step in range(total)]
        waiting = iter(batches)
        return lambda: strategy.step(next(waiting))

    return contest(
        [
            Contender(OURS, steps(compute), f"{compute.dtype}, channels-last"),
            Contender("float32", steps(plain), "float32, default layout"),
        ],
        repetitions=repetitions,
        tick=tick,
    )


def grid_step_contest(
    *,
    blocks: int,
    levels: int,
    width: int,
    size: int,
    repetitions: int,
    seed: int,
    device: str | None = None,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Time steps of a search on a topology grid, ours and MONAI's; see :mod:`~monai_nas.benchmarks.grid_step`.

    Args:
        blocks: of the grid.
        levels: of the grid.
        width: channels of the finest level.
        size: voxels of each axis of the patch.
        repetitions: how often each does a step.
        seed: of weights, images and architectures.
        device: "cpu" or "cuda".
        tick: called with the share that is done.
    """
    setting = Setting(blocks, levels, width, (size, size, size), 1, repetitions + 1, seed, device)

    def steps(name: str) -> Callable[[], object]:
        training, numbers = TRAININGS[name](setting), iter(range(repetitions + 1))
        return lambda: training.step(next(numbers))

    contenders = [Contender(name, steps(training), about) for training, (name, about) in GRID.items()]
    return contest(contenders, repetitions=repetitions, tick=tick) | {"blocks": blocks, "levels": levels, "size": size}
