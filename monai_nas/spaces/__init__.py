"""What can be chosen. Imports no torch."""

from monai_nas.spaces.cell_unet import CellUNetSpace
from monai_nas.spaces.space import SPACES, Decision, SearchSpace

__all__ = ["SPACES", "CellUNetSpace", "Decision", "SearchSpace"]
