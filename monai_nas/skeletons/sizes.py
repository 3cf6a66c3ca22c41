"""Strides of a network's levels, and the sizes of images that they divide."""

from collections.abc import Sequence

from torch import Tensor


def check_strides(strides: Sequence[Sequence[int]], spatial_dims: int) -> None:
    """Raise ValueError when there are no strides or a stride has not one number per axis."""
    if not strides or any(len(stride) != spatial_dims for stride in strides):
        raise ValueError(f"strides must hold {spatial_dims} numbers for each level, got {strides}")


def size_unit(strides: Sequence[Sequence[int]]) -> list[int]:
    """Return, for each axis, what its length must be a multiple of: the product of the strides."""
    unit = [1] * len(strides[0])
    for stride in strides:
        unit = [length * step for length, step in zip(unit, stride, strict=True)]
    return unit


def check_size(image: Tensor, unit: list[int]) -> None:
    """Raise ValueError when a length of an image (B, C, *S) is no multiple of its ``unit``. TorchScript-able."""
    for axis, length in enumerate(unit):
        if image.shape[axis + 2] % length != 0:
            raise ValueError(f"image of size {image.shape} must be divisible by {unit}")
