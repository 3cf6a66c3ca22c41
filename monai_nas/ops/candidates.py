"""The candidate operations of an edge: name -> module that keeps the channels and divides the size by a stride."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

from torch import Tensor, nn

from monai_nas.ops.blocks import DilatedSeparableUnit, UnitConv, empty_like_strided
from monai_nas.ops.fast import avg_pool
from monai_nas.ops.node import Features, Node, max_pooled
from monai_nas.registry import Registry

CANDIDATES: Registry[type["CandidateOp"]] = Registry("candidate operation")


class CandidateOp(nn.Module, ABC):
    """An operation that may be chosen on an edge. Node of (B, C, *S) -> (B, C, *ceil(S / stride)).

    What reads the LeakyReLU of the features takes :func:`~monai_nas.ops.activated` of the node, which all share.

    Args:
        channels: C, of input and output.
        stride: per axis; more than 1 only on edges from the inputs of a reduction cell.
        spatial_dims: 2 or 3.
    """

    @abstractmethod
    def __init__(self, channels: int, *, stride: Sequence[int], spatial_dims: int) -> None:
        super().__init__()

    @abstractmethod
    def forward(self, node: Node) -> Tensor: ...


@CANDIDATES.register("conv_3x3x3")
class Conv(CandidateOp):
    """3x3x3 convolution unit."""

    def __init__(self, channels: int, *, stride: Sequence[int], spatial_dims: int) -> None:
        nn.Module.__init__(self)
        self.unit = UnitConv(
            channels, channels, kernel_size=3, stride=tuple(stride), padding=1, spatial_dims=spatial_dims
        )

    def forward(self, node: Node) -> Tensor:
        return self.unit(node)


class DilatedSeparableConv(CandidateOp):
    """Depthwise separable 3x3x3 convolution unit of one dilation rate."""

    rate: int

    def __init__(self, channels: int, *, stride: Sequence[int], spatial_dims: int) -> None:
        nn.Module.__init__(self)
        self.unit = DilatedSeparableUnit(channels, stride=stride, rate=self.rate, spatial_dims=spatial_dims)

    def forward(self, node: Node) -> Tensor:
        return self.unit(node)


@CANDIDATES.register("dilated_separable_conv_3x3x3_rate_2")
class DilatedSeparableConvRate2(DilatedSeparableConv):
    """Field of view 5x5x5."""

    rate = 2


@CANDIDATES.register("dilated_separable_conv_3x3x3_rate_3")
class DilatedSeparableConvRate3(DilatedSeparableConv):
    """Field of view 7x7x7."""

    rate = 3


@CANDIDATES.register("dilated_separable_conv_3x3x3_rate_4")
class DilatedSeparableConvRate4(DilatedSeparableConv):
    """Field of view 9x9x9."""

    rate = 4


class Pool(CandidateOp):
    """What the two poolings share: no weights."""

    def __init__(self, channels: int, *, stride: Sequence[int], spatial_dims: int) -> None:
        nn.Module.__init__(self)
        self.stride = list(stride)


@CANDIDATES.register("max_pool_3x3x3")
class MaxPool(Pool):
    """Maximum of 3x3x3 neighbours."""

    def forward(self, node: Node) -> Tensor:
        return max_pooled(node, self.stride)


@CANDIDATES.register("avg_pool_3x3x3")
class AvgPool(Pool):
    """Mean of 3x3x3 neighbours."""

    def forward(self, node: Node) -> Tensor:
        return avg_pool(node[0], self.stride)


@CANDIDATES.register("identity")
class Identity(CandidateOp):
    """The features as they are; with a stride, a convolution unit whose kernel is the stride and misses no voxel."""

    def __init__(self, channels: int, *, stride: Sequence[int], spatial_dims: int) -> None:
        nn.Module.__init__(self)
        self.reduce: nn.Module = Features()
        if max(stride) > 1:
            self.reduce = UnitConv(
                channels, channels, kernel_size=tuple(stride), stride=tuple(stride), spatial_dims=spatial_dims
            )

    def forward(self, node: Node) -> Tensor:
        return self.reduce(node)


@CANDIDATES.register("zero")
class Zero(CandidateOp):
    """No connection. Supernets and networks leave such an edge out; alone it returns zeros."""

    def __init__(self, channels: int, *, stride: Sequence[int], spatial_dims: int) -> None:
        nn.Module.__init__(self)
        self.stride = list(stride)

    def forward(self, node: Node) -> Tensor:
        return empty_like_strided(node[0], node[0].shape[1], self.stride)
