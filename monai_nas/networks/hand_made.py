"""What the networks without a search space share: nothing to choose."""

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError


def check_nothing_chosen(architecture: Architecture) -> None:
    """Raise UserError when the architecture of a network without a search space holds settings or choices."""
    for name, values in (("settings", architecture.settings), ("choices", architecture.choices)):
        if values:
            raise UserError(
                f"architecture of {architecture.space!r} has {name} {dict(values)}: this network is made by hand, "
                f"leave its {name} empty"
            )
