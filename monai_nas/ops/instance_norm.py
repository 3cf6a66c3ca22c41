"""Instance norm for processors, with gradients of its own: it keeps channels-last; torch's own makes all contiguous."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.autograd import Function

from monai_nas.ops.functions import channels_last, layout

LANES = 64  # channels at a time of NarrowInstanceNorm: a few vector registers


class InstanceNorm(Function):
    """Instance norm as a batch norm of each sample."""

    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:  # type: ignore[no-untyped-def]
        output = torch.empty_like(features)
        means, scales = weight.new_empty(2, len(features), len(weight))
        samples = zip(torch.split(features, 1), torch.split(output, 1), means, scales, strict=True)
        for sample, normalised, mean, scale in samples:
            torch.ops.aten.native_batch_norm.out(
                sample, weight, bias, None, None, True, 0.0, eps, out=normalised, save_mean=mean, save_invstd=scale
            )
        ctx.save_for_backward(features, weight, means, scales)
        ctx.eps = eps
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        features, weight, means, scales = ctx.saved_tensors
        gradient = gradient.contiguous(memory_format=layout(features))
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


class NarrowInstanceNorm(Function):
    """Instance norm of few channels, several neighbouring voxels at a time; the result is channels-last.

    torch's batch norm of channels-last features works on the channels of one voxel at a time. Where they are too few to
    fill a vector register, it does without. So neighbouring voxels are read as one of up to ``LANES`` channels, and the
    statistics of the lanes that are one channel are joined.
    """

    @staticmethod
    def forward(ctx, features: Tensor, weight: Tensor, bias: Tensor, eps: float) -> Tensor:  # type: ignore[no-untyped-def]
        output = torch.empty_like(features, memory_format=channels_last(features))
        features = features.contiguous(memory_format=channels_last(features))
        rows = _rows(features)
        lanes = torch.zeros(rows[0].shape[1], dtype=torch.promote_types(features.dtype, torch.float32))
        statistics = [torch.batch_norm_update_stats(row, lanes, lanes, 0.0) for row in rows]  # of the type of the lanes
        shape = len(rows), -1, len(weight)  # (B, voxels that are one, C)
        means, variances = (torch.stack(values).view(shape) for values in zip(*statistics, strict=True))
        mean = means.mean(1)
        scale = ((variances + (means - mean[:, None]).square()).mean(1) + eps).rsqrt()
        _scale_and_shift(rows, weight * scale, bias - weight * scale * mean, _rows(output))
        ctx.save_for_backward(features, weight, mean, scale)
        return output

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:  # type: ignore[no-untyped-def]
        # For y = weight * n + bias with n = (x - mean) * scale, and means over voxels in angle brackets:
        # dx = weight * scale * (dy - <dy> - n * <dy * n>), a line in dy and in x.
        features, weight, mean, scale = ctx.saved_tensors
        slopes, rows = _rows(gradient.contiguous(memory_format=channels_last(features))), _rows(features)
        products, sums = _sums(slopes, rows, mean, scale)
        of_slope = weight * scale
        of_row = -of_slope * scale * products / features[0, 0].numel()
        shift = -of_slope * sums / features[0, 0].numel() - of_row * mean
        to_features, scaled = (torch.empty_like(features, memory_format=channels_last(features)) for _ in range(2))
        _scale_and_shift(rows, of_row, shift, _rows(to_features))
        _scale_and_shift(slopes, of_slope, torch.zeros_like(shift), _rows(scaled))
        return to_features.add_(scaled), products.sum(0), sums.sum(0), None


def _rows(features: Tensor) -> tuple[Tensor, ...]:
    """Return views of each sample of (B, C, *S), in channels-last, as (1, r * C, voxels / r, 1): r voxels are one."""
    channels, voxels = features.shape[1], features[0, 0].numel()
    together = math.gcd(voxels, max(1, LANES // channels))
    rows = features.movedim(1, -1).reshape(-1, voxels // together, together * channels)
    return torch.split(rows.mT.unsqueeze(-1), 1)


def _scale_and_shift(rows: Sequence[Tensor], scale: Tensor, shift: Tensor, targets: Sequence[Tensor]) -> None:
    """Write scale * row + shift, numbers a sample and channel (B, C), to the targets; rows as of :func:`_rows`."""
    lanes = rows[0].shape[1]
    factors, terms = (value.repeat(1, lanes // value.shape[1]) for value in (scale, shift))
    zeros, unused = torch.zeros(lanes, dtype=scale.dtype), torch.empty(0, dtype=scale.dtype)
    for row, target, factor, term in zip(rows, targets, factors, terms, strict=True):
        torch.ops.aten.native_batch_norm.out(
            row, factor, term, zeros, zeros + 1, False, 0.0, 0.0, out=target, save_mean=unused, save_invstd=unused
        )


def _sums(slopes: Sequence[Tensor], rows: Sequence[Tensor], mean: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sums over voxels of slope * (row - mean) * scale and of slope, numbers a sample and channel (B, C)."""
    lanes, channels = rows[0].shape[1], mean.shape[1]
    means, variances = (value.repeat(1, lanes // channels) for value in (mean, scale.square().reciprocal()))
    ones = torch.ones(lanes, dtype=mean.dtype)
    sums = [
        torch.ops.aten.native_batch_norm_backward(*row, None, None, False, 0.0, [False, True, True])[1:]
        for row in zip(slopes, rows, [ones] * len(rows), means, variances, strict=True)
    ]
    products, slopes_alone = (
        torch.stack(values).view(len(rows), -1, channels).sum(1) for values in zip(*sums, strict=True)
    )
    return products, slopes_alone
