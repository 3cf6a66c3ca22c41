"""The one exception that the command line turns into a single line and exit status 2."""

import math


class UserError(Exception):
    """Something the user can mend; the message names the file, the value found and the remedy, on one line."""


def finite_loss(value: float) -> float:
    """Return the loss of a step.

    Raises:
        UserError: when it is infinite or no number: the weights are lost from there on.
    """
    if not math.isfinite(value):
        raise UserError(f"the loss is {value}: check the data with `monai-nas check`, or run with --float32")
    return value
