"""The network of one architecture of the topology space."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks.build import NETWORKS
from monai_nas.skeletons import NODE_NORM, PATH_OPERATIONS, GridParts, PathShape, TopologyGridSkeleton
from monai_nas.spaces import TopologySpace
from monai_nas.spaces.topology import ZERO, decision_name, paths

MAX_BLOCKS = 64  # the paper has 12
MAX_LEVELS = 8  # each doubles the channels; the paper has 4


@NETWORKS.register("topology")
class TopologyNetwork(TopologyGridSkeleton):
    """The paths that an architecture keeps on the grid of HyperSegNAS (Peng et al. 2022, section 3.1).

    Arguments as :class:`~monai_nas.skeletons.TopologyGridSkeleton`.

    Raises:
        UserError: when ``architecture`` is no architecture of the space or names an unknown operation, when there is
            not one stride for each of its levels, or ``width`` is odd.
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
        settings, choices = dict(architecture.settings), dict(architecture.choices)
        parts = self.parts(strides, settings["num_levels"])
        if width % 2:
            raise UserError(f"width {width} is odd, and half of it is needed: change the plan's")

        def make_path(block: int, path: tuple[int, int], shape: PathShape) -> Mapping[str, nn.Module]:
            choice = choices[decision_name(block, *path)]
            return {} if choice == ZERO else parts.path(shape, [choice])

        super().__init__(
            make_path,
            paths=paths(settings["num_levels"]),
            num_blocks=settings["num_blocks"],
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            strides=strides,
            spatial_dims=spatial_dims,
            dropout=dropout,
            parts=parts,
        )

    @staticmethod
    def parts(strides: Sequence[Sequence[int]], num_levels: int) -> GridParts:
        """Return what the grid is built of; raises UserError where there is not one stride for each level."""
        if len(strides) != num_levels:
            raise UserError(
                f"the plan has {len(strides)} strides, the architecture {num_levels} levels: give the plan "
                f"{num_levels} strides, the first from the image to level 0 (it may be all 1)"
            )
        return NODE_NORM

    @staticmethod
    def space_of(architecture: Architecture) -> TopologySpace:
        """Return the space of the architecture's size, with all operations that a path can have."""
        return replace(TopologySpace.of(architecture), operations=tuple(PATH_OPERATIONS))

    @classmethod
    def check(cls, architecture: Architecture) -> None:
        """Raise UserError when this is no architecture of the space, or names an unknown operation."""
        space = cls.space_of(architecture)
        for name, value, most in (("blocks", space.num_blocks, MAX_BLOCKS), ("levels", space.num_levels, MAX_LEVELS)):
            if value > most:
                raise UserError(f"architecture settings: num_{name} is {value}, must be {most} at most")
        space.check(architecture)
