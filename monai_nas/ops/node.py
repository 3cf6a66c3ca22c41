"""What edges read: the features of a node, whose LeakyReLU and maximum are shared by all that read them."""

from typing import List  # noqa: UP035  TorchScript reads these annotations

import torch
from torch import Tensor, nn

from monai_nas.ops.fast import leaky_relu, max_pool

# Features (B, C, *S) and, in training, what their readers share once the first has made it: their activation, LeakyReLU
# or in DiNTS ReLU, and their maximum over neighbours; each is (0,) until then. Empty where no path leads.
Node = List[Tensor]  # noqa: UP006


def activated(node: Node) -> Tensor:
    """Return the LeakyReLU of a node's features, which is kept for others where autograd keeps it anyway."""
    if not torch.is_grad_enabled():
        return leaky_relu(node[0])
    _make_room(node)
    if node[1].dim() == 1:
        node[1] = leaky_relu(node[0])
    return node[1]


def max_pooled(node: Node, stride: List[int]) -> Tensor:  # noqa: UP006  TorchScript reads it
    """Return the maximum over neighbours of a node's features, which is shared where autograd keeps its masks."""
    if not torch.is_grad_enabled() or max(stride) > 1:
        return max_pool(node[0], stride)
    _make_room(node)
    if node[2].dim() == 1:
        node[2] = max_pool(node[0], stride)
    return node[2]


def _make_room(node: Node) -> None:
    while len(node) < 3:
        node.append(node[0].new_empty(0))


class Features(nn.Module):
    """The features of a node as they are."""

    def forward(self, node: Node) -> Tensor:
        return node[0]
