"""Reading the history.csv of a search or a training."""

import csv
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from monai_nas.errors import UserError

Array = npt.NDArray[np.float64]  # (epochs,), nan where an epoch has no value

SEARCH_COLUMNS = ("epoch", "loss", "alpha_loss", "temperature", "weight_rate")
TRAINING_COLUMNS = ("epoch", "loss", "rate")


@dataclass(frozen=True)
class History:
    """The columns of a history.csv."""

    columns: Mapping[str, Array]

    @property
    def is_search(self) -> bool:
        """Whether it is of a search, whose temperature falls."""
        return "temperature" in self.columns

    @property
    def num_sampling(self) -> int:
        """Epochs in which operations were sampled: up to the last with a loss of the alphas, after a warm-up."""
        return int(np.flatnonzero(np.isfinite(self.columns["alpha_loss"])).max(initial=-1)) + 1

    def under(self, prefix: str) -> dict[str, Array]:
        """Return the columns below "prefix/", without it."""
        return {
            name.partition("/")[2]: values for name, values in self.columns.items() if name.startswith(f"{prefix}/")
        }


def read_history(path: Path) -> History:
    """Read the columns of a history.csv that are drawn; a search's is known by its temperature.

    Raises:
        UserError: when it cannot be read, has no epoch, holds what is no number, or lacks a column of a search's or a
            training's history.
    """
    try:
        with path.open(newline="") as file:
            lines = list(csv.reader(file))
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{path}: not readable as CSV ({error}): give the history.csv of a run") from error
    header = lines[0] if lines else []
    names = _wanted(header, path)
    if len(lines) < 2:
        raise UserError(f"{path}: has no epoch yet: wait for the first checkpoint of the run")
    rows = []
    for number, line in enumerate(lines[1:], 2):
        if len(line) != len(header):
            raise UserError(f"{path}: line {number} has {len(line)} values, not {len(header)}: repair the file")
        fields = dict(zip(header, line, strict=True))
        rows.append([_number(fields[name], f"{path}: line {number}") for name in names])
    history = History(dict(zip(names, np.array(rows, dtype=np.float64).T, strict=True)))
    if history.is_search and not history.num_sampling:
        raise UserError(f"{path}: alpha_loss is empty in each epoch: give the history.csv of a search")
    return history


def _wanted(header: list[str], path: Path) -> list[str]:
    """Return the names of the columns to read; raises UserError for one that is not there."""
    if "temperature" not in header:
        names, missing = list(TRAINING_COLUMNS), []
    else:
        edges = [name for name in header if re.fullmatch(r"entropy/\w+/\d+-\d+", name)]
        shares = [name for name in header if name.startswith("share/")]
        names = [*SEARCH_COLUMNS, *shares, *edges]
        missing = ["share/OPERATION"] * (not shares) + ["entropy/CELL/EDGE"] * (not edges)
    missing += [name for name in names if name not in header]
    if missing:
        raise UserError(f"{path}: has no column {missing[0]}: give the history.csv of a search or a training")
    return names


def _number(text: str, place: str) -> float:
    """Return the number of a field, nan for an empty one."""
    try:
        return float(text) if text else math.nan
    except ValueError as error:
        raise UserError(f"{place}: {text!r} is no number: repair the file") from error
