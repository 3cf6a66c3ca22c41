"""Plain networks: a skeleton whose holes hold the chosen candidates."""

from monai_nas.networks.build import NETWORKS, build_network
from monai_nas.networks.cell_unet import CellUNet

__all__ = ["NETWORKS", "CellUNet", "build_network"]
