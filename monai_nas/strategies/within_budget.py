"""Sample architectures of a grid whose cost lies within a budget, by walks of mutations."""

import logging
from collections.abc import Callable, Mapping
from itertools import product

import numpy as np
from numpy.typing import NDArray

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.spaces.topology import Path, TopologySpace, decision_name, paths
from monai_nas.strategies.budget import Budget

logger = logging.getLogger(__name__)

FITTED = 96  # architectures whose cost is taken to fit the estimate first: three for each of its terms
STARTS = 8  # random architectures, of which a walk starts at the one that is nearest to its aim
WALK_STEPS = 800  # mutations of one walk, at most
STALE_WALKS = 50  # in a row that found nothing new: the band is exhausted
TRUSTED_WALKS = (
    5  # in a row whose ends the estimate may rule out; then one is counted, in case that the estimate is wrong
)

CostOf = Callable[[Architecture], float]


def sample_within(
    space: TopologySpace, cost_of: CostOf, budget: Budget, *, count: int, rng: np.random.Generator, basis: str = ""
) -> dict[Architecture, float]:
    """Return distinct architectures, in canonical form, with costs in [budget.low, budget.limit].

    Each comes from a walk of its own (:func:`walk`) towards a cost drawn uniformly from the band. Steps are judged by
    an estimate (:class:`CostEstimate`), which is exact for parameters and FLOPs and learns from each cost that is
    counted; what is returned has been judged by ``cost_of``. Where a walk ends outside of the band by the estimate, it
    is seldom counted.

    Args:
        space: to sample from.
        cost_of: the cost that the budget limits.
        budget: the band.
        count: how many are wanted; fewer come only where the band holds no more that walks can find.
        rng: of the draws.
        basis: what the costs are counted for, in the words of messages; nothing where they hold for any.

    Raises:
        UserError: when the band is out of the space's reach, naming the reachable range.
    """
    reachable = check_reach(space, cost_of, budget, basis)
    estimate = CostEstimate(space, cost_of, rng)
    found: dict[Architecture, float] = {}
    counted: set[Architecture] = set()
    tolerance = 0.1 * (budget.limit - budget.low)
    stale = ruled_out = 0
    while len(found) < count and stale < STALE_WALKS:
        aim = float(rng.uniform(budget.low, budget.limit))
        architecture = walk(space, estimate, aim, tolerance=tolerance, rng=rng)
        stale += 1
        if architecture in counted:
            continue
        is_near = budget.low - tolerance <= estimate(architecture) <= budget.limit + tolerance
        if not is_near and ruled_out < TRUSTED_WALKS:
            ruled_out += 1
            continue
        cost = cost_of(architecture)
        estimate.learn(architecture, cost)
        counted.add(architecture)
        ruled_out = 0
        if budget.contains(cost):
            found[architecture] = cost
            stale = 0
    if not found:
        raise UserError(f"--budget {budget}: none was found there, {reachable}: take another, or widen --tolerance")
    if len(found) < count:
        logger.warning(
            "--budget %s: %d networks found, %d asked for: all that walks reach; widen --tolerance for more",
            budget,
            len(found),
            count,
        )
    return found


def check_reach(space: TopologySpace, cost_of: CostOf, budget: Budget, basis: str) -> str:
    """Return which costs the space's networks have, in words, after making sure that the budget is among them.

    Args:
        space: of the networks.
        cost_of: the cost that the budget limits.
        budget: the band.
        basis: what the costs are counted for, in words, or nothing.

    Raises:
        UserError: when the budget is out of the space's reach, naming the reachable range.
    """
    low, high = reach(space, cost_of)
    reachable = f"networks of this grid take {budget.format(low)} to {budget.format(high)} {basis}".rstrip()
    if budget.limit < low or budget.low > high:
        raise UserError(f"--budget {budget}: out of reach: {reachable}")
    return reachable


