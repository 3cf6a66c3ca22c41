"""A network on fake tensors: shapes, types and devices are computed, values and memory are not."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.func import functional_call

from monai_nas.compute import Compute
from monai_nas.cost.live_bytes import LiveBytes


@dataclass(frozen=True)
class FakeRun:
    """A network with fake weights, and what counts its tensors."""

    network: Callable[[Tensor], Tensor]
    weights: Sequence[Tensor]  # those that are trained
    compute: Compute  # where the fake tensors are
    live: LiveBytes

    def logits(self, image: Tensor) -> Tensor:
        """Return what the network makes of an image in the number format of ``compute``."""
        with _autocast(self.compute):
            return self.network(image)


class ShapesOnly(FakeTensorMode):
    """Fake tensors, beside real ones that code reads values of: counting ranges, and what is made of real tensors.

    A batch norm that writes into given tensors, as ours does, makes no other, so that what torch composes it of need
    not be walked through: that is much of a fake step.
    """

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.aten.arange.start:  # MONAI's losses list their axes by one
            return func(*args, **(kwargs or {}))
        if func is torch.ops.aten.native_batch_norm.out and isinstance(kwargs["out"], FakeTensor):
            return tuple(kwargs[name] for name in ("out", "save_mean", "save_invstd"))
        if any(_is_real(arg) for arg in args):
            if FakeTensor not in types:
                return func(*args, **(kwargs or {}))
            args = tuple(arg.detach() if _is_real(arg) else arg for arg in args)  # else torch looks for their gradients
        return super().__torch_dispatch__(func, types, args, kwargs or {})


def _is_real(value: Any) -> bool:
    return isinstance(value, Tensor) and not isinstance(value, FakeTensor)


@contextmanager
def fake_run(network: nn.Module, compute: Compute, *, spatial_dims: int, training: bool) -> Iterator[FakeRun]:
    """Put fake weights in the place of a network's; within, every tensor that is made is fake and counted.

    The device of ``compute`` need not be there. But a torch that was built without CUDA cannot differentiate fake
    tensors of it: there they are those of a processor, counted in the units of the GPU's allocator.

    Args:
        network: on any device, also "meta"; afterwards it is as it was.
        compute: device, number format and layout.
        spatial_dims: of the network's feature maps.
        training: the mode of its modules.
    """
    wanted = compute.device.type
    on_gpu = wanted == "cuda" and torch.backends.cuda.is_built()
    device = torch.device("cuda", 0) if on_gpu else torch.device("cpu")
    compute = replace(compute, device=device)
    modes = [(module, module.training) for module in network.modules()]

    def fake(tensor: Tensor) -> Tensor:
        layout = compute.layout(spatial_dims) if tensor.ndim == spatial_dims + 2 else torch.contiguous_format
        empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device, memory_format=layout)
        return empty.requires_grad_(tensor.requires_grad)

    with (
        torch.autograd.set_multithreading_enabled(False),  # the GPU's own thread is missing where the GPU is
        ShapesOnly(),
        LiveBytes(device.type, allocator=wanted) as live,
    ):
        named = chain(network.named_parameters(), network.named_buffers())
        tensors = {name: fake(tensor) for name, tensor in named}
        weights = [tensor for tensor in tensors.values() if tensor.requires_grad]
        network.train(training)
        try:
            yield FakeRun(partial(functional_call, network, tensors), weights, compute, live)
        finally:
            for module, mode in modes:
                module.training = mode


@contextmanager
def _autocast(compute: Compute) -> Iterator[None]:
    """Do what ``compute.autocast()`` does, which torch would turn off for a GPU that is not there."""
    kind = compute.device.type
    before = torch.is_autocast_enabled(kind), torch.get_autocast_dtype(kind)
    torch.set_autocast_enabled(kind, compute.low_precision)
    torch.set_autocast_dtype(kind, compute.dtype)
    torch.autocast_increment_nesting()
    try:
        yield
    finally:
        if torch.autocast_decrement_nesting() == 0:
            torch.clear_autocast_cache()
        torch.set_autocast_enabled(kind, before[0])
        torch.set_autocast_dtype(kind, before[1])
