"""The SCNAS space: which operation on which edge of the four cell types of a U-Net. Imports no torch."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from monai_nas.spaces.space import SPACES, Decision, SearchSpace

CELL_TYPES = ("reduction", "encoder_normal", "expansion", "decoder_normal")
NUM_INPUTS = 2  # every cell reads the outputs of the two cells before it (scnas.txt, 3.1)

SCNAS_OPERATIONS = (  # scnas.txt, section 4
    "conv_3x3x3",
    "dilated_separable_conv_3x3x3_rate_2",
    "dilated_separable_conv_3x3x3_rate_3",
    "dilated_separable_conv_3x3x3_rate_4",
    "max_pool_3x3x3",
    "avg_pool_3x3x3",
    "identity",
    "zero",
)


def cell_edges(num_nodes: int) -> tuple[tuple[int, int], ...]:
    """Return the edges (source, target) of a cell: nodes 0 and 1 are its inputs, each later node reads all before it.

    Four intermediate nodes give 2 + 3 + 4 + 5 = 14 edges.
    """
    return tuple((source, target) for target in range(NUM_INPUTS, NUM_INPUTS + num_nodes) for source in range(target))


@SPACES.register("cell_unet")
@dataclass(frozen=True)
class CellUNetSpace(SearchSpace):
    """Cells of a U-Net, one structure per cell type (SCNAS, Kim et al. 2019, section 3.1).

    Args:
        num_nodes: intermediate nodes of a cell; the paper has 4.
        operations: names of candidate operations; the paper's eight by default.
    """

    num_nodes: int = 4
    operations: tuple[str, ...] = SCNAS_OPERATIONS
    name = "cell_unet"

    def __post_init__(self) -> None:
        if self.num_nodes < 1:
            raise ValueError(f"num_nodes must be at least 1, got {self.num_nodes}")
        if len(self.operations) < 2:
            raise ValueError(f"a search needs at least two operations, got {self.operations}")

    @property
    def settings(self) -> Mapping[str, int]:
        return {"num_nodes": self.num_nodes}

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges of each cell, see :func:`cell_edges`."""
        return cell_edges(self.num_nodes)

    @cached_property
    def decisions(self) -> tuple[Decision, ...]:
        return tuple(
            Decision(decision_name(cell_type, edge), self.operations) for cell_type in CELL_TYPES for edge in self.edges
        )


def decision_name(cell_type: str, edge: tuple[int, int]) -> str:
    """Return the name of the decision on one edge, "reduction/0-2"."""
    return f"{cell_type}/{edge[0]}-{edge[1]}"
