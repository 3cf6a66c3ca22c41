"""Where the parts of a drawn cell stand, in inches; the line of nodes is at height 0. Draws nothing.

The intermediate nodes stand on a line between the two inputs and the concatenation. What enters a node is named in the
gap on its left, one label a lane. The lanes above the line come from the first input, those below from the second, and
edges that skip nodes take the lanes nearest to the line that are free there. So no two labels ever meet, and no wire
passes behind a label: wires turn up and down beside the nodes only.
"""

from dataclasses import dataclass
from functools import cached_property

from monai_nas.export.shapes import Point

Edge = tuple[int, int]  # source, target; nodes 0 and 1 are the inputs, as in the names of the decisions

NUM_INPUTS = 2
MARGIN = 0.06
INPUT_WIDTH, NODE_WIDTH, NODE_HEIGHT, CONCAT_WIDTH, OUTPUT_WIDTH = 0.38, 0.34, 0.3, 0.19, 0.3
LABEL_HEIGHT = 0.158
BEFORE_LABEL, AFTER_LABEL = 0.07, 0.15  # of a gap: the start of the wire, and its end with the arrow
AFTER_NODES, AFTER_CONCAT = 0.3, 0.24
FIRST_LANE, LANE, PORT = 0.3, 0.192, 0.085  # from the line of nodes, between lanes, between ports of a node


@dataclass(frozen=True)
class Lane:
    """Where an edge runs: above (side 1), below (-1) or on (0) the line of nodes; rank 1 is nearest to it."""

    side: int
    rank: int

    @property
    def height(self) -> float:
        """Distance from the line, upwards."""
        return self.side * (FIRST_LANE + LANE * (self.rank - 1))


def all_edges(num_nodes: int) -> list[Edge]:
    """Return the edges of a full cell in the order of their targets."""
    return [(source, target) for target in range(NUM_INPUTS, NUM_INPUTS + num_nodes) for source in range(target)]


def lanes(num_nodes: int) -> dict[Edge, Lane]:
    """Return the lane of each edge of a full cell; two edges of one lane pass no gap both.

    Wires of an input are nested, the farthest target on the outermost lane. Skips follow, the longest first, each to
    the nearest lane that is free in all gaps that it passes.
    """
    chosen: dict[Edge, Lane] = {}
    taken: set[tuple[Lane, int]] = set()  # (lane, the gap on the left of a node)

    def take(edge: Edge, lane: Lane) -> None:
        chosen[edge] = lane
        taken.update((lane, gap) for gap in _gaps(edge))

    skips = []
    for source, target in all_edges(num_nodes):
        if source < NUM_INPUTS:
            take((source, target), Lane(1 if source == 0 else -1, target - 1))
        elif target == source + 1:
            take((source, target), Lane(0, 1))
        else:
            skips.append((source, target))
    for edge in sorted(skips, key=lambda edge: edge[0] - edge[1]):
        free = (Lane(side, rank) for rank in range(1, 2 * len(chosen)) for side in (1, -1))
        take(edge, next(lane for lane in free if not any((lane, gap) in taken for gap in _gaps(edge))))
    return chosen


def _gaps(edge: Edge) -> range:
    """Return the gaps that an edge passes, each named by the node on its right."""
    source, target = edge
    return range(NUM_INPUTS if source < NUM_INPUTS else source + 1, target + 1)


