"""Adafactor for kernels: an optimiser that keeps next to nothing beside the weights."""

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

DECAY = 0.8  # of the second moments: their memory is 1 - t^-DECAY at a weight's t-th step
TINY = 1e-30  # added to squares, so that nothing is divided by 0


class Adafactor(torch.optim.Optimizer):
    """Adafactor without a first moment (Shazeer & Stern 2018, arXiv:1804.04235, algorithms 4 and 5).

    The second moment of a weight is kept as the mean over a row and that over a column of its squared gradients, whose
    product stands for it. A kernel (Co, Ci, *K) counts as a matrix of Co rows; ``torch.optim.Adafactor`` factors the
    last two axes instead, and of a 3x3x3 kernel would keep two thirds of a moment. Weights of one axis keep it whole.
    A step's root mean square is at most the rate, which is given, where the paper's is relative to the weights.

    Args:
        params: weights, or groups of them with rates of their own.
        lr: the rate.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})
        self._largest: Tensor | None = None

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  # torch's also calls closures
        """Move the weights that have gradients, and drop those."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group["lr"])

    def update_in_backward(self) -> None:
        """From now on move each weight as soon as its gradient is complete: never do all gradients live. Call it once.

        The hooks do not keep the optimiser alive: it holds the weights that hold them, and such a ring is never freed.
        """
        owner = weakref.ref(self)

        def hook(index: int) -> Any:
            def move(weight: Tensor) -> None:
                optimizer = owner()
                if optimizer is not None:
                    with torch.no_grad():
                        optimizer._move(weight, optimizer.param_groups[index]["lr"])

            return move

        for index, group in enumerate(self.param_groups):
            for weight in group["params"]:
                weight.register_post_accumulate_grad_hook(hook(index))

    @property
    def is_finite(self) -> bool:
        """Whether all gradients were, so far; on a GPU it waits for them."""
        return self._largest is None or bool(self._largest.isfinite())

    def _move(self, weight: Tensor, rate: float) -> None:
        """Move a weight; its gradient becomes the step, as copies of a large kernel would be felt, and is dropped."""
        step, state = weight.grad, self.state[weight]
        assert step is not None
        state["step"] = state.get("step", 0) + 1
        share = state["step"] ** -DECAY  # of the newest square
        if step.ndim < 2:
            step.mul_(_follow(state, "moment", step.square().add_(TINY), share).rsqrt())
        else:
            rows = _follow(state, "rows", _mean_square(step, list(range(1, step.ndim))), share)
            columns = _follow(state, "columns", _mean_square(step, [0]), share)
            step.mul_((rows / rows.mean()).rsqrt()).mul_(columns.rsqrt())
        excess = _mean_square(step, None).sqrt().clamp(min=1.0).view(())
        self._largest = excess if self._largest is None else torch.maximum(self._largest, excess)  # NaN stays
        weight.sub_(step.mul_(rate / excess))
        weight.grad = None


def _mean_square(values: Tensor, axes: list[int] | None) -> Tensor:
    """Return the mean over axes, which stay as 1, of squares that no tensor holds; None takes all of them."""
    norms = torch.linalg.vector_norm(values, dim=axes, keepdim=True)
    return norms.square().mul_(norms.numel() / values.numel()).add_(TINY)


def _follow(state: dict[str, Any], name: str, newest: Tensor, share: float) -> Tensor:
    """Return the running mean of a name, moved towards the newest value by a share; the first is taken as it is."""
    state[name] = newest if name not in state else state[name].lerp_(newest, share)
    mean: Tensor = state[name]
    return mean
