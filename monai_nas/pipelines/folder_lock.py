"""One process at a time in a RUN folder."""

import fcntl
import logging
import os
from pathlib import Path

from monai_nas.errors import UserError, remedy

logger = logging.getLogger(__name__)

_held: dict[Path, int] = {}  # folders that this process holds -> their handles


def hold_folder(folder: Path) -> None:
    """Keep other processes out of a folder until this one ends, however it ends: the kernel lets go of it then.

    The lock is on the folder itself, so that no file is left behind. Where the file system has no locks, there is none.

    Raises:
        UserError: when another process holds it, or it cannot be read.
    """
    place = folder.resolve()
    try:
        if place in _held and os.path.samestat(os.fstat(_held[place]), place.stat()):
            return
        handle = os.open(place, os.O_RDONLY)
    except OSError as error:
        raise UserError(f"{folder}: cannot be opened ({error.strerror}): {remedy(error)}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(f"{folder}: is in use by another process: wait for its end, or choose another --out") from error
    except OSError:
        logger.debug("%s: this file system has no locks", folder)
    _held[place] = handle


def _let_go() -> None:
    """Close the handles: a worker process that outlives its parent must not hold the parent's folders."""
    while _held:
        os.close(_held.popitem()[1])


os.register_at_fork(after_in_child=_let_go)
