"""The scores of a set of cases, per case and per class, with their means and the conventions they rest on."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json

METRICS = ("dice", "surface_dice")
PUBLISHED = "published"
LARGEST_SPACING = "largest spacing"
_NUM_WORST = 5
_CONVENTIONS = {
    "unit": "fractions from 0 to 1, computed on the grid of the label files",
    "absent class": "null, and left out of the means, where a class is in neither map; 0 where it is in one of the two",
    "mean": "mean over the classes of each class's mean over the cases",
    "surface_dice": "normalised surface Dice (NSD) at tolerance_mm, as DeepMind's surface-distance",
}


@dataclass(frozen=True)
class CaseScores:
    """The scores of one case; one number a class, background left out, nan where the class is in neither map."""

    case: str
    dice: tuple[float, ...]
    surface_dice: tuple[float, ...]
    tolerance_mm: float


@dataclass(frozen=True)
class ScoreTable:
    """The scores of all cases of one evaluation, as fractions from 0 to 1."""

    task: str
    classes: tuple[str, ...]  # names, background left out
    tolerance_source: str  # PUBLISHED, or LARGEST_SPACING of each case's label file
    cases: tuple[CaseScores, ...]

    def __post_init__(self) -> None:
        if self.tolerance_source not in (PUBLISHED, LARGEST_SPACING):
            raise ValueError(
                f"tolerance_source must be {PUBLISHED!r} or {LARGEST_SPACING!r}, got {self.tolerance_source!r}"
            )
        for scores in self.cases:
            if {len(scores.dice), len(scores.surface_dice)} != {len(self.classes)}:
                raise ValueError(f"{scores.case}: expected {len(self.classes)} scores of each metric, got {scores}")

    def class_means(self, metric: str) -> tuple[float, ...]:
        """Return each class's mean over the cases that have it; nan for a class that no case has."""
        return tuple(
            known_mean(_values(scores, metric)[index] for scores in self.cases) for index in range(len(self.classes))
        )

    def mean(self, metric: str) -> float:
        """Return the mean over the classes of :meth:`class_means`; "dice" gives what is called mean Dice."""
        return known_mean(self.class_means(metric))

    def worst(self, count: int = _NUM_WORST) -> tuple[str, ...]:
        """Return the names of the cases of lowest Dice, mean over their classes, the lowest first."""
        scored = sorted((value, case) for case, value in self.case_means("dice").items())
        return tuple(case for _, case in scored[:count])

    def case_means(self, metric: str) -> dict[str, float]:
        """Return, by the names of the cases, the mean over the classes that a case has; cases without any left out."""
        means = {scores.case: known_mean(_values(scores, metric)) for scores in self.cases}
        return {case: value for case, value in means.items() if not math.isnan(value)}

    def to_record(self) -> dict[str, Any]:
        """Return the table with its means as plain JSON values, null for nan."""
        tolerances = {scores.tolerance_mm for scores in self.cases}
        return {
            "task": self.task,
            "num_cases": len(self.cases),
            "classes": list(self.classes),
            "tolerance_mm": tolerances.pop() if len(tolerances) == 1 else None,
            "tolerance_source": self.tolerance_source,
            "conventions": _CONVENTIONS,
            "mean": {metric: or_null(self.mean(metric)) for metric in METRICS},
            "per_class": {metric: self._named(self.class_means(metric)) for metric in METRICS},
            "worst_cases": list(self.worst()),
            "cases": [
                {"case": scores.case, "tolerance_mm": scores.tolerance_mm}
                | {
                    metric: dict(zip(self.classes, map(or_null, _values(scores, metric)), strict=True))
                    for metric in METRICS
                }
                for scores in self.cases
            ],
        }

    def _named(self, values: Iterable[float]) -> dict[str, float | None]:
        return dict(zip(self.classes, map(or_null, values), strict=True))

    @classmethod
    def from_record(cls, record: Any, source: str = "scores") -> "ScoreTable":
        """Return the table of a JSON record; means are computed again.

        Raises:
            UserError: when the record is not one that :meth:`to_record` wrote.
        """
        try:
            classes = tuple(str(name) for name in record["classes"])
            cases = tuple(
                CaseScores(
                    case=str(entry["case"]),
                    dice=_row(entry["dice"], classes),
                    surface_dice=_row(entry["surface_dice"], classes),
                    tolerance_mm=float(entry["tolerance_mm"]),
                )
                for entry in record["cases"]
            )
            return cls(str(record["task"]), classes, str(record["tolerance_source"]), cases)
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{source}: not a table of scores ({error}): run `monai-nas evaluate` again") from error

    def save(self, path: Path) -> None:
        """Write the table as JSON; see :func:`monai_nas.files.write_json`."""
        write_json(path, self.to_record())

    @classmethod
    def load(cls, path: Path) -> "ScoreTable":
        """Return the table stored in a JSON file; raises UserError naming the file."""
        return cls.from_record(read_json(path), source=str(path))


def _values(scores: CaseScores, metric: str) -> tuple[float, ...]:
    if metric not in METRICS:
        raise ValueError(f"metric must be one of {', '.join(METRICS)}, got {metric!r}")
    return scores.dice if metric == "dice" else scores.surface_dice


def known_mean(values: Iterable[float]) -> float:
    """Return the mean of the numbers that are not nan; nan where there is none."""
    known = [value for value in values if not math.isnan(value)]
    return math.fsum(known) / len(known) if known else math.nan


def or_null(value: float) -> float | None:
    """Return None, JSON's null, for nan."""
    return None if math.isnan(value) else value


def _row(named: Mapping[str, float | None], classes: tuple[str, ...]) -> tuple[float, ...]:
    values = (named[name] for name in classes)
    return tuple(math.nan if value is None else float(value) for value in values)
