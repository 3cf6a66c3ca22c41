"""The processes that share one search: torchrun starts them, on one machine or several with a common folder."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TypeVar

import ignite.distributed as idist
import torch.distributed as dist

from monai_nas.compute import Compute
from monai_nas.strategies import ArchitectureSearch, ScoredTrial, Scores, Trial

Result = TypeVar("Result")

LONGEST_WAIT = timedelta(days=30)  # for the process that trains the supernet


@contextmanager
def joined(compute: Compute) -> Iterator[None]:
    """Join the processes that torchrun started, for the duration of a block; without torchrun this one is alone."""
    if "WORLD_SIZE" not in os.environ:
        yield
        return
    backend = "nccl" if compute.device.type == "cuda" else "gloo"
    idist.initialize(backend, timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        idist.finalize()


def first_alone(work: Callable[[], Result]) -> Result | None:
    """Let the first process do something that writes files, the others wait; None is returned to those."""
    result = work() if idist.get_rank() == 0 else None
    idist.barrier()
    return result


def evaluate_all(
    search: ArchitectureSearch, score: Callable[[Trial], Scores], record: Callable[[list[ScoredTrial]], None]
) -> None:
    """Score all trials that a search suggests, each by one of the processes.

    Which trials there are, and their scores, do not depend on the number of processes.

    Args:
        search: the same in all processes.
        score: each case of one trial; depends on the trial alone.
        record: called in the first process with the scores of each round.
    """
    rank, count = idist.get_rank(), idist.get_world_size()
    while trials := search.suggest(count):
        mine = [ScoredTrial(trial, score(trial)) for trial in trials[rank : rank + 1]]
        rounds: list[list[ScoredTrial]] = [mine] * count
        if count > 1:
            dist.all_gather_object(rounds, mine)
        scored = [done for share in rounds for done in share]
        search.update(scored)
        if rank == 0:
            record(scored)
