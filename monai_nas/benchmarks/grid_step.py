"""A training step of the sampled topology supernet against one of MONAI's DiNTS search: time and peak memory.

`python -m monai_nas.benchmarks.grid_step --out FILE` on Linux. Both sides have the same blocks, levels, channels and
patch: MONAI's stem halves the image by default, and so does ours here; its multiplier of channels is width / 64. Each
training runs in a fresh process. A step is forward, Dice and cross-entropy, backward and update, with the moments of
all weights there from the start, each side by its own optimiser: Adafactor, whose moments are rows and columns, and SGD
with momentum, as in MONAI's tutorial of the search. Ours is that of :class:`~monai_nas.strategies.OneShot`: each draws
an architecture by the density law, so its peak is over many architectures. MONAI's is that of its search once it has
warmed up: an update of the weights with the alphas frozen, then one of the alphas with the weights frozen, on images of
their own; the regularisers of the alphas are left out.
"""

import argparse
import gc
import io
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from monai.networks.nets.dints import Cell, DiNTS, TopologySearch
from rich.progress import track
from torch import nn

from monai_nas.benchmarks.fresh_process import Growth, in_fresh_process
from monai_nas.benchmarks.sampling_cost import patch_size
from monai_nas.benchmarks.speed.training_step import loss_of_monai
from monai_nas.benchmarks.step_memory import CLASSES
from monai_nas.compute import Compute, choose_compute
from monai_nas.cost import LiveBytes
from monai_nas.files import write_json
from monai_nas.losses import segmentation_loss
from monai_nas.pipelines.run_folder import environment
from monai_nas.spaces import TopologySpace
from monai_nas.strategies import OneShot, OneShotConfig, SearchBatch
from monai_nas.strategies.strategy import Batch
from monai_nas.supernets import MetaAssistantNetwork, TopologySupernet

WARM_UP = 2  # steps that are not timed
MONAI_CHANNELS = 64  # of its grid's finest level, behind a stem that halves the image, at a multiplier of 1


@dataclass(frozen=True)
class Setting:
    """What both sides share."""

    blocks: int
    levels: int
    width: int  # channels of the finest level
    patch: tuple[int, int, int]
    batch: int  # images
    steps: int  # timed
    seed: int  # of weights, images and architectures
    device: str | None

    def noise(self) -> Batch:
        """Return noise as image and labels."""
        generator = torch.Generator().manual_seed(self.seed)
        return {
            "image": torch.randn(self.batch, 1, *self.patch, generator=generator),
            "label": torch.randint(0, CLASSES, (self.batch, 1, *self.patch), generator=generator),
        }


class TwoCandidateCell(Cell):
    """MONAI's cell with our two candidates: a grid reads their number here, and asks its cells for the first so many.

    The order is MONAI's: skip connection, 3x3x3 convolution, then those left out.
    """

    OPS3D = {name: Cell.OPS3D[name] for name in ("skip_connect", "conv_3x3x3")}  # noqa: RUF012  as in MONAI


@dataclass(frozen=True)
class Training:
    """A network that is trained."""

    compute: Compute
    network: nn.Module  # with the MAN, if there is one
    step: Callable[[int], object]  # does the step of a number, and returns when it is done, also on a GPU

    @property
    def num_parameters(self) -> int:
        """Each takes 4 bytes, and as much for each moment or gradient that is kept of it."""
        return sum(parameter.numel() for parameter in self.network.parameters())


def sampled_training(
    setting: Setting, *, low_precision: bool, assisted: bool = False, recompute: bool = True
) -> Training:
    """Return the training of our supernet, ``assisted`` by a MAN or alone. Its rate is 0, and no step is special."""
    compute = choose_compute(low_precision, setting.device)
    torch.manual_seed(setting.seed)
    space = TopologySpace(num_blocks=setting.blocks, num_levels=setting.levels)
    supernet = TopologySupernet(
        space,
        in_channels=1,
        out_channels=CLASSES,
        width=setting.width,
        strides=((2, 2, 2),) * setting.levels,
        recompute=recompute,
    )
    hypernet = MetaAssistantNetwork(space, in_channels=1, width=setting.width) if assisted else None
    for part in (supernet, hypernet):
        if part is not None:
            compute.place(part)  # modules move in place
    strategy = OneShot(
        supernet,
        hypernet,
        loss=segmentation_loss(),
        config=OneShotConfig(rate=0.0, assistant="kept" if assisted else "none"),  # as "annealed" before annealing
        total_steps=WARM_UP + setting.steps,
        seed=setting.seed,
        compute=compute,
    )
    fill_moments(strategy.optimizer)
    batch = setting.noise()
    return Training(compute, strategy.parts, lambda step: strategy.step(SearchBatch(step, batch, None)))


