"""Does the space cover the random architectures of the SCNAS paper? `python -m monai_nas.benchmarks.paper_cost`."""

import argparse
import functools
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_nas.architecture import Architecture
from monai_nas.cost import architecture_cost
from monai_nas.files import write_json
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES, NUM_INPUTS, decision_name

SIZE = (128, 128, 128)  # scnas.txt, section 4
WIDTH = 32
STRIDES = ((2, 2, 2),) * 3


@dataclass(frozen=True)
class PaperNetwork:
    """One randomly drawn architecture of scnas.txt, table 1."""

    name: str
    in_channels: int
    out_channels: int
    gflops: float
    million_parameters: float


PAPER_NETWORKS = (PaperNetwork("BrainTumour", 4, 4, 152.0, 2.7), PaperNetwork("Heart", 1, 2, 104.0, 1.5))


def cost_of(network: PaperNetwork, architecture: Architecture) -> np.ndarray:
    """Return GFLOPs and millions of parameters of one architecture at the paper's size, (2,)."""
    cost = architecture_cost(
        architecture,
        in_channels=network.in_channels,
        out_channels=network.out_channels,
        width=WIDTH,
        strides=STRIDES,
        size=SIZE,
    )
    return np.array([cost.flops / 1e9, cost.num_parameters / 1e6])


@functools.cache
def added_costs() -> dict[tuple[str, str], np.ndarray]:
    """Return what each choice adds to the network without any, (GFLOPs, millions of parameters); all else is fixed."""
    space, network = CellUNetSpace(), PAPER_NETWORKS[0]
    nothing = {decision.name: "zero" for decision in space.decisions}
    fixed = cost_of(network, space.create(nothing))
    known: dict[tuple[str, bool, str], np.ndarray] = {}
    added = {}
    for cell_type, edge, option in itertools.product(CELL_TYPES, space.edges, space.operations):
        name = decision_name(cell_type, edge)
        kind = cell_type, cell_type == "reduction" and edge[0] < NUM_INPUTS, option  # those edges have a stride
        if kind not in known:
            known[kind] = cost_of(network, space.create(nothing | {name: option})) - fixed
        added[name, option] = known[kind]
    return added


class CostTable:
    """Costs of all architectures for one network: each choice adds its own, whatever is chosen elsewhere."""

    def __init__(self, network: PaperNetwork) -> None:
        space = CellUNetSpace()
        self.fixed = cost_of(network, space.create({decision.name: "zero" for decision in space.decisions}))

    def __getitem__(self, architecture: Architecture) -> np.ndarray:
        """Return GFLOPs and millions of parameters, (2,)."""
        return np.asarray(self.fixed + sum(added_costs()[choice] for choice in architecture.choices))


def draw_costs(table: CostTable, seed: int, num_draws: int) -> np.ndarray:
    """Return GFLOPs and millions of parameters of random architectures, (num_draws, 2)."""
    space, rng = CellUNetSpace(), np.random.default_rng(seed)
    return np.array([table[space.sample(rng)] for _ in range(num_draws)])


def compare(network: PaperNetwork, costs: np.ndarray) -> dict[str, Any]:
    """Return where the paper's network lies in the distribution of ``costs`` (draws, 2)."""
    paper = np.array([network.gflops, network.million_parameters])
    offset = paper - costs.mean(axis=0)
    columns = {}
    for name, value, column in zip(("gflops", "million_parameters"), paper, costs.T, strict=True):
        columns[name] = {
            "paper": value,
            "share_below_paper": float((column < value).mean()),
            "mean": float(column.mean()),
            "std": float(column.std(ddof=1)),
            "min": float(column.min()),
            "percentile_01": float(np.percentile(column, 1)),
            "percentile_99": float(np.percentile(column, 99)),
            "max": float(column.max()),
        }
    return {
        "in_channels": network.in_channels,
        "out_channels": network.out_channels,
        **columns,
        "correlation": float(np.corrcoef(costs.T)[0, 1]),
        "mahalanobis_distance_of_paper": float(np.sqrt(offset @ np.linalg.solve(np.cov(costs.T), offset))),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw, compare, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--draws", type=int, default=10_000, help="random architectures per network (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the draws (%(default)s)")
    options = parser.parse_args(arguments)
    record: dict[str, Any] = {
        "seed": options.seed,
        "draws": options.draws,
        "size": SIZE,
        "width": WIDTH,
        "strides": STRIDES,
        "multiply_add": "two FLOPs",
    }
    for network in PAPER_NETWORKS:
        record[network.name] = compare(network, draw_costs(CostTable(network), options.seed, options.draws))
    write_json(options.out, record)


if __name__ == "__main__":
    main()
