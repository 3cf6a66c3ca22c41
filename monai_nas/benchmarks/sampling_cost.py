"""What a search step costs by the number of operations that are active on an edge: time and peak memory, side by side.

`python -m monai_nas.benchmarks.sampling_cost --out FILE` on Linux. Two operations an edge, as SCNAS draws them
(scnas.txt, algorithm 2), against all eight (the relaxation of DARTS) and against one.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from rich.progress import track
from torch import Tensor
from torch.nn.functional import one_hot

from monai_nas.benchmarks.fresh_process import Growth, in_fresh_process
from monai_nas.benchmarks.step_memory import CLASSES, STRIDES, DrawnNetwork
from monai_nas.compute import Compute, choose_compute
from monai_nas.cost import network_cost
from monai_nas.files import write_json
from monai_nas.losses import segmentation_loss
from monai_nas.pipelines.run_folder import environment
from monai_nas.spaces import CellUNetSpace
from monai_nas.strategies.bilevel import Bilevel, BilevelConfig
from monai_nas.strategies.strategy import Batch
from monai_nas.supernets import CellUNetSupernet, Selection

VARIANTS = ("two", "one", "eight")  # operations active on an edge
UPDATES = {"weights": ("weights",), "alphas": ("alphas",), "step": ("weights", "alphas")}
LIMIT = 0.45  # of the step with eight, which the step with two must not exceed
WARM_UP = 2  # repetitions that are not counted
PROCESS_SHARE = 2.0  # a process grows by 1.8 times what `monai_nas.cost` counts (docs/results/step_memory.json)

Values = dict[str, list[float]]  # by kind of update, one value a draw


@dataclass(frozen=True)
class Setting:
    """One size of supernet and batch."""

    width: int
    patch: tuple[int, int, int]
    batch_size: int
    seed: int  # of weights, images and draws
    device: str | None
    low_precision: bool

    @property
    def compute(self) -> Compute:
        """Where and in which number format."""
        return choose_compute(self.low_precision, self.device)

    def batch(self) -> Batch:
        """Return noise as image and labels."""
        generator = torch.Generator().manual_seed(self.seed)
        return {
            "image": torch.randn(self.batch_size, 1, *self.patch, generator=generator),
            "label": torch.randint(0, CLASSES, (self.batch_size, 1, *self.patch), generator=generator),
        }


def as_one(pair: Tensor) -> Tensor:
    """Return the larger of the two drawn weights of each edge as 1, the rest 0; gradients as of the pair (E, O)."""
    hard = one_hot(pair.argmax(dim=1), pair.shape[1]).to(pair.dtype)
    return hard + (pair - pair.detach())


class MeasuredSearch(Bilevel):
    """SCNAS with another number of active operations. Its rates are 0, so each repetition starts from the same alphas.

    Args:
        setting: sizes and seed.
        variant: one of ``VARIANTS``.
    """

    def __init__(self, setting: Setting, variant: str) -> None:
        torch.manual_seed(setting.seed)
        supernet = CellUNetSupernet(
            CellUNetSpace(), in_channels=1, out_channels=CLASSES, width=setting.width, strides=STRIDES
        )
        compute = setting.compute
        compute.place(supernet)  # modules move in place
        super().__init__(
            supernet,
            loss=segmentation_loss(),
            config=BilevelConfig(weight_rate=0.0, alpha_rate=0.0),
            search_steps=1,
            total_steps=1,
            seed=setting.seed,
            compute=compute,
        )
        self.variant = variant
        for optimizer in (self.weight_optimizer, self.alpha_optimizer):  # moments of all, as after many draws
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    parameter.grad = torch.ones_like(parameter)
            optimizer.step()
            optimizer.zero_grad()

    def sample(self, step: int) -> Selection:
        if self.variant == "eight":
            return {name: alphas.cpu().softmax(dim=1) for name, alphas in self.supernet.alphas().items()}
        pairs = super().sample(step)
        return pairs if self.variant == "two" else {name: as_one(pair) for name, pair in pairs.items()}

    def update(self, kind: str, batch: Batch, draw: int) -> None:
        """Update the "weights" or the "alphas" once, as a search step does; returns when it is done, also on a GPU."""
        selection = self.sample(draw)
        if kind == "weights":
            self._descend(self.weight_optimizer, batch, {name: value.detach() for name, value in selection.items()})
            return
        with self._frozen_weights():
            self._descend(self.alpha_optimizer, batch, selection)


def seconds(setting: Setting, repetitions: int) -> dict[str, Values]:
    """Time the updates of all variants in turn, each repetition with another draw; seconds by variant and update."""
    searches = {variant: MeasuredSearch(setting, variant) for variant in VARIANTS}
    batch = setting.batch()
    taken: dict[str, Values] = {variant: {kind: [] for kind in UPDATES} for variant in VARIANTS}
    for repetition in track(range(WARM_UP + repetitions), f"time, width {setting.width}, patch {setting.patch}"):
        first = repetition % len(VARIANTS)
        for variant in VARIANTS[first:] + VARIANTS[:first]:
            lasted = {}
            for kind in UPDATES["step"]:
                start = time.perf_counter()
                searches[variant].update(kind, batch, repetition)
                lasted[kind] = time.perf_counter() - start
            lasted["step"] = lasted["weights"] + lasted["alphas"]
            if repetition >= WARM_UP:
                for kind, value in lasted.items():
                    taken[variant][kind].append(value)
    return taken


def peak_bytes(setting: Setting, variant: str, kind: str, draw: int) -> float:
    """Return the memory that one update needs, with the supernet and Adam's moments; call it in a fresh process.

    On a processor it is the growth of the process, after a step on a tiny supernet that loads what is loaded once; on
    a GPU it is what tensors take there.
    """
    tiny = replace(setting, width=4, patch=(32, 32, 32), batch_size=1)
    search, batch = MeasuredSearch(tiny, "eight"), tiny.batch()
    for part in UPDATES["step"]:
        search.update(part, batch, draw)
    del search, batch
    with Growth(setting.compute.device.type) as growth:
        search, batch = MeasuredSearch(setting, variant), setting.batch()
        for part in UPDATES[kind]:
            search.update(part, batch, draw)
    return float(growth.bytes)


def memory(setting: Setting, draws: int) -> dict[str, Values]:
    """Measure :func:`peak_bytes` of all variants and draws, each in a process of its own; by variant and update."""
    taken: dict[str, Values] = {variant: {kind: [] for kind in UPDATES} for variant in VARIANTS}
    runs = list(itertools.product(range(draws), UPDATES, VARIANTS))
    for draw, kind, variant in track(runs, f"memory, width {setting.width}, patch {setting.patch}"):
        taken[variant][kind].append(in_fresh_process(peak_bytes, setting, variant, kind, draw))
    return taken


def predicted(setting: Setting, draws: int) -> dict[str, Values]:
    """Return what :mod:`monai_nas.cost` expects by variant: FLOPs of the forward pass, and bytes of both updates."""
    taken: dict[str, Values] = {}
    search = MeasuredSearch(replace(setting, device="cpu", low_precision=False), "two")
    for variant in VARIANTS:
        search.variant = variant
        taken[variant] = {"flops": [], "weights": [], "alphas": []}
        for draw in range(draws):
            fixed = {name: value.detach() for name, value in search.sample(draw).items()}
            for kind in ("weights", "alphas"):
                search.supernet.requires_grad_(kind == "weights")
                selection = {name: value.clone().requires_grad_(kind == "alphas") for name, value in fixed.items()}
                network = DrawnNetwork(search.supernet, selection)
                cost = network_cost(network, 1, setting.patch, setting.batch_size, setting.compute.dtype.itemsize)
                taken[variant][kind].append(cost.memory_bytes)
            taken[variant]["flops"].append(cost.flops)
    return taken


def ratios(taken: dict[str, Values]) -> dict[str, dict[str, dict[str, float]]]:
    """Compare "two" and "one" with "eight" by kind: the ratio of the sums, and the spread of those of single draws."""
    result: dict[str, dict[str, dict[str, float]]] = {"two/eight": {}, "one/eight": {}}
    for name, (kind, full) in itertools.product(result, taken["eight"].items()):
        values = taken[name.split("/")[0]][kind]
        single = [value / whole for value, whole in zip(values, full, strict=True)]
        result[name][kind] = {
            "of_sums": sum(values) / sum(full),
            "median": statistics.median(single),
            "std": statistics.stdev(single) if len(single) > 1 else 0.0,
            "min": min(single),
            "max": max(single),
        }
    return result


def free_bytes(device: torch.device) -> int:
    """Return how much memory nobody uses now."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    table = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(table["MemAvailable"].removesuffix("kB")) * 1024


