"""Parameters and FLOPs of networks and architectures, and all costs in one value."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.cost.fake import fake_run
from monai_nas.cost.memory import training_memory
from monai_nas.networks import build_network
from monai_nas.ops.blocks import DilatedSeparableUnit, PooledConv

CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED_CONVOLUTIONS = (nn.ConvTranspose2d, nn.ConvTranspose3d)
# modules that compute with the weights of convolutions within, which are never called themselves
NEVER_CALLED: dict[type[nn.Module], tuple[str, ...]] = {
    DilatedSeparableUnit: ("depthwise", "pointwise"),
    PooledConv: ("conv",),
}
DTYPES = {4: torch.float32, 2: torch.bfloat16}  # by bytes per value


@dataclass(frozen=True)
class Cost:
    """What a network takes."""

    num_parameters: int
    flops: int  # of one forward pass over the batch; a multiply-add counts as two
    memory_bytes: int  # peak of live tensors in a training step


def network_cost(
    network: nn.Module, in_channels: int, size: Sequence[int], batch_size: int = 1, bytes_per_value: int = 4
) -> Cost:
    """Return what a network takes on images (batch_size, in_channels, *size), whichever its device; it is not changed.

    FLOPs are those of :func:`count_flops`; memory is that of :func:`~monai_nas.cost.training_memory` on a processor,
    channels-last.

    Args:
        network: maps images to logits of the images' size.
        in_channels: modalities.
        size: voxels per axis.
        batch_size: images in one pass.
        bytes_per_value: of feature maps; 4 for float32, 2 for bfloat16.

    Raises:
        ValueError: for another number of bytes.
    """
    if bytes_per_value not in DTYPES:
        raise ValueError(f"bytes_per_value must be one of {', '.join(map(str, DTYPES))}, got {bytes_per_value}")
    compute = Compute(torch.device("cpu"), DTYPES[bytes_per_value], channels_last=True, workers=0)
    num_parameters = sum(parameter.numel() for parameter in network.parameters())
    with _counted_flops(network) as flops:
        memory_bytes = training_memory(network, in_channels, size, batch_size, compute=compute)
    return Cost(num_parameters, sum(flops), memory_bytes)


def count_flops(network: nn.Module, in_channels: int, size: Sequence[int], batch_size: int = 1) -> int:
    """Return the FLOPs of one forward pass; a multiply-add counts as two. The network is not changed.

    They are those of convolutions, without their biases; a depthwise separable unit counts as its two convolutions
    also where it is computed as one dense. Norms, activations, pooling and interpolation are left out, as is usual.
    """
    compute = Compute(torch.device("cpu"), torch.float32, channels_last=True, workers=0)
    with (
        _counted_flops(network) as flops,
        fake_run(network, compute, spatial_dims=len(size), training=False) as run,
        torch.no_grad(),
    ):
        run.logits(torch.empty(batch_size, in_channels, *size))
    return sum(flops)


@contextmanager
def _counted_flops(network: nn.Module) -> Iterator[list[int]]:
    """Collect the FLOPs of each module that runs within."""
    flops: list[int] = []

    def count(per_value: int, module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        values = inputs[0].numel() if isinstance(module, TRANSPOSED_CONVOLUTIONS) else output.numel()
        flops.append(2 * values * per_value)

    hooks = []
    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, *NEVER_CALLED)):
            names = NEVER_CALLED.get(type(module))
            parts = [module] if names is None else [module.get_submodule(name) for name in names]
            # A weight is (Co, Ci / groups, *kernel), of a transposed convolution (Ci, Co / groups, *kernel).
            per_value = sum(part.get_parameter("weight")[0].numel() for part in parts)
            hooks.append(module.register_forward_hook(partial(count, per_value)))
    try:
        yield flops
    finally:
        for hook in hooks:
            hook.remove()


def architecture_cost(
    architecture: Architecture | Mapping[str, Any],
    *,
    in_channels: int,
    out_channels: int,
    width: int,
    strides: Sequence[Sequence[int]],
    size: Sequence[int],
    batch_size: int = 1,
    bytes_per_value: int = 4,
) -> Cost:
    """Return what the network of an architecture takes, see :func:`network_cost`, without allocating its weights.

    Args:
        architecture: the value, or its record.
        in_channels: modalities.
        out_channels: classes with the background.
        width: channels of the stem.
        strides: one per level, one number per axis.
        size: voxels per axis, 2 or 3 of them, divisible by the product of the strides.
        batch_size: images in one pass.
        bytes_per_value: of feature maps; 4 for float32, 2 for bfloat16.

    Raises:
        UserError: when the architecture is not valid.
        ValueError: for another number of bytes.
    """
    with torch.device("meta"):
        network = build_network(
            architecture,
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            strides=strides,
            spatial_dims=len(size),
        )
    return network_cost(network, in_channels, size, batch_size, bytes_per_value)
