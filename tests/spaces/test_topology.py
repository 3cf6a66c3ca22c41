"""The topology space: its grid, its canonical form, its walks, its two laws of sampling."""

from collections.abc import Callable
from itertools import islice, product

import numpy as np
import pytest
from monai.networks.nets.dints import TopologyConstruction

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.spaces import SPACES, TopologySpace, sample_by_coin, sample_by_density
from monai_nas.spaces.topology import ZERO, decision_name, paths


def toy(num_blocks: int, num_levels: int, num_operations: int = 1) -> TopologySpace:
    operations = ("identity", "conv_3x3x3", "any_other_name")[:num_operations]
    return TopologySpace(num_blocks=num_blocks, num_levels=num_levels, operations=operations)


def ways(space: TopologySpace, kept: set[str]) -> list[list[str]]:
    """All ways through all blocks along kept paths, each as the names of its paths."""
    found = []
    for steps in product(space.paths, repeat=space.num_blocks):
        names = [decision_name(block, *step) for block, step in enumerate(steps)]
        joined = all(steps[block][1] == steps[block + 1][0] for block in range(space.num_blocks - 1))
        if joined and set(names) <= kept:
            found.append(names)
    return found


def kept_paths(architecture: Architecture) -> set[str]:
    return {name for name, choice in architecture.choices if choice != ZERO}


def single_level(space: TopologySpace, level: int) -> Architecture:
    """The architecture that stays at one level, with the first operation."""
    nothing = {decision.name: ZERO for decision in space.decisions}
    straight = {decision_name(block, level, level): space.operations[0] for block in range(space.num_blocks)}
    return space.create(nothing | straight)


@pytest.mark.parametrize("num_levels", [2, 3, 4, 5])
def test_paths_have_the_order_of_monai(num_levels: int) -> None:
    codes = np.zeros((1, 3 * num_levels - 2))
    monai = TopologyConstruction(arch_code=[codes, codes], num_blocks=1, num_depths=num_levels)
    assert paths(num_levels) == tuple(zip(monai.arch_code2in, monai.arch_code2out, strict=True))


