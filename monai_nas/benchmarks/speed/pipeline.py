"""Training with its data: our batches and trainer beside MONAI's stock pipeline with a DynUNet of similar FLOPs."""

import tempfile
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism
from torch import Tensor

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.batches import NUM_PHANTOMS, monai_batches
from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, plain_compute, silent
from monai_nas.benchmarks.speed.training_step import DYNUNET_WIDTHS, dynunet, own_updates, plain_updates, width_of
from monai_nas.compute import Compute, choose_compute
from monai_nas.cost import count_flops
from monai_nas.data.loaders import load_cases, training_batches
from monai_nas.data.synthetic import write_phantoms
from monai_nas.data.transforms import augmentation, build
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import training_cases


def pipeline_contest(
    architecture: Architecture,
    plan: Plan,
    *,
    repetitions: int,
    steps: int,
    seed: int,
    device: str | None = None,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Time iterations of training, data included: augmented batches of preprocessed phantoms, and the steps on them.

    Contenders: "ours", as `monai-nas train` does it; "batches", our batches alone; "monai", the same transforms in
    MONAI's ``CacheDataset`` and ``DataLoader`` and a DynUNet of about our FLOPs in a plain loop, in float32 and torch's
    layout; "monai_low_precision", the same with autocast and layout as ours.

    Args:
        architecture: of our network.
        plan: gives task, patch, batch and channels.
        repetitions: how often each does its iterations.
        steps: of each piece of work.
        seed: of phantoms, weights and augmentation.
        device: as of :func:`~monai_nas.compute.choose_compute`.
        tick: called with the share that is done.

    Returns:
        The record of :func:`~monai_nas.benchmarks.speed.contest.contest`, with "iterations_a_second", "flops" of a
        forward pass of both networks over a batch, and "share_of_batches", their time over that of our iterations.
    """
    compute, plain, dims = choose_compute(True, device), plain_compute(device), len(plan.patch_size)
    workers = compute.workers
    with tempfile.TemporaryDirectory() as folder:
        data = write_phantoms(plan.task, Path(folder), NUM_PHANTOMS, 0, seed)
        cases = training_cases(data)
        items = load_cases(cases, plan.task, plan)
        stock, stock_low = (monai_batches(cases, plan, workers=workers) for _ in range(2))

    def own() -> Iterator[dict[str, Tensor]]:
        transform, num_steps = build(augmentation(plan.task, plan)), steps * (repetitions + 1)
        loader = training_batches(
            items,
            transform,
            batch_size=plan.batch_size,
            seed=seed,
            start_step=0,
            num_steps=num_steps,
            compute=compute,
        )
        return iter(loader)

    def flops_of(width: int | None) -> int:
        network = build_network(architecture, **network_arguments(plan)) if width is None else dynunet(width, plan)
        return count_flops(network, plan.task.in_channels, plan.patch_size, plan.batch_size)

    width, alone = width_of(flops_of(None), DYNUNET_WIDTHS, flops_of), own()
    torch.manual_seed(seed)
    network = build_network(architecture, **network_arguments(plan))

    def monai(batches: Iterator[Any], where: Compute) -> Any:
        return plain_updates(dynunet(width, plan), batches, dims, where, steps)

    contenders = [
        Contender(OURS, own_updates(network, own(), dims, compute, steps), f"{compute.dtype}, channels-last"),
        Contender("batches", lambda: list(islice(alone, steps)), "ours alone"),
        Contender("monai", monai(stock, plain), "MONAI's data and DynUNet, float32, default layout"),
        Contender("monai_low_precision", monai(stock_low, compute), f"the same, {compute.dtype}, channels-last"),
    ]
    set_determinism(seed)
    try:
        record = contest(contenders, repetitions=repetitions, tick=tick)
    finally:
        set_determinism(None)
    medians = {name: result["median_seconds"] for name, result in record["contenders"].items()}
    return record | {
        "steps": steps,
        "batch_size": plan.batch_size,
        "patch_size": list(plan.patch_size),
        "workers": workers,
        "iterations_a_second": {name: steps / seconds for name, seconds in medians.items()},
        "flops": {OURS: flops_of(None), "monai": flops_of(width)},
        "share_of_batches": medians["batches"] / medians[OURS],
    }
