"""Adafactor for kernels: steps as even as Adam's, with next to nothing kept beside the weights."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import torch
from torch import Tensor

DECAY = 0.8  # of the second moments: their memory is 1 - t^-DECAY at a weight's t-th step
LARGEST_RMS = 1.0  # of a step, in rates: it is shortened to that
TINY = 1e-30  # added to squares, so that nothing is divided by 0


class Adafactor(torch.optim.Optimizer):
    """Adafactor with rates of its own and no first moment (Shazeer & Stern 2018, arXiv:1804.04235, algorithm 4).

    The second moment of a weight is kept as the mean over a row and that over a column of its squared gradients, whose
    product stands for it. A kernel (Co, Ci, *K) counts as a matrix of Co rows; ``torch.optim.Adafactor`` factors the
    last two axes instead, and of a 3x3x3 kernel would keep two thirds of a moment. Weights of one axis keep it whole.
    A supernet's weights take turns, so that a first moment would be one of other architectures, and as large as they.

    The factors make no difference to the scale of a gradient, so it needs no clipping: steps do (``LARGEST_RMS``).

    Args:
        params: weights, or groups of them with settings of their own.
        lr: the rate, which is also the largest root mean square of a step.
    """

    def __init__(self, params: Iterable[Any], lr: float) -> None:
        super().__init__(params, {"lr": lr})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Move the weights that have gradients."""
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group["lr"])

    def update_in_backward(self) -> None:
        """From now on move each weight when its gradient is complete, and drop that: never do all gradients live."""

        def move(index: int, weight: Tensor) -> None:
            with torch.no_grad():
                self._move(weight, self.param_groups[index]["lr"])
            weight.grad = None

        for index, group in enumerate(self.param_groups):
            for weight in group["params"]:
                weight.register_post_accumulate_grad_hook(partial(move, index))

    def _move(self, weight: Tensor, rate: float) -> None:
        """Move a weight; its gradient becomes the step, as copies of a large kernel would be felt."""
        step, state = weight.grad, self.state[weight]
        assert step is not None
        state["step"] = state.get("step", 0) + 1
        share = state["step"] ** -DECAY  # of the newest square
        if step.ndim < 2:
            step.mul_(_follow(state, "moment", step.square() + TINY, share).rsqrt())
        else:
            rows = _follow(state, "rows", _mean_square(step, list(range(1, step.ndim))), share)
            columns = _follow(state, "columns", _mean_square(step, [0]), share)
            step.mul_((rows / rows.mean()).rsqrt()).mul_(columns.rsqrt())
        shrunk = _mean_square(step, None).sqrt().div(LARGEST_RMS).clamp(min=1.0)
        weight.sub_(step.mul_(rate / shrunk))


def _mean_square(values: Tensor, axes: list[int] | None) -> Tensor:
    """Return the mean over axes, which stay as 1, of squares that no tensor holds; None takes all of them."""
    norms = torch.linalg.vector_norm(values, dim=axes, keepdim=True)
    return norms.square().mul_(norms.numel() / values.numel()).add_(TINY)


def _follow(state: dict[str, Any], name: str, newest: Tensor, share: float) -> Tensor:
    """Return the running mean of a name, moved towards the newest value by a share; the first is taken as it is."""
    state[name] = newest.clone() if name not in state else state[name].lerp_(newest, share)
    mean: Tensor = state[name]
    return mean
