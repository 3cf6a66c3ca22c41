"""What edges read: the features of a node, whose LeakyReLU is shared by the convolutions that read it."""

from typing import List  # noqa: UP035  TorchScript reads these annotations

import torch
from torch import Tensor, nn

from monai_nas.ops.fast import leaky_relu

# Features (B, C, *S) and, once a convolution has read them in training, their LeakyReLU; empty where no path leads.
Node = List[Tensor]  # noqa: UP006


def activated(node: Node) -> Tensor:
    """Return the LeakyReLU of a node's features, which is kept for others where autograd keeps it anyway."""
    if not torch.is_grad_enabled():
        return leaky_relu(node[0])
    if len(node) == 1:
        node.append(leaky_relu(node[0]))
    return node[1]


class Features(nn.Module):
    """The features of a node as they are."""

    def forward(self, node: Node) -> Tensor:
        return node[0]
