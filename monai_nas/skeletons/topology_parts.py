"""The parts of the topology grid: what its paths, stems and head are made of (hypersegnas.txt, 3.1)."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Dict, Optional  # noqa: UP035  TorchScript reads these annotations

import torch
from torch import Tensor, nn

from monai_nas.ops import ConvNorm, Node, UnitConv, activated, convolution
from monai_nas.ops.blocks import Enlarge, FeatureNorm, PooledConv, PseudoConv
from monai_nas.ops.fast import leaky_relu
from monai_nas.registry import Registry


@dataclass(frozen=True)
class PathShape:
    """What a path has to do to its features: (B, Ci, *S) -> (B, Co, *S * up / down)."""

    in_channels: int
    out_channels: int
    down: tuple[int, ...]  # one number per axis, all 1 on paths that go up or stay
    up: tuple[int, ...]


def scaled(features: Tensor, scale: Optional[Tensor]) -> Tensor:  # noqa: UP045
    """Return features (B, C, *S), times ``scale`` (B, C) if there is one."""
    if scale is None:
        return features
    return features * scale.to(features.dtype).reshape(list(scale.shape) + [1] * (features.dim() - 2))


class PathOperation(nn.Module):
    """An operation on a path. It has no norm and no bias: the node sums its paths, and its norm removes both.

    Args:
        transform: (B, Ci, *S) -> (B, Co, *S / down).
        up: times by which the result is enlarged, per axis.
        activates: whether ``transform`` reads the LeakyReLU of the node.
    """

    def __init__(self, transform: nn.Module, up: Sequence[int], *, activates: bool) -> None:
        super().__init__()
        self.transform = transform
        self.enlarge = Enlarge(up)
        self.activates = activates

    def forward(self, node: Node, scale: Optional[Tensor]) -> Tensor:  # noqa: UP045
        """Return features (B, Co, *S * up / down) of a node (B, Ci, *S), times ``scale`` (B, Co) if there is one."""
        features = self.transform(activated(node) if self.activates else node[0])
        return self.enlarge(scaled(features, scale))  # in this order, which commutes: there are fewer voxels


PATH_OPERATIONS: Registry[Callable[[PathShape], PathOperation]] = Registry("path operation")


@PATH_OPERATIONS.register("identity")
def identity_path(shape: PathShape) -> PathOperation:
    """Return a skip connection: nothing where the level stays, else a 1x1x1 convolution at the coarser size."""
    transform: nn.Module = convolution(len(shape.up))(shape.in_channels, shape.out_channels, 1, bias=False)
    if shape.in_channels == shape.out_channels:
        transform = nn.Identity()
    elif max(shape.down) > 1:
        transform = PooledConv(shape.in_channels, shape.out_channels, shape.down)
    return PathOperation(transform, shape.up, activates=False)


@PATH_OPERATIONS.register("conv_3x3x3")
def conv_path(shape: PathShape) -> PathOperation:
    """Return a 3x3x3 convolution, strided on the way down and at the coarser size on the way up."""
    conv = convolution(len(shape.up))
    transform = conv(shape.in_channels, shape.out_channels, 3, stride=shape.down, padding=1, bias=False)  # type: ignore[arg-type]
    return PathOperation(transform, shape.up, activates=True)


PSEUDO_3D = {"pseudo_3d_conv_3x3x1": 2, "pseudo_3d_conv_3x1x3": 1, "pseudo_3d_conv_1x3x3": 0}  # axis of the second


def pseudo_3d_path(shape: PathShape, *, across: int) -> PathOperation:
    """Return a convolution in a plane and one across it, in place of 3x3x3, for volumes with thick slices."""
    transform = PseudoConv(shape.in_channels, shape.out_channels, across=across, stride=shape.down)
    return PathOperation(transform, shape.up, activates=True)


for name, axis in PSEUDO_3D.items():
    PATH_OPERATIONS.register(name)(partial(pseudo_3d_path, across=axis))


class LevelStem(nn.Module):
    """The image as features of a level, computed where a path that runs reads them. (B, Ci, *S) -> (B, C, *S / stride).

    Args:
        readers: indices of the paths of the first block that read it.
    """

    def __init__(self, *, readers: Sequence[int]) -> None:
        super().__init__()
        self.readers = list(readers)

    def features(self, image: Tensor) -> Tensor:
        raise NotImplementedError

    def forward(self, image: Tensor, selection: Optional[Dict[str, Tensor]]) -> Node:  # noqa: UP006, UP045
        """Return the features, nothing where no path that the selection runs reads them."""
        is_read = selection is None
        for index in self.readers:
            if selection is not None and bool(selection["paths"][0, index].any()):
                is_read = True
        node: Node = []
        if is_read:
            node.append(self.features(image))
        return node


class GridStem(LevelStem):
    """The image at the size of a level: average pooling, 3x3x3 convolution, norm. (B, Ci, *S) -> (B, C, *S / stride).

    Args:
        in_channels: Ci.
        channels: C, of the level.
        stride: from the image to the level.
        readers: indices of the paths of the first block that read it.
    """

    def __init__(self, in_channels: int, channels: int, stride: Sequence[int], *, readers: Sequence[int]) -> None:
        super().__init__(readers=readers)
        pool = nn.AvgPool3d if len(stride) == 3 else nn.AvgPool2d
        self.shrink: nn.Module = pool(tuple(stride)) if max(stride) > 1 else nn.Identity()  # type: ignore[arg-type]
        self.conv_norm = ConvNorm(in_channels, channels, kernel_size=3, padding=1, spatial_dims=len(stride))

    def features(self, image: Tensor) -> Tensor:
        return self.conv_norm(self.shrink(image))


class Lift(nn.Module):
    """LeakyReLU, 1x1x1 convolution, then interpolation: (B, Ci, *S) -> (B, Co, *S * up).

    Args:
        in_channels: Ci.
        out_channels: Co.
        up: times by which the features are enlarged, per axis.
    """

    def __init__(self, in_channels: int, out_channels: int, up: Sequence[int]) -> None:
        super().__init__()
        self.conv = convolution(len(up))(in_channels, out_channels, 1, bias=False)
        self.enlarge = Enlarge(up)

    def forward(self, features: Tensor) -> Tensor:
        return self.enlarge(self.conv(leaky_relu(features)))


FIRST_FOREGROUND = 0.02  # how probable each class is beside the background, before anything is learned


def classifier(in_channels: int, out_channels: int, spatial_dims: int) -> nn.Module:
    """Return the last convolution, 1x1x1, (B, Ci, *S) -> logits (B, Co, *S); its first guess is background, class 0.

    Most voxels are background. A network that has to learn so first does it with all its weights, which may cost it
    the features that a head of few channels begins with (decision 0008). So the bias starts at rare foreground, as in
    Lin et al. 2017, "Focal Loss for Dense Object Detection", 3.3 and 4.1, there with 0.01.
    """
    conv = convolution(spatial_dims)(in_channels, out_channels, 1)
    bias = torch.full((out_channels,), math.log(FIRST_FOREGROUND))
    bias[0] = 0.0
    conv.bias = nn.Parameter(bias)
    return conv


class GridHead(nn.Module):
    """From the features of the finest level and the image to the logits at the image's size.

    Args:
        in_channels: modalities.
        out_channels: classes with the background.
        width: channels of the finest level, even: the head works with half of them.
        stride: from the image to the finest level.
        dropout: probability of zeroing a channel in front of the last convolution.
    """

    def __init__(
        self, *, in_channels: int, out_channels: int, width: int, stride: Sequence[int], dropout: float
    ) -> None:
        super().__init__()
        dims, channels = len(stride), width // 2
        conv = convolution(dims)
        self.lift = Lift(width, channels, stride)
        self.detail = conv(in_channels, channels, 3, padding=1, bias=False)
        self.norm = FeatureNorm(channels)
        self.unit = UnitConv(channels, channels, kernel_size=3, padding=1, spatial_dims=dims)
        self.dropout = nn.Dropout3d(dropout) if dims == 3 else nn.Dropout2d(dropout)
        self.conv = classifier(channels, out_channels, dims)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Return logits (B, Co, *S) of features (B, width, *S / stride) and their image (B, Ci, *S)."""
        features = self.unit([self.norm(self.lift(features) + self.detail(image))])
        return self.conv(self.dropout(leaky_relu(features)))


