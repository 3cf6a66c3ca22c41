"""Sampling within a budget, against costs in closed form."""

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.spaces import TopologySpace
from monai_nas.strategies.budget import Budget
from monai_nas.strategies.within_budget import FITTED, CostEstimate, reach, sample_within

SPACE = TopologySpace(num_blocks=4, num_levels=3)
PRICE = np.array([1.0, 10.0])  # of a skip connection and of a convolution


def linear_cost(architecture: Architecture) -> float:
    matrix = SPACE.matrix(architecture)  # (L, E, O)
    return float((matrix * PRICE).sum()) + 5.0


def bent_cost(architecture: Architecture) -> float:
    """A cost that no linear estimate gets right."""
    return linear_cost(architecture) ** 1.2


def sample(cost: float, tolerance: float = 0.05, count: int = 12, seed: int = 0) -> dict[Architecture, float]:
    budget = Budget("parameters", cost, tolerance)
    return sample_within(SPACE, bent_cost, budget, count=count, rng=np.random.default_rng(seed))


@pytest.mark.parametrize("limit", [60.0, 200.0, 500.0])
def test_samples_lie_in_the_band_and_differ(limit: float) -> None:
    found = sample(limit)
    assert len(found) == 12
    assert all(0.95 * limit <= cost <= limit for cost in found.values())
    assert all(cost == bent_cost(architecture) for architecture, cost in found.items())
    assert all(SPACE.contains(architecture) for architecture in found), "canonical members of the space"


def test_the_band_is_filled_to_both_ends() -> None:
    costs = sorted(sample(400.0, tolerance=0.2, count=50).values())
    assert costs[0] < 340.0 and costs[-1] > 380.0


def test_same_seed_same_sample() -> None:
    assert sample(200.0) == sample(200.0)
    assert sample(200.0) != sample(200.0, seed=1)


def test_out_of_reach_names_the_reach() -> None:
    least, greatest = reach(SPACE, bent_cost)
    assert least == pytest.approx(bent_cost_of(paths=4, conv=0)) and greatest == pytest.approx(bent_cost_of(28, 28))
    for limit in (0.9 * least, 1.2 * greatest):
        with pytest.raises(UserError, match=f"take {least:.3g} to {greatest:.3g}".replace("+", r"\\+")):
            sample(limit)


@pytest.mark.parametrize("seed", range(4))
def test_the_reach_is_that_of_all_architectures(seed: int) -> None:
    """Each path has its own dearest operation, as in training memory."""
    small = TopologySpace(num_blocks=2, num_levels=2)
    prices = np.random.default_rng(seed).uniform(1.0, 10.0, (len(small.paths), 2))
    prices[[path[0] != path[1] for path in small.paths]] += 10.0  # changing level is dear
    prices[[path == (0, 0) for path in small.paths]] = [3.0, 0.5]

    def cost_of(architecture: Architecture) -> float:
        return float((small.matrix(architecture) * prices).sum() ** 1.1)

    costs = [cost_of(architecture) for architecture in small.enumerate()]
    assert len(costs) == small.count()
    assert reach(small, cost_of) == pytest.approx((min(costs), max(costs)))


def bent_cost_of(paths: int, conv: int) -> float:
    return float((paths - conv + 10 * conv + 5) ** 1.2)


def test_a_band_with_few_members_gives_those_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    tiny = TopologySpace(num_blocks=1, num_levels=2)
    budget = Budget("parameters", 1.0, 0.5)
    found = sample_within(tiny, tiny.alive, budget, count=9, rng=np.random.default_rng(0))
    assert 0 < len(found) <= sum(tiny.alive(architecture) == 1 for architecture in tiny.enumerate()) == 8
    assert set(found.values()) == {1}
    assert [record.getMessage().partition(": all")[0] for record in caplog.records] == [
        f"--budget parameters=1: {len(found)} networks found, 9 asked for"
    ]


def test_as_many_as_asked_for_need_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    sample(200.0)
    assert not caplog.records


def test_the_estimate_of_a_linear_cost_is_exact() -> None:
    estimate = CostEstimate(SPACE, linear_cost, np.random.default_rng(0))
    rng = np.random.default_rng(1)
    for _ in range(20):
        architecture = SPACE.sample(rng)
        assert estimate(architecture) == pytest.approx(linear_cost(architecture), rel=1e-6)


def test_the_estimate_learns_what_costs_are_around_a_budget() -> None:
    """A cost that bends is nearly linear among networks that cost about the same."""
    found = list(sample(400.0, count=60))
    estimate, taught = (CostEstimate(SPACE, bent_cost, np.random.default_rng(0)) for _ in range(2))
    for architecture in found[:50]:
        taught.learn(architecture, bent_cost(architecture))
    errors = [
        np.mean([abs(one(architecture) - bent_cost(architecture)) for architecture in found[50:]])
        for one in (taught, estimate)
    ]
    assert errors[0] < 0.8 * errors[1]


GRID = TopologySpace()


def steep_cost(architecture: Architecture) -> float:
    """The cost of a grid as large as the paper's, which a straight line gets wrong at both ends."""
    return float((GRID.matrix(architecture) * [1.0, 3.0]).sum() ** 1.5)


@pytest.mark.parametrize("end", ["least", "greatest"])
def test_a_narrow_band_at_an_end_of_the_reach_is_found(end: str) -> None:
    """There the first estimates are so wrong that they rule out each network of the band."""
    least, greatest = reach(GRID, steep_cost)
    budget = Budget("train_memory", greatest if end == "greatest" else 45.0**1.5, 0.04)
    assert budget.low > least
    estimate = CostEstimate(GRID, steep_cost, np.random.default_rng(0))
    everywhere = {decision.name: "conv_3x3x3" for decision in GRID.decisions}
    if end == "greatest":
        assert estimate(GRID.create(everywhere)) < budget.low - 0.1 * (budget.limit - budget.low)
    found = sample_within(GRID, steep_cost, budget, count=5, rng=np.random.default_rng(0))
    assert len(found) == 5 and all(budget.contains(cost) for cost in found.values())


def test_near_the_dearest_network_few_costs_are_counted_in_vain() -> None:
    """There most walks once ended short of the band, and each was counted."""
    calls: list[Architecture] = []

    def cost_of(architecture: Architecture) -> float:
        calls.append(architecture)
        return float((GRID.matrix(architecture) * [1.0, 3.0]).sum() ** 1.1)

    limit = reach(GRID, cost_of)[1]
    of_reach = len(calls)  # counted again within
    budget = Budget("train_memory", limit, 0.05)
    assert len(sample_within(GRID, cost_of, budget, count=20, rng=np.random.default_rng(0))) == 20
    assert len(calls) - 2 * of_reach - FITTED <= 30
