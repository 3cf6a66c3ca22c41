"""Where labels and wires of a drawn cell stand: nothing lies on anything else."""

from itertools import combinations, pairwise

import pytest

from monai_nas.export.cell_layout import LABEL_HEIGHT, NODE_HEIGHT, NODE_WIDTH, CellLayout, Edge, Lane, all_edges, lanes
from monai_nas.spaces.cell_unet import cell_edges

LABEL_WIDTH = 0.8
Rectangle = tuple[float, float, float, float]  # left, right, low, high


def full(num_nodes: int) -> CellLayout:
    return CellLayout(num_nodes, tuple(all_edges(num_nodes)), LABEL_WIDTH)


def labels(layout: CellLayout) -> dict[Edge, Rectangle]:
    centres = {edge: layout.label(edge) for edge in layout.edges}
    half = LABEL_HEIGHT / 2
    return {e: (x - LABEL_WIDTH / 2, x + LABEL_WIDTH / 2, y - half, y + half) for e, (x, y) in centres.items()}


def meet(one: Rectangle, two: Rectangle) -> bool:
    return one[0] < two[1] and two[0] < one[1] and one[2] < two[3] and two[2] < one[3]


def pieces(points: list[tuple[float, float]]) -> list[Rectangle]:
    """Return the level and upright pieces of a wire as rectangles of a hair's breadth."""
    hair = 0.005
    spans = [(*sorted((x0, x1)), *sorted((y0, y1))) for (x0, y0), (x1, y1) in pairwise(points)]
    return [(left - hair, right + hair, low - hair, high + hair) for left, right, low, high in spans]


def test_the_edges_are_those_of_the_space() -> None:
    for num_nodes in (1, 2, 4):
        assert tuple(all_edges(num_nodes)) == cell_edges(num_nodes)


def test_the_lanes_of_the_paper_s_cell() -> None:
    chosen = lanes(4)
    assert [chosen[0, target] for target in (2, 3, 4, 5)] == [Lane(1, rank) for rank in (1, 2, 3, 4)]
    assert [chosen[1, target] for target in (2, 3, 4, 5)] == [Lane(-1, rank) for rank in (1, 2, 3, 4)]
    assert {chosen[edge].side for edge in ((2, 3), (3, 4), (4, 5))} == {0}
    assert chosen[2, 5] == Lane(1, 1)  # the longest skip on the nearest lane, behind the wire to the first node
    assert chosen[2, 4] == Lane(-1, 1)
    assert chosen[3, 5] == Lane(1, 2)


@pytest.mark.parametrize("num_nodes", range(1, 8))
def test_no_label_meets_another_or_a_node(num_nodes: int) -> None:
    layout = full(num_nodes)
    boxes = [*labels(layout).values()]
    half_width, half_height = NODE_WIDTH / 2, NODE_HEIGHT / 2
    for x in map(layout.node_x, layout.nodes):
        boxes.append((x - half_width, x + half_width, -half_height, half_height))
    assert len(boxes) == len(layout.edges) + num_nodes
    assert not [pair for pair in combinations(boxes, 2) if meet(*pair)]


@pytest.mark.parametrize("num_nodes", range(1, 8))
def test_no_wire_passes_behind_the_label_of_another_edge(num_nodes: int) -> None:
    layout = full(num_nodes)
    wires = {edge: layout.wire(edge) for edge in layout.edges}
    gathered = [layout.concat_wire(node) for node in layout.nodes]
    for edge, label in labels(layout).items():
        others = [wire for other, wire in wires.items() if other != edge] + gathered
        assert not any(meet(piece, label) for wire in others for piece in pieces(wire)), edge
        assert any(meet(piece, label) for piece in pieces(wires[edge])), edge  # its own wire runs into it


@pytest.mark.parametrize("num_nodes", range(1, 8))
def test_no_two_wires_share_a_piece(num_nodes: int) -> None:
    layout = full(num_nodes)
    for one, two in combinations(layout.edges, 2):
        for first in pieces(layout.wire(one)):
            for second in pieces(layout.wire(two)):
                if meet(first, second):  # then they cross: one is level, the other upright
                    assert (first[1] - first[0] > first[3] - first[2]) != (
                        second[1] - second[0] > second[3] - second[2]
                    )


def test_the_wires_of_the_paper_s_cell_cross_five_times() -> None:
    layout = full(4)  # six nodes, all but two of them joined: three crossings at least in any drawing
    crossings = [
        (one, two)
        for one, two in combinations(layout.edges, 2)
        for first in pieces(layout.wire(one))
        for second in pieces(layout.wire(two))
        if meet(first, second)
    ]
    assert len(crossings) == 5


def test_wires_end_at_their_nodes() -> None:
    layout = full(4)
    for source, target in layout.edges:
        (x0, _), *_, (x1, y1) = layout.wire((source, target))
        assert abs(x1 - layout.node_x(target)) <= NODE_WIDTH / 2
        assert abs(y1) <= NODE_HEIGHT / 2
        if source >= 2:
            assert abs(x0 - layout.node_x(source)) <= NODE_WIDTH / 2


def test_an_edge_keeps_its_lane_and_a_node_without_edges_is_known() -> None:
    alone = CellLayout(4, ((1, 5),), LABEL_WIDTH)
    assert alone.label((1, 5)) == full(4).label((1, 5))
    assert alone.unfed == [2, 3, 4]
    assert alone.wire((1, 5))[-1][0] == alone.node_x(5)  # one port is in the middle
    assert full(4).unfed == []
