"""Exact forms of operations that are slow on processors or keep too much; tests compare each with torch's own.

Measured on a processor with bfloat16 instructions (`docs/decisions/0004`): the weight gradient of a dilated convolution
takes 5-20 times its other parts, and stock pooling 5-20 times a dense convolution.
"""

import math
from typing import List  # noqa: UP035  TorchScript reads these annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_nas.ops.functions import DilatedConvolution, Join, LeakyReLU, MaxPool3, TakeEvery, layout
from monai_nas.ops.instance_norm import InstanceNorm, NarrowInstanceNorm

_REGISTER = 16  # numbers of 32 bits in the widest vector register of processors


def _is_recorded() -> bool:
    """Whether a graph is made of the network, to be compiled or run elsewhere: that is for torch's own operators."""
    return torch.jit.is_tracing() or torch.compiler.is_compiling()


def dilated_convolution(features: Tensor, weight: Tensor, stride: list[int], rate: int) -> Tensor:
    """Convolve (B, Ci, *S) with a 3x3[x3] weight (Co, Ci, 3, 3[, 3]) dilated by ``rate``, padded to keep the size.

    At stride 1 sub-lattices of fewer than three voxels an axis are left to torch: there oneDNN 3 (in torch 2.13) reads
    past the end and returns weight gradients of any size in bfloat16.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and torch.is_grad_enabled() and rate > 1 and not _is_recorded():
            return _dilated_convolution_on_cpu(features, weight, stride, rate)
    if weight.dim() == 5:
        return F.conv3d(features, weight, None, stride, [rate, rate, rate], [rate, rate, rate])
    return F.conv2d(features, weight, None, stride, [rate, rate], [rate, rate])


def max_pool(features: Tensor, stride: list[int]) -> Tensor:
    """Maximum over 3x3[x3] neighbours, padded to keep the size before ``stride``."""
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and not _is_recorded():
            return _max_pool_on_cpu(features, stride)
    if features.dim() == 5:
        return F.max_pool3d(features, 3, stride, 1)
    return F.max_pool2d(features, 3, stride, 1)


def avg_pool(features: Tensor, stride: list[int]) -> Tensor:
    """Mean over 3x3[x3] neighbours, counting the padding as zeros.

    On a processor it is a dense convolution with a fixed diagonal weight: torch has no bfloat16 average pooling there.
    Features of 32 bits that no gradients are wanted of keep them: an autocast would round in a convolution.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and not torch.jit.is_tracing():
            if features.dtype == torch.float32 and not torch.is_grad_enabled() and not _is_recorded():
                return _avg_pool_by_sums(features, stride)
            return _avg_pool_as_convolution(features, stride)
    if features.dim() == 5:
        return F.avg_pool3d(features, 3, stride, 1)
    return F.avg_pool2d(features, 3, stride, 1)


def leaky_relu(features: Tensor) -> Tensor:
    """LeakyReLU of slope 0.01, for convolutions to read.

    In training autograd keeps the result, as the convolution after it does, and not the features. Without gradients the
    result has the number format that autocast would give it for the convolution.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if not _is_recorded():
            return _leaky_relu_from_result(features) if torch.is_grad_enabled() else _leaky_relu_to_read(features)
    return F.leaky_relu(features)


def join(parts: List[Tensor]) -> Tensor:  # noqa: UP006  TorchScript reads it
    """Concatenate the channels of features (B, C, *S)."""
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if torch.is_grad_enabled() and not _is_recorded():
            return _joined(parts)
    return torch.cat(parts, dim=1)


def instance_norm(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise each channel of each sample of (B, C, *S), then scale and shift it by ``weight`` and ``bias`` (C,)."""
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and not _is_recorded():
            return _instance_norm_on_cpu(features, weight, bias, eps)
    return F.instance_norm(features, weight=weight, bias=bias, eps=eps)


@torch.jit.unused
def _leaky_relu_from_result(features: Tensor) -> Tensor:
    return LeakyReLU.apply(features)


@torch.jit.unused
def _joined(parts: list[Tensor]) -> Tensor:
    return Join.apply(*parts)


@torch.jit.unused
def _leaky_relu_to_read(features: Tensor) -> Tensor:
    device = features.device.type
    if not torch.is_autocast_enabled(device) or features.dtype == torch.float64:  # which autocast leaves alone
        return F.leaky_relu(features)
    rounded = features.to(torch.get_autocast_dtype(device))
    return F.leaky_relu(features) if rounded is features else F.leaky_relu_(rounded)


@torch.jit.unused
def _instance_norm_on_cpu(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    norm = NarrowInstanceNorm if features.shape[1] < _REGISTER else InstanceNorm
    return norm.apply(features, weight, bias, eps)


@torch.jit.unused
def _dilated_convolution_on_cpu(features: Tensor, weight: Tensor, stride: list[int], rate: int) -> Tensor:
    """Take strides out of a dilated convolution where its rate is a multiple of them; choose the form of its gradients.

    There only every stride-th voxel is read: taking those first leaves a convolution of stride 1 and rate / stride.
    """
    if torch.is_autocast_enabled("cpu"):  # a Function sees the types it is given, so cast as conv3d would
        dtype = torch.get_autocast_dtype("cpu")
        features, weight = features.to(dtype), weight.to(dtype)
    if not any(rate % step for step in stride):
        rates = [rate // step for step in stride]
        features = TakeEvery.apply(features, stride) if max(stride) > 1 else features
        stride = [1] * len(stride)
    else:
        rates = [rate] * len(stride)
    strided = max(stride) > 1
    on_lattices = len(set(rates)) == 1 and rates[0] > 1 and all(math.gcd(rates[0], step) == 1 for step in stride)
    if on_lattices and (strided or min(features.shape[2:]) // rates[0] >= 3):
        return DilatedConvolution.apply(features, weight, stride, rates[0])
    convolve = F.conv3d if weight.dim() == 5 else F.conv2d
    return convolve(features, weight, None, stride, rates, rates)


@torch.jit.unused
def _max_pool_on_cpu(features: Tensor, stride: list[int]) -> Tensor:
    if max(stride) == 1:
        return MaxPool3.apply(features)
    pool = F.max_pool3d if features.dim() == 5 else F.max_pool2d
    with torch.autocast("cpu", enabled=False):  # it would compute in 32 bits, and a maximum is exact in any
        return pool(features, 3, stride, 1)


@torch.jit.unused
def _avg_pool_as_convolution(features: Tensor, stride: list[int]) -> Tensor:
    channels, dims = features.shape[1], features.dim() - 2
    diagonal = torch.eye(channels, dtype=features.dtype, device=features.device) / 3**dims
    weight = diagonal.reshape(channels, channels, *[1] * dims).expand(channels, channels, *[3] * dims)
    convolve = F.conv3d if dims == 3 else F.conv2d
    return convolve(features, weight.contiguous(), None, stride, 1)


@torch.jit.unused
def _avg_pool_by_sums(features: Tensor, stride: list[int]) -> Tensor:
    """Sum over three neighbours, axis by axis, of the voxels that the stride leaves of an axis."""
    memory_format = layout(features)
    for axis, step in enumerate(stride, start=2):
        first, before, after = (
            features[(slice(None),) * axis + (slice(start, None, step),)] for start in (0, step - 1, 1)
        )
        total, count = first.clone(memory_format=memory_format), first.shape[axis]
        total.narrow(axis, 1, count - 1).add_(before.narrow(axis, 0, count - 1))
        total.narrow(axis, 0, after.shape[axis]).add_(after)
        features = total
    return features.div_(3 ** len(stride))
