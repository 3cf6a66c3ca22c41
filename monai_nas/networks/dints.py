"""The network of one architecture of the DiNTS space, as MONAI builds it."""

from collections.abc import Sequence

from monai_nas.architecture import Architecture
from monai_nas.networks.build import NETWORKS
from monai_nas.networks.topology import TopologyNetwork
from monai_nas.skeletons import GridParts, dints_parts
from monai_nas.spaces import DintsSpace, TopologySpace


@NETWORKS.register("dints")
class DintsNetwork(TopologyNetwork):
    """DiNTS (He et al. 2021, arXiv:2103.15954): the grid with a norm on each path, and nodes that are plain sums.

    In structure it is MONAI's ``DiNTS(TopologyInstance(...))`` without the stems that MONAI builds and never uses, see
    :mod:`~monai_nas.networks.dints_weights`. Arguments as :class:`~monai_nas.skeletons.TopologyGridSkeleton`. In
    MONAI's terms ``strides[0]`` is 2 on all axes for ``use_downsample=True``, 1 for False. ``width``, the channels of
    level 0, is then ``filter_nums[1]`` or ``filter_nums[0]``: 64 or 32 where ``channel_mul`` is 1.

    Raises:
        UserError: when ``architecture`` is no architecture of the space, or has a pseudo-3D operation in 2D; when there
            is not one stride for each of its levels, or a stride that MONAI does not have; when ``width`` is odd.
    """

    @staticmethod
    def parts(strides: Sequence[Sequence[int]], num_levels: int) -> GridParts:
        return dints_parts(strides, num_levels)

    @staticmethod
    def space_of(architecture: Architecture) -> TopologySpace:
        return DintsSpace.of(architecture)