def test_the_space_of_the_paper() -> None:
    space = TopologySpace()
    assert SPACES["topology"] is TopologySpace and dict(space.settings) == {"num_blocks": 12, "num_levels": 4}
    assert len(space.decisions) == 12 * 10
    assert {decision.options for decision in space.decisions} == {("zero", "identity", "conv_3x3x3")}
    assert space.decisions[11].name == decision_name(1, *space.paths[1]) == "block_01/1-0"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_blocks": 0}, "got 0 and 4"),
        ({"num_levels": 1}, "got 12 and 1"),
        ({"operations": ()}, "operations"),
        ({"operations": ("a", "zero")}, "operations"),
        ({"operations": ("a", "a")}, "operations"),
    ],
)
def test_what_is_no_grid_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        TopologySpace(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("space", [toy(1, 3, 2), toy(3, 2, 2), toy(4, 3, 1)], ids=repr)
def test_what_is_on_no_way_through_is_pruned(space: TopologySpace) -> None:
    rng = np.random.default_rng(0)
    blocked = 0
    for _ in range(40):
        choices = {d.name: d.options[int(rng.integers(len(d.options)))] for d in space.decisions}
        choices = {name: choice if rng.random() < 0.7 else ZERO for name, choice in choices.items()}
        alive = set().union(*ways(space, {name for name, choice in choices.items() if choice != ZERO}))
        if alive:
            wanted = {name: choice if name in alive else ZERO for name, choice in choices.items()}
            assert dict(space.create(choices).choices) == wanted
        else:
            blocked += 1
            with pytest.raises(UserError, match=r"no path of block \d"):
                space.create(choices)
    assert blocked < 40


def test_the_first_block_that_is_cut_is_named() -> None:
    space = toy(3, 2)
    choices = dict(single_level(space, 0).choices) | {"block_01/0-0": ZERO, "block_01/1-1": "identity"}
    with pytest.raises(UserError, match="no path of block 1 that starts at a reached level"):
        space.create(choices)


def test_a_dead_path_makes_no_member() -> None:
    space = toy(2, 2)
    member = single_level(space, 0)
    dead = Architecture.create(
        space.name, space.settings, dict(member.choices) | {"block_00/1-1": "identity", "block_01/1-1": ZERO}
    )
    assert space.contains(member) and not space.contains(dead)
    with pytest.raises(UserError, match="dead path 'block_00/1-1'"):
        space.check(dead)
    assert space.create(dict(dead.choices)) == member


@pytest.mark.parametrize("space", [toy(1, 2, 3), toy(2, 2, 1), toy(2, 2, 2), toy(1, 3, 1)], ids=repr)
def test_enumeration_is_all_canonical_forms_once(space: TopologySpace) -> None:
    members = list(space.enumerate())
    created = set()
    for options in product(*(decision.options for decision in space.decisions)):
        choices = {d.name: option for d, option in zip(space.decisions, options, strict=True)}
        if ways(space, {name for name, choice in choices.items() if choice != ZERO}):
            created.add(space.create(choices))
    assert len(members) == len(set(members)) and set(members) == created


@pytest.mark.parametrize("space", [toy(2, 2, 1), toy(2, 2, 2), toy(3, 2, 1), toy(2, 3, 1)], ids=repr)
def test_count_is_the_length_of_the_enumeration(space: TopologySpace) -> None:
    assert space.count() == sum(1 for _ in space.enumerate())


def test_one_block_has_every_nonempty_choice() -> None:
    assert toy(1, 4, 2).count() == 3**10 - 1


def test_enumeration_is_lazy() -> None:
    space = TopologySpace()
    assert len({*islice(space.enumerate(), 3)}) == 3 < space.count()


def test_mutants_are_neighbours() -> None:
    space = TopologySpace(num_blocks=5, num_levels=3)
    rng = np.random.default_rng(0)
    architecture = space.sample(rng)
    seen = set()
    for _ in range(200):
        mutant = space.mutate(architecture, rng)
        before, after = kept_paths(architecture), kept_paths(mutant)
        assert space.contains(mutant) and mutant != architecture
        assert before <= after or after <= before
        if before == after:
            assert len(set(mutant.choices) - set(architecture.choices)) == 1
        else:
            shared = before & after
            assert {(n, c) for n, c in mutant.choices if n in shared} <= set(architecture.choices)
        seen.add((len(after) > len(before)) - (len(after) < len(before)))
        architecture = mutant
    assert seen == {-1, 0, 1}


def test_a_new_path_is_continued_no_further_than_needed() -> None:
    space = toy(5, 4)
    architecture = single_level(space, 0)
    rng = np.random.default_rng(0)
    for _ in range(100):
        new = kept_paths(space.mutate(architecture, rng)) - kept_paths(architecture)
        blocks = sorted(int(name[6:8]) for name in new)
        assert blocks == list(range(blocks[0], blocks[-1] + 1))  # one way, one path a block


def test_walks_of_mutations_reach_every_architecture() -> None:
    space = toy(3, 2)
    rng = np.random.default_rng(0)
    architecture = single_level(space, 0)
    seen = {architecture}
    for _ in range(30 * space.count()):
        architecture = space.mutate(architecture, rng)
        seen.add(architecture)
    assert len(seen) == space.count()


def test_children_mix_their_parents() -> None:
    space = TopologySpace(num_blocks=4, num_levels=3)
    rng = np.random.default_rng(0)
    for _ in range(50):
        first, second = space.sample(rng), space.sample(rng)
        child = space.crossover(first, second, rng)
        assert space.contains(child)
        assert {(n, c) for n, c in child.choices if c != ZERO} <= set(first.choices) | set(second.choices)


def test_parents_that_never_meet_have_no_child_without_a_way() -> None:
    space = toy(4, 3)
    parents = single_level(space, 0), single_level(space, 2)
    rng = np.random.default_rng(0)
    children = {space.crossover(*parents, rng) for _ in range(30)}
    assert set(parents) <= children and all(space.contains(child) for child in children)


def test_strangers_are_not_changed_for_ever() -> None:
    space, rng = toy(2, 2), np.random.default_rng(0)
    member, stranger = single_level(space, 0), single_level(toy(3, 2), 0)
    for change in (
        lambda: space.mutate(stranger, rng),
        lambda: space.crossover(member, stranger, rng),
        lambda: space.crossover(stranger, member, rng),
        lambda: space.matrix(stranger),
    ):
        with pytest.raises(UserError, match="settings"):
            change()


def test_matrix_marks_block_path_and_operation() -> None:
    space = TopologySpace(num_blocks=2, num_levels=2)
    nothing = {decision.name: ZERO for decision in space.decisions}
    kept = {"block_00/1-0": "conv_3x3x3", "block_01/0-0": "identity", "block_01/0-1": "conv_3x3x3"}
    architecture = space.create(nothing | kept)
    matrix = space.matrix(architecture)
    assert matrix.shape == (2, 4, 2) and matrix.dtype == np.uint8
    assert np.argwhere(matrix).tolist() == [[0, 1, 1], [1, 0, 0], [1, 2, 1]]
    assert space.alive(architecture) == 3


def test_the_space_of_an_architecture() -> None:
    space = TopologySpace(num_blocks=3, num_levels=2)
    assert TopologySpace.of(space.sample(np.random.default_rng(0))) == space


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_levels": 2}, "num_blocks must be a whole number from 1 up"),
        ({"num_blocks": 3, "num_levels": 1}, "num_levels must be a whole number from 2 up"),
        ({"num_blocks": "3", "num_levels": 2}, "'num_blocks': '3'.* num_blocks must"),
        ({"num_blocks": True, "num_levels": 2}, "num_blocks must"),
        ({"num_blocks": 10**9, "num_levels": 2}, "has 12 decisions"),
    ],
)
def test_settings_that_are_no_grid_are_refused(settings: dict[str, int], message: str) -> None:
    choices = dict(single_level(toy(3, 2), 0).choices)
    with pytest.raises(UserError, match=message):
        TopologySpace.of(Architecture.create("topology", settings, choices))