@dataclass(frozen=True)
class CellLayout:
    """The places of all that is drawn of a cell.

    Args:
        num_nodes: intermediate nodes.
        edges: those that are drawn.
        label_width: of each label.
    """

    num_nodes: int
    edges: tuple[Edge, ...]
    label_width: float

    @cached_property
    def lanes(self) -> dict[Edge, Lane]:
        """The lanes of the full cell: an edge keeps its lane whichever others are drawn."""
        return lanes(self.num_nodes)

    @property
    def nodes(self) -> range:
        """The intermediate nodes."""
        return range(NUM_INPUTS, NUM_INPUTS + self.num_nodes)

    @property
    def unfed(self) -> list[int]:
        """The intermediate nodes that no edge enters."""
        return [node for node in self.nodes if all(target != node for _, target in self.edges)]

    @property
    def gap(self) -> float:
        """Between two nodes."""
        return BEFORE_LABEL + self.label_width + AFTER_LABEL

    def node_x(self, node: int) -> float:
        """Return the middle of an intermediate node."""
        return MARGIN + INPUT_WIDTH + (node - NUM_INPUTS + 1) * (self.gap + NODE_WIDTH) - NODE_WIDTH / 2

    @property
    def concat_x(self) -> float:
        """The left border of the concatenation."""
        return self.node_x(self.nodes[-1]) + NODE_WIDTH / 2 + AFTER_NODES

    @property
    def output_x(self) -> float:
        """The left border of the output."""
        return self.concat_x + CONCAT_WIDTH + AFTER_CONCAT

    @property
    def width(self) -> float:
        """Of the whole cell, with its margins."""
        return self.output_x + OUTPUT_WIDTH + MARGIN

    def farthest(self, side: int) -> float:
        """Return the height of the outermost lane of a side, upwards."""
        return side * max(abs(lane.height) for lane in self.lanes.values() if lane.side == side)

    @property
    def concat_height(self) -> float:
        """Of the wire that gathers the nodes below all lanes, upwards."""
        return self.farthest(-1) - LANE

    def input_span(self, source: int) -> tuple[float, float]:
        """Return the lower and upper border of an input."""
        side = 1 if source == 0 else -1
        near, far = side * (FIRST_LANE - LABEL_HEIGHT / 2), self.farthest(side) + side * LABEL_HEIGHT / 2
        return min(near, far), max(near, far)

    def label(self, edge: Edge) -> Point:
        """Return the middle of an edge's label, in the gap on the left of its target."""
        left = self.node_x(edge[1]) - NODE_WIDTH / 2 - self.gap
        return left + BEFORE_LABEL + self.label_width / 2, self.lanes[edge].height

    def wire(self, edge: Edge) -> list[Point]:
        """Return the corners of an edge's wire from source to target."""
        source, target = edge
        lane, half = self.lanes[edge], NODE_HEIGHT / 2
        if lane.side == 0:
            return [(self.node_x(source) + NODE_WIDTH / 2, 0.0), (self.node_x(target) - NODE_WIDTH / 2, 0.0)]
        if source < NUM_INPUTS:
            start = [(MARGIN + INPUT_WIDTH, lane.height)]
        else:
            port = self.port(source, lane.side, edge)
            start = [(port, lane.side * half), (port, lane.height)]
        port = self.port(target, lane.side, edge)
        return [*start, (port, lane.height), (port, lane.side * half)]

    def concat_wire(self, node: int) -> list[Point]:
        """Return the corners of the wire from a node to the concatenation."""
        if node == self.nodes[-1]:
            return [(self.node_x(node) + NODE_WIDTH / 2, 0.0), (self.concat_x, 0.0)]
        port, height = self.port(node, -1, None), self.concat_height
        return [(port, -NODE_HEIGHT / 2), (port, height), (self.concat_x, height)]

    def port(self, node: int, side: int, edge: Edge | None) -> float:
        """Return where an edge, or the wire to the concatenation (None), meets the upper or lower border of a node.

        What arrives is on the left, the nearest lane first; what leaves is on the right, the nearest lane last: so
        wires of one node do not cross.
        """
        here = [other for other in self.edges if node in other and self.lanes[other].side == side]
        arriving = sorted((e for e in here if e[1] == node), key=lambda e: self.lanes[e].rank)
        leaving = sorted((e for e in here if e[0] == node), key=lambda e: -self.lanes[e].rank)
        gathered: list[Edge | None] = [None] if side == -1 and node != self.nodes[-1] else []
        ports = [*arriving, *gathered, *leaving]
        return self.node_x(node) + PORT * (ports.index(edge) - (len(ports) - 1) / 2)
