"""Macro networks with holes, used by supernets and networks alike."""

from monai_nas.skeletons.cell_unet import CellUNetSkeleton, HoleMaker

__all__ = ["CellUNetSkeleton", "HoleMaker"]
