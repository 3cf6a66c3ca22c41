"""The network of one architecture of the SCNAS space."""

from collections.abc import Sequence
from typing import Optional

from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks.build import NETWORKS
from monai_nas.ops import CANDIDATES, Node
from monai_nas.skeletons import CellUNetSkeleton
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import decision_name

MAX_NODES = 64  # of a cell, whose edges grow with their square; the paper has 4


class ChosenOperation(nn.Module):
    """Fills a hole with the one candidate chosen for it."""

    def __init__(self, choice: str, operation: nn.Module) -> None:
        super().__init__()
        self.choice = choice
        self.operation = operation

    def forward(self, node: Node, weights: Optional[Tensor]) -> Tensor:  # noqa: UP045
        return self.operation(node)


@NETWORKS.register("cell_unet")
class CellUNet(CellUNetSkeleton):
    """U-Net of searched cells (SCNAS, Kim et al. 2019); arguments as :class:`~monai_nas.skeletons.CellUNetSkeleton`.

    Raises:
        UserError: when ``architecture`` is no architecture of the space, or names an unknown operation.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        in_channels: int,
        out_channels: int,
        width: int,
        strides: Sequence[Sequence[int]],
        spatial_dims: int = 3,
        dropout: float = 0.0,
    ) -> None:
        self.check(architecture)
        num_nodes = dict(architecture.settings)["num_nodes"]
        if width % num_nodes:
            raise UserError(
                f"width {width} is no multiple of the {num_nodes} nodes of the architecture's cells: change the plan's"
            )
        choices = dict(architecture.choices)

        def make_hole(
            cell_type: str, edge: tuple[int, int], channels: int, stride: Sequence[int]
        ) -> ChosenOperation | None:
            choice = choices[decision_name(cell_type, edge)]
            if choice == "zero":
                return None
            return ChosenOperation(choice, CANDIDATES[choice](channels, stride=stride, spatial_dims=spatial_dims))

        super().__init__(
            make_hole,
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            strides=strides,
            num_nodes=num_nodes,
            spatial_dims=spatial_dims,
            dropout=dropout,
        )

    @staticmethod
    def check(architecture: Architecture) -> None:
        """Raise UserError when this is no architecture of the space, or names an unknown operation."""
        num_nodes = dict(architecture.settings).get("num_nodes")
        if type(num_nodes) is not int or not 1 <= num_nodes <= MAX_NODES:  # from a file, so whatever JSON holds
            raise UserError(f"architecture settings: num_nodes is {num_nodes!r}, must be a whole number to {MAX_NODES}")
        CellUNetSpace(num_nodes=num_nodes, operations=tuple(CANDIDATES)).check(architecture)
