"""Budgets as users write them."""

import numpy as np
import pytest

from monai_nas.errors import UserError
from monai_nas.strategies.budget import UNITS, Budget, parse_budget


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
        ("flops=" + "9" * 400, "no unit, K, M"),
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
    assert Budget("train_memory", 1.0, 0.1).format(1010 * 2**20) == "1010 MB"
    assert Budget("latency", 1.0, 0.1).format(1.2e-8) == "0.000012 ms"


@pytest.mark.parametrize(
    "text",
    [
        "flops=50G",
        "train_memory=1.5GB",
        "train_memory=1010MB",
        "train_memory=97123457B",
        "parameters=1234567",
        "parameters=1.23M",
        "latency=80ms",
        "latency=2s",
    ],
)
def test_a_budget_is_printed_as_it_is_written(text: str) -> None:
    assert str(parse_budget(text, 0.05)) == text


@pytest.mark.parametrize("kind", UNITS)
def test_what_is_printed_is_read_as_the_same_budget(kind: str) -> None:
    rng = np.random.default_rng(0)
    limits = [
        float(number) * size
        for size in UNITS[kind].values()
        for number in (1, 999, 1000, 1023, 1024, 0.1, 1e-7, 1e15, 123456789, *rng.uniform(0, 2000, 200).round(3))
    ]
    limits += [float(limit) for limit in 10 ** rng.uniform(-6, 15, 500)]
    budgets = [Budget(kind, limit, 0.05) for limit in limits]
    assert [parse_budget(str(budget), 0.05) for budget in budgets] == budgets
    assert not any("e" in str(budget).partition("=")[2] for budget in budgets), "no exponents"
