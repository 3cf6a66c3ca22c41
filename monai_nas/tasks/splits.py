"""The cases that a dataset.json lists, and seeded ways to split them: folds, and the two halves of a search."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from monai_nas.errors import UserError
from monai_nas.files import read_json

IMAGE_ENDINGS = (".nii.gz", ".nii", ".nrrd", ".mha")
FOLD_SEED = 0  # folds do not change with the seed of a run, so that runs of several seeds share them


@dataclass(frozen=True)
class Case:
    """One image with its label map, where it has one."""

    name: str  # the image's file name without its ending, "hippocampus_001"
    image: Path
    label: Path | None

    @property
    def files(self) -> tuple[Path, ...]:
        """The image, and the label map where there is one."""
        return (self.image,) if self.label is None else (self.image, self.label)

    def to_record(self) -> dict[str, str | None]:
        """Return the case as plain JSON values; :meth:`from_record` reads it back."""
        return {"name": self.name, "image": str(self.image), "label": None if self.label is None else str(self.label)}

    @classmethod
    def from_record(cls, record: Mapping[str, str | None]) -> "Case":
        """Return the case of a record that :meth:`to_record` wrote."""
        label = record["label"]
        return cls(str(record["name"]), Path(str(record["image"])), None if label is None else Path(label))


def case_name(path: Path | str) -> str:
    """Return the file name without its image ending: "imagesTr/spleen_2.nii.gz" gives "spleen_2"."""
    name = PurePosixPath(path).name
    for ending in IMAGE_ENDINGS:
        if name.lower().endswith(ending):
            return name[: -len(ending)]
    return name


def is_hidden(path: Path | str) -> bool:
    """Whether the file is a system's own, such as the ``._*`` files that macOS leaves in archives."""
    return PurePosixPath(path).name.startswith(".")


def training_cases(data: Path) -> list[Case]:
    """Return the labelled cases that ``data``/dataset.json lists, in its order; ``._*`` files are left out.

    Raises:
        UserError: when dataset.json is missing or its "training" is not the MSD's list of pairs. Whether the files
            exist is the checker's matter.
    """
    path = data / "dataset.json"
    cases = []
    for entry in _listing(path, "training"):
        if not isinstance(entry, Mapping) or not all(isinstance(entry.get(key), str) for key in ("image", "label")):
            raise UserError(f'{path}: training entry {entry!r}: write {{"image": "./imagesTr/...", "label": "..."}}')
        if not is_hidden(entry["image"]):
            cases.append(Case(case_name(entry["image"]), data / entry["image"], data / entry["label"]))
    return cases


def unlabelled_cases(data: Path) -> list[Case]:
    """Return the unlabelled cases that ``data``/dataset.json lists under "test"; see :func:`training_cases`."""
    path = data / "dataset.json"
    cases = []
    for entry in _listing(path, "test"):
        image = entry.get("image") if isinstance(entry, Mapping) else entry
        if not isinstance(image, str):
            raise UserError(f'{path}: test entry {entry!r}: write "./imagesTs/..."')
        if not is_hidden(image):
            cases.append(Case(case_name(image), data / image, None))
    return cases


def _listing(path: Path, key: str) -> list[Any]:
    """Return the list under ``key`` of a dataset.json; an absent key is an empty list."""
    record = read_json(path)
    listing = record.get(key, []) if isinstance(record, Mapping) else None
    if not isinstance(listing, list):
        raise UserError(f"{path}: {key!r} is not a list of cases: write it as in the MSD")
    return listing


def make_folds(names: Sequence[str], seed: int, num_folds: int = 5) -> tuple[tuple[str, ...], ...]:
    """Deal the cases at random into folds of equal size, give or take one.

    Args:
        names: of the cases; their order does not matter.
        seed: the same seed gives the same folds on every machine.
        num_folds: wanted; with fewer cases than that, each case is a fold of its own.

    Returns:
        The names withheld in each fold, sorted; every name is in exactly one fold.

    Raises:
        UserError: with fewer than two cases, or with a name given twice.
    """
    shuffled = _shuffled(names, seed)
    count = min(num_folds, len(shuffled))
    return tuple(tuple(sorted(shuffled[index::count])) for index in range(count))


def search_halves(names: Sequence[str], seed: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Split the training cases at random in two for a search: one half for the weights, the other for the alphas.

    Returns:
        The names of the weights' half (the larger one where the number is odd) and of the alphas' half, sorted.

    Raises:
        UserError: with fewer than two cases, or with a name given twice.
    """
    shuffled = _shuffled(names, seed)
    middle = (len(shuffled) + 1) // 2
    return tuple(sorted(shuffled[:middle])), tuple(sorted(shuffled[middle:]))


def _shuffled(names: Sequence[str], seed: int) -> list[str]:
    """Return the names in a random order that depends on the set of names and the seed alone."""
    if len(names) < 2:
        raise UserError(f"{len(names)} training case: at least 2 are needed to withhold one: add cases to dataset.json")
    if len(set(names)) != len(names):
        twice = sorted({name for name in names if list(names).count(name) > 1})
        raise UserError(f"case {twice[0]} is listed twice: remove one of the entries from dataset.json")
    ordered = sorted(names)
    return [ordered[index] for index in np.random.default_rng(seed).permutation(len(ordered))]
