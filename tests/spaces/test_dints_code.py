"""MONAI's DiNTS codes become values and come back."""

import copy
import json
from typing import Any

import numpy as np
import pytest
from monai.networks.nets.dints import Cell

from monai_nas.errors import UserError
from monai_nas.spaces import SPACES, DintsSpace, TopologySpace, from_dints_code, to_dints_code

CODE = {  # three blocks, two levels; the paths of a block: 0-0, 1-0, 0-1, 1-1
    "node_a": [[1, 0], [1, 1], [1, 1], [0, 1]],
    "arch_code_a": [[1, 0, 1, 0], [1, 1, 0, 1], [0, 0, 1, 1]],
    "arch_code_c": [[0, 3, 1, 0], [2, 3, 0, 4], [0, 0, 1, 0]],
}
KEPT = {
    "block_00/0-0": "identity",
    "block_00/0-1": "conv_3x3x3",
    "block_01/0-0": "pseudo_3d_conv_3x3x1",
    "block_01/1-0": "pseudo_3d_conv_3x1x3",
    "block_01/1-1": "pseudo_3d_conv_1x3x3",
    "block_02/0-1": "conv_3x3x3",
    "block_02/1-1": "identity",
}


def without_dead_operations(code: dict[str, Any]) -> dict[str, Any]:
    operations = np.array(code["arch_code_c"]) * np.array(code["arch_code_a"])
    return {**code, "arch_code_c": operations.tolist()}


def test_operations_have_the_order_of_monai() -> None:
    names = [name.removeprefix("pseudo_3d_").replace("identity", "skip_connect") for name in DintsSpace().operations]
    assert names == list(Cell.OPS3D)


def test_the_space_differs_from_the_topology_space_in_name_and_operations() -> None:
    space = DintsSpace()
    assert SPACES["dints"] is DintsSpace and space.name == "dints" != TopologySpace.name
    assert space.settings == TopologySpace().settings and len(space.decisions[0].options) == 6
    assert space.contains(space.sample(np.random.default_rng(0)))


def test_a_code_worked_by_hand() -> None:
    architecture = from_dints_code(CODE)
    assert architecture.space == "dints" and dict(architecture.settings) == {"num_blocks": 3, "num_levels": 2}
    assert {name: choice for name, choice in architecture.choices if choice != "zero"} == KEPT
    assert to_dints_code(architecture) == without_dead_operations(CODE)


def test_the_published_code_comes_back(published_code: dict[str, Any]) -> None:
    architecture = from_dints_code(published_code)
    space = DintsSpace()
    space.check(architecture)
    assert space.alive(architecture) == int(np.sum(published_code["arch_code_a"])) == 97  # nothing of it is dead
    assert json.loads(json.dumps(to_dints_code(architecture))) == without_dead_operations(published_code)


def test_architectures_come_back() -> None:
    space = DintsSpace(num_blocks=4, num_levels=3)
    rng = np.random.default_rng(0)
    for _ in range(30):
        architecture = space.sample(rng)
        assert from_dints_code(to_dints_code(architecture)) == architecture


def test_arrays_of_floats_are_codes() -> None:
    arrays = {key: np.array(table, dtype=float) for key, table in CODE.items()}  # as TopologySearch.decode returns
    assert from_dints_code(arrays | {"epochs": 3}) == from_dints_code(CODE)


def test_dead_paths_are_pruned() -> None:
    code = copy.deepcopy(CODE)
    code["arch_code_a"][2] = [1, 0, 0, 0]
    code["node_a"][3] = [1, 0]
    kept = {name for name, choice in from_dints_code(code).choices if choice != "zero"}
    assert kept == {"block_00/0-0", "block_00/0-1", "block_01/0-0", "block_01/1-0", "block_02/0-0"}


@pytest.mark.parametrize(
    ("key", "table", "message"),
    [
        ("node_a", None, "node_a must be a table"),
        ("arch_code_a", [[1, 0, 1, 0], [1, 1]], "arch_code_a must be a table"),
        ("arch_code_a", [["1", "0", "1", "0"]], "arch_code_a must be a table"),
        ("arch_code_a", [], "arch_code_a must be a table"),
        ("arch_code_a", [[1, 0, 1, 2]], "arch_code_a holds 2, must hold whole numbers from 0 to 1"),
        ("arch_code_a", [[1]], "1 paths a block"),
        ("arch_code_a", [[1, 0, 1, 0, 1]], "5 paths a block"),
        ("arch_code_a", [[1, 0, 1, 0]], r"arch_code_c has the shape \(3, 4\), with this arch_code_a \(1, 4\)"),
        ("arch_code_a", [[0, 0, 0, 0]] * 3, "row 0 of node_a is"),
        ("arch_code_c", [[5, 0, 0, 0]] * 3, "arch_code_c holds 5, must hold whole numbers from 0 to 4"),
        ("arch_code_c", [[0.5, 0, 0, 0]] * 3, "arch_code_c holds 0.5"),
        ("arch_code_c", [[float("nan"), 0, 0, 0]] * 3, "arch_code_c holds nan"),
        ("node_a", [[1, 0], [1, 1], [1, 1]], r"node_a has the shape \(3, 2\)"),
        ("node_a", [[1, 0], [1, 1], [1, 1], [1, 1]], r"row 3 of node_a is \[1, 1\], .* make it \[0, 1\]"),
    ],
)
def test_malformed_codes_are_refused_by_name(key: str, table: object, message: str) -> None:
    with pytest.raises(UserError, match=message):
        from_dints_code({**CODE, key: table})


def test_a_code_without_a_way_through_is_refused() -> None:
    nothing = {"node_a": [[0, 0]] * 4, "arch_code_a": [[0] * 4] * 3, "arch_code_c": [[0] * 4] * 3}
    with pytest.raises(UserError, match="no path of block 0"):
        from_dints_code(nothing)


@pytest.mark.parametrize("code", [{"node_a": [[1]], "arch_code_c": [[1]]}, [1, 2]])
def test_what_is_no_code_is_refused(code: Any) -> None:
    with pytest.raises(UserError, match="arch_code_a is missing"):
        from_dints_code(code)


def test_only_architectures_of_dints_have_a_code() -> None:
    architecture = TopologySpace(num_blocks=2, num_levels=2).sample(np.random.default_rng(0))
    with pytest.raises(UserError, match="space 'topology', expected 'dints'"):
        to_dints_code(architecture)
