"""A segmentation problem as a value: facts only, from the MSD or from a user's own dataset.json."""

import dataclasses
import difflib
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_nas.errors import UserError
from monai_nas.files import read_json

DATASET_NAMES = {"Task01_BrainTumour": "brats"}  # where the "name" in the MSD's dataset.json is not the folder's

MOST_LABELS = 256  # values of a label map in uint8


@dataclass(frozen=True)
class SegTask:
    """What is to be segmented, on which images, and how the result is judged.

    Shapes and spacings are in the axis order of the NIfTI header: x, y, z.
    """

    name: str  # "Task04_Hippocampus"; of a user's own dataset the "name" in its dataset.json
    description: str
    modalities: tuple[str, ...]  # one per image channel, in channel order
    labels: tuple[str, ...]  # the index is the value in the label map; labels[0] is "background"
    num_training: int  # published number of labelled cases
    num_test: int  # published number of unlabelled cases
    median_shape: tuple[int, int, int] | None = None  # published, voxels
    median_spacing_mm: tuple[float, float, float] | None = None  # published
    tolerance_mm: float | None = None  # of the surface Dice (NSD); None: the largest spacing is taken
    sources: tuple[str, ...] = ()  # where each fact was published, and which are unverified

    @property
    def num_classes(self) -> int:
        """Number of label values, with the background."""
        return len(self.labels)

    @property
    def in_channels(self) -> int:
        """Number of image channels."""
        return len(self.modalities)

    @property
    def short_name(self) -> str:
        """The name without its ``TaskNN_``, "Hippocampus"."""
        head, _, tail = self.name.partition("_")
        return tail if tail and head.lower().startswith("task") else self.name

    def to_record(self) -> dict[str, Any]:
        """Return the task as plain JSON values; :meth:`from_record` reads it back."""
        return {
            key: list(value) if isinstance(value, tuple) else value for key, value in dataclasses.asdict(self).items()
        }

    @classmethod
    def from_record(cls, record: Any, source: str = "task") -> "SegTask":
        """Return the task of a JSON record.

        Args:
            record: as :meth:`to_record` writes it.
            source: named in the error, usually the file.

        Raises:
            UserError: when the record is no task, lacks keys, has unknown ones, or values that a task cannot have.
        """
        if not isinstance(record, Mapping):
            raise UserError(f"{source}: not a task ({type(record).__name__} instead of an object)")
        fields = dataclasses.fields(cls)
        unknown = sorted(set(record) - {field.name for field in fields})
        if unknown:
            raise UserError(f"{source}: unknown keys {', '.join(unknown)} in the task: remove them")
        required = {field.name for field in fields if field.default is dataclasses.MISSING}
        missing = sorted(required - set(record))
        if missing:
            raise UserError(f"{source}: the task lacks {', '.join(missing)}: add them")
        for key, value in record.items():
            if not _FORMS[key](value):
                raise UserError(f"{source}: the task's {key} is {value!r}: correct it")
        values: dict[str, Any] = {key: tuple(v) if isinstance(v, list) else v for key, v in record.items()}
        return cls(**values)

    @classmethod
    def from_dataset_json(cls, path: Path) -> "SegTask":
        """Return the task that a dataset.json in the MSD's form describes, without any published figure.

        Raises:
            UserError: when the file is missing, is not JSON, lacks channels or labels, has two labels of one name, or
                more of them than label maps in uint8 hold.
        """
        record = read_json(path)
        if not isinstance(record, Mapping):
            raise UserError(f"{path}: holds a {type(record).__name__} instead of an object: use the MSD's form")
        modalities = _numbered(record, "modality", path)
        labels = _numbered(record, "labels", path)
        if len(labels) < 2:
            raise UserError(f"{path}: 'labels' has {len(labels)} entry: list the background and at least one structure")
        if len(labels) > MOST_LABELS:
            raise UserError(f"{path}: 'labels' has {len(labels)} entries, at most {MOST_LABELS} fit: merge some")
        for name, count in Counter(label.lower() for label in labels).items():
            if count > 1:
                raise UserError(f"{path}: 'labels' has {name!r} {count} times: give each structure its own name")
        return cls(
            name=str(record.get("name") or path.resolve().parent.name),
            description=str(record.get("description", "")),
            modalities=modalities,
            labels=labels,
            num_training=_count(record, "numTraining", "training", path),
            num_test=_count(record, "numTest", "test", path),
            sources=(str(record["reference"]),) if record.get("reference") else (),
        )


