"""A table from names to classes or functions that refuses duplicates and suggests near names. Plain Python."""

import difflib
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")


class Registry(Generic[T]):
    """Names of one kind of thing, filled by a decorator where each thing is defined.

    Example::

        CANDIDATES: Registry[type[CandidateOp]] = Registry("candidate operation")

        @CANDIDATES.register("conv_3x3x3")
        class Conv(CandidateOp): ...
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._entries: dict[str, T] = {}

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that stores what it decorates under ``name``.

        Raises:
            ValueError: when the name is taken.
        """

        def store(entry: T) -> T:
            if name in self._entries:
                raise ValueError(f"{self.kind} {name!r} is registered already, by {self._entries[name]!r}")
            self._entries[name] = entry
            return entry

        return store

    def __getitem__(self, name: str) -> T:
        if name not in self._entries:
            near = difflib.get_close_matches(name, self._entries, n=3, cutoff=0.4) or self.names
            raise ValueError(f"unknown {self.kind} {name!r}: did you mean {', '.join(map(repr, near))}?")
        return self._entries[name]

    def __contains__(self, name: object) -> bool:
        return name in self._entries

    def __iter__(self) -> Iterator[str]:
        return iter(self._entries)

    @property
    def names(self) -> list[str]:
        """Registered names in order of registration."""
        return list(self._entries)