def monai_training(
    setting: Setting, *, cell: type[Cell] = Cell, channels_last: bool = False, low_precision: bool = False
) -> Training:
    """Return the training of MONAI's grid; its rate is 0, too."""
    compute = replace(choose_compute(low_precision, setting.device), channels_last=channels_last)
    torch.manual_seed(setting.seed)
    with redirect_stdout(io.StringIO()):  # it prints advice on sizes
        grid = TopologySearch(
            channel_mul=setting.width / MONAI_CHANNELS,
            cell=cell,
            num_blocks=setting.blocks,
            num_depths=setting.levels,
            device=str(compute.device),
        )
    alphas = [grid.log_alpha_a, grid.log_alpha_c]
    network = compute.place(DiNTS(grid, in_channels=1, num_classes=CLASSES))
    weights = [weight for weight in network.parameters() if all(weight is not alpha for alpha in alphas)]
    optimizers = [torch.optim.SGD(weights, lr=0.0, momentum=0.9), torch.optim.Adam(alphas, lr=0.0)]
    for optimizer in optimizers:
        fill_moments(optimizer)
    loss, batch = loss_of_monai(), setting.noise()

    def step(number: int) -> float:
        value = torch.zeros(())
        for trained, frozen, optimizer in ((weights, alphas, optimizers[0]), (alphas, weights, optimizers[1])):
            for parameter in trained:
                parameter.requires_grad_(True)
            for parameter in frozen:
                parameter.requires_grad_(False)
            image, label = compute.place_batch(batch)
            optimizer.zero_grad()
            with compute.autocast():
                logits = network(image)
            value = loss(logits.float(), label)
            value.backward()
            optimizer.step()
        return float(value.detach())  # waits for a GPU

    return Training(compute, network, step)


def fill_moments(optimizer: torch.optim.Optimizer) -> None:
    """Make the moments of all weights, as after many steps; one by one, so that their gradients never meet."""
    for group in optimizer.param_groups:
        for weight in group["params"]:
            weight.grad = torch.zeros_like(weight)
            optimizer.step()
            weight.grad = None


TRAININGS: dict[str, Callable[[Setting], Training]] = {
    "ours_float32": partial(sampled_training, low_precision=False),
    "ours": partial(sampled_training, low_precision=True),
    "ours_assisted": partial(sampled_training, low_precision=True, assisted=True),
    "ours_kept": partial(sampled_training, low_precision=True, recompute=False),
    "ours_kept_assisted": partial(sampled_training, low_precision=True, recompute=False, assisted=True),
    "monai_two": partial(monai_training, cell=TwoCandidateCell),
    "monai_two_channels_last": partial(monai_training, cell=TwoCandidateCell, channels_last=True),
    "monai_two_low_precision": partial(monai_training, cell=TwoCandidateCell, channels_last=True, low_precision=True),
    "monai": monai_training,
}


@dataclass(frozen=True)
class Comparison:
    """Two trainings, and what ours is to reach."""

    ours: str
    theirs: str
    least_speed: float  # times as fast
    largest_memory: float  # share of theirs


COMPARISONS = {
    "same": Comparison("ours_float32", "monai_two", 4.0, 1 / 4),  # candidates and precision, not optimisers
    "same_layout": Comparison("ours_float32", "monai_two_channels_last", 4.0, 1 / 4),  # and memory layout, as we use it
    "same_low_precision": Comparison("ours", "monai_two_low_precision", 4.0, 1 / 4),
    "shipped": Comparison("ours", "monai", 20.0, 1 / 10),
    "shipped_assisted": Comparison("ours_assisted", "monai", 20.0, 1 / 10),
    "shipped_kept": Comparison("ours_kept", "monai", 20.0, 1 / 10),
    "shipped_kept_assisted": Comparison("ours_kept_assisted", "monai", 20.0, 1 / 10),
}


