"""Networks that hold every candidate, and the relaxations that choose among them."""

from monai_nas.supernets.cell_unet import CellUNetSupernet
from monai_nas.supernets.relaxation import edge_entropy, sample_two_operations, temperature_at
from monai_nas.supernets.supernet import SUPERNETS, Selection, Supernet

__all__ = [
    "SUPERNETS",
    "CellUNetSupernet",
    "Selection",
    "Supernet",
    "edge_entropy",
    "sample_two_operations",
    "temperature_at",
]
