"""From an architecture to its network: the one call that bundles and users make."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.registry import Registry
from monai_nas.spaces import SPACES


class NetworkClass(Protocol):
    """What a network is built with; its ``forward`` maps (B, Ci, *S) to logits (B, Co, *S)."""

    def __call__(
        self,
        architecture: Architecture,
        *,
        in_channels: int,
        out_channels: int,
        width: int,
        strides: Sequence[Sequence[int]],
        spatial_dims: int,
        dropout: float,
    ) -> nn.Module: ...

    def check(self, architecture: Architecture) -> None:
        """Raise UserError where the network cannot be built from the architecture, whatever the other arguments."""


NETWORKS: Registry[NetworkClass] = Registry("network")


def build_network(
    architecture: Architecture | Mapping[str, Any],
    *,
    in_channels: int,
    out_channels: int,
    width: int,
    strides: Sequence[Sequence[int]],
    spatial_dims: int = 3,
    dropout: float = 0.0,
) -> nn.Module:
    """Build the network of an architecture, with fresh weights.

    Args:
        architecture: the value, or its record as in RUN/architecture.json and RUN/network.json.
        in_channels: modalities.
        out_channels: classes with the background.
        width: channels of the stem.
        strides: one per level, one number per axis.
        spatial_dims: 2 or 3.
        dropout: probability of zeroing a channel in front of the last convolution.

    Returns:
        A module from images (B, in_channels, *S) to logits (B, out_channels, *S).

    Raises:
        UserError: when the architecture is not valid.
    """
    if not isinstance(architecture, Architecture):
        architecture = Architecture.from_record(architecture)
    return network_class(architecture)(
        architecture,
        in_channels=in_channels,
        out_channels=out_channels,
        width=width,
        strides=strides,
        spatial_dims=spatial_dims,
        dropout=dropout,
    )


def load_architecture(value: str) -> Architecture:
    """Return the architecture that ``value`` names: a network made by hand, or a file.

    Args:
        value: a network of :data:`NETWORKS` without a search space, such as "res_unet"; or the path of a JSON file as a
            search writes it.

    Raises:
        UserError: when it is neither, listing the names, or when the file's architecture is not valid.
    """
    hand_made = [name for name in NETWORKS if name not in SPACES]
    if value in hand_made:
        return Architecture.create(value, {}, {})
    if not Path(value).exists():
        raise UserError(f"{value}: no such file: give an architecture.json, or one of {', '.join(hand_made)}")
    architecture = Architecture.load(Path(value))
    try:
        network_class(architecture).check(architecture)
    except UserError as error:
        raise UserError(f"{value}: {error}") from error
    return architecture


def network_class(architecture: Architecture) -> NetworkClass:
    """Return what builds the networks of the architecture's space; raises UserError for an unknown one."""
    if architecture.space not in NETWORKS:
        raise UserError(f"architecture of unknown space {architecture.space!r}: known are {', '.join(NETWORKS)}")
    return NETWORKS[architecture.space]
