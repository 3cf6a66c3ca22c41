"""Operations with gradients of their own: faster on processors than torch's, or keeping less."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import Function
from torch.nn import functional as F

SLOPE = 0.01  # of LeakyReLU, torch's


def interleave(features: Tensor, rate: int) -> Tensor:
    """Split (B, C, *S) into the rate^d sub-lattices of step ``rate``: (B * rate^d, C, *ceil(S / rate)), zero-padded.

    A convolution dilated by ``rate`` is an undilated one on each sub-lattice. The result is channels-last.
    """
    batch, channels, *size = features.shape
    dims = len(size)
    if any(extent % rate for extent in size):  # else padding would copy all the same
        features = F.pad(features, [pad for extent in reversed(size) for pad in (0, -extent % rate)])
    coarse = [-(-extent // rate) for extent in size]
    split = features.movedim(1, -1).reshape(batch, *itertools.chain(*((extent, rate) for extent in coarse)), channels)
    # (B, D, r, H, r, W, r, C) -> (B, r, r, r, D, H, W, C)
    lattices = split.permute(0, *range(2, 2 * dims + 1, 2), *range(1, 2 * dims, 2), 2 * dims + 1)
    return lattices.reshape(batch * rate**dims, *coarse, channels).movedim(-1, 1)


def lattices_read(features: Tensor, stride: Sequence[int], rate: int) -> Tensor:
    """Return what the sub-lattices of a strided dilated convolution's result read: (B * rate^d, C, *T), channels-last.

    On an axis, result ``rate * q + r`` reads voxels ``stride * r + rate * (stride * q + k)`` of (B, C, *S), k of -1, 0
    and 1: for each r an undilated convolution of the same stride, on every rate-th voxel from ``stride * r - rate`` on.
    The sub-lattices of the result are :func:`interleave`'s; stride and rate share no divisor.
    """
    batch, channels, *size = features.shape
    counts = [step * (-(-extent // (step * rate)) - 1) + 3 for extent, step in zip(size, stride, strict=True)]
    ends = [step * (rate - 1) + rate * (count - 1) + 1 for count, step in zip(counts, stride, strict=True)]
    whole = [max(end, rate + extent) for end, extent in zip(ends, size, strict=True)]
    padded = features.new_zeros(batch, *whole, channels)
    inside = (slice(None), *(slice(rate, rate + extent) for extent in size))
    padded[inside] = features.movedim(1, -1)
    first, *along, last = padded.stride()
    starts = [step * one for step, one in zip(stride, along, strict=True)]
    shape = (batch, *[rate] * len(size), *counts, channels)
    lattices = padded.as_strided(shape, (first, *starts, *(rate * one for one in along), last))
    return lattices.reshape(batch * rate ** len(size), *counts, channels).movedim(-1, 1)


class DilatedConvolution(Function):
    """Dilated 3x3[x3] convolution whose weight gradient is taken on sub-lattices; stride and rate share no divisor."""

    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, stride: list[int], rate: int) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.save_for_backward(features, weight)
        ctx.stride, ctx.rate = stride, rate
        convolve = F.conv3d if weight.dim() == 5 else F.conv2d
        padding = [rate] * len(stride)
        return convolve(features, weight, None, stride, padding, padding)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:  # type: ignore[no-untyped-def]
        features, weight = ctx.saved_tensors
        stride, rate, dims = ctx.stride, ctx.rate, weight.dim() - 2
        ones, zeros, rates = [1] * dims, [0] * dims, [rate] * dims
        convolution_backward = torch.ops.aten.convolution_backward
        to_features = to_weight = None
        if ctx.needs_input_grad[0]:
            if max(stride) == 1:
                # Odd kernel, size kept: the gradient is a convolution with the flipped, transposed weight.
                flipped = weight.flip(*range(2, weight.dim())).transpose(0, 1)
                convolve = F.conv3d if dims == 3 else F.conv2d
                to_features = convolve(gradient, flipped, None, 1, rates, rates)
            else:
                to_features = convolution_backward(
                    gradient, features, weight, None, stride, rates, rates, False, zeros, 1, [True, False, False]
                )[0]
        if ctx.needs_input_grad[1]:
            read, padding = (
                (interleave(features, rate), ones)
                if max(stride) == 1
                else (lattices_read(features, stride, rate), zeros)
            )
            to_weight = convolution_backward(
                interleave(gradient, rate),
                read,
                weight,
                None,
                stride,
                padding,
                ones,
                False,
                zeros,
                1,
                [False, True, False],
            )[1]
        return to_features, to_weight, None, None


class MaxPool3(Function):
    """3x3[x3] max pooling of stride 1, axis by axis, last axis first; ties go to the first voxel, as in torch."""

    @staticmethod
    def forward(ctx, features: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        winners: list[Tensor] = []
        for axis in range(features.dim() - 1, 1, -1):
            low, high = _without_last(features, axis), _without_first(features, axis)
            best = torch.empty_like(features)
            best.narrow(axis, 0, 1).copy_(features.narrow(axis, 0, 1))
            best_low, best_high = _without_last(best, axis), _without_first(best, axis)
            torch.maximum(low, high, out=best_high)
            if ctx.needs_input_grad[0]:
                before = torch.ge(low, high, out=torch.empty_like(low))  # the voxel before wins, also a tie
                after = torch.gt(high, best_low, out=torch.empty_like(low))  # the voxel after is larger still
                loses = _without_first(after, axis)
                _without_last(before, axis).addcmul_(_without_last(before, axis), loses, value=-1)
                winners += before, after
            torch.maximum(best_low, high, out=best_low)
            features = best
        ctx.save_for_backward(*winners)
        return features

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        winners = ctx.saved_tensors
        for axis, before, after in zip(range(2, gradient.dim()), winners[-2::-2], winners[::-2], strict=True):
            to_before = _without_first(gradient, axis) * before
            to_after = _without_last(gradient, axis) * after
            result = torch.empty_like(gradient)
            result.narrow(axis, 0, 1).copy_(gradient.narrow(axis, 0, 1))
            torch.sub(_without_first(gradient, axis), to_before, out=_without_first(result, axis))
            _without_last(result, axis).sub_(to_after)
            _without_last(result, axis).add_(to_before)
            _without_first(result, axis).add_(to_after)
            gradient = result
        return gradient


def _without_last(features: Tensor, axis: int) -> Tensor:
    return features.narrow(axis, 0, features.shape[axis] - 1)


def _without_first(features: Tensor, axis: int) -> Tensor:
    return features.narrow(axis, 1, features.shape[axis] - 1)


class LeakyReLU(Function):
    """LeakyReLU whose gradient is told from its result, which has the same sign as its input."""

    @staticmethod
    def forward(ctx, features: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        result = F.leaky_relu(features, SLOPE)
        ctx.save_for_backward(result)
        return result

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        (result,) = ctx.saved_tensors
        return torch.ops.aten.leaky_relu_backward(gradient, result, SLOPE, True)


class Join(Function):
    """Concatenation of channels whose gradients are as dense as the parts; torch's are views with gaps."""

    @staticmethod
    def forward(ctx, *parts: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.counts = [part.shape[1] for part in parts]
        return torch.cat(parts, 1)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, ...]:  # type: ignore[no-untyped-def]
        memory_format = layout(gradient)
        return tuple(part.contiguous(memory_format=memory_format) for part in torch.split(gradient, ctx.counts, 1))


class TakeEvery(Function):
    """Every stride-th voxel of each axis, keeping the layout; gradients of torch's slicing are contiguous."""

    @staticmethod
    def forward(ctx, features: Tensor, stride: list[int]) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.layout = layout(features)
        ctx.size, ctx.stride = features.shape, stride
        return _every(features, stride).contiguous(memory_format=ctx.layout)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        spread = torch.empty(ctx.size, dtype=gradient.dtype, memory_format=ctx.layout).zero_()
        _every(spread, ctx.stride).copy_(gradient)
        return spread, None


def _every(features: Tensor, stride: list[int]) -> Tensor:
    """Return the view of every stride-th voxel."""
    for axis, step in enumerate(stride, start=2):
        features = features[(slice(None),) * axis + (slice(None, None, step),)]
    return features


def channels_last(features: Tensor) -> torch.memory_format:
    """Return the channels-last layout of as many dimensions as the features have."""
    return torch.channels_last_3d if features.dim() == 5 else torch.channels_last


def layout(features: Tensor) -> torch.memory_format:
    """Return channels-last where the features are in it, else contiguous."""
    wanted = channels_last(features)
    return wanted if features.is_contiguous(memory_format=wanted) else torch.contiguous_format
