"""Networks that hold every candidate, the relaxations that choose among them, and the network that assists one."""

from monai_nas.supernets.cell_unet import CellUNetSupernet
from monai_nas.supernets.dints import DintsSupernet
from monai_nas.supernets.hypernet import MetaAssistantNetwork, annealed, num_channel_weights
from monai_nas.supernets.relaxation import edge_entropy, sample_two_operations, temperature_at
from monai_nas.supernets.supernet import SUPERNETS, RelaxedSupernet, Selection, Supernet
from monai_nas.supernets.topology import TopologySupernet

__all__ = [
    "SUPERNETS",
    "CellUNetSupernet",
    "DintsSupernet",
    "MetaAssistantNetwork",
    "RelaxedSupernet",
    "Selection",
    "Supernet",
    "TopologySupernet",
    "annealed",
    "edge_entropy",
    "num_channel_weights",
    "sample_two_operations",
    "temperature_at",
]
