"""MONAI's codes of DiNTS architectures as values of a topology space, and back. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.spaces.space import SPACES
from monai_nas.spaces.topology import ZERO, TopologySpace


@SPACES.register("dints")
@dataclass(frozen=True)
class DintsSpace(TopologySpace):
    """The grid of DiNTS (He et al. 2021): the topology space with five operations, in networks as MONAI builds them."""

    operations: tuple[str, ...] = (  # in the order of MONAI's Cell.OPS3D: arch_code_c holds the index
        "identity",  # skip_connect
        "conv_3x3x3",
        "pseudo_3d_conv_3x3x1",  # conv_3x3x1
        "pseudo_3d_conv_3x1x3",  # conv_3x1x3
        "pseudo_3d_conv_1x3x3",  # conv_1x3x3
    )
    name = "dints"


def from_dints_code(code: Mapping[str, Any]) -> Architecture:
    """Return the architecture of a code as MONAI's ``TopologySearch.decode`` gives it and its JSON files hold it.

    Args:
        code: tables of numbers; other keys are ignored. For L blocks, N levels and E = 3 N - 2 paths a block:
            "node_a" (L + 1, N): 1 where a level is read by block 0 (row 0) or reached by the block before (later rows);
            "arch_code_a" (L, E): 1 where a path is kept; "arch_code_c" (L, E): the index of its operation.

    Raises:
        UserError: when the code is malformed, naming the fault.
    """
    active = _table(code, "arch_code_a", largest=1)
    num_blocks, num_paths = active.shape
    if num_paths < 4 or num_paths % 3 != 1:
        raise UserError(f"DiNTS code: arch_code_a has {num_paths} paths a block, must be 4, 7, 10 or so on by threes")
    space = DintsSpace(num_blocks=num_blocks, num_levels=(num_paths + 2) // 3)
    operations = _table(code, "arch_code_c", largest=len(space.operations) - 1)
    nodes, expected = _table(code, "node_a", largest=1), _nodes(space, active)
    for key, found, wanted in (("arch_code_c", operations, active), ("node_a", nodes, expected)):
        if found.shape != wanted.shape:
            raise UserError(f"DiNTS code: {key} has the shape {found.shape}, with this arch_code_a {wanted.shape}")
    for row, (levels, touched) in enumerate(zip(nodes.tolist(), expected.tolist(), strict=True)):
        if levels != touched:
            raise UserError(f"DiNTS code: row {row} of node_a is {levels}, the paths of arch_code_a make it {touched}")
    cells = zip(space.decisions, active.flat, operations.flat, strict=True)
    return space.create({decision.name: space.operations[c] if a else ZERO for decision, a, c in cells})


def to_dints_code(architecture: Architecture) -> dict[str, list[list[int]]]:
    """Return the code of an architecture of :class:`DintsSpace`, ready for JSON; see :func:`from_dints_code`.

    The operation of a path that is left out is 0.

    Raises:
        UserError: when the architecture is not of that space.
    """
    space = DintsSpace.of(architecture)
    matrix = space.matrix(architecture).astype(np.int64)  # (L, E, O), at most one 1 along O
    active = matrix.sum(axis=2)
    tables = {"node_a": _nodes(space, active), "arch_code_a": active, "arch_code_c": matrix.argmax(axis=2)}
    return {key: table.tolist() for key, table in tables.items()}


def _nodes(space: TopologySpace, active: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the levels that block 0 reads, then those that each block reaches: (L, E) -> (L + 1, N), 0 or 1."""
    nodes = np.zeros((space.num_blocks + 1, space.num_levels), dtype=np.int64)
    for (source, target), kept in zip(space.paths, active.T, strict=True):
        nodes[0, source] |= kept[0]
        nodes[1:, target] |= kept
    return nodes


def _table(code: Mapping[str, Any], key: str, *, largest: int) -> NDArray[np.int64]:
    """Return a table of a code; raises UserError unless it is one of whole numbers from 0 to ``largest``."""
    if not isinstance(code, Mapping) or key not in code:
        raise UserError(f"DiNTS code: {key} is missing: node_a, arch_code_a and arch_code_c are needed")
    try:
        table = np.array(code[key])
    except ValueError:  # rows of different lengths
        table = np.empty(0)
    if table.ndim != 2 or table.dtype.kind not in "biuf":
        raise UserError(f"DiNTS code: {key} must be a table of numbers with rows of one length")
    strange = table[~np.isin(table, np.arange(largest + 1))]
    if strange.size:
        raise UserError(f"DiNTS code: {key} holds {strange[0]}, must hold whole numbers from 0 to {largest}")
    return table.astype(np.int64)