def walk(
    space: TopologySpace, cost_of: CostOf, aim: float, *, tolerance: float, rng: np.random.Generator
) -> Architecture:
    """Return where a walk ends: close to ``aim``, or when its steps are up.

    It starts at the nearest of a few random architectures, and takes those mutations that bring it no further away.
    """

    def distance_of(architecture: Architecture) -> float:
        return abs(cost_of(architecture) - aim)

    architecture = min((space.sample(rng) for _ in range(STARTS)), key=distance_of)
    distance = distance_of(architecture)
    for _ in range(WALK_STEPS):
        if distance <= tolerance:
            break
        neighbour = space.mutate(architecture, rng)
        there = distance_of(neighbour)
        if there <= distance:
            architecture, distance = neighbour, there
    return architecture


def reach(space: TopologySpace, cost_of: CostOf) -> tuple[float, float]:
    """Return the least and the greatest cost of the space's networks.

    The least is looked for among the networks that stay at one level, with one operation all along; a network that
    changes level now and then is dearer by the resampling. The greatest is that of :func:`dearest`.
    """
    nothing = {decision.name: "zero" for decision in space.decisions}
    straight = [
        {decision_name(block, level, level): operation for block in range(space.num_blocks)}
        for level in range(space.num_levels)
        for operation in space.operations
    ]
    return min(cost_of(space.create(nothing | choices)) for choices in straight), dearest(space, cost_of)


def dearest(space: TopologySpace, cost_of: CostOf) -> float:
    """Return the greatest cost of a network with all paths, whose blocks are alike.

    It starts from the dearest operation everywhere, and gives a path another one wherever that costs more: training
    memory is greatest with skip connections on some of the paths that change level, among convolutions.
    """

    def cost(operations: Mapping[Path, str]) -> float:
        everywhere = product(range(space.num_blocks), space.paths)
        return cost_of(space.create({decision_name(block, *path): operations[path] for block, path in everywhere}))

    operations = max((dict.fromkeys(space.paths, operation) for operation in space.operations), key=cost)
    greatest, before = cost(operations), 0.0
    while greatest > before:
        before = greatest
        for path, operation in product(space.paths, space.operations):
            if operation != operations[path] and (changed := cost(operations | {path: operation})) > greatest:
                greatest, operations = changed, operations | {path: operation}
    return greatest


class CostEstimate:
    """A linear estimate of a cost: a term for each path and operation, wherever its block, and for each node.

    Blocks are alike, so that what a network costs follows from how often it has each (path, operation), how many nodes
    it has at each level, and which levels the first block reads and the last one writes. FLOPs and parameters are
    linear in these counts; memory and time nearly so, and more nearly among networks that cost about the same.

    Args:
        space: of the architectures.
        cost_of: what is estimated.
        rng: draws the architectures that it is fitted to at first.
    """

    def __init__(self, space: TopologySpace, cost_of: CostOf, rng: np.random.Generator) -> None:
        self.space = space
        fitted = [space.sample(rng) for _ in range(FITTED)]
        self.counts = [self._counts(architecture) for architecture in fitted]
        self.costs = [cost_of(architecture) for architecture in fitted]
        self._fit()

    def __call__(self, architecture: Architecture) -> float:
        return float(self._counts(architecture) @ self.terms)

    def learn(self, architecture: Architecture, cost: float) -> None:
        """Fit the terms to one more cost that was counted."""
        self.counts.append(self._counts(architecture))
        self.costs.append(cost)
        self._fit()

    def _fit(self) -> None:
        self.terms = np.linalg.lstsq(np.stack(self.counts), np.array(self.costs), rcond=None)[0]

    def _counts(self, architecture: Architecture) -> NDArray[np.float64]:
        matrix = self.space.matrix(architecture)  # (L, E, O)
        active = matrix.sum(axis=2) > 0
        moves = paths(self.space.num_levels)

        def levels(block: int, end: int) -> list[bool]:
            touched = {move[end] for move, on in zip(moves, active[block], strict=True) if on}
            return [level in touched for level in range(self.space.num_levels)]

        nodes = np.sum([levels(block, 1) for block in range(self.space.num_blocks)], axis=0)
        ends = [*levels(0, 0), *levels(self.space.num_blocks - 1, 1)]
        return np.concatenate([matrix.sum(axis=0).ravel(), nodes, ends, [1.0]]).astype(np.float64)
