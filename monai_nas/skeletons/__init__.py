"""Macro networks with holes, used by supernets and networks alike."""

from monai_nas.skeletons.cell_unet import CellUNetSkeleton, HoleMaker
from monai_nas.skeletons.dints_parts import dints_parts
from monai_nas.skeletons.topology_grid import W_FIXED, PathMaker, TopologyGridSkeleton
from monai_nas.skeletons.topology_parts import NODE_NORM, PATH_OPERATIONS, PSEUDO_3D, GridParts, PathShape

__all__ = [
    "NODE_NORM",
    "PATH_OPERATIONS",
    "PSEUDO_3D",
    "W_FIXED",
    "CellUNetSkeleton",
    "GridParts",
    "HoleMaker",
    "PathMaker",
    "PathShape",
    "TopologyGridSkeleton",
    "dints_parts",
]
