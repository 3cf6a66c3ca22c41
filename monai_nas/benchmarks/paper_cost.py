"""Does the space cover the random architectures of the SCNAS paper? `python -m monai_nas.benchmarks.paper_cost`."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from monai_nas.cost import architecture_cost
from monai_nas.files import write_json
from monai_nas.spaces import CellUNetSpace

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


def draw_costs(network: PaperNetwork, seed: int, num_draws: int) -> np.ndarray:
    """Return GFLOPs and millions of parameters of random architectures, (num_draws, 2)."""
    space, rng = CellUNetSpace(), np.random.default_rng(seed)
    costs = [
        architecture_cost(
            space.sample(rng),
            in_channels=network.in_channels,
            out_channels=network.out_channels,
            width=WIDTH,
            strides=STRIDES,
            size=SIZE,
        )
        for _ in range(num_draws)
    ]
    return np.array([[cost.flops / 1e9, cost.num_parameters / 1e6] for cost in costs])


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
    parser.add_argument("--draws", type=int, default=200, help="random architectures per network (%(default)s)")
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
        record[network.name] = compare(network, draw_costs(network, options.seed, options.draws))
    write_json(options.out, record)


if __name__ == "__main__":
    main()
