"""The DiNTS supernet: the topology grid with norms on its paths, which hold all operations."""

from collections.abc import Sequence

from monai_nas.skeletons import GridParts, dints_parts
from monai_nas.supernets.supernet import SUPERNETS
from monai_nas.supernets.topology import TopologySupernet


@SUPERNETS.register("dints")
class DintsSupernet(TopologySupernet):
    """Every :class:`~monai_nas.networks.DintsNetwork` of a space in one; the operations of a path share its resampling.

    A selection is as in :class:`TopologySupernet`, but "channel_weights" multiply the outputs of the operations behind
    their norms, where nothing removes them. They are divided by ``W_FIXED``, so the constant W_FIXED is exactly the
    network without weights, and nothing is left to fold. Without the division it would be folded so: a factor c on an
    output with a norm is c times the norm's scale and shift; a skip that keeps its level has no norm and keeps the
    exact factor c. Both ways define the same networks but for eps: norms remove the common factor of what they read, so
    a grid with c on all paths is a grid without factors whose norms have other scales and shifts.

    Arguments as :class:`~monai_nas.networks.DintsNetwork`.

    Raises:
        UserError: for strides that MONAI's DiNTS does not have, or a pseudo-3D operation in 2D.
        ValueError: when ``width`` is odd.
    """

    @staticmethod
    def parts(strides: Sequence[Sequence[int]], num_levels: int) -> GridParts:
        return dints_parts(strides, num_levels)