PASSES_VARIANCE = math.sqrt(3.0)  # torch draws weights with a third of what keeps the variance of what they read
RECTIFIED_STD = math.sqrt(0.5 - 0.5 / math.pi)  # of a standard normal value after a ReLU
CENTRE, SPREAD = (0.0, 1.0, 0.0), (0.25, 0.5, 0.25)  # of a kernel along an axis that keeps its length, or is strided
OWN_SHARE = 0.5  # of its fresh weights, that a convolution keeps beside


def begin_alike(skip: PathOperation, conv: PathOperation, shape: PathShape) -> None:
    """Let a 3x3x3 convolution begin as nearly the function of the skip connection on the same path.

    Architectures take turns in a supernet. From fresh weights, the channels of a node would mean something else in
    each of them (decision 0008).

    Args:
        skip: its 1x1x1 convolution, where it changes level, is enlarged to pass on the variance of what it reads.
        conv: gets the same matrix of channels in the middle of its kernel, spread out where it is strided, much as the
            skip connection's pooling is, and enlarged by what a ReLU takes; half of its fresh weights stay.
        shape: of both.
    """
    with torch.no_grad():
        channels = torch.eye(shape.out_channels)
        for weight in skip.parameters():  # one, where the path changes level
            channels = weight.mul_(PASSES_VARIANCE).flatten(1)
        kernel = torch.ones(())
        for step in shape.down:
            kernel = kernel[..., None] * torch.tensor(SPREAD if step > 1 else CENTRE)
        begun = torch.einsum("oi,...->oi...", channels, kernel) / RECTIFIED_STD
        conv.transform.get_parameter("weight").mul_(OWN_SHARE).add_(begun)


def node_norm_path(shape: PathShape, operations: Sequence[str]) -> dict[str, PathOperation]:
    """Return the named operations of a path; raises ValueError for an unknown one.

    A skip connection and a 3x3x3 convolution :func:`begin_alike`; other operations have fresh weights.
    """
    path = {name: PATH_OPERATIONS[name](shape) for name in operations}
    if "identity" in path and "conv_3x3x3" in path:
        begin_alike(path["identity"], path["conv_3x3x3"], shape)
    return path


@dataclass(frozen=True)
class GridParts:
    """What a grid is built of: one value for each norm setting."""

    path: Callable[[PathShape, Sequence[str]], Mapping[str, nn.Module]]  # called as node_norm_path
    stem: Callable[..., LevelStem]  # called as GridStem
    norm: Callable[[int], nn.Module]  # of a node, by its channels
    lift: Callable[[int, int, Sequence[int]], nn.Module]  # called as Lift
    head: Callable[..., nn.Module]  # called as GridHead


NODE_NORM = GridParts(path=node_norm_path, stem=GridStem, norm=FeatureNorm, lift=Lift, head=GridHead)
