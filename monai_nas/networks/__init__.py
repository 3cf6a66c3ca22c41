"""Plain networks: those of searched architectures, and the hand-made ones that they are compared with."""

from monai_nas.networks.build import NETWORKS, build_network, load_architecture
from monai_nas.networks.cell_unet import CellUNet
from monai_nas.networks.dints import DintsNetwork
from monai_nas.networks.dints_weights import dints_weights, load_dints_weights, unused_dints_weights
from monai_nas.networks.dynunet import PlainUNet
from monai_nas.networks.ensemble import EnsembleNetwork, build_ensemble
from monai_nas.networks.res_unet import ResUNet
from monai_nas.networks.topology import TopologyNetwork

__all__ = [
    "NETWORKS",
    "CellUNet",
    "DintsNetwork",
    "EnsembleNetwork",
    "PlainUNet",
    "ResUNet",
    "TopologyNetwork",
    "build_ensemble",
    "build_network",
    "dints_weights",
    "load_architecture",
    "load_dints_weights",
    "unused_dints_weights",
]
