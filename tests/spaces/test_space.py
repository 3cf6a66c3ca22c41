"""What every space can do, for every registered one."""

from collections.abc import Callable

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.spaces import SPACES, CellUNetSpace, SearchSpace

SMALL = CellUNetSpace(num_nodes=1, operations=("identity", "zero", "conv_3x3x3"))


@pytest.fixture(params=list(SPACES))
def space(request: pytest.FixtureRequest) -> SearchSpace:
    build: Callable[[], SearchSpace] = SPACES[request.param]
    return build()


def test_samples_are_members_and_follow_the_seed(space: SearchSpace) -> None:
    first = [space.sample(np.random.default_rng(3)) for _ in range(2)]
    assert first[0] == first[1] and space.contains(first[0]) and first[0].space == space.name
    rng = np.random.default_rng(0)
    assert len({space.sample(rng) for _ in range(20)}) == 20


def test_samples_are_uniform() -> None:
    rng = np.random.default_rng(0)
    counts = sum(SMALL.encode(SMALL.sample(rng)) for _ in range(900)).reshape(-1, 3)
    assert (np.abs(counts - 300) < 5 * np.sqrt(900 * 2 / 9)).all()


def test_mutants_and_children_are_other_members(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    first, second = space.sample(rng), space.sample(rng)
    for _ in range(20):
        mutant, child = space.mutate(first, rng), space.crossover(first, second, rng)
        assert space.contains(mutant) and mutant != first
        assert space.contains(child) and child not in (first, second)


def test_a_mutant_differs_in_one_decision() -> None:
    rng = np.random.default_rng(0)
    architecture = SMALL.sample(rng)
    for _ in range(20):
        assert len(set(SMALL.mutate(architecture, rng).choices) - set(architecture.choices)) == 1


def test_a_child_has_each_decision_from_a_parent() -> None:
    rng = np.random.default_rng(0)
    first, second = SMALL.sample(rng), SMALL.sample(rng)
    assert set(SMALL.crossover(first, second, rng).choices) <= set(first.choices) | set(second.choices)


def test_encoding_is_one_hot_and_tells_architectures_apart(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    first, second = space.sample(rng), space.sample(rng)
    code = space.encode(first)
    assert code.shape == (sum(len(decision.options) for decision in space.decisions),)
    assert set(code) == {0.0, 1.0} and code.sum() == len(space.decisions)
    assert (code != space.encode(second)).any() and (code == space.encode(first)).all()


def test_first_option_is_first_in_the_encoding() -> None:
    architecture = SMALL.create({decision.name: "identity" for decision in SMALL.decisions})
    assert (SMALL.encode(architecture).reshape(-1, 3) == [1, 0, 0]).all()


CHOICES = {decision.name: "zero" for decision in SMALL.decisions}


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (Architecture.create("other", {"num_nodes": 1}, CHOICES), "space 'other', expected 'cell_unet'"),
        (Architecture.create("cell_unet", {"num_nodes": 2}, CHOICES), "settings"),
        (Architecture.create("cell_unet", {"num_nodes": 1}, {"reduction/0-2": "zero"}), "lacks the decision"),
        (Architecture.create("cell_unet", {"num_nodes": 1}, CHOICES | {"x": "zero"}), "unknown decision 'x'"),
        (Architecture.create("cell_unet", {"num_nodes": 1}, CHOICES | {"reduction/0-2": "y"}), "is 'y', must be one"),
    ],
)
def test_strangers_are_refused_by_name(architecture: Architecture, message: str) -> None:
    assert not SMALL.contains(architecture)
    with pytest.raises(UserError, match=message):
        SMALL.check(architecture)
