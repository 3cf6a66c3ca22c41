"""Parameters, FLOPs and training memory of an architecture, on torch's meta device: only shapes are computed."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from monai_nas.architecture import Architecture
from monai_nas.networks import build_network
from monai_nas.ops.blocks import DilatedSeparableUnit

ADAM_COPIES = 4  # the parameters, their gradients, Adam's two moments; all stay float32 in mixed precision
CONVOLUTIONS = (nn.Conv2d, nn.Conv3d)
TRANSPOSED_CONVOLUTIONS = (nn.ConvTranspose2d, nn.ConvTranspose3d)


@dataclass(frozen=True)
class Cost:
    """What a network takes."""

    num_parameters: int
    flops: int  # of one forward pass over the batch; a multiply-add counts as two
    memory_bytes: int  # of a training step


def network_cost(
    network: nn.Module, in_channels: int, size: Sequence[int], batch_size: int = 1, bytes_per_value: int = 4
) -> Cost:
    """Return what a network takes on images (batch_size, in_channels, *size), whichever its device; it is not changed.

    FLOPs are those of convolutions, without their biases; a depthwise separable unit counts as its two convolutions
    also where it is computed as one dense. Norms, activations, pooling and interpolation are left out, as is usual.

    Memory is what autograd keeps from the forward for the backward pass, in torch's stock forms, each storage once,
    beside the parameters, their gradients and Adam's two moments in float32. Left out are what lives for one operation
    only (its output before the next one reads it, the gradients in flight, workspaces of convolutions, copies in other
    number formats or layouts), the loss, the allocator's slack, and the libraries themselves.

    Args:
        network: maps images to one tensor.
        in_channels: modalities.
        size: voxels per axis.
        batch_size: images in one pass.
        bytes_per_value: of feature maps; 4 for float32, 2 for 16 bits.
    """
    network = copy.deepcopy(network).to("meta").train()
    flops = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal flops
        # A weight is (Co, Ci / groups, *kernel), of a transposed convolution (Ci, Co / groups, *kernel).
        values = inputs[0].numel() if isinstance(module, TRANSPOSED_CONVOLUTIONS) else output.numel()
        parts = [module.depthwise, module.pointwise] if isinstance(module, DilatedSeparableUnit) else [module]
        flops += sum(2 * values * part.get_parameter("weight")[0].numel() for part in parts)

    for module in network.modules():
        if isinstance(module, (*CONVOLUTIONS, *TRANSPOSED_CONVOLUTIONS, DilatedSeparableUnit)):
            module.register_forward_hook(count)  # a unit's own convolutions are never called
    parameters = list(network.parameters())
    held: dict[int, torch.UntypedStorage] = {}
    own = {parameter.untyped_storage()._cdata for parameter in parameters}
    saved_bytes = 0

    def keep(tensor: Tensor) -> Tensor:
        nonlocal saved_bytes
        storage = tensor.untyped_storage()
        if storage._cdata not in own | held.keys():
            held[storage._cdata] = storage  # alive until the end, so that no other storage takes its place
            width = bytes_per_value if tensor.is_floating_point() else tensor.element_size()
            saved_bytes += storage.nbytes() // tensor.element_size() * width
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor):
        network(torch.empty(batch_size, in_channels, *size, device="meta"))
    num_parameters = sum(parameter.numel() for parameter in parameters)
    return Cost(num_parameters, flops, saved_bytes + ADAM_COPIES * 4 * num_parameters)


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
        bytes_per_value: of feature maps.

    Raises:
        UserError: when the architecture is not valid.
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
