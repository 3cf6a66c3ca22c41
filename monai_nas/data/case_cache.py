"""Preprocessed cases kept on disk between runs, under the content of all that they depend on.

MONAI's ``PersistentDataset`` (1.6) does the like, but stops at a file cut short and on a full disk, and its rename is
a copy where the temporary folder lies on another disk.
"""

import hashlib
import json
import logging
import os
import shutil
import zipfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import monai
import torch

import monai_nas
from monai_nas.errors import UserError
from monai_nas.files import file_sha256, load_tensors, save_tensors
from monai_nas.tasks.splits import Case

logger = logging.getLogger(__name__)
VARIABLE = "MONAI_NAS_CACHE"
_FREE_FACTOR = 10  # nothing is written where all cases together would take more than this part of the free space


def cache_folder() -> Path | None:
    """Return the folder for preprocessed cases, which need not exist, or None where there is to be none.

    It is what the environment variable ``MONAI_NAS_CACHE`` names; where that is not set, ``monai_nas`` in the user's
    folder for caches. An empty value switches the cache off, and so does a user without a home.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return Path(os.path.expanduser(named)) if named else None
    base = Path(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"))
    return base / "monai_nas" if base.is_absolute() else None


class CaseCache:
    """Preprocessed cases in files, one a case; without a folder it holds nothing and keeps nothing.

    A file's name is the hash of the content of image and label, of the transforms, of the versions of monai, monai_nas
    and torch, and of the number of threads (sums in other orders differ in the last bit). Names and places of the
    scans are no part of it. Files appear by renaming, so that any number of processes may share a folder; whatever
    goes wrong costs a warning and the time to preprocess, never the run. Nothing is deleted.
    """

    def __init__(self, transforms: Sequence[dict[str, Any]], num_cases: int) -> None:
        """Take the MONAI configurations of the preprocessing, and how many cases are to be kept with it."""
        self._folder = cache_folder()
        self._transforms = list(transforms)
        self._num_cases = num_cases
        self._writes = True  # until it fails: one line is enough
        self._num_read = self._num_written = 0

    def place(self, case: Case) -> Path | None:
        """Return the file that holds the case or would hold it, None without a folder.

        Raises:
            OSError: when image or label cannot be read.
        """
        if self._folder is None:
            return None
        identity = {
            "files": [file_sha256(file) for file in case.files],
            "transforms": self._transforms,
            "versions": [monai.__version__, monai_nas.__version__, torch.__version__],
            "threads": torch.get_num_threads(),
        }
        return self._folder / f"{hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()}.pt"

    def read(self, place: Path | None) -> dict[str, Any] | None:
        """Return what :meth:`write` kept, None where there is nothing or a damaged file."""
        if place is None or not os.path.isfile(place):  # which does not raise where the folder is closed to us
            return None
        try:
            with zipfile.ZipFile(place) as archive:  # torch does not look at the checksums
                if (damaged := archive.testzip()) is not None:
                    raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
            tensors: dict[str, Any] = load_tensors(place)
        except Exception as error:  # a zip archive can be damaged in a dozen ways
            logger.warning("%s: cannot be used (%s): the case is preprocessed anew", place, error)
            return None
        self._num_read += 1
        return tensors

    def write(self, place: Path | None, tensors: dict[str, Any]) -> None:
        """Keep a preprocessed case, tensors and lists of them, where there is space for all."""
        if place is None or not self._writes:
            return
        try:
            place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)  # scans are nobody else's business
            self._writes = self._has_space(place.parent, tensors)
            if self._writes:
                save_tensors(place, tensors)
                self._num_written += 1
        except (OSError, UserError) as error:
            self._writes = False
            logger.warning(
                "%s: preprocessed cases are not kept: set %s to another folder, or to nothing", error, VARIABLE
            )

    def tell(self) -> None:
        """Log how many cases were read and written, and what the folder holds by now."""
        if self._folder is not None and self._num_read + self._num_written > 0:
            logger.info(
                "preprocessed cases: %d read from %s, %d written there; it holds %.1f GB and may be deleted",
                self._num_read,
                self._folder,
                self._num_written,
                _folder_bytes(self._folder) / 1e9,
            )

    def _has_space(self, folder: Path, tensors: dict[str, Any]) -> bool:
        needed_bytes = self._num_cases * _num_bytes(tensors)
        free_bytes = shutil.disk_usage(folder).free
        if _FREE_FACTOR * needed_bytes < free_bytes:
            return True
        logger.info(
            "%s: preprocessed cases are not kept: some %.1f GB is too large a part of the %.1f GB free; set %s to a "
            "folder with more space",
            folder,
            needed_bytes / 1e9,
            free_bytes / 1e9,
            VARIABLE,
        )
        return False


def _num_bytes(value: Any) -> int:
    """Return the bytes of a tensor, or of those in a table or list."""
    if isinstance(value, torch.Tensor):
        return value.nbytes
    return sum(_num_bytes(part) for part in (value.values() if isinstance(value, dict) else value))


def _folder_bytes(folder: Path) -> int:
    total = 0
    for path in folder.glob("*"):
        with suppress(OSError):  # renamed or deleted meanwhile
            total += path.stat().st_size
    return total
