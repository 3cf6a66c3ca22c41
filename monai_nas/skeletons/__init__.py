"""Macro networks with holes, used by supernets and networks alike."""

from monai_nas.skeletons.cell_unet import CellUNetSkeleton, HoleMaker
from monai_nas.skeletons.dints_parts import dints_parts, dints_path
from monai_nas.skeletons.topology_grid import W_FIXED, PathMaker, TopologyGridSkeleton
from monai_nas.skeletons.topology_parts import PATH_OPERATIONS, PathShape

__all__ = [
    "PATH_OPERATIONS",
    "W_FIXED",
    "CellUNetSkeleton",
    "HoleMaker",
    "PathMaker",
    "PathShape",
    "TopologyGridSkeleton",
    "dints_parts",
    "dints_path",
]
