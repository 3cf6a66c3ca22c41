"""The contract of a supernet: a skeleton whose holes hold every candidate."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any

from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.registry import Registry

SUPERNETS: Registry[type["Supernet"]] = Registry("supernet")

Selection = dict[str, Tensor]  # what runs, with which weights; each supernet says what it reads


class Supernet(nn.Module, ABC):
    """A network that runs any selection of its candidates.

    Every parameter is either a weight or an architecture parameter (alpha), never both.
    """

    @abstractmethod
    def forward(self, image: Tensor, selection: Selection) -> Tensor:
        """Return logits (B, Co, *S) of images (B, Ci, *S), running the candidates that are selected only."""

    @abstractmethod
    def one_hot(self, architecture: Architecture) -> Selection:
        """Return the selection that runs exactly ``architecture``."""

    @abstractmethod
    def extract(self, architecture: Architecture) -> nn.Module:
        """Return the plain network of ``architecture`` with copies of this supernet's weights."""

    def architecture_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the alphas; a supernet whose architectures are sampled has none."""
        yield from ()

    def weight_parameters(self) -> Iterator[nn.Parameter]:
        """Yield everything trainable but the alphas."""
        alphas = {id(alpha) for alpha in self.architecture_parameters()}
        yield from (parameter for parameter in self.parameters() if id(parameter) not in alphas)


class RelaxedSupernet(Supernet):
    """A supernet whose choices are relaxed to weights of candidates, with a trainable logit (alpha) for each.

    Its selections map a group of decisions to weights (decisions, candidates); 0 leaves a candidate out.
    """

    @abstractmethod
    def alphas(self) -> dict[str, nn.Parameter]:
        """Choice logits by group of decisions, each (decisions, candidates)."""

    @abstractmethod
    def discretize(self) -> Architecture:
        """Return the architecture of the largest alpha at each decision."""

    def architecture_parameters(self) -> Iterator[nn.Parameter]:
        yield from self.alphas().values()


def build_arguments(
    *, in_channels: int, out_channels: int, width: int, strides: Sequence[Sequence[int]], spatial_dims: int
) -> dict[str, Any]:
    """Return what :func:`~monai_nas.networks.build_network` takes beside the architecture, as a supernet keeps it."""
    return {
        "spatial_dims": spatial_dims,
        "in_channels": in_channels,
        "out_channels": out_channels,
        "width": width,
        "strides": [list(stride) for stride in strides],
        "dropout": 0.0,
    }