def _are(value: Any, kinds: tuple[type, ...], least: int) -> bool:
    """Whether this is a list of ``least`` or more values of these types; True is no number."""
    return isinstance(value, list) and len(value) >= least and all(type(entry) in kinds for entry in value)


def _are_three(value: Any) -> bool:
    return value is None or (_are(value, (int, float), 3) and len(value) == 3 and min(value) > 0)


_FORMS: Mapping[str, Callable[[Any], bool]] = {  # what each value of a record must be
    "name": lambda value: isinstance(value, str),
    "description": lambda value: isinstance(value, str),
    "modalities": lambda value: _are(value, (str,), 1),
    "labels": lambda value: _are(value, (str,), 2),
    "num_training": lambda value: type(value) is int,
    "num_test": lambda value: type(value) is int,
    "median_shape": _are_three,
    "median_spacing_mm": _are_three,
    "tolerance_mm": lambda value: value is None or (type(value) in (int, float) and value > 0),
    "sources": lambda value: _are(value, (str,), 0),
}


def _numbered(record: Mapping[str, Any], key: str, path: Path) -> tuple[str, ...]:
    """Return the values of ``{"0": a, "1": b, ...}`` in order; the keys must be 0, 1, 2, ... without a gap."""
    remedy = f'write them as in the MSD, "{key}": {{"0": ..., "1": ...}}'
    entries = record.get(key)
    if not isinstance(entries, Mapping) or not entries:
        raise UserError(f"{path}: {key!r} is {entries!r}: {remedy}")
    try:
        values = {int(number): str(name) for number, name in entries.items()}
    except ValueError as error:
        raise UserError(f"{path}: {key!r} has keys {', '.join(map(str, entries))}, not numbers: {remedy}") from error
    if sorted(values) != list(range(len(entries))):
        raise UserError(f"{path}: {key!r} is numbered {sorted(values)}, not 0 to {len(entries) - 1}: {remedy}")
    return tuple(values[number] for number in range(len(values)))


def _count(record: Mapping[str, Any], key: str, listing: str, path: Path) -> int:
    """Return the stated number of cases, be it text or a number; where none is stated, the number of cases listed."""
    listed = record.get(listing, [])
    number = record.get(key, len(listed) if isinstance(listed, list) else 0)
    if isinstance(number, str) and number.strip().isdecimal():
        number = int(number)
    if isinstance(number, bool) or not isinstance(number, int) or number < 0:
        raise UserError(f"{path}: {key!r} is {number!r}: write the number of cases, or leave it out")
    return number


def load_task(name_or_path: str | None, data: Path | None) -> SegTask:
    """Return the task that the user means.

    Args:
        name_or_path: the name of an MSD task, or a JSON file of dataset.json's form; None takes ``data``/dataset.json.
        data: the folder that holds dataset.json; only read when ``name_or_path`` is None.

    Returns:
        The MSD task, with its published facts, where it is asked for by name or where the file is that task's
        dataset.json (its "name" or its folder's name, and its labels and channels, are the MSD's). Otherwise the file's
        own facts, without an NSD tolerance.

    Raises:
        UserError: when there is no such task or file, or the file is no dataset.json.
    """
    from monai_nas.tasks.msd import MSD_TASKS  # here, because msd.py is made of SegTasks

    names = {task.name.lower(): task for task in MSD_TASKS}
    if name_or_path is None:
        if data is None:
            raise UserError("no task: give --task (an MSD name or a JSON file) or --data")
        return _recognise(data / "dataset.json", MSD_TASKS)
    if name_or_path.lower() in names:
        return names[name_or_path.lower()]
    if name_or_path.lower().endswith(".json") or Path(name_or_path).is_file():
        return _recognise(Path(name_or_path), MSD_TASKS)
    near = difflib.get_close_matches(name_or_path.lower(), names, n=1, cutoff=0.5)
    hint = f"did you mean {names[near[0]].name}?" if near else "give an MSD task's name or a JSON file"
    raise UserError(f"--task {name_or_path}: no such task: {hint}")


def _recognise(path: Path, known: tuple[SegTask, ...]) -> SegTask:
    """Return the known task whose dataset.json this is, or else the task that the file itself describes."""
    task = SegTask.from_dataset_json(path)
    called = {task.name.lower(), path.resolve().parent.name.lower()}
    for candidate in known:
        short = DATASET_NAMES.get(candidate.name, candidate.short_name.lower())
        same_name = called & {candidate.name.lower(), candidate.short_name.lower(), short}
        same_labels = [label.lower() for label in task.labels] == [label.lower() for label in candidate.labels]
        if same_name and same_labels and task.in_channels == candidate.in_channels:
            return candidate
    return task
