"""A peer's training for so many minutes: `python -m monai_nas.benchmarks.minutes_to_dice_peers dynunet --data DIR ...`

What :mod:`~monai_nas.benchmarks.minutes_to_dice` runs for those who have no command of ours. A run that was cut goes on
at its checkpoint.
"""

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from monai.utils import set_determinism
from torch import nn

from monai_nas.benchmarks.evidence import one_line_faults, parse_minutes
from monai_nas.benchmarks.speed.batches import monai_batches
from monai_nas.benchmarks.speed.contest import plain_compute
from monai_nas.benchmarks.speed.nnunet import PEER, Turned, nnunet_network, nnunet_training, title
from monai_nas.benchmarks.speed.nnunet_plans import coarsest_first
from monai_nas.benchmarks.speed.training_step import dynunet, loss_of_monai, plain_update
from monai_nas.compute import Compute
from monai_nas.data.loaders import load_cases
from monai_nas.errors import finite_loss
from monai_nas.files import load_tensors, load_weights, save_tensors, write_json
from monai_nas.pipelines.epochs import checkpoint_seconds
from monai_nas.pipelines.run_folder import environment, plan_for
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import Case, training_cases
from monai_nas.tasks.task import load_task
from monai_nas.training import TrainerConfig

STOCK = "dynunet"
NNUNET_BATCH_SIZE = 9  # of its own plan of the hippocampus, whose patch is ours


@dataclass(frozen=True)
class Training:
    """What changes while a peer trains, and what changes it."""

    network: nn.Module
    optimizer: torch.optim.Optimizer
    step: Callable[[int, float], float]  # number of the step and share of the time that is over -> loss


def stock_dynunet(cases: Sequence[Case], plan: Plan, compute: Compute) -> Training:
    """Return MONAI's DynUNet as its tutorials train networks: stock dataset, loader, loss and Adam, float32.

    Patch, batch, levels, width, transforms and rates are ours.
    """
    config, loss = TrainerConfig(), loss_of_monai()
    network = compute.place(dynunet(plan.width, plan)).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=config.rate)
    batches = monai_batches(cases, plan, workers=compute.workers)

    def step(number: int, share: float) -> float:
        for group in optimizer.param_groups:
            group["lr"] = rate_after(number, share, config)
        return plain_update(network, optimizer, loss, next(batches), compute)

    return Training(network, optimizer, step)


def rate_after(step: int, share: float, config: TrainerConfig) -> float:
    """Return the rate of a step: our warm-up and our cosine, by the share of the time that is over."""
    return config.rate * min(1.0, (step + 1) / config.warmup_steps) * 0.5 * (1 + math.cos(math.pi * share))


def nnunet(cases: Sequence[Case], plan: Plan, compute: Compute) -> Training:
    """Return nnU-Net's trainer, with its own batch; patch and preprocessing are ours."""
    plan = replace(plan, batch_size=NNUNET_BATCH_SIZE)
    network, optimizer, step = nnunet_training(load_cases(cases, plan.task, plan), plan, compute.device)
    return Training(network, optimizer, lambda number, share: step(share))


TRAININGS = {STOCK: stock_dynunet, PEER: nnunet}
NETWORKS: dict[str, Callable[[Plan], nn.Module]] = {
    STOCK: lambda plan: dynunet(plan.width, plan),
    PEER: lambda plan: nnunet_network(plan, axes=coarsest_first(plan)),
}


def trained_network(name: str, plan: Plan, weights: Path) -> nn.Module:
    """Return a peer's network with the weights of a finished training, taking (B, C, *S) in our order of axes.

    Raises:
        UserError: when the weights are another network's.
    """
    network = NETWORKS[name](plan)
    load_weights(network, weights)
    return Turned(network, coarsest_first(plan)) if name == PEER else network


def train_peer(name: str, data: Path, out: Path, *, minutes: float, seed: int, compute: Compute) -> None:
    """Train a peer's network on all cases of a dataset, or go on where that was cut.

    Args:
        name: of :data:`TRAININGS`.
        data: folder that holds dataset.json.
        out: gets plan.json, checkpoint.pt while it trains, then model.pt, and last run.json.
        minutes: of training, without reading and preprocessing the cases.
        seed: of weights, order and augmentation.
        compute: where; peers use float32 in torch's layout.

    Raises:
        UserError: for data without a plan, weights of another network, or a loss that is not finite.
    """
    cases, checkpoint = training_cases(data), out / "checkpoint.pt"
    plan = plan_for(None, cases, load_task(None, data))
    plan.save(out / "plan.json")
    state: dict[str, Any] = load_tensors(checkpoint) if checkpoint.exists() else {"steps": 0, "seconds": 0.0}
    set_determinism(seed + state["steps"])  # not the same draws again
    training = TRAININGS[name](cases, plan, compute)
    if "network" in state:
        training.network.load_state_dict(state["network"])
        training.optimizer.load_state_dict(state["optimizer"])
    begin = saved = time.perf_counter()
    steps = state["steps"]
    for share in shares(60 * minutes, state["seconds"]):
        finite_loss(training.step(steps, share))
        steps += 1
        if time.perf_counter() - saved >= checkpoint_seconds():
            parts = {"network": training.network.state_dict(), "optimizer": training.optimizer.state_dict()}
            seconds = state["seconds"] + time.perf_counter() - begin
            save_tensors(checkpoint, {"steps": steps, "seconds": seconds, **parts})
            saved = time.perf_counter()
    last_part = (time.perf_counter() - begin) / 60
    save_tensors(out / "model.pt", {key: value.cpu() for key, value in training.network.state_dict().items()})
    facts = {
        "verb": "train",
        "task": plan.task.name,
        "minutes": minutes,
        "minutes_of_last_part": last_part,
        "steps": steps,
        "num_parameters": sum(parameter.numel() for parameter in training.network.parameters()),
    }
    peer = {"peer": title()} if name == PEER else {}
    write_json(out / "run.json", facts | {"environment": environment(compute) | peer})
    checkpoint.unlink(missing_ok=True)


def shares(seconds: float, before: float) -> Iterator[float]:
    """Yield the share of ``seconds`` that is over, again and again until all is, of which ``before`` passed earlier."""
    begin = time.perf_counter() - before
    while (passed := time.perf_counter() - begin) < seconds:
        yield passed / seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and write the weights."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=TRAININGS, help="who trains")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dataset.json; all cases train")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and run.json")
    parser.add_argument("--minutes", type=parse_minutes, required=True, help="of training")
    parser.add_argument("--seed", type=int, default=0, help="(%(default)s)")
    options = parser.parse_args(arguments)
    with one_line_faults():
        train_peer(
            options.name,
            options.data,
            options.out,
            minutes=options.minutes,
            seed=options.seed,
            compute=plain_compute(None),
        )


if __name__ == "__main__":
    main()
