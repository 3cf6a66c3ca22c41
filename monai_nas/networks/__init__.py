"""Plain networks: those of searched cells, and the hand-made ones that they are compared with."""

from monai_nas.networks.build import NETWORKS, build_network, load_architecture
from monai_nas.networks.cell_unet import CellUNet
from monai_nas.networks.dynunet import PlainUNet
from monai_nas.networks.res_unet import ResUNet

__all__ = ["NETWORKS", "CellUNet", "PlainUNet", "ResUNet", "build_network", "load_architecture"]
