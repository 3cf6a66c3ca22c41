"""The one exception that the command line turns into a single line and exit status 2, and what mends a full disk."""

import errno
import math

REMEDIES = {
    errno.ENOSPC: "free some space or choose another folder",
    errno.EDQUOT: "free some space or choose another folder",
    errno.EFBIG: "raise the limit on the size of files, or choose another folder",
    errno.EACCES: "change its permissions or choose another path",
    errno.EPERM: "change its permissions or choose another path",
    errno.EROFS: "choose a folder that can be written to",
    errno.ENOTDIR: "a file lies where a folder is needed: choose another path",
    errno.EEXIST: "a file lies where a folder is needed: choose another path",
    errno.EISDIR: "a folder lies where a file is needed: choose another path",
    errno.ENAMETOOLONG: "choose a shorter path",
    errno.EIO: "check the disk, or choose another one",
}


class UserError(Exception):
    """Something the user can mend; the message names the file, the value found and the remedy, on one line."""


def remedy(error: OSError) -> str:
    """Return what the user can do about a file that cannot be read or written."""
    return REMEDIES.get(error.errno or 0, "check the path, or choose another one")


def finite_loss(value: float) -> float:
    """Return the loss of a step.

    Raises:
        UserError: when it is infinite or no number: the weights are lost from there on.
    """
    if not math.isfinite(value):
        raise UserError(f"the loss is {value}: check the data with `monai-nas check`, or run with --float32")
    return value
