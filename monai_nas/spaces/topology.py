"""The topology space of HyperSegNAS: which paths of a grid are kept, with which operation. Imports no torch."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import combinations, product
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.spaces.space import SPACES, Decision, SearchSpace

ZERO = "zero"  # the option of a path that is left out
DENSITIES = (0.4, 1.0)  # of sample_by_density: from sparse grids to all paths, as budgets range

T = TypeVar("T")
Path = tuple[int, int]  # source level, target level
Topology = tuple[tuple[Path, ...], ...]  # the paths kept in each block


def paths(num_levels: int) -> tuple[Path, ...]:
    """Return the paths (source level, target level) of a block in the order of MONAI's ``arch_code``.

    Level 0 is the finest. A path keeps its level or moves to a neighbour: 3 * num_levels - 2 in all, 10 for 4 levels.
    """
    levels = range(num_levels)
    return tuple((source, target) for target in levels for source in levels if abs(source - target) <= 1)


@cache  # asked a hundred times for each architecture
def decision_name(block: int, source: int, target: int) -> str:
    """Return the name of the decision on one path, "block_03/1-2"."""
    return f"block_{block:02d}/{source}-{target}"


@SPACES.register("topology")
@dataclass(frozen=True)
class TopologySpace(SearchSpace):
    """Paths between the levels of successive blocks, each left out or with one operation (HyperSegNAS, section 3.1).

    Block 0 reads the image at every level, and every level of the last block may enter the output. A path is alive when
    it lies on a way through all blocks. A dead one changes no output, so it is left out: members of the space keep live
    paths only (the canonical form), and architectures that differ in dead paths alone are one member. Nothing else is
    folded: where nodes are plain sums, as in DiNTS, a convolution computes the same before an identity and after it,
    and these are two members.

    Args:
        num_blocks: columns of the grid, L; the paper has 12.
        num_levels: resolutions; the paper has 4.
        operations: names of candidate operations other than "zero"; the paper's two by default.
    """

    num_blocks: int = 12
    num_levels: int = 4
    operations: tuple[str, ...] = ("identity", "conv_3x3x3")
    name = "topology"

    def __post_init__(self) -> None:
        if self.num_blocks < 1 or self.num_levels < 2:
            raise ValueError(f"a grid needs a block and two levels, got {self.num_blocks} and {self.num_levels}")
        if not self.operations or ZERO in self.operations or len(set(self.operations)) < len(self.operations):
            raise ValueError(f"operations must be distinct names other than {ZERO!r}, got {self.operations}")

    @classmethod
    def of(cls, architecture: Architecture) -> "TopologySpace":
        """Return the space with the architecture's settings and the default operations; :meth:`check` does the rest.

        Raises:
            UserError: when the settings, which come from a file, are no size of a grid or not that of the choices.
        """
        settings = dict(architecture.settings)
        for key, least in (("num_blocks", 1), ("num_levels", 2)):
            if type(settings.get(key)) is not int or settings[key] < least:
                raise UserError(f"architecture settings {settings}: {key} must be a whole number from {least} up")
        space = cls(num_blocks=settings["num_blocks"], num_levels=settings["num_levels"])
        found, wanted = len(architecture.choices), space.num_blocks * (3 * space.num_levels - 2)
        if found != wanted:  # before a mistyped number of blocks fills the memory with decisions
            raise UserError(f"architecture has {found} decisions, its settings {settings} ask for {wanted}: mend them")
        return space

    @property
    def settings(self) -> Mapping[str, int]:
        return {"num_blocks": self.num_blocks, "num_levels": self.num_levels}

    @cached_property
    def paths(self) -> tuple[Path, ...]:
        """The paths of each block, see :func:`paths`."""
        return paths(self.num_levels)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        options = (ZERO, *self.operations)
        return tuple(Decision(decision_name(b, *path), options) for b in range(self.num_blocks) for path in self.paths)

    def create(self, choices: Mapping[str, str]) -> Architecture:
        """Return the canonical form of the architecture with these choices, one per decision.

        Raises:
            UserError: as :meth:`SearchSpace.create`, and when no path is left in some block.
        """
        super().check(Architecture.create(self.name, self.settings, choices))
        return Architecture.create(self.name, self.settings, self._prune(choices))

    def check(self, architecture: Architecture) -> None:
        super().check(architecture)
        choices = dict(architecture.choices)
        for name, choice in self._prune(choices).items():
            if choice != choices[name]:
                raise UserError(f"architecture keeps the dead path {name!r}: make it {ZERO!r}, as TopologySpace.create")

    def _prune(self, choices: Mapping[str, str]) -> dict[str, str]:
        """Return ``choices`` with dead paths as "zero"; raises UserError when no path is left in some block."""
        pruned = dict(choices)
        for end, blocks in ((0, range(self.num_blocks)), (1, reversed(range(self.num_blocks)))):
            live = set(range(self.num_levels))  # levels that paths kept so far reach; on the way back, that they read
            for block in blocks:
                names = {decision_name(block, *path): path for path in self.paths}
                kept = {name for name, path in names.items() if path[end] in live and pruned[name] != ZERO}
                pruned |= {name: ZERO for name in names if name not in kept}
                live = {names[name][1 - end] for name in kept}
                if not live:
                    raise UserError(
                        f"architecture keeps no path of block {block} that starts at a reached level: add one"
                    )
        return pruned

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw an architecture by :func:`sample_by_density`."""
        return sample_by_density(self, rng)

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a neighbour: one decision, drawn uniformly, gets another option, drawn uniformly.

        A path that this kills is left out. A new path that starts or ends at a sleeping level is continued by random
        ones to the nearest live levels: without them it would be dead, and no walk of mutations could wake a level.
        """
        self.check(architecture)
        while True:
            choices = dict(architecture.choices)
            block, path = int(rng.integers(self.num_blocks)), _draw(self.paths, rng)
            name = decision_name(block, *path)
            choices[name] = _draw([option for option in (ZERO, *self.operations) if option != choices[name]], rng)
            if choices[name] != ZERO:
                self._connect(choices, block, path, rng)
            with suppress(UserError):  # the only path of a block was taken away: draw again
                return self.create(choices)

    def _connect(self, choices: dict[str, str], block: int, path: Path, rng: np.random.Generator) -> None:
        """Continue a path with random ones, block by block and both ways, to where a level is live already."""
        for near, far, blocks in ((1, 0, reversed(range(block))), (0, 1, range(block + 1, self.num_blocks))):
            level = path[far]
            for other in blocks:
                touching = [step for step in self.paths if step[near] == level]
                if any(choices[decision_name(other, *step)] != ZERO for step in touching):
                    break
                step = _draw(touching, rng)
                choices[decision_name(other, *step)] = _draw(self.operations, rng)
                level = step[far]

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a child that takes each decision from either parent with probability one half, in canonical form."""
        self.check(first)
        self.check(second)
        while True:
            with suppress(UserError):  # the child has no way through all blocks: draw again
                return super().crossover(first, second, rng)

    def matrix(self, architecture: Architecture) -> NDArray[np.uint8]:
        """Return ``a`` of section 3.2, (L, E, O) by block, path and operation: 1 where a path is kept with it."""
        self.check(architecture)
        choices = dict(architecture.choices)
        flags = [choices[decision.name] == operation for decision in self.decisions for operation in self.operations]
        return np.array(flags, dtype=np.uint8).reshape(self.num_blocks, len(self.paths), len(self.operations))

    def alive(self, architecture: Architecture) -> int:
        """Return how many paths the architecture keeps."""
        return int(self.matrix(architecture).sum())

    def enumerate(self) -> Iterator[Architecture]:
        """Yield every architecture once, one by one; to the end only at toy size, see :meth:`count`."""
        nothing = {decision.name: ZERO for decision in self.decisions}
        for kept in self._topologies(()):
            names = [decision_name(block, *path) for block in range(self.num_blocks) for path in kept[block]]
            for operations in product(self.operations, repeat=len(names)):
                yield self.create(nothing | dict(zip(names, operations, strict=True)))

    def _topologies(self, kept: Topology) -> Iterator[Topology]:
        """Yield the paths kept in each block, for all ways to go on from those ``kept`` in the first blocks."""
        if len(kept) == self.num_blocks:
            yield kept
            return
        for size in range(1, len(self.paths) + 1):
            for block in combinations(self.paths, size):
                if not kept or {source for source, _ in block} == {target for _, target in kept[-1]}:  # none is dead
                    yield from self._topologies((*kept, block))

    def count(self) -> int:
        """Return the exact number of architectures.

        No path is dead where each block reads just the levels that the block before it reached. So the architectures of
        the first blocks are counted by the set of levels that they reach.
        """
        block = Counter(
            {(frozenset[int](), frozenset[int]()): 1}
        )  # the ways through one block, by levels read and levels reached
        for source, target in self.paths:
            for (read, reached), ways in list(block.items()):
                block[read | {source}, reached | {target}] += ways * len(self.operations)
        del block[frozenset(), frozenset()]  # no path at all
        totals = Counter({read: 1 for read, _ in block})
        for _ in range(self.num_blocks):
            before, totals = totals, Counter()
            for (read, reached), ways in block.items():
                totals[reached] += before[read] * ways
        return totals.total()


