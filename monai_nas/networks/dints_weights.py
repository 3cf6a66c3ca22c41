"""Weights of MONAI's DiNTS for :class:`DintsNetwork`, and back, by name."""

import re
from collections.abc import Mapping

from torch import Tensor

from monai_nas.errors import UserError
from monai_nas.networks.dints import DintsNetwork
from monai_nas.spaces.topology import paths

PATH = re.compile(r"blocks\.(\d+)\.nodes\.\d+\.paths\.(\d+)-(\d+)\.operations\.\w+\.")
PARTS: tuple[tuple[str, str], ...] = (  # how a name starts here, how in MONAI
    (r"stems\.(\d+)\.conv_norm\.conv\.", r"stem_down.\1.mod.1."),
    (r"stems\.(\d+)\.conv_norm\.norm\.", r"stem_down.\1.mod.2."),
    (r"stems\.(\d+)\.reduce\.1\.conv\.", r"stem_down.\1.mod.4."),
    (r"stems\.(\d+)\.reduce\.1\.norm\.", r"stem_down.\1.mod.5."),
    (r"lifts\.(\d+)\.conv_norm\.conv\.", r"stem_up.\1.mod.1."),
    (r"lifts\.(\d+)\.conv_norm\.norm\.", r"stem_up.\1.mod.2."),
    (r"head\.lift\.conv_norm\.conv\.", "stem_up.0.mod.1."),
    (r"head\.lift\.conv_norm\.norm\.", "stem_up.0.mod.2."),
    (r"head\.conv_norm\.", "stem_finals.0."),
    (r"head\.conv\.", "stem_finals.1."),
)
PATH_PARTS: tuple[tuple[str, str], ...] = (
    (r"resample\.even\.", "preprocess.conv_1."),
    (r"resample\.odd\.", "preprocess.conv_2."),
    (r"resample\.norm\.", "preprocess.norm."),
    (r"resample\.conv_norm\.", "preprocess."),
    (r"operation\.conv_norm\.", "op.ops.0."),
    (r"operation\.conv\.in_plane\.", "op.ops.0.conv."),
    (r"operation\.conv\.across\.", "op.ops.0.conv_1."),
    (r"operation\.norm\.", "op.ops.0.norm."),
)


def dints_weights(network: DintsNetwork) -> dict[str, Tensor]:
    """Return the network's weights by the names of MONAI's ``DiNTS(TopologyInstance(...))`` of the same code.

    MONAI loads them with ``strict=False``; what they lack is what :func:`unused_dints_weights` lists.
    """
    return {_monai_name(name, network.num_levels): weight for name, weight in network.state_dict().items()}


def load_dints_weights(network: DintsNetwork, weights: Mapping[str, Tensor]) -> None:
    """Copy the weights of MONAI's ``DiNTS(TopologyInstance(...))`` of the same code into the network.

    Args:
        network: is changed.
        weights: ``state_dict`` of MONAI's network; it may lack what :func:`unused_dints_weights` lists.

    Raises:
        UserError: when a weight is missing, has another shape, or belongs to a part that the network does not have.
    """
    unused = unused_dints_weights(network)
    own = network.state_dict()
    theirs = {name: _monai_name(name, network.num_levels) for name in own}
    strange = sorted(weights.keys() - theirs.values() - set(unused))
    if strange:
        raise UserError(f"DiNTS weights: {strange[0]} is of no part of this architecture: give its own code")
    for name, weight in own.items():
        if theirs[name] not in weights:
            raise UserError(f"DiNTS weights: {theirs[name]} is missing: give the code that they were trained with")
        found = tuple(weights[theirs[name]].shape)
        if found != tuple(weight.shape):
            raise UserError(
                f"DiNTS weights: {theirs[name]} has the shape {found}, the network's {tuple(weight.shape)}: give the "
                "width, strides and channels that they were trained with"
            )
    network.load_state_dict({name: weights[theirs[name]] for name in own})


def unused_dints_weights(network: DintsNetwork) -> list[str]:
    """Return the names of the weights that MONAI builds and never uses for the network's code.

    MONAI builds ``stem_down`` and ``stem_up`` for every level. Of the former it drops the features of levels that the
    first block does not read, though it computes them; the latter it runs from the coarsest level that the last block
    reaches.
    """
    used = set(dints_weights(network))
    stems = re.compile(r"^(stem_down|stem_up)\.\d+\.")
    built = {
        stems.sub(rf"\1.{level}.", name) for name in used if stems.match(name) for level in range(network.num_levels)
    }
    return sorted(built - used)


def _monai_name(name: str, num_levels: int) -> str:
    """Return MONAI's name of a weight of :class:`DintsNetwork`."""
    path = PATH.match(name)
    start, rest, parts = "", name, PARTS
    if path is not None:
        block, source, target = map(int, path.groups())
        start = f"dints_space.cell_tree.({block}, {paths(num_levels).index((source, target))})."
        rest, parts = name[path.end() :], PATH_PARTS
    for own, theirs in parts:
        if re.match(own, rest):
            return start + re.sub(own, theirs, rest, count=1)
    raise ValueError(f"{name} has no counterpart in MONAI's DiNTS")
