"""What a training of each MSD task takes, computed and not run, and the pages that say so.

    python -m monai_nas.benchmarks.task_pages docs/tasks

writes docs/tasks/estimates.json, then the pages, see :mod:`monai_nas.export.task_index`. It takes a minute.
"""

import argparse
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.cost import count_flops, memory_text, training_memory
from monai_nas.errors import UserError
from monai_nas.export.task_index import ESTIMATES, write_pages
from monai_nas.export.task_page import planned
from monai_nas.files import read_json, write_json
from monai_nas.networks import build_network
from monai_nas.pipelines.preset import PRESETS
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import committed_architecture, committed_plan
from monai_nas.tasks.msd import MSD_TASKS

# On a V100, the GPU of the papers: float16, as it has no bfloat16 (monai_nas.compute.choose_compute).
GPU = "one NVIDIA V100 with 16 GB"
COMPUTE = Compute(torch.device("cuda"), torch.float16, channels_last=True, workers=8)
STEPS = 250_000  # nnU-Net's 1000 epochs of 250 (nnUNetTrainer.py in github.com/MIC-DKFZ/nnUNet), behind its scores
SEARCH_EPOCHS = PRESETS["paper"].epochs  # scnas.txt, section 4
TRAINING_PASSES = 3  # forward, and backward to the features and to the weights

# The 3D U-Net of nnU-Net, 32 to 320 channels, on BrainTumour: its throughput in training, mixed precision, batch 2.
UNET_PATCHES_PER_SECOND = 5.49
UNET_SOURCE = (
    "NVIDIA DeepLearningExamples, PyTorch/Segmentation/nnUNet/README.md at commit 1347d7c, training performance on "
    "DGX-1 with V100 16 GB, 3D, one GPU, batch 2"
)
UNET_PATCH = (128, 128, 128)
UNET_STRIDES = ((2, 2, 2),) * 5
UNET_CHANNELS, UNET_CLASSES = 4, 4

EVIDENCE = "results/scnas/fold0_seed0"  # beside the pages' folder
SEARCHED, HAND_MADE = "scnas_retrained.json", "res_unet.json"


@dataclass(frozen=True)
class Rate:
    """What is assumed of the GPU; rates in TFLOP/s."""

    gpu: str
    dtype: str
    rate: float  # of the searched cells
    unet_rate: float
    unet_gflops: float  # of a forward pass
    unet_patch: str
    unet_patches_per_second: float
    source: str
    share: float  # of a U-Net's rate that the searched cells reach
    evidence: str


def assumed_rate(results: Path) -> Rate:
    """Return the rate that the hours rest on; ``results`` is the folder with the files of :data:`EVIDENCE`.

    Raises:
        UserError: when a file is missing or not one of the evidence's.
    """
    with torch.device("meta"):
        network = build_network(
            Architecture.create("dynunet", {}, {}),
            in_channels=UNET_CHANNELS,
            out_channels=UNET_CLASSES,
            width=32,
            strides=UNET_STRIDES,
        )
    flops = count_flops(network, UNET_CHANNELS, UNET_PATCH)
    unet_rate = TRAINING_PASSES * flops * UNET_PATCHES_PER_SECOND / 1e12
    share = measured_rate(results / SEARCHED) / measured_rate(results / HAND_MADE)
    return Rate(
        gpu=GPU,
        dtype=str(COMPUTE.dtype).removeprefix("torch."),
        rate=unet_rate * share,
        unet_rate=unet_rate,
        unet_gflops=flops / 1e9,
        unet_patch="x".join(map(str, UNET_PATCH)),
        unet_patches_per_second=UNET_PATCHES_PER_SECOND,
        source=UNET_SOURCE,
        share=share,
        evidence=f"docs/{EVIDENCE}, {SEARCHED} against {HAND_MADE}",
    )


def measured_rate(path: Path) -> float:
    """Return the GFLOP a minute, of forward passes, that a training of the evidence computed.

    Raises:
        UserError: when the file is missing or no result of a training.
    """
    record = read_json(path)
    try:
        work = record["steps"]["all"] * record["batch_size"] * record["gflops"]["patch"]
        return float(work / record["minutes"]["train"]["taken"])
    except (KeyError, TypeError, ZeroDivisionError) as error:
        raise UserError(
            f"{path}: no training's steps, GFLOP and minutes: make it with the evidence's command"
        ) from error


def estimate(architecture: Architecture, plan: Plan, *, rate: float) -> dict[str, Any]:
    """Return what a training on all labelled cases takes, of :data:`STEPS` steps rounded up to whole epochs.

    Args:
        architecture: of the network.
        plan: of the task.
        rate: TFLOP/s that the device sustains.
    """
    channels = plan.task.in_channels
    with torch.device("meta"):
        network = build_network(
            architecture,
            in_channels=channels,
            out_channels=plan.task.num_classes,
            width=plan.width,
            strides=plan.strides,
        )
    flops = count_flops(network, channels, plan.patch_size)
    memory_bytes = training_memory(network, channels, plan.patch_size, plan.batch_size, compute=COMPUTE)
    epoch_length = math.ceil(plan.task.num_training / plan.batch_size)
    epochs = math.ceil(STEPS / epoch_length)
    seconds_per_step = TRAINING_PASSES * flops * plan.batch_size / (rate * 1e12)
    return {
        "plan": planned(plan),
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "gflops": flops / 1e9,
        "memory_bytes": memory_bytes,
        "memory": memory_text(memory_bytes, size=plan.patch_size, batch_size=plan.batch_size, compute=COMPUTE),
        "epochs": epochs,
        "steps": epochs * epoch_length,
        "seconds_per_step": seconds_per_step,
        "hours": epochs * epoch_length * seconds_per_step / 3600,
    }


def estimates(results: Path) -> dict[str, Any]:
    """Return the estimates of all tasks, and what they assume; ``results`` as for :func:`assumed_rate`."""
    rate, architecture = assumed_rate(results), committed_architecture()
    plans = [committed_plan(task.name) for task in MSD_TASKS]
    tasks = {plan.task.name: estimate(architecture, plan, rate=rate.rate) for plan in plans}
    return {"search_epochs": SEARCH_EPOCHS, "steps": STEPS, "gpu": asdict(rate), "tasks": tasks}


def main(arguments: Sequence[str] | None = None) -> None:
    """Compute the estimates, then write the pages.

    Raises:
        SystemExit: with one line, where a file that is needed cannot be used.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of the pages, docs/tasks")
    folder = parser.parse_args(arguments).folder
    try:
        write_json(folder / ESTIMATES, estimates(folder.parent / EVIDENCE))
        write_pages(folder)
    except UserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
