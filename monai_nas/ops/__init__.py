"""The candidate operations, and the pieces that every network is made of."""

from monai_nas.ops.blocks import ConvNorm, Resample, UnitConv, convolution, empty_like_strided
from monai_nas.ops.candidates import CANDIDATES, CandidateOp

__all__ = [
    "CANDIDATES",
    "CandidateOp",
    "ConvNorm",
    "Resample",
    "UnitConv",
    "convolution",
    "empty_like_strided",
]
