"""The network of one architecture of the DiNTS space, as MONAI builds it."""

from collections.abc import Sequence

from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks.build import NETWORKS
from monai_nas.networks.topology import MAX_BLOCKS, MAX_LEVELS
from monai_nas.skeletons import PathShape, TopologyGridSkeleton, dints_parts, dints_path
from monai_nas.spaces import DintsSpace
from monai_nas.spaces.topology import ZERO, decision_name, paths


@NETWORKS.register("dints")
class DintsNetwork(TopologyGridSkeleton):
    """DiNTS (He et al. 2021, arXiv:2103.15954): the grid with a norm on each path, and nodes that are plain sums.

    In structure it is MONAI's ``DiNTS(TopologyInstance(...))`` without the stems that MONAI builds and never uses, see
    :mod:`~monai_nas.networks.dints_weights`. Arguments as :class:`~monai_nas.skeletons.TopologyGridSkeleton`. In
    MONAI's terms ``strides[0]`` is 2 on all axes for ``use_downsample=True``, 1 for False. ``width``, the channels of
    level 0, is then ``filter_nums[1]`` or ``filter_nums[0]``: 64 or 32 where ``channel_mul`` is 1.

    Raises:
        UserError: when ``architecture`` is no architecture of the space, or has a pseudo-3D operation in 2D; when there
            is not one stride for each of its levels, or a stride that MONAI does not have; when ``width`` is odd.
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
        if width % 2:
            raise UserError(f"width {width} is odd, and the stems have half of it: change the plan's")

        def make_path(block: int, path: tuple[int, int], shape: PathShape) -> dict[str, nn.Module]:
            choice = choices[decision_name(block, *path)]
            return {} if choice == ZERO else {**dints_path(shape, [choice])}

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
            parts=dints_parts(strides, settings["num_levels"]),
        )

    @staticmethod
    def check(architecture: Architecture) -> None:
        """Raise UserError when this is no architecture of the space."""
        space = DintsSpace.of(architecture)
        for name, value, most in (("blocks", space.num_blocks, MAX_BLOCKS), ("levels", space.num_levels, MAX_LEVELS)):
            if value > most:
                raise UserError(f"architecture settings: num_{name} is {value}, must be {most} at most")
        space.check(architecture)
