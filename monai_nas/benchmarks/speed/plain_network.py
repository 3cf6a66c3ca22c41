"""A network in torch's own layers, one for each operation that the papers name: what anybody would write first."""

import copy
from collections.abc import Callable

from torch import nn

from monai_nas.ops.blocks import DilatedSeparableUnit, FeatureNorm, PooledConv, UnitConv
from monai_nas.ops.candidates import AvgPool, MaxPool
from monai_nas.ops.node import Features

AVG_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.AvgPool2d, 3: nn.AvgPool3d}
MAX_POOLS: dict[int, Callable[..., nn.Module]] = {2: nn.MaxPool2d, 3: nn.MaxPool3d}
NORMS = {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}


def plain_network(network: nn.Module, spatial_dims: int = 3) -> nn.Module:
    """Return a copy that computes the same by torch's layers alone.

    Separable convolutions are two convolutions, pooling is pooling, norms and LeakyReLU are torch's. What stays is how
    the parts are put together, and the LeakyReLU in front of the head.

    Args:
        network: of :func:`~monai_nas.networks.build_network`; maps (B, Ci, *S) to (B, Co, *S) and is left as it was.
        spatial_dims: 2 or 3.
    """
    network = copy.deepcopy(network)
    for module in list(network.modules()):  # the list is made first: the parts of a replaced part are visited, too
        for name, part in module.named_children():
            setattr(module, name, _plain(part, spatial_dims))
    return network


def _plain(part: nn.Module, dims: int) -> nn.Module:
    """Return torch's layers for a part that this package computes in a form of its own; any other as it is."""
    if isinstance(part, FeatureNorm):
        norm = NORMS[dims](len(part.weight), eps=part.eps, affine=True)
        norm.weight, norm.bias = part.weight, part.bias
        return norm
    if isinstance(part, UnitConv):
        return nn.Sequential(Features(), nn.LeakyReLU(), part.conv_norm)
    if isinstance(part, DilatedSeparableUnit):
        depthwise = part.depthwise
        depthwise.stride, depthwise.dilation = tuple(part.stride), (part.rate,) * dims
        depthwise.padding = depthwise.dilation
        return nn.Sequential(Features(), nn.LeakyReLU(), depthwise, part.pointwise, _plain(part.norm, dims))
    if isinstance(part, PooledConv):
        return nn.Sequential(AVG_POOLS[dims](part.stride), part.conv)
    if isinstance(part, AvgPool):
        return nn.Sequential(Features(), AVG_POOLS[dims](3, part.stride, 1))
    if isinstance(part, MaxPool):
        return nn.Sequential(Features(), MAX_POOLS[dims](3, part.stride, 1))
    return part
