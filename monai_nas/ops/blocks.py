"""Pieces that candidates and skeletons are made of, in 2D and 3D: LeakyReLU-Conv-InstanceNorm and change of size."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_nas.errors import UserError
from monai_nas.ops.fast import dilated_convolution, instance_norm
from monai_nas.ops.node import Node, activated


def convolution(spatial_dims: int) -> type[nn.Conv2d] | type[nn.Conv3d]:
    """Return the convolution class for 2 or 3 spatial dimensions.

    Raises:
        ValueError: for any other number.
    """
    if spatial_dims not in (2, 3):
        raise ValueError(f"spatial_dims must be 2 or 3, got {spatial_dims}")
    return nn.Conv3d if spatial_dims == 3 else nn.Conv2d


class FeatureNorm(nn.Module):
    """Affine instance norm, (B, C, *S) -> (B, C, *S), in any number of dimensions.

    In evaluation the result has the number format of its weights, so that under autocast convolutions alone round to
    16 bits, and not what is summed, pooled and passed on between them. In training that would take twice the memory.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = 1e-5

    def forward(self, features: Tensor) -> Tensor:
        if not self.training:
            features = features.to(self.weight.dtype)
        return instance_norm(features, self.weight, self.bias, self.eps)


class ConvNorm(nn.Module):
    """Convolution and instance norm, without bias since the norm removes it. (B, Ci, *S) -> (B, Co, *S / stride)."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        spatial_dims: int,
    ) -> None:
        super().__init__()
        conv = convolution(spatial_dims)
        self.conv = conv(in_channels, out_channels, kernel_size, stride=stride, padding=padding, bias=False)  # type: ignore[arg-type]
        self.norm = FeatureNorm(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        return self.norm(self.conv(features))


class UnitConv(nn.Module):
    """LeakyReLU-Conv-InstanceNorm, the convolutional unit of scnas.txt, section 4; see :class:`ConvNorm`.

    It reads a node (:mod:`monai_nas.ops.node`).
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        *,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        spatial_dims: int,
    ) -> None:
        super().__init__()
        self.conv_norm = ConvNorm(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=stride,
            padding=padding,
            spatial_dims=spatial_dims,
        )

    def forward(self, node: Node) -> Tensor:
        return self.conv_norm(activated(node))


class DilatedSeparableUnit(nn.Module):
    """LeakyReLU, depthwise dilated 3x3x3 convolution, pointwise convolution, instance norm, of a node's features.

    Nothing stands between the two convolutions, so their composition is one dense dilated convolution with the weight
    product W[o, i, k] = pointwise[o, i] * depthwise[i, k]. It is computed so: many times the multiplications, and yet
    faster, as depthwise convolutions are bound by memory and miss the matrix units.
    """

    def __init__(self, channels: int, *, stride: Sequence[int], rate: int, spatial_dims: int) -> None:
        super().__init__()
        conv = convolution(spatial_dims)
        self.stride = list(stride)
        self.rate = rate
        self.depthwise = conv(channels, channels, 3, groups=channels, bias=False)
        self.pointwise = conv(channels, channels, 1, bias=False)
        self.norm = FeatureNorm(channels)

    def forward(self, node: Node) -> Tensor:
        # (Co, Ci, 1, 1, 1) * (1, Ci, 3, 3, 3) -> (Co, Ci, 3, 3, 3)
        weight = self.pointwise.weight * self.depthwise.weight.transpose(0, 1)
        return self.norm(dilated_convolution(activated(node), weight, self.stride, self.rate))


