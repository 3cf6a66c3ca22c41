"""Contenders that do the same work, timed in turn, so that what else happens on the machine meets them all."""

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from monai_nas.compute import Compute, choose_compute


@dataclass(frozen=True)
class Contender:
    """Something that does the work of a contest.

    Args:
        name: in the record; "ours" is the one that the others are compared with.
        run: does the work once; what it leaves to a GPU is waited for.
        about: which settings, in a few words.
    """

    name: str
    run: Callable[[], object]
    about: str


OURS = "ours"
Tick = Callable[[float], object]


def plain_compute(device: str | None) -> Compute:
    """Return float32 in torch's default layout, what one gets who chooses nothing."""
    return replace(choose_compute(False, device), channels_last=False)


def silent(share: float) -> None:
    """Tell nobody how much is done."""


def contest(
    contenders: Sequence[Contender], *, repetitions: int, warmed_up: bool = False, tick: Tick = silent
) -> dict[str, Any]:
    """Return the seconds of all contenders, who work in turn ``repetitions`` times after one that is not timed.

    Args:
        contenders: one of them named "ours".
        repetitions: 1 or more.
        warmed_up: each has done such work in this process already, so that all of it is timed.
        tick: called after each piece of work with the share that is done, 1 at the end.

    Returns:
        "contenders": for each name "about", "seconds" (a list), "median_seconds", and "times_as_long", the median of
        its seconds over those of ours.
    """
    seconds: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    first = 1 if warmed_up else 0
    turns = [(repetition, contender) for repetition in range(first, repetitions + 1) for contender in contenders]
    for done, (repetition, contender) in enumerate(turns, start=1):
        begin = time.perf_counter()
        contender.run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        if repetition:
            seconds[contender.name].append(time.perf_counter() - begin)
        tick(done / len(turns))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return {
        "contenders": {
            contender.name: {
                "about": contender.about,
                "seconds": seconds[contender.name],
                "median_seconds": medians[contender.name],
                "times_as_long": medians[contender.name] / medians[OURS],
            }
            for contender in contenders
        }
    }
