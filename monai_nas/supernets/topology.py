"""The HyperSegNAS supernet: the topology grid whose paths hold all operations."""

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.networks import build_network
from monai_nas.skeletons import NODE_NORM, GridParts, PathShape, TopologyGridSkeleton
from monai_nas.spaces import TopologySpace
from monai_nas.supernets.supernet import SUPERNETS, Selection, Supernet, build_arguments


@SUPERNETS.register("topology")
class TopologySupernet(TopologyGridSkeleton, Supernet):
    """Every network of a :class:`~monai_nas.spaces.TopologySpace` in one (HyperSegNAS, Peng et al. 2022, 3.1, eq. 2).

    A selection holds an architecture's matrix as "paths", and may hold a MAN's "channel_weights": equation 4 with them,
    equation 2 without. Only what the architecture uses is computed and held. Arguments, and the form of a selection, as
    :class:`~monai_nas.skeletons.TopologyGridSkeleton`.
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
