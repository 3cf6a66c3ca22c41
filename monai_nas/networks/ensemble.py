"""Several networks as one, whose probabilities are the mean of theirs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from monai_nas.errors import UserError
from monai_nas.networks.build import build_network


class EnsembleNetwork(nn.Module):
    """Members that see the same image; the softmax of the result is the mean of their softmaxes.

    The mean of probabilities, as nnU-Net ensembles its five folds (Isensee et al. 2021, "nnU-Net", Nature Methods 18,
    Methods, "Ensembling and test-time augmentation"). The result is the logarithm of that mean, so that whatever takes
    the logits of one network takes an ensemble.
    """

    def __init__(self, members: Sequence[nn.Module]) -> None:
        """Take the members, each a module from images (B, C, *S) to logits (B, K, *S)."""
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, image: Tensor) -> Tensor:
        """Return log(mean over the members of softmax(logits)), (B, K, *S) in float32, from images (B, C, *S).

        In float32 also under 16-bit autocast: there the members compute in 16 bits, but 16 bits would round away what
        they differ by where all are sure.
        """
        scores: list[Tensor] = []
        for member in self.members:
            scores.append(member(image).float().log_softmax(dim=1))
        return torch.stack(scores).logsumexp(dim=0) - math.log(len(scores))


def build_ensemble(network: Mapping[str, Any], members: int, dropout: float | None = None) -> EnsembleNetwork:
    """Build an ensemble of networks of one architecture, each with its own fresh weights.

    Args:
        network: the arguments of :func:`monai_nas.networks.build_network`, as in RUN/network.json.
        members: how many networks; their tensors are called members.0..., members.1... in the state_dict.
        dropout: instead of the one in ``network``: MONAI Label writes it beside ``_target_`` to tell how sure it is.

    Raises:
        UserError: when the architecture is not valid, or ``members`` is not 1 or more.
    """
    if members < 1:
        raise UserError(f"an ensemble of {members} members: give 1 or more")
    arguments = network if dropout is None else {**network, "dropout": dropout}
    return EnsembleNetwork([build_network(**arguments) for _ in range(members)])
