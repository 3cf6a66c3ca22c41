"""The SCNAS space as the paper states it."""

import pytest

from monai_nas.spaces import SPACES, CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES, cell_edges, decision_name


def test_four_nodes_have_fourteen_edges() -> None:
    edges = cell_edges(4)
    assert len(edges) == len(set(edges)) == 14 == CellUNetSpace().edges.__len__()
    assert {target: sum(edge[1] == target for edge in edges) for target in (2, 3, 4, 5)} == {2: 2, 3: 3, 4: 4, 5: 5}
    assert all(source < target for source, target in edges)


def test_the_space_of_the_paper() -> None:
    space = CellUNetSpace()
    assert SPACES["cell_unet"] is CellUNetSpace and dict(space.settings) == {"num_nodes": 4}
    assert len(space.decisions) == 4 * 14 and all(len(decision.options) == 8 for decision in space.decisions)
    assert space.decisions[0].name == decision_name(CELL_TYPES[0], (0, 2)) == "reduction/0-2"


@pytest.mark.parametrize(("arguments", "message"), [({"num_nodes": 0}, "num_nodes"), ({"operations": ("a",)}, "two")])
def test_a_space_without_a_choice_is_refused(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CellUNetSpace(**arguments)  # type: ignore[arg-type]
