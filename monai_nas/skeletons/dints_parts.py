"""The parts of the grid with norms on its paths: DiNTS (He et al. 2021, arXiv:2103.15954) as MONAI 1.6 builds it.

But for the fresh bias of the last convolution, which is that of all grids here (``topology_parts.classifier``).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_nas.errors import UserError
from monai_nas.ops import ConvNorm, Node, convolution
from monai_nas.ops.blocks import Enlarge, FeatureNorm, PseudoConv
from monai_nas.registry import Registry
from monai_nas.skeletons.topology_parts import PSEUDO_3D, GridParts, LevelStem, PathShape, classifier, scaled


def rectified(node: Node) -> Tensor:
    """Return the ReLU of a node's features, computed when it is first asked for."""
    if len(node) == 1:
        node.append(F.relu(node[0]))
    return node[1]


class SameLevel(nn.Module):
    """A path that keeps its level does nothing to its node before the operation."""

    def forward(self, node: Node) -> Node:
        return node


class Reduce(nn.Module):
    """ReLU, two 1x1x1 convolutions of stride 2, norm. (B, Ci, *S) -> (B, Co, *S / 2).

    One convolution gives the first half of the channels and reads the voxels with even indices, the other the second
    half and those with odd indices.
    """

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int) -> None:
        super().__init__()
        conv = convolution(spatial_dims)
        self.even = conv(in_channels, out_channels // 2, 1, bias=False)
        self.odd = conv(in_channels, out_channels - out_channels // 2, 1, bias=False)
        self.norm = FeatureNorm(out_channels)

    def forward(self, node: Node) -> Node:
        features = rectified(node)
        if features.dim() == 5:
            even, odd = features[:, :, ::2, ::2, ::2], features[:, :, 1::2, 1::2, 1::2]
        else:
            even, odd = features[:, :, ::2, ::2], features[:, :, 1::2, 1::2]
        return [self.norm(torch.cat([self.even(even), self.odd(odd)], 1))]


class Increase(nn.Module):
    """Interpolation to twice the size, ReLU, 1x1x1 convolution, norm. (B, Ci, *S) -> (B, Co, *S * 2)."""

    def __init__(self, in_channels: int, out_channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.enlarge = Enlarge([2] * spatial_dims, align_corners=True)
        self.conv_norm = ConvNorm(in_channels, out_channels, kernel_size=1, spatial_dims=spatial_dims)

    def forward(self, node: Node) -> Node:
        return [self.conv_norm(F.relu(self.enlarge(node[0])))]


# name -> what turns a node (B, C, *S) into features (B, C, *S), called with C and the number of axes
EDGE_OPERATIONS: Registry[Callable[[int, int], nn.Module]] = Registry("edge operation")


@EDGE_OPERATIONS.register("identity")
class EdgeSkip(nn.Module):
    """The features as they are."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()

    def forward(self, node: Node) -> Tensor:
        return node[0]


@EDGE_OPERATIONS.register("conv_3x3x3")
class EdgeConv(nn.Module):
    """ReLU, 3x3x3 convolution, norm."""

    def __init__(self, channels: int, spatial_dims: int) -> None:
        super().__init__()
        self.conv_norm = ConvNorm(channels, channels, kernel_size=3, padding=1, spatial_dims=spatial_dims)

    def forward(self, node: Node) -> Tensor:
        return self.conv_norm(rectified(node))


class EdgePseudoConv(nn.Module):
    """ReLU, pseudo-3D convolution, norm."""

    def __init__(self, channels: int, spatial_dims: int, *, across: int) -> None:
        super().__init__()
        self.conv = PseudoConv(channels, channels, across=across, stride=[1] * spatial_dims)
        self.norm = FeatureNorm(channels)

    def forward(self, node: Node) -> Tensor:
        return self.norm(self.conv(rectified(node)))


for name, axis in PSEUDO_3D.items():
    EDGE_OPERATIONS.register(name)(partial(EdgePseudoConv, across=axis))


class EdgeOperation(nn.Module):
    """An operation on a path, behind the path's change of level; each has a norm of its own unless it does nothing."""

    def __init__(self, resample: nn.Module, operation: nn.Module) -> None:
        super().__init__()
        self.resample = resample
        self.operation = operation

    def forward(self, node: Node, scale: Optional[Tensor]) -> Tensor:  # noqa: UP045
        """Return features (B, Co, *S') of a node (B, Ci, *S), times ``scale`` (B, Co) if there is one."""
        return scaled(self.operation(self.resample(node)), scale)


def dints_path(shape: PathShape, operations: Sequence[str]) -> dict[str, EdgeOperation]:
    """Return the named operations of a path. They share its change of level, as in MONAI's supernet.

    Raises:
        ValueError: for an unknown operation.
        UserError: for a pseudo-3D operation in 2D.
    """
    dims = len(shape.up)
    resample: nn.Module = SameLevel()
    if max(shape.down) > 1:
        resample = Reduce(shape.in_channels, shape.out_channels, dims)
    elif max(shape.up) > 1:
        resample = Increase(shape.in_channels, shape.out_channels, dims)
    return {name: EdgeOperation(resample, EDGE_OPERATIONS[name](shape.out_channels, dims)) for name in operations}


class DintsStem(LevelStem):
    """The image at a level: interpolation, 3x3x3 convolution, norm. (B, Ci, *S) -> (B, C, *S / stride).

    Args:
        in_channels: Ci.
        channels: C, of the level.
        stride: from the image to the level.
        readers: indices of the paths of the first block that read it.
        downsamples: whether a ReLU, a convolution of stride 2 that doubles the channels, and a norm take the last step.
    """

    def __init__(
        self, in_channels: int, channels: int, stride: Sequence[int], *, readers: Sequence[int], downsamples: bool
    ) -> None:
        super().__init__(readers=readers)
        dims, step = len(stride), 2 if downsamples else 1
        self.scale = [step / length for length in stride]
        self.mode = "trilinear" if dims == 3 else "bilinear"
        self.conv_norm = ConvNorm(in_channels, channels // step, kernel_size=3, padding=1, spatial_dims=dims)
        self.reduce: nn.Module = nn.Identity()
        if downsamples:
            last = ConvNorm(channels // 2, channels, kernel_size=3, stride=2, padding=1, spatial_dims=dims)
            self.reduce = nn.Sequential(nn.ReLU(), last)

    def features(self, image: Tensor) -> Tensor:
        if min(self.scale) < 1:
            image = F.interpolate(image, scale_factor=self.scale, mode=self.mode, align_corners=True)
        return self.reduce(self.conv_norm(image))


class DintsLift(nn.Module):
    """ReLU, 3x3x3 convolution, norm, then interpolation: (B, Ci, *S) -> (B, Co, *S * up).

    Args:
        in_channels: Ci.
        out_channels: Co.
        up: times by which the features are enlarged, per axis.
    """

    def __init__(self, in_channels: int, out_channels: int, up: Sequence[int]) -> None:
        super().__init__()
        self.conv_norm = ConvNorm(in_channels, out_channels, kernel_size=3, padding=1, spatial_dims=len(up))
        self.enlarge = Enlarge(up, align_corners=True)

    def forward(self, features: Tensor) -> Tensor:
        return self.enlarge(self.conv_norm(F.relu(features)))


class DintsHead(nn.Module):
    """From the features of the finest level to the logits; arguments as :class:`GridHead`, the image is not read."""

    def __init__(
        self, *, in_channels: int, out_channels: int, width: int, stride: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        dims, channels = len(stride), width // max(stride)
        self.lift = DintsLift(width, channels, stride)
        self.conv_norm = ConvNorm(channels, channels, kernel_size=3, padding=1, spatial_dims=dims)
        self.dropout = nn.Dropout3d(dropout) if dims == 3 else nn.Dropout2d(dropout)
        self.conv = classifier(channels, out_channels, dims)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Return logits (B, Co, *S) of features (B, width, *S / stride)."""
        return self.conv(self.dropout(self.conv_norm(F.relu(self.lift(features)))))


def dints_parts(strides: Sequence[Sequence[int]], num_levels: int) -> GridParts:
    """Return what the grid of MONAI's DiNTS is built of; its nodes are plain sums.

    Args:
        strides: one per level. The first is 2 on all axes for MONAI's ``use_downsample=True``, 1 for False; the others
            are 2 on all axes.
        num_levels: of the architecture.

    Raises:
        UserError: for other strides.
    """
    steps = [set(stride) for stride in strides]
    if len(steps) != num_levels or steps[0] not in ({1}, {2}) or any(step != {2} for step in steps[1:]):
        raise UserError(
            f"the plan has the strides {[list(stride) for stride in strides]}, but DiNTS with {num_levels} levels "
            f"takes {num_levels}: the first 1 or 2 on all axes, the others 2 on all axes: change the plan's"
        )
    stem = partial(DintsStem, downsamples=steps[0] == {2})
    return GridParts(path=dints_path, stem=stem, norm=nn.Identity, lift=DintsLift, head=DintsHead)
