"""What a network costs, predicted: beside building it and measuring a step."""

from typing import Any

import torch

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, silent
from monai_nas.benchmarks.speed.training_step import noise, own_steps
from monai_nas.compute import choose_compute
from monai_nas.cost import LiveBytes, training_memory
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan


def cost_contest(
    architecture: Architecture,
    plan: Plan,
    *,
    repetitions: int,
    seed: int,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Time how long the training memory of an architecture takes to be known, on a processor.

    Contenders: "ours", predicted on fake tensors; "measured", the peak of live tensors in two steps.

    Args:
        architecture: of the network.
        plan: gives patch, batch and channels.
        repetitions: how often each does it.
        seed: of weights and batch.
        tick: called with the share that is done.

    Returns:
        The record of :func:`~monai_nas.benchmarks.speed.contest.contest`, with "bytes" of each.
    """
    compute = choose_compute(True, "cpu")
    torch.manual_seed(seed)
    batch, found = noise(plan, seed), dict[str, int]()

    def predict() -> None:
        network = build_network(architecture, **network_arguments(plan))
        found[OURS] = training_memory(network, plan.task.in_channels, plan.patch_size, plan.batch_size, compute=compute)

    def measure() -> None:
        with LiveBytes("cpu") as live:
            for tensor in batch.values():
                live.add(tensor)
            own_steps(build_network(architecture, **network_arguments(plan)), batch, compute, 2)()
        found["measured"] = live.peak

    contenders = [
        Contender(OURS, predict, "on fake tensors"),
        Contender("measured", measure, "two steps, live tensors"),
    ]
    return contest(contenders, repetitions=repetitions, tick=tick) | {"bytes": found}
