"""The evidence on grids: which architectures its units take."""

import numpy as np

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import grid_evidence_runs as runs
from monai_nas.benchmarks.grid_evidence_units import repeated
from monai_nas.spaces import TopologySpace


def test_repeated_ones_are_spread() -> None:
    assert repeated(8, 24) == [1, 4, 7, 10, 13, 16, 19, 22]
    assert repeated(5, 5) == [0, 1, 2, 3, 4]


def test_drawn_architectures_are_the_middles_of_equal_shares() -> None:
    space = TopologySpace(num_blocks=4, num_levels=2)
    costs: list[float] = []

    def cost_of(architecture: Architecture) -> float:
        costs.append(sum(ord(letter) for letter in architecture.to_json()) % 1009)
        return costs[-1]

    drawn = runs.stratified(space, cost_of, 4, np.random.default_rng(0))
    ranked = sorted(costs)
    assert len(ranked) == 20 and [cost for _, cost in drawn] == [ranked[place] for place in (2, 7, 12, 17)]
    assert drawn == runs.stratified(space, cost_of, 4, np.random.default_rng(0))
