"""Which reading of the 3D U-ResNet costs what the SCNAS paper says? `python -m monai_nas.benchmarks.res_unet_cost`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.paper_cost import SIZE, STRIDES, WIDTH
from monai_nas.cost import architecture_cost
from monai_nas.files import write_json

PAPER = {"million_parameters": 7.6, "gflops": 881.0, "gflops_one_channel": 870.0}  # scnas.txt, table 1
# input channels and classes of Heart and BrainTumour; the parameters in the table are those of the last
TASKS = {"gflops_one_channel": (1, 2), "gflops": (4, 4)}
CHANNELS = [WIDTH * 2**level for level in range(len(STRIDES) + 1)]
CUBE = 27  # weights of a 3x3x3 kernel for each pair of channels
# the kernel's weights, and how many levels below the enlarged features it is applied
UPS = {"1x1x1, linear": (1, 1), "linear, 3x3x3": (CUBE, 0), "transposed 2x2x2": (8, 1)}


@dataclass(frozen=True)
class Reading:
    """One way to put the parts together; the defaults are what :class:`monai_nas.networks.ResUNet` does."""

    first_block: bool = False  # a residual block also at full size in the encoder
    strides_in_block: bool = False  # the strided convolution is the first of the block's two, not one before it
    up: str = "1x1x1, linear"  # one of UPS
    sums_skips: bool = False  # instead of concatenation
    decoder_convolutions: int = 2
    projects: bool = False  # a 1x1x1 convolution as the shortcut where a block changes the number of channels
    gates_first: bool = False  # also the skip connection at full size
    large_gates: bool = False  # as many channels inside as the skip connection has, and a 1x1x1 unit behind


READINGS = {
    "projections": Reading(projects=True),
    "all_gates": Reading(gates_first=True),
    "large_gates": Reading(large_gates=True),
    "transposed": Reading(up="transposed 2x2x2"),
    "convolved_up": Reading(up="linear, 3x3x3"),
    "sums": Reading(up="linear, 3x3x3", sums_skips=True, decoder_convolutions=1),
    "first_block": Reading(first_block=True),
    "plain": Reading(first_block=True, strides_in_block=True, up="transposed 2x2x2", projects=True),
}


def convolutions(reading: Reading, in_channels: int, out_channels: int) -> list[tuple[int, int, int]]:
    """Return (weights, other parameters, level) of each convolution; the others are its norm's or bias.

    The level is that of the voxels on which all weights are applied: those of the output, of a transposed convolution
    those of the input.
    """
    found: list[tuple[int, int, int]] = []

    def unit(kernel: int, source: int, target: int, level: int) -> None:
        found.append((kernel * source * target, 2 * target, level))

    def gate(channels: int, below: int, level: int) -> None:
        inner = channels if reading.large_gates else channels // 2
        found.append((8 * channels * inner, 0, level + 1))
        found.append((below * inner, inner, level + 1))
        found.append((inner, 1, level + 1))
        if reading.large_gates:
            unit(1, channels, channels, level)

    unit(CUBE, in_channels, WIDTH, 0)
    if reading.first_block:
        unit(CUBE, WIDTH, WIDTH, 0)  # the first convolution is the first of the block's two
        if reading.projects:
            unit(1, in_channels, WIDTH, 0)
    for level, (above, channels) in enumerate(pairwise(CHANNELS), start=1):
        unit(CUBE, above, channels, level)
        for _ in range(1 if reading.strides_in_block else 2):
            unit(CUBE, channels, channels, level)
        if reading.strides_in_block and reading.projects:
            unit(1, above, channels, level)
    for level, (channels, below) in reversed(list(enumerate(pairwise(CHANNELS)))):
        kernel, depth = UPS[reading.up]
        unit(kernel, below, channels, level + depth)
        if level > 0 or reading.gates_first:
            gate(channels, below, level)
        joined = channels if reading.sums_skips else 2 * channels
        for source in [joined] + [channels] * (reading.decoder_convolutions - 1):
            unit(CUBE, source, channels, level)
        if reading.projects and not reading.sums_skips:
            unit(1, joined, channels, level)
        found.append((channels * out_channels, out_channels, level))
    return found


def cost_of_reading(reading: Reading) -> dict[str, float]:
    """Return millions of parameters, and GFLOPs with the paper's two numbers of channels, by counting."""
    record: dict[str, float] = {}
    voxels = SIZE[0] * SIZE[1] * SIZE[2]
    for name, (in_channels, out_channels) in TASKS.items():
        found = convolutions(reading, in_channels, out_channels)
        record["million_parameters"] = sum(weights + others for weights, others, _ in found) / 1e6
        record[name] = sum(2 * weights * (voxels // 8**level) for weights, _, level in found) / 1e9
    return record


def cost_of_network(name: str) -> dict[str, float]:
    """Return the same of a hand-made network as it is built."""
    record: dict[str, float] = {}
    for key, (in_channels, out_channels) in TASKS.items():
        cost = architecture_cost(
            Architecture.create(name, {}, {}),
            in_channels=in_channels,
            out_channels=out_channels,
            width=WIDTH,
            strides=STRIDES,
            size=SIZE,
        )
        record["million_parameters"] = cost.num_parameters / 1e6
        record[key] = cost.flops / 1e9
    return record


def figures() -> dict[str, Any]:
    """Return the costs of the paper's network, of ours, of the readings that were tried, and of DynUNet."""
    return {
        "size": SIZE,
        "width": WIDTH,
        "strides": STRIDES,
        "multiply_add": "two FLOPs",
        "paper": PAPER,
        "res_unet": cost_of_network("res_unet"),
        **{name: cost_of_reading(reading) for name, reading in READINGS.items()},
        "dynunet": cost_of_network("dynunet"),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Count, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    write_json(parser.parse_args(arguments).out, figures())


if __name__ == "__main__":
    main()
