"""What a network may cost: `train_memory=2GB`, `flops=50G`, `parameters=2M`, `latency=80ms`."""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from monai_nas.errors import UserError

_BYTES = {"B": 1.0, "KB": 2.0**10, "MB": 2.0**20, "GB": 2.0**30, "TB": 2.0**40}  # as memory is sold
_COUNTS = {"": 1.0, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_SECONDS = {"S": 1.0, "MS": 1e-3}

UNITS: Mapping[str, Mapping[str, float]] = MappingProxyType(
    {
        "train_memory": _BYTES,  # peak of a training step
        "inference_memory": _BYTES,  # peak of one window
        "flops": _COUNTS,  # of one window
        "parameters": _COUNTS,
        "latency": _SECONDS,  # of one window, on this machine
    }
)


@dataclass(frozen=True)
class Budget:
    """An upper limit, and how far below it a network may stay and still count as using it."""

    kind: str  # one of UNITS
    limit: float  # bytes, FLOPs, parameters or seconds
    tolerance: float  # share of the limit

    def __post_init__(self) -> None:
        if not 0.0 < self.tolerance < 1.0:
            raise UserError(f"--tolerance {self.tolerance:.0%}: must be more than 0 % and less than 100 %")

    @property
    def low(self) -> float:
        """The least that a network of this budget costs."""
        return self.limit * (1.0 - self.tolerance)

    def contains(self, cost: float) -> bool:
        """Whether a cost lies in [low, limit]."""
        return self.low <= cost <= self.limit

    def format(self, cost: float) -> str:
        """Return a cost of this kind as :func:`cost_text`."""
        return cost_text(self.kind, cost)

    def __str__(self) -> str:
        """Return the shortest text that :func:`parse_budget` reads as this very budget: equal texts, equal budgets."""
        units = UNITS[self.kind]
        texts = [f"{decimal(self.limit / size)}{shown(unit)}" for unit, size in reversed([*units.items()])]
        return f"{self.kind}={min((text for text in texts if amount(text, units) == self.limit), key=len)}"


def cost_text(kind: str, cost: float) -> str:
    """Return a cost with a unit, to three digits, "1.93 GB"."""
    units = UNITS[kind]
    fitting = [unit for unit, size in units.items() if size <= cost] or [min(units, key=lambda unit: units[unit])]
    unit = max(fitting, key=lambda name: units[name])
    return f"{decimal(float(f'{cost / units[unit]:.3g}'))} {shown(unit)}".strip()


def decimal(value: float) -> str:
    """Return the shortest decimal number that stands for just this value, without an exponent."""
    return np.format_float_positional(value, trim="-")


def shown(unit: str) -> str:
    """Return a unit as it is written: seconds in small letters."""
    return unit.lower() if unit in _SECONDS else unit


def amount(text: str, units: Mapping[str, float]) -> float:
    """Return what a number with a unit comes to, "1.5 GiB"; 0 for what is none."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]*)\s*", text)
    number, unit = match.groups() if match else ("0", "")
    return float(number) * units.get(unit.upper().replace("IB", "B"), 0.0)


def parse_budget(text: str, tolerance: float) -> Budget:
    """Return the budget that a text such as "train_memory=2GB" names.

    Memory counts 1024 a step, FLOPs and parameters 1000.

    Args:
        text: KIND=AMOUNT.
        tolerance: share of the limit that a network may stay below it.

    Raises:
        UserError: for an unknown kind, or an amount that is none of its units.
    """
    kind, _, wanted = text.partition("=")
    if kind not in UNITS:
        raise UserError(f"--budget {text}: {kind!r} is unknown, use one of {', '.join(UNITS)}, as in train_memory=2GB")
    limit = amount(wanted, UNITS[kind])
    if not 0.0 < limit < math.inf:
        units = ", ".join(name or "no unit" for name in UNITS[kind])
        raise UserError(f"--budget {text}: write {kind}=NUMBER with a unit of {units}")
    return Budget(kind, limit, tolerance)