def measure(setting: Setting, name: str) -> dict[str, Any]:
    """Return time and memory of a training; call it in a fresh process.

    "taken_bytes" is by how much the process grows, after a tiny training that loads what is loaded once; on a GPU what
    torch allocates there. "live_bytes" is the peak of :class:`~monai_nas.cost.LiveBytes` in the same steps, done again.
    """
    tiny = replace(setting, blocks=1, width=4, patch=(smallest_patch(setting.levels),) * 3, batch=1)
    kind = TRAININGS[name](tiny).compute.device.type
    TRAININGS[name](tiny).step(0)
    with Growth(kind) as growth:
        training = TRAININGS[name](setting)
        seconds = []
        for step in range(WARM_UP + setting.steps):
            start = time.perf_counter()
            training.step(step)
            seconds.append(time.perf_counter() - start)
    record = {
        "dtype": str(training.compute.dtype).removeprefix("torch."),
        "num_parameters": training.num_parameters,
        "seconds": seconds[WARM_UP:],
        "median_seconds": statistics.median(seconds[WARM_UP:]),
        "mean_seconds": statistics.mean(seconds[WARM_UP:]),
        "taken_bytes": growth.bytes,
    }
    del training
    gc.collect()
    with LiveBytes(kind) as live:
        training = TRAININGS[name](setting)
        for step in range(WARM_UP + setting.steps):
            training.step(step)
    return record | {"live_bytes": live.peak}


def compare(measured: dict[str, dict[str, Any]], comparison: Comparison) -> dict[str, Any]:
    """Return how many times as fast ours is, by median and mean of the steps, its share of memory, and the verdict."""
    ours, theirs = measured[comparison.ours], measured[comparison.theirs]
    speeds = {kind: theirs[f"{kind}_seconds"] / ours[f"{kind}_seconds"] for kind in ("median", "mean")}
    shares = {kind: ours[f"{kind}_bytes"] / theirs[f"{kind}_bytes"] for kind in ("taken", "live")}
    within = {kind: speed >= comparison.least_speed for kind, speed in speeds.items()}
    within |= {kind: share <= comparison.largest_memory for kind, share in shares.items()}
    return asdict(comparison) | {"times_as_fast": speeds, "share_of_memory": shares, "within_limits": within}


def smallest_patch(levels: int) -> int:
    """Return the voxels an axis of which the coarsest level, and the MAN, which ends at an eighth, have three.

    MONAI normalises no single voxel, and over two voxels the gradient of a bfloat16 convolution reads memory that
    nobody wrote (torch 2.13 on processors with AVX-512): it may be NaN.
    """
    return 3 * 2 ** max(3, levels)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--blocks", type=int, default=12, help="of the grid (%(default)s)")
    parser.add_argument("--levels", type=int, default=4, help="of the grid, 2 or more (%(default)s)")
    parser.add_argument("--width", type=int, default=32, help="channels of the finest level, even (%(default)s)")
    parser.add_argument("--patch", type=patch_size, default=(48, 48, 48), help="like 48x48x48")
    parser.add_argument("--batch", type=int, default=1, help="images (%(default)s)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, images, architectures (%(default)s)")
    parser.add_argument("--device", help="cpu or cuda; by default CUDA where there is one")
    options = vars(parser.parse_args(arguments))
    out = options.pop("out")
    setting = Setting(**options)
    if min(setting.blocks, setting.batch, setting.steps) < 1 or setting.levels < 2 or setting.width < 2:
        parser.error("--blocks, --batch and --steps must be 1 or more, --levels and --width 2 or more")
    unit, least = 2**setting.levels, smallest_patch(setting.levels)
    if setting.width % 2 or any(size % unit or size < least for size in setting.patch):
        parser.error(f"--width must be even, each size of --patch a multiple of {unit} from {least} up")
    record = {**asdict(setting), "threads": torch.get_num_threads(), "warm_up": WARM_UP}
    record["environment"] = environment(choose_compute(True, setting.device))
    record["trainings"] = {}
    for name in track(TRAININGS, f"a step, {setting.blocks} blocks, width {setting.width}, patch {setting.patch}"):
        record["trainings"][name] = in_fresh_process(measure, setting, name)
        write_json(out, record)  # after each, as the next may not fit into the memory
    write_json(out, record | {name: compare(record["trainings"], pair) for name, pair in COMPARISONS.items()})


if __name__ == "__main__":
    main()
