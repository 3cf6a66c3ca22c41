"""What can be chosen. Imports no torch."""

from monai_nas.spaces.cell_unet import CellUNetSpace
from monai_nas.spaces.dints_code import DintsSpace, from_dints_code, to_dints_code
from monai_nas.spaces.space import SPACES, Decision, SearchSpace
from monai_nas.spaces.topology import TopologySpace, sample_by_coin, sample_by_density

__all__ = [
    "SPACES",
    "CellUNetSpace",
    "Decision",
    "DintsSpace",
    "SearchSpace",
    "TopologySpace",
    "from_dints_code",
    "sample_by_coin",
    "sample_by_density",
    "to_dints_code",
]
