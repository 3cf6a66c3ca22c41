"""The evidence on grids: its units, and which architectures they take."""

from pathlib import Path

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import grid_evidence_runs as runs
from monai_nas.benchmarks.grid_evidence import LEFT_OUT, NOT_SHIPPED, main
from monai_nas.benchmarks.grid_evidence_study import GridSettings, GridStudy
from monai_nas.benchmarks.grid_evidence_units import PARTS, all_units, planned, repeated
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


def test_without_a_code_the_published_part_is_left_out(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["--data", str(phantoms), "--runs", str(tmp_path), "--out", str(tmp_path), "--list"])
    listing = capsys.readouterr().out
    for line, unit in ((LEFT_OUT, "dints_0"), (NOT_SHIPPED, "shipped_0")):
        assert line in listing.replace("\n", " ") and unit not in listing
    assert not any(tmp_path.iterdir())


def test_a_part_brings_what_it_needs(phantoms: Path, tmp_path: Path) -> None:
    units = all_units(GridStudy(phantoms, tmp_path, tmp_path, GridSettings()), None, None)
    names = [unit.name for unit in units]
    assert len(set(names)) == len(names)
    assert [unit.name for unit in planned(units, ["maps"])] == [
        "table1/architectures",
        "supernets/annealed",
        "supernets/kept",
        "maps/maps",
    ]
    chosen = [unit.name for unit in planned(units, ["chosen"])]
    assert chosen[:4] == ["supernets/annealed", "correlation/architectures", "correlation/length", "chosen/search"]
    for number, unit in enumerate(units):
        assert set(unit.needs) <= set(names[:number]), unit.name
    assert planned(units, PARTS) == units
