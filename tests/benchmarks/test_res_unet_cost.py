"""Readings of the U-ResNet: the count is right for the one that is built, and the committed figures are current."""

from pathlib import Path

import pytest

from monai_nas.benchmarks import res_unet_cost
from monai_nas.files import read_json


def test_the_reading_by_default_is_the_network() -> None:
    counted = res_unet_cost.cost_of_reading(res_unet_cost.Reading())
    assert counted == pytest.approx(res_unet_cost.cost_of_network("res_unet"), rel=1e-12)


def test_each_reading_costs_something_else() -> None:
    chosen = res_unet_cost.cost_of_reading(res_unet_cost.Reading())
    for name, reading in res_unet_cost.READINGS.items():
        cost = res_unet_cost.cost_of_reading(reading)
        assert cost["gflops"] != chosen["gflops"] and cost["million_parameters"] != chosen["million_parameters"], name


def test_committed_figures_are_those_of_today(tmp_path: Path) -> None:
    """A change of the network must be followed by `python -m monai_nas.benchmarks.res_unet_cost`."""
    res_unet_cost.main(["--out", str(tmp_path / "cost.json")])
    committed = Path(__file__).parents[2] / "docs" / "results" / "res_unet_cost.json"
    assert read_json(tmp_path / "cost.json") == read_json(committed)
