"""Predicted memory of a training step against the measured: live tensors, the allocator, and growth of the process.

`python -m monai_nas.benchmarks.training_memory --out FILE` on Linux, for random architectures of a space. The file is
also the calibration of this machine's scratch memory; with `--device cuda` that of its GPU.
"""

import argparse
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from torch.profiler import ProfilerActivity, profile

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.fresh_process import Growth, in_fresh_process
from monai_nas.benchmarks.sampling_cost import patch_size
from monai_nas.compute import Compute, choose_compute, device_name
from monai_nas.cost import Calibration, LiveBytes, training_memory
from monai_nas.files import write_json
from monai_nas.losses import segmentation_loss
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import environment
from monai_nas.spaces import SPACES
from monai_nas.training import Learners, TrainerConfig, make_trainer

STEPS = 2  # the second has moments
CELL_PATCH, GRID_PATCH = (40, 56, 40), (48, 64, 48)  # of the hippocampus
# oneDNN's bfloat16 gradients break where a first axis has two voxels (docs/decisions/0004)
WARM_UP_PATCH = (48, 32, 32)
LIVE_LIMIT = 0.02  # share of the measured live bytes by which the prediction may be off
TAKEN_LIMIT = 0.10  # share of what the machine gave


@dataclass(frozen=True)
class Setting:
    """What is trained, apart from the architecture."""

    space: str
    width: int
    patch: tuple[int, int, int]
    batch_size: int
    in_channels: int
    classes: int
    seed: int  # of architectures, weights and images
    device: str | None
    low_precision: bool

    @property
    def compute(self) -> Compute:
        """Where and in which number format."""
        return choose_compute(self.low_precision, self.device)

    def network_arguments(self, architecture: Architecture) -> dict[str, Any]:
        """Return what :func:`~monai_nas.networks.build_network` needs."""
        levels = dict(architecture.settings).get("num_levels", 3)  # of a grid, whose first stride is its stem's
        return {
            "architecture": architecture,
            "in_channels": self.in_channels,
            "out_channels": self.classes,
            "width": self.width,
            "strides": ((2, 2, 2),) * levels,
        }


def predict(setting: Setting, architecture: Architecture) -> int:
    """Return the predicted peak of live bytes."""
    with torch.device("meta"):
        network = build_network(**setting.network_arguments(architecture))
    return training_memory(
        network,
        setting.in_channels,
        setting.patch,
        setting.batch_size,
        compute=setting.compute,
        loss=segmentation_loss(),
    )


def train(setting: Setting, architecture: Architecture) -> None:
    """Train the network of an architecture as :func:`train_on_noise`."""
    arguments = setting.network_arguments(architecture)
    train_on_noise(arguments, setting.patch, setting.batch_size, compute=setting.compute, seed=setting.seed)


def train_on_noise(
    arguments: Mapping[str, Any], patch: Sequence[int], batch_size: int, *, compute: Compute, seed: int
) -> None:
    """Build a network and train it for some steps on noise, with the trainer of this project.

    Args:
        arguments: of :func:`~monai_nas.networks.build_network`.
        patch: voxels per axis.
        batch_size: patches.
        compute: device and number format.
        seed: of weights and noise.
    """
    torch.manual_seed(seed)
    network = compute.place(build_network(**arguments))
    batch = {
        "image": torch.randn(batch_size, arguments["in_channels"], *patch),
        "label": torch.randint(0, arguments["out_channels"], (batch_size, 1, *patch), dtype=torch.uint8),
    }
    config = TrainerConfig()
    trainer = make_trainer(
        Learners(network, config, compute),
        [batch] * STEPS,
        loss=segmentation_loss(),
        config=config,
        num_epochs=1,
        epoch_length=STEPS,
        compute=compute,
    )
    trainer.run()


def live_peak(
    arguments: Mapping[str, Any], patch: Sequence[int], batch_size: int, *, compute: Compute, seed: int
) -> int:
    """Return the peak of live tensor bytes of :func:`train_on_noise`, which takes the same."""
    with LiveBytes(compute.device.type) as live:
        train_on_noise(arguments, patch, batch_size, compute=compute, seed=seed)
    return live.peak


def measure(setting: Setting, architecture: Architecture) -> dict[str, int]:
    """Return the bytes that a training takes, in three ways; call it in a fresh process.

    "taken" is by how much the process grows, after a training of a tiny network that loads what is loaded once; on a
    GPU what torch allocates there. "live" is the peak of :class:`~monai_nas.cost.LiveBytes`. "allocator", on a
    processor, is the peak of torch's own record of what it allocated and freed, within operators too.
    """
    kind = setting.compute.device.type
    train(replace(setting, width=4, patch=WARM_UP_PATCH, batch_size=1), architecture)
    with Growth(kind) as growth:
        train(setting, architecture)
    with LiveBytes(kind) as live:
        train(setting, architecture)
    bytes_of = {"taken": growth.bytes, "live": live.peak}
    return bytes_of if kind == "cuda" else bytes_of | {"allocator": allocator_peak(setting, architecture)}