def sample_by_density(space: TopologySpace, rng: np.random.Generator) -> Architecture:
    """Draw a density p uniformly from :data:`DENSITIES`, then keep each feasible path with probability p.

    On the paper's grid over half of the draws keep more than 55 % of the 120 paths, and over a quarter keep at least
    the 97 of DiNTS's published architecture: large budgets are trained and found, too.
    """
    return _sample_paths(space, float(rng.uniform(*DENSITIES)), rng)


def sample_by_coin(space: TopologySpace, rng: np.random.Generator) -> Architecture:
    """Flip a fair coin for each feasible path: the paper's law (section 4, "sampled with uniform likelihood").

    On the paper's grid a quarter to a third of the 120 paths are kept on average, and hardly ever more than 55 %.
    """
    return _sample_paths(space, 0.5, rng)


def _sample_paths(space: TopologySpace, density: float, rng: np.random.Generator) -> Architecture:
    """Keep each path that starts at a reached level with probability ``density``, at least one a block; then prune."""
    choices = {decision.name: ZERO for decision in space.decisions}
    reached = set(range(space.num_levels))
    for block in range(space.num_blocks):
        feasible = [path for path in space.paths if path[0] in reached]
        kept = [path for path in feasible if rng.random() < density] or [_draw(feasible, rng)]
        for path in kept:
            choices[decision_name(block, *path)] = _draw(space.operations, rng)
        reached = {target for _, target in kept}
    return space.create(choices)


def _draw(options: Sequence[T], rng: np.random.Generator) -> T:
    """Return one of the options, drawn uniformly."""
    return options[int(rng.integers(len(options)))]
