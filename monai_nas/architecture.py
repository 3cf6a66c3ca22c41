"""An architecture as a small value: printed, compared, hashed, stored as readable JSON. Imports no torch."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_atomic

FORMAT = 1


@dataclass(frozen=True)
class Architecture:
    """One point of a search space: the option chosen at each decision, nothing else.

    Width, depth, strides and channels are arguments of the network, so that an architecture searched on one task can
    be built for another.
    """

    space: str  # registered name, "cell_unet"
    settings: tuple[tuple[str, int], ...]  # (("num_nodes", 4),)
    choices: tuple[tuple[str, str], ...]  # (("encoder_normal/0-2", "conv_3x3x3"), ...), sorted

    def __post_init__(self) -> None:
        object.__setattr__(self, "settings", tuple(sorted(tuple(pair) for pair in self.settings)))
        object.__setattr__(self, "choices", tuple(sorted(tuple(pair) for pair in self.choices)))

    @classmethod
    def create(cls, space: str, settings: Mapping[str, int], choices: Mapping[str, str]) -> "Architecture":
        """Return the architecture with these settings and choices, in canonical order."""
        return cls(space, tuple(settings.items()), tuple(choices.items()))

    def to_record(self) -> dict[str, Any]:
        """Return the architecture as plain JSON values; :meth:`from_record` reads it back."""
        return {
            "format": FORMAT,
            "space": self.space,
            "settings": dict(self.settings),
            "choices": dict(self.choices),
        }

    def to_json(self) -> str:
        """Return the architecture as indented JSON."""
        return json.dumps(self.to_record(), indent=4)

    @classmethod
    def from_record(cls, record: Any, source: str = "architecture") -> "Architecture":
        """Return the architecture of a JSON record.

        Args:
            record: as :meth:`to_record` writes it.
            source: named in the error, usually the file.

        Raises:
            UserError: when the record is not an architecture of this format.
        """
        if not isinstance(record, Mapping):
            raise UserError(f"{source}: not an architecture ({type(record).__name__} instead of an object)")
        missing = [key for key in ("format", "space", "settings", "choices") if key not in record]
        if missing:
            raise UserError(f"{source}: not an architecture, {', '.join(missing)} missing: use a RUN/architecture.json")
        if record["format"] != FORMAT:
            raise UserError(f"{source}: architecture format {record['format']!r}, this version reads format {FORMAT}")
        if not isinstance(record["space"], str):
            raise UserError(f"{source}: architecture space {record['space']!r} is no name: use a RUN/architecture.json")
        if not all(isinstance(record[key], Mapping) for key in ("settings", "choices")):
            raise UserError(f"{source}: 'settings' and 'choices' must be objects: use a RUN/architecture.json")
        return cls.create(record["space"], record["settings"], record["choices"])

    def save(self, path: Path) -> None:
        """Write the architecture as JSON, whole or not at all."""
        write_atomic(path, self.to_json() + "\n")

    @classmethod
    def load(cls, path: Path) -> "Architecture":
        """Return the architecture stored in a JSON file; raises UserError naming the file."""
        return cls.from_record(read_json(path), source=str(path))