def patch_size(text: str) -> tuple[int, int, int]:
    """Return the sizes of "40x56x40"; raises ValueError for another form."""
    x, y, z = (int(size) for size in text.split("x"))
    return x, y, z


def measure(setting: Setting, repetitions: int, draws: int) -> dict[str, Any]:
    """Return the figures of one setting; where it is too large for the memory that is free, the prediction alone."""
    expected = predicted(setting, draws)
    record: dict[str, Any] = asdict(setting) | {"predicted": expected, "predicted_ratios": ratios(expected)}
    needed, free = PROCESS_SHARE * max(expected["eight"]["alphas"]), free_bytes(setting.compute.device)
    if needed > free:
        return record | {"left_out": f"needs about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free"}
    torch.cuda.empty_cache()  # what timings before left there is missing to other processes
    measured = {"memory_bytes": memory(setting, draws), "seconds": seconds(setting, repetitions)}
    compared = {name: ratios(taken) for name, taken in measured.items()}
    judged = [of["two/eight"]["step"]["of_sums"] for of in compared.values()]
    return record | measured | {"ratios": compared, "limit": LIMIT, "within_limit": max(judged) <= LIMIT}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--width", type=int, nargs="+", default=[16, 32], help="stem channels (%(default)s)")
    parser.add_argument(
        "--patch", type=patch_size, nargs="+", default=[(32, 32, 32), (40, 56, 40), (64, 64, 64)], help="like 40x56x40"
    )
    parser.add_argument("--batch-size", type=int, default=2, help="images (%(default)s)")
    parser.add_argument("--repetitions", type=int, default=12, help="timed draws (%(default)s)")
    parser.add_argument("--memory-draws", type=int, default=3, help="draws whose memory is measured (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, images and draws (%(default)s)")
    parser.add_argument("--device", help="cpu or cuda; by default CUDA where there is one")
    parser.add_argument("--float32", action="store_true", help="32 bits, also where 16 are faster")
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {
        **{name: getattr(options, name) for name in ("seed", "repetitions", "memory_draws")},
        "in_channels": 1,
        "classes": CLASSES,
        "strides": STRIDES,
        "threads": torch.get_num_threads(),
        "environment": environment(choose_compute(not options.float32, options.device)),
        "settings": [],
    }
    for width, patch in itertools.product(options.width, options.patch):
        setting = Setting(width, patch, options.batch_size, options.seed, options.device, not options.float32)
        record["settings"].append(measure(setting, options.repetitions, options.memory_draws))
        write_json(options.out, record)  # after each, as the next may not fit into the memory


if __name__ == "__main__":
    main()