def alive_paths(law: Callable[[TopologySpace, np.random.Generator], Architecture]) -> np.ndarray:
    """How many of the 120 paths 600 draws on the paper's grid keep."""
    space, rng = TopologySpace(), np.random.default_rng(0)
    return np.array([space.alive(law(space, rng)) for _ in range(600)])


def test_the_density_law_reaches_large_budgets() -> None:
    alive = alive_paths(sample_by_density)
    assert (alive > 0.55 * 120).mean() > 0.5 and (alive >= 97).mean() > 0.25
    assert alive.min() < 0.25 * 120  # small ones, too


def test_the_law_of_the_paper_keeps_a_quarter_to_a_third() -> None:
    alive = alive_paths(sample_by_coin)
    assert 1 / 4 <= alive.mean() / 120 <= 1 / 3 and (alive > 0.55 * 120).mean() < 0.01


@pytest.mark.parametrize("law", [sample_by_density, sample_by_coin])
def test_operations_are_drawn_uniformly(law: Callable[[TopologySpace, np.random.Generator], Architecture]) -> None:
    space, rng = toy(6, 3, 3), np.random.default_rng(0)
    counts = np.sum([space.matrix(law(space, rng)).sum(axis=(0, 1)) for _ in range(200)], axis=0)
    assert (np.abs(counts - counts.mean()) < 5 * np.sqrt(counts.sum() * 2 / 9)).all()


def test_coins_are_fair() -> None:
    space, rng = toy(1, 2), np.random.default_rng(0)  # one block: every path is feasible, no path is pruned
    kept = np.mean([space.matrix(sample_by_coin(space, rng)).ravel() for _ in range(4000)], axis=0)
    expected = 0.5 + 0.5**4 / 4  # where no coin keeps a path, one of the four is drawn
    assert (np.abs(kept - expected) < 4 * 0.5 / np.sqrt(4000)).all()


def test_a_space_samples_by_density() -> None:
    space = TopologySpace()
    assert space.sample(np.random.default_rng(5)) == sample_by_density(space, np.random.default_rng(5))