def allocator_peak(setting: Setting, architecture: Architecture) -> int:
    """Return the most that torch had allocated at once in main memory, by its profiler."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        train(setting, architecture)
    assert profiler.profiler is not None and profiler.profiler.kineto_results is not None  # it has run
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return max(accumulate(event.nbytes() for event in events))


def scratch_share(predicted: Sequence[int], taken: Sequence[int]) -> float:
    """Return the one calibrated term: the share of the live bytes by which the median architecture takes more."""
    return statistics.median(real / expected for real, expected in zip(taken, predicted, strict=True)) - 1.0


def judge(rows: Sequence[dict[str, Any]], compute: Compute) -> dict[str, Any]:
    """Return how far predictions are off, and the calibration.

    What an architecture takes is predicted with the term of the others, so that none is judged by its own measurement.
    """
    predicted, taken = [row["predicted"] for row in rows], [row["taken"] for row in rows]
    off_live = [row["predicted"] / row["live"] - 1.0 for row in rows]
    off_taken = []
    for index, (expected, real) in enumerate(zip(predicted, taken, strict=True)):
        others = slice(0, index), slice(index + 1, None)
        share = scratch_share(*([value for part in others for value in values[part]] for values in (predicted, taken)))
        off_taken.append(expected * (1.0 + share) / real - 1.0)
    calibration = Calibration(
        device_name(compute.device), str(compute.dtype).removeprefix("torch."), scratch_share(predicted, taken)
    )
    return {
        "calibration": asdict(calibration),
        "live_limit": LIVE_LIMIT,
        "within_live_limit": sum(abs(off) <= LIVE_LIMIT for off in off_live),
        "largest_off_live": max(off_live, key=abs),
        "taken_limit": TAKEN_LIMIT,
        "within_taken_limit": sum(abs(off) <= TAKEN_LIMIT for off in off_taken),
        "off_taken": off_taken,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict, measure, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--count", type=int, default=30, help="architectures, at least 2 (%(default)s)")
    parser.add_argument("--space", choices=tuple(SPACES), default="cell_unet", help="(%(default)s)")
    parser.add_argument("--width", type=int, default=32, help="stem channels (%(default)s)")
    parser.add_argument("--patch", type=patch_size, help="like 40x56x40; by default that of the hippocampus")
    parser.add_argument("--batch-size", type=int, default=2, help="images (%(default)s)")
    parser.add_argument("--in-channels", type=int, default=1, help="modalities (%(default)s)")
    parser.add_argument("--classes", type=int, default=3, help="with the background (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of architectures, weights, images (%(default)s)")
    parser.add_argument("--device", default="cpu", help="cpu or cuda (%(default)s)")
    parser.add_argument("--float32", action="store_true", help="32 bits, also where 16 are faster")
    options = parser.parse_args(arguments)
    if options.count < 2:
        parser.error(f"--count {options.count}: at least 2, as each is judged by the others")
    if options.device.startswith("cuda") and not torch.cuda.is_available():
        parser.error(f"--device {options.device}: torch finds no GPU here")
    options.patch = options.patch or (CELL_PATCH if options.space == "cell_unet" else GRID_PATCH)
    names = ("space", "width", "patch", "batch_size", "in_channels", "classes", "seed", "device")
    setting = Setting(**{name: getattr(options, name) for name in names}, low_precision=not options.float32)
    rng = np.random.default_rng(options.seed)
    architectures = [SPACES[options.space]().sample(rng) for _ in range(options.count)]
    predict(setting, architectures[0])  # loads what is loaded once
    rows: list[dict[str, Any]] = []
    for architecture in track(architectures, f"memory, patch {setting.patch}"):
        start = time.perf_counter()
        row: dict[str, Any] = {"predicted": predict(setting, architecture)}
        row["seconds_to_predict"] = time.perf_counter() - start
        rows.append(row | in_fresh_process(measure, setting, architecture))
    record: dict[str, Any] = asdict(setting) | {"steps": STEPS, "voxels": prod(setting.patch)}
    record |= {"threads": torch.get_num_threads(), "environment": environment(setting.compute)}
    write_json(options.out, record | judge(rows, setting.compute) | {"bytes": rows})


if __name__ == "__main__":
    main()