class PooledConv(nn.Module):
    """Average pooling by a stride, then a 1x1x1 convolution. (B, Ci, *S) -> (B, Co, *S / stride).

    Computed as one convolution whose kernel is the stride, with the same weight at all its voxels: pooling first takes
    four times as long on a processor with bfloat16 matrix units, which has no bfloat16 pooling, and makes autograd hold
    the features in 32 bits.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.conv = convolution(len(stride))(in_channels, out_channels, 1, bias=False)
        self.stride = list(stride)
        self.voxels = 1
        for step in stride:
            self.voxels *= step

    def forward(self, features: Tensor) -> Tensor:
        weight = self.conv.weight / self.voxels
        weight = weight.expand(list(weight.shape[:2]) + self.stride)  # (Co, Ci, 1, 1, 1) -> (Co, Ci, *stride)
        if weight.dim() == 5:
            return F.conv3d(features, weight, None, self.stride)
        return F.conv2d(features, weight, None, self.stride)


class PseudoConv(nn.Module):
    """Two convolutions in place of 3x3x3: in a plane, then across it. (B, Ci, *S) -> (B, Co, *S / stride).

    As in DiNTS nothing stands between the two, and the first keeps the channels. An axis is strided by the convolution
    that has three voxels along it, so that none is missed.

    Args:
        in_channels: Ci.
        out_channels: Co.
        across: the axis, 0 to 2, of the second: 2 stands for 3x3x1, then 1x1x3.
        stride: per axis.

    Raises:
        UserError: when there are not three axes.
    """

    def __init__(self, in_channels: int, out_channels: int, *, across: int, stride: Sequence[int]) -> None:
        super().__init__()
        if len(stride) != 3:
            raise UserError(f"pseudo-3D operations need 3 axes, the plan has {len(stride)}: take another architecture")
        line = [3 if axis == across else 1 for axis in range(3)]
        self.in_plane = _strided_where_wide(in_channels, in_channels, [4 - length for length in line], stride)
        self.across = _strided_where_wide(in_channels, out_channels, line, stride)

    def forward(self, features: Tensor) -> Tensor:
        return self.across(self.in_plane(features))


def _strided_where_wide(
    in_channels: int, out_channels: int, kernel_size: Sequence[int], stride: Sequence[int]
) -> nn.Conv3d:
    steps = [step if length > 1 else 1 for length, step in zip(kernel_size, stride, strict=True)]
    padding = [length // 2 for length in kernel_size]
    return nn.Conv3d(in_channels, out_channels, kernel_size, stride=steps, padding=padding, bias=False)  # type: ignore[arg-type]


class Resample(nn.Module):
    """Bring a cell's input to the cell's channels and size. Node of (B, Ci, *S) -> (B, Co, *S * up / down).

    A change of size has a 3x3x3 convolution, strided on the way down, before linear interpolation on the way up; an
    input of the right size a 1x1x1. docs/decisions/0003 says why.
    """

    def __init__(
        self, in_channels: int, out_channels: int, *, down: Sequence[int], up: Sequence[int], spatial_dims: int
    ) -> None:
        super().__init__()
        resizes = any(step > 1 for step in (*down, *up))
        kernel_size, padding = (3, 1) if resizes else (1, 0)
        self.unit = UnitConv(
            in_channels,
            out_channels,
            kernel_size=kernel_size,
            stride=tuple(down),
            padding=padding,
            spatial_dims=spatial_dims,
        )
        self.scale = [float(step) for step in up]
        self.enlarges = any(step > 1 for step in up)
        self.mode = "trilinear" if spatial_dims == 3 else "bilinear"

    def forward(self, node: Node) -> Tensor:
        features = self.unit(node)
        if self.enlarges:
            features = F.interpolate(features, scale_factor=self.scale, mode=self.mode)
        return features


class Enlarge(nn.Module):
    """Linear interpolation to ``scale`` times the size; nothing where that is 1. (B, C, *S) -> (B, C, *S * scale).

    Args:
        scale: per axis.
        align_corners: whether the first and last voxels keep their centres, as in MONAI's DiNTS, or their borders.
    """

    def __init__(self, scale: Sequence[int], *, align_corners: bool = False) -> None:
        super().__init__()
        self.scale = [float(step) for step in scale]
        self.enlarges = any(step > 1 for step in scale)
        self.align_corners = align_corners
        self.mode = "trilinear" if len(scale) == 3 else "bilinear"

    def forward(self, features: Tensor) -> Tensor:
        if not self.enlarges:
            return features
        return F.interpolate(features, scale_factor=self.scale, mode=self.mode, align_corners=self.align_corners)


def empty_like_strided(features: Tensor, channels: int, stride: list[int]) -> Tensor:
    """Return zeros (B, channels, *ceil(S / stride)) of the type and device of ``features`` (B, C, *S)."""
    size = [features.shape[0], channels]
    for axis, step in enumerate(stride):
        size.append((features.shape[axis + 2] + step - 1) // step)
    return torch.zeros(size, dtype=features.dtype, device=features.device)
