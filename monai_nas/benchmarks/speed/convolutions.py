"""The convolutions of a step by themselves: how fast the step would be if there were nothing else in it."""

import math
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only

COUNTED = (torch.ops.aten.convolution.default, torch.ops.aten.convolution_backward.default)


class Described(NamedTuple):
    """All of a tensor but its values."""

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device

    def filled(self) -> Tensor:
        """Return such a tensor with normal noise."""
        last = sum((length - 1) * step for length, step in zip(self.size, self.stride, strict=True))
        return torch.randn(last + 1, device=self.device).to(self.dtype).as_strided(self.size, self.stride)


class ConvolutionCalls(TorchDispatchMode):
    """Counts the convolutions, forward and backward, that run while it is entered, by all of their arguments."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.counts: Counter[tuple[Any, tuple[Any, ...]]] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in COUNTED:
            self.counts[func, tuple(_described(argument) for argument in args)] += 1
        return func(*args, **(kwargs or {}))

    def again(self) -> Callable[[], None]:
        """Return what runs the same convolutions once more, each as often, on noise, and nothing else."""
        calls = [
            (func, tree_map_only(Described, Described.filled, list(arguments), is_leaf=_is_described), count)
            for (func, arguments), count in self.counts.items()
        ]

        def run() -> None:
            with torch.no_grad():
                for func, arguments, count in calls:
                    for _ in range(count):
                        func(*arguments)

        return run

    def flops(self) -> int:
        """Return the FLOPs of all of them, two for a multiplication with its addition.

        A gradient, by the input or by the weights, takes as many multiplications as the forward pass.
        """
        return sum(_flops(func, arguments) * count for (func, arguments), count in self.counts.items())


def _flops(func: Any, arguments: tuple[Any, ...]) -> int:
    if func is COUNTED[0]:
        image, weight, _, stride, padding, dilation, transposed = arguments[:7]
        lengths = zip(image.size[2:], weight.size[2:], stride, padding, dilation, strict=True)
        result = [(n + 2 * pad - gap * (kernel - 1) - 1) // step + 1 for n, kernel, step, pad, gap in lengths]
        gradients = 1
    else:
        gradient, image, weight, _, _, _, _, transposed = arguments[:8]
        result, gradients = gradient.size[2:], sum(arguments[10][:2])
    voxels = image.size[0] * math.prod(image.size[2:] if transposed else result)
    return int(2 * gradients * voxels * math.prod(weight.size))


def _described(argument: Any) -> Any:
    if isinstance(argument, Tensor):
        return Described(tuple(argument.shape), argument.stride(), argument.dtype, argument.device)
    return tuple(argument) if isinstance(argument, list) else argument


def _is_described(item: Any) -> bool:
    return isinstance(item, Described)
