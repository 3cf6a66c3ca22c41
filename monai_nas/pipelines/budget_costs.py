"""What a network of an architecture costs, by the kinds of budgets."""

import hashlib
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.cost import UNMEASURED, Calibration, basis_text, count_flops, inference_memory, training_memory
from monai_nas.files import read_json, write_json
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan

TIMED_PASSES = 5

CostOf = Callable[[Architecture], float]


class RememberedCosts:
    """Costs that a kill does not lose: those known so far stand in a file, but for the last ones.

    Hundreds are asked for in a draw of candidates, and memory takes a part of a second each. A draw that is begun again
    with the same seed asks for the same ones.

    Args:
        cost_of: asked once for each architecture.
        file: JSON, by the hash of the architecture; read where it is there.
        save_every_seconds: least time between two writings of it.

    Raises:
        UserError: when the file is damaged.
    """

    def __init__(self, cost_of: CostOf, file: Path, save_every_seconds: float) -> None:
        self.cost_of = cost_of
        self.file = file
        self.save_every_seconds = save_every_seconds
        self.known: dict[str, float] = read_json(file) if file.exists() else {}
        self.saved = time.monotonic()

    def __call__(self, architecture: Architecture) -> float:
        key = hashlib.sha256(architecture.to_json().encode()).hexdigest()
        if key not in self.known:
            self.known[key] = self.cost_of(architecture)
            if time.monotonic() - self.saved >= self.save_every_seconds:
                write_json(self.file, self.known)
                self.saved = time.monotonic()
        return self.known[key]


def cost_of_kind(kind: str, plan: Plan, compute: Compute) -> CostOf:
    """Return what measures the cost that a budget of this kind limits, at the plan's patch.

    Args:
        kind: one of :data:`monai_nas.strategies.budget.UNITS`.
        plan: gives patch, batch (of a training step; everything else takes one patch), width and strides.
        compute: device and number format.
    """
    arguments, patch, channels = network_arguments(plan), plan.patch_size, plan.task.in_channels

    def planned(architecture: Architecture) -> nn.Module:
        with torch.device("meta"):  # no weights are allocated
            return build_network(architecture, **arguments)

    def latency(architecture: Architecture) -> float:
        network = compute.place(build_network(architecture, **arguments).eval(), len(patch))
        return seconds_of_pass(network, compute.place(torch.zeros(1, channels, *patch)), compute)

    def parameters(architecture: Architecture) -> float:
        return float(sum(parameter.numel() for parameter in planned(architecture).parameters()))

    kinds: dict[str, CostOf] = {
        "train_memory": lambda a: training_memory(planned(a), channels, patch, plan.batch_size, compute=compute),
        "inference_memory": lambda a: inference_memory(planned(a), channels, patch, compute=compute),
        "flops": lambda a: count_flops(planned(a), channels, patch),
        "parameters": parameters,
        "latency": latency,
    }
    return kinds[kind]


def basis_of_kind(kind: str, plan: Plan, compute: Compute, calibration: Calibration | None = None) -> str:
    """Return what a cost of this kind is counted or measured for, in words: patch, batch, number format and device.

    Args:
        kind: one of :data:`monai_nas.strategies.budget.UNITS`.
        plan: gives patch and batch, as in :func:`cost_of_kind`.
        compute: device and number format; memory of a GPU is called an estimate.
        calibration: of that device and number format, with which the memory of a training step is none.
    """
    if kind == "parameters":
        return ""
    if kind == "flops":
        return f"(patch {'x'.join(map(str, plan.patch_size))})"
    basis = basis_text(plan.patch_size, plan.batch_size if kind == "train_memory" else 1, compute)
    if kind == "latency":
        return basis
    is_measured = compute.device.type == "cpu" or (kind == "train_memory" and calibration is not None)
    return f"of tensors {basis}" + ("" if is_measured else f", an estimate, {UNMEASURED}")


def seconds_of_pass(network: nn.Module, image: torch.Tensor, compute: Compute) -> float:
    """Return the median time of a forward pass, in seconds, on the network's device.

    Args:
        network: on its device, in evaluation mode.
        image: (B, C, *S), there too.
        compute: number format.
    """
    seconds = []
    with torch.inference_mode(), compute.autocast():
        for _ in range(TIMED_PASSES + 1):  # the first one chooses kernels
            begin = time.perf_counter()
            network(image)
            if image.is_cuda:
                torch.cuda.synchronize()
            seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])
