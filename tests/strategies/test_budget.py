"""Budgets as users write them."""

import pytest

from monai_nas.errors import UserError
from monai_nas.strategies.budget import Budget, parse_budget


@pytest.mark.parametrize(
    ("text", "kind", "limit"),
    [
        ("train_memory=2GB", "train_memory", 2 * 2**30),
        ("train_memory=1.5 GiB", "train_memory", 1.5 * 2**30),
        ("inference_memory=512mb", "inference_memory", 512 * 2**20),
        ("flops=50G", "flops", 50e9),
        ("parameters=1500000", "parameters", 1.5e6),
        ("latency=80ms", "latency", 0.08),
        ("latency=2s", "latency", 2.0),
    ],
)
def test_amounts_with_units(text: str, kind: str, limit: float) -> None:
    budget = parse_budget(text, 0.05)
    assert (budget.kind, budget.tolerance) == (kind, 0.05)
    assert budget.limit == pytest.approx(limit)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("memory=2GB", "'memory' is unknown"),
        ("train_memory", "unit of B, KB"),
        ("train_memory=2", "unit of B, KB"),
        ("train_memory=0GB", "unit of B, KB"),
        ("train_memory=-2GB", "unit of B, KB"),
        ("flops=50GB", "no unit, K, M"),
        ("latency=80", "unit of S, MS"),
    ],
)
def test_what_is_no_budget_is_refused(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_budget(text, 0.05)


@pytest.mark.parametrize("tolerance", [0.0, 1.0, -0.1, float("nan")])
def test_a_tolerance_is_a_share(tolerance: float) -> None:
    with pytest.raises(UserError, match="--tolerance"):
        parse_budget("flops=1G", tolerance)


def test_the_band_ends_at_the_limit() -> None:
    budget = Budget("parameters", 1000.0, 0.05)
    assert [budget.contains(cost) for cost in (949, 950, 1000, 1001)] == [False, True, True, False]


def test_costs_are_printed_in_the_unit_that_fits() -> None:
    assert Budget("train_memory", 1.0, 0.1).format(1.5 * 2**30) == "1.5 GB"
    assert Budget("latency", 1.0, 0.1).format(0.0123) == "12.3 ms"
    assert Budget("parameters", 1.0, 0.1).format(12) == "12"
    assert str(parse_budget("flops=50G", 0.05)) == "flops=50G"
    assert parse_budget(str(parse_budget("train_memory=1.5GB", 0.05)), 0.05).limit == 1.5 * 2**30
