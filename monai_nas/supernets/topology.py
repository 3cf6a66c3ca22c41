"""The HyperSegNAS supernet: the topology grid whose paths hold all operations."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from monai_nas.architecture import Architecture
from monai_nas.networks import build_network
from monai_nas.ops import Node
from monai_nas.skeletons import NODE_NORM, GridParts, PathShape, TopologyGridSkeleton
from monai_nas.skeletons.topology_grid import GridBlock
from monai_nas.spaces import TopologySpace
from monai_nas.supernets.supernet import SUPERNETS, Selection, Supernet, build_arguments


class RecomputedBlock(GridBlock):
    """A block of which training keeps the inputs alone, and computes the rest once more when gradients need it."""

    def forward(self, nodes: list[Node], selection: Selection | None) -> list[Node]:
        def reach(features: list[Node]) -> list[Node]:
            """Leave the lists as they are: readers of a node add its LeakyReLU."""
            return GridBlock.forward(self, [node[:1] for node in features], selection)

        if not torch.is_grad_enabled():
            return reach(nodes)
        reached: list[Node] = checkpoint(reach, nodes, use_reentrant=False, preserve_rng_state=False)
        torch.clear_autocast_cache()  # of the weights in 16 bits, which nobody reads again
        return reached


@SUPERNETS.register("topology")
class TopologySupernet(TopologyGridSkeleton, Supernet):
    """Every network of a :class:`~monai_nas.spaces.TopologySpace` in one (HyperSegNAS, Peng et al. 2022, 3.1, eq. 2).

    A selection holds an architecture's matrix as "paths", and may hold a MAN's "channel_weights": equation 4 with them,
    equation 2 without. Only what the architecture uses is computed and held. Arguments, and the form of a selection, as
    :class:`~monai_nas.skeletons.TopologyGridSkeleton`; and

    Args:
        recompute: hold no more than the nodes for the gradients, and compute each block twice.
    """

    def __init__(
        self,
        space: TopologySpace,
        *,
        in_channels: int,
        out_channels: int,
        width: int,
        strides: Sequence[Sequence[int]],
        spatial_dims: int = 3,
        recompute: bool = False,
    ) -> None:
        parts = self.parts(strides, space.num_levels)

        def make_path(block: int, path: tuple[int, int], shape: PathShape) -> Mapping[str, nn.Module]:
            return parts.path(shape, space.operations)

        super().__init__(
            make_path,
            paths=space.paths,
            num_blocks=space.num_blocks,
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            strides=strides,
            spatial_dims=spatial_dims,
            dropout=0.0,
            parts=parts,
            make_block=RecomputedBlock if recompute else GridBlock,
        )
        self.space = space
        self.network_arguments = build_arguments(
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            strides=strides,
            spatial_dims=spatial_dims,
        )

    @staticmethod
    def parts(strides: Sequence[Sequence[int]], num_levels: int) -> GridParts:
        """Return what the grid is built of."""
        return NODE_NORM

    def one_hot(self, architecture: Architecture) -> Selection:
        return {"paths": torch.from_numpy(self.space.matrix(architecture))}

    def extract(self, architecture: Architecture) -> nn.Module:
        self.space.check(architecture)
        network = build_network(architecture, **self.network_arguments)
        inherited = self.state_dict()
        network.load_state_dict({key: inherited[key] for key in network.state_dict()})
        return network
