"""Reading and writing of JSON records: keys, number types, and JSON's lists as tuples."""

import math
from collections.abc import Collection, Mapping
from typing import Any

from monai_nas.errors import UserError


def are_counts(values: Any, length: int) -> bool:
    """Whether these are ``length`` whole numbers from 1 on; True and 2.0 are none."""
    whole = isinstance(values, tuple) and all(type(value) is int and value >= 1 for value in values)
    return whole and len(values) == length


def are_positive(values: Any, length: int) -> bool:
    """Whether these are ``length`` positive numbers."""
    positive = isinstance(values, tuple) and all(is_number(value) and value > 0 for value in values)
    return positive and len(values) == length


def is_number(value: Any) -> bool:
    """Whether this is a finite number; True is none."""
    return type(value) in (int, float) and math.isfinite(value)


def is_index(value: Any, length: int) -> bool:
    """Whether this is a whole number from 0 to ``length`` - 1; True and 1.0 are none."""
    return type(value) is int and 0 <= value < length


def check_keys(record: Any, names: set[str], source: str, remedy: str, optional: Collection[str] = ()) -> None:
    """Raise UserError where ``record`` is not an object with exactly these keys, of which some may be left out."""
    if not isinstance(record, Mapping):
        raise UserError(f"{source}: not a plan ({type(record).__name__} instead of an object): {remedy}")
    unknown, missing = sorted(set(record) - names), sorted(names - set(record) - set(optional))
    if unknown:
        raise UserError(f"{source}: unknown keys {', '.join(unknown)}: remove them, or {remedy}")
    if missing:
        raise UserError(f"{source}: {', '.join(missing)} missing: {remedy}")


def lists(value: Any) -> Any:
    """Return the value with tuples, also nested ones, as JSON's lists."""
    if isinstance(value, dict):
        return {key: lists(item) for key, item in value.items()}
    return [lists(item) for item in value] if isinstance(value, (list, tuple)) else value


def tuples(value: Any) -> Any:
    """Return the value with lists, also nested ones, as tuples."""
    return tuple(tuples(item) for item in value) if isinstance(value, list) else value
