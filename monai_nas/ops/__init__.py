"""The candidate operations, and the pieces that every network is made of."""

from monai_nas.ops.blocks import ConvNorm, Resample, UnitConv, convolution, empty_like_strided
from monai_nas.ops.candidates import CANDIDATES, CandidateOp
from monai_nas.ops.node import Node, activated

__all__ = [
    "CANDIDATES",
    "CandidateOp",
    "ConvNorm",
    "Node",
    "Resample",
    "UnitConv",
    "activated",
    "convolution",
    "empty_like_strided",
]
