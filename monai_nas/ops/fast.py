"""Exact forms of slow operations for processors; each test compares them with torch's own.

Measured on a processor with bfloat16 instructions (`docs/decisions/0004`): the weight gradient of a dilated convolution
takes 5-20 times its other parts, and stock pooling 5-20 times a dense convolution.
"""

import itertools

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F


def dilated_convolution(features: Tensor, weight: Tensor, stride: list[int], rate: int) -> Tensor:
    """Convolve (B, Ci, *S) with a 3x3[x3] weight (Co, Ci, 3, 3[, 3]) dilated by ``rate``, padded to keep the size.

    Sub-lattices of fewer than three voxels an axis are left to torch: there oneDNN 3 (in torch 2.13) reads past the end
    and returns weight gradients of any size in bfloat16.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and torch.is_grad_enabled() and rate > 1:  # the gain is in the gradients
            return _dilated_convolution_on_cpu(features, weight, stride, rate)
    if weight.dim() == 5:
        return F.conv3d(features, weight, None, stride, [rate, rate, rate], [rate, rate, rate])
    return F.conv2d(features, weight, None, stride, [rate, rate], [rate, rate])


def max_pool(features: Tensor, stride: list[int]) -> Tensor:
    """Maximum over 3x3[x3] neighbours, padded to keep the size before ``stride``."""
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and max(stride) == 1 and not torch.jit.is_tracing():
            return _max_pool_on_cpu(features)
    if features.dim() == 5:
        return F.max_pool3d(features, 3, stride, 1)
    return F.max_pool2d(features, 3, stride, 1)


def avg_pool(features: Tensor, stride: list[int]) -> Tensor:
    """Mean over 3x3[x3] neighbours, counting the padding as zeros.

    On a processor it is a dense convolution with a fixed diagonal weight: torch has no bfloat16 average pooling there.
    """
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and not torch.jit.is_tracing():
            return _avg_pool_as_convolution(features, stride)
    if features.dim() == 5:
        return F.avg_pool3d(features, 3, stride, 1)
    return F.avg_pool2d(features, 3, stride, 1)


def instance_norm(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    """Normalise each channel of each sample of (B, C, *S), then scale and shift it by ``weight`` and ``bias`` (C,)."""
    if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
        if features.device.type == "cpu" and torch.is_grad_enabled() and not torch.jit.is_tracing():
            return _instance_norm_on_cpu(features, weight, bias, eps)
    return F.instance_norm(features, weight=weight, bias=bias, eps=eps)


@torch.jit.unused
def _instance_norm_on_cpu(features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:
    return InstanceNorm.apply(features, weight, bias, eps)


@torch.jit.unused
def _dilated_convolution_on_cpu(features: Tensor, weight: Tensor, stride: list[int], rate: int) -> Tensor:
    """Take strides out of a dilated convolution, then choose the form of its weight gradient.

    Where the rate is a multiple of the stride, only every stride-th voxel is read: taking those first leaves a
    convolution of stride 1 and rate / stride. Elsewhere taking them from the result of stride 1 is still the fastest.
    """
    if torch.is_autocast_enabled("cpu"):  # a Function sees the types it is given, so cast as conv3d would
        dtype = torch.get_autocast_dtype("cpu")
        features, weight = features.to(dtype), weight.to(dtype)
    if any(rate % step for step in stride):
        return TakeEvery.apply(_dilated_convolution_on_cpu(features, weight, [1] * len(stride), rate), stride)
    rates = [rate // step for step in stride]
    features = TakeEvery.apply(features, stride) if max(stride) > 1 else features
    if len(set(rates)) == 1 and rates[0] > 1 and min(features.shape[2:]) // rates[0] >= 3:
        return DilatedConvolution.apply(features, weight, rates[0])
    convolve = F.conv3d if weight.dim() == 5 else F.conv2d
    return convolve(features, weight, None, 1, rates, rates)


@torch.jit.unused
def _max_pool_on_cpu(features: Tensor) -> Tensor:
    return MaxPool3.apply(features)


@torch.jit.unused
def _avg_pool_as_convolution(features: Tensor, stride: list[int]) -> Tensor:
    channels, dims = features.shape[1], features.dim() - 2
    diagonal = torch.eye(channels, dtype=features.dtype, device=features.device) / 3**dims
    weight = diagonal.reshape(channels, channels, *[1] * dims).expand(channels, channels, *[3] * dims)
    convolve = F.conv3d if dims == 3 else F.conv2d
    return convolve(features, weight.contiguous(), None, stride, 1)


def interleave(features: Tensor, rate: int) -> Tensor:
    """Split (B, C, *S) into the rate^d sub-lattices of step ``rate``: (B * rate^d, C, *ceil(S / rate)), zero-padded.

    A convolution dilated by ``rate`` is an undilated one on each sub-lattice. The result is channels-last.
    """
    batch, channels, *size = features.shape
    dims = len(size)
    features = F.pad(features, [pad for extent in reversed(size) for pad in (0, -extent % rate)])
    coarse = [-(-extent // rate) for extent in size]
    split = features.movedim(1, -1).reshape(batch, *itertools.chain(*((extent, rate) for extent in coarse)), channels)
    # (B, D, r, H, r, W, r, C) -> (B, r, r, r, D, H, W, C)
    lattices = split.permute(0, *range(2, 2 * dims + 1, 2), *range(1, 2 * dims, 2), 2 * dims + 1)
    return lattices.reshape(batch * rate**dims, *coarse, channels).movedim(-1, 1)


class DilatedConvolution(Function):
    """Dilated 3x3[x3] convolution of stride 1 whose weight gradient is taken on the interleaved sub-lattices."""

    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, rate: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(features, weight)
        ctx.rate = rate
        convolve = F.conv3d if weight.dim() == 5 else F.conv2d
        return convolve(features, weight, None, 1, rate, rate)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # type: ignore[no-untyped-def]
        features, weight = ctx.saved_tensors
        rate, dims = ctx.rate, weight.dim() - 2
        ones, zeros = [1] * dims, [0] * dims
        to_features = to_weight = None
        if ctx.needs_input_grad[0]:
            # Odd kernel, stride 1, size kept: the gradient is a convolution with the flipped, transposed weight.
            flipped = weight.flip(*range(2, weight.dim())).transpose(0, 1)
            convolve = F.conv3d if dims == 3 else F.conv2d
            to_features = convolve(gradient, flipped, None, 1, rate, rate)
        if ctx.needs_input_grad[1]:
            to_weight = torch.ops.aten.convolution_backward(
                interleave(gradient, rate),
                interleave(features, rate),
                weight,
                None,
                ones,
                ones,
                ones,
                False,
                zeros,
                1,
                [False, True, False],
            )[1]
        return to_features, to_weight, None


class MaxPool3(Function):
    """3x3[x3] max pooling of stride 1, axis by axis, last axis first; ties go to the first voxel, as in torch."""

    @staticmethod
    def forward(ctx, features: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.winners = []
        for axis in range(features.dim() - 1, 1, -1):
            low, high = _without_last(features, axis), _without_first(features, axis)
            if not ctx.needs_input_grad[0]:
                features = features.clone()
                torch.maximum(_without_first(features, axis), low, out=_without_first(features, axis))
                torch.maximum(_without_last(features, axis), high, out=_without_last(features, axis))
                continue
            best = features.clone()
            before = low.clone().ge_(high)  # the voxel before wins, also a tie
            _without_first(best, axis).copy_(torch.maximum(low, high))
            after = high.clone().gt_(_without_last(best, axis))
            _without_last(best, axis).copy_(torch.maximum(_without_last(best, axis), high))
            _without_last(before, axis).mul_(1 - _without_first(after, axis))  # the voxel after is larger still
            ctx.winners.append((before, after))
            features = best
        return features

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        for axis, (before, after) in zip(range(2, gradient.dim()), reversed(ctx.winners), strict=True):
            to_before = _without_first(gradient, axis) * before
            to_after = _without_last(gradient, axis) * after
            gradient = gradient.clone()
            _without_first(gradient, axis).sub_(to_before)
            _without_last(gradient, axis).sub_(to_after)
            _without_last(gradient, axis).add_(to_before)
            _without_first(gradient, axis).add_(to_after)
        return gradient


def _without_last(features: Tensor, axis: int) -> Tensor:
    return features.narrow(axis, 0, features.shape[axis] - 1)


def _without_first(features: Tensor, axis: int) -> Tensor:
    return features.narrow(axis, 1, features.shape[axis] - 1)


class TakeEvery(Function):
    """Every stride-th voxel of each axis, keeping the layout; gradients of torch's slicing are contiguous."""

    @staticmethod
    def forward(ctx, features: Tensor, stride: list[int]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.layout = _layout(features)
        ctx.size, ctx.stride = features.shape, stride
        return _every(features, stride).contiguous(memory_format=ctx.layout)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        spread = torch.zeros(ctx.size, dtype=gradient.dtype).to(memory_format=ctx.layout)
        _every(spread, ctx.stride).copy_(gradient)
        return spread, None


def _every(features: Tensor, stride: list[int]) -> Tensor:
    """Return the view of every stride-th voxel."""
    for axis, step in enumerate(stride, start=2):
        features = features[(slice(None),) * axis + (slice(None, None, step),)]
    return features


def _layout(features: Tensor) -> torch.memory_format:
    """Return channels-last where the features are in it, else contiguous."""
    layout = torch.channels_last_3d if features.dim() == 5 else torch.channels_last
    return layout if features.is_contiguous(memory_format=layout) else torch.contiguous_format


class InstanceNorm(Function):
    """Instance norm as a batch norm of each sample: it keeps channels-last; torch's own makes all contiguous."""

    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:  # type: ignore[no-untyped-def]
        output = torch.empty_like(features)
        means, scales = [], []
        for sample, normalised in zip(torch.split(features, 1), torch.split(output, 1), strict=True):
            result, mean, scale = torch.ops.aten.native_batch_norm(sample, weight, bias, None, None, True, 0.0, eps)
            normalised.copy_(result)
            means.append(mean)
            scales.append(scale)
        ctx.save_for_backward(features, weight, torch.stack(means), torch.stack(scales))
        ctx.eps = eps
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        features, weight, means, scales = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=_layout(features))
        to_features = torch.empty_like(features)
        to_weight, to_bias = torch.zeros_like(weight), torch.zeros_like(weight)
        for index, target in enumerate(torch.split(to_features, 1)):
            part = slice(index, index + 1)
            result, weight_part, bias_part = torch.ops.aten.native_batch_norm_backward(
                gradient[part],
                features[part],
                weight,
                None,
                None,
                means[index],
                scales[index],
                True,
                ctx.eps,
                [True] * 3,
            )
            target.copy_(result)
            to_weight += weight_part
            to_bias += bias_part
        return to_features, to_weight, to_bias, None
