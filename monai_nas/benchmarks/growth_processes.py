"""Time and memory of work in processes of their own; and of one ranking that torchrun's processes share.

`python -m torch.distributed.run --standalone --nproc_per_node=2 -m monai_nas.benchmarks.growth_processes --candidates
16 --out FOLDER` writes FOLDER/0.json and FOLDER/1.json, on Linux.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import ignite.distributed as idist

from monai_nas.benchmarks.fresh_process import Growth
from monai_nas.benchmarks.growth_ranking import Ranking
from monai_nas.benchmarks.growth_series import SERIES
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.pipelines.processes import joined

WAYS = {  # name: processes, and whether each ranks all candidates, without the others
    "one": (1, False),
    "two": (2, False),
    "two_apart": (2, True),
}
Told = dict[str, Any]  # of a process


def measure(name: str, size: int, seed: int) -> Told:
    """Return "seconds" of the timed runs, "growth_bytes" and the facts of a piece of work; call it in a fresh process.

    Args:
        name: of :data:`~monai_nas.benchmarks.growth_series.SERIES`.
        size: of the work.
        seed: of whatever is drawn.
    """
    series = SERIES[name]
    series.warm_up(seed).run()
    with Growth() as growth:
        work = series.make(size, seed)
        seconds = [timed(work.run) for _ in range(series.untimed + series.timed)][series.untimed :]
    return {"seconds": seconds, "growth_bytes": growth.bytes, "facts": work.facts()}


def spread(way: str, candidates: int, seed: int) -> list[Told]:
    """Return what each of torchrun's processes, of one thread each, tells of a ranking; see :func:`main`.

    Args:
        way: of :data:`WAYS`.
        candidates: to rank.
        seed: of weights, candidates and regions.

    Raises:
        UserError: when a process fails, with the end of what it wrote.
    """
    count, apart = WAYS[way]
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={count}"]
        command += ["-m", "monai_nas.benchmarks.growth_processes", "--out", folder]
        command += ["--candidates", str(candidates), "--seed", str(seed), *(["--apart"] if apart else [])]
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
        if done.returncode:
            raise UserError(f"{' '.join(command)}: failed: {done.stderr[-2000:]}")
        return [read_json(Path(folder) / f"{rank}.json") for rank in range(count)]


def sharing(ways: Mapping[str, Sequence[Sequence[Told]]]) -> dict[str, Any]:
    """Return what two processes bring, from the repetitions of each way as :func:`spread` returns them.

    Returns:
        For each way the "seconds" of its slowest process and the growth of its largest, and their medians;
        "candidate_seconds", of each candidate in "one"; "efficiency", the seconds of one process over twice those of
        two; "efficiency_beside_another" with, instead of the first, those of a process beside another one that does as
        much: what two processes lose as they share a machine is on both sides, what they wait for each other is left.
    """
    record: dict[str, Any] = {}
    for way, repetitions in ways.items():
        seconds = [max(process["seconds"] for process in processes) for processes in repetitions]
        growth = [max(process["growth_bytes"] for process in processes) for processes in repetitions]
        record[way] = {
            "processes": WAYS[way][0],
            "seconds": seconds,
            "median_seconds": statistics.median(seconds),
            "growth_bytes": growth,
            "median_growth_mib": statistics.median(growth) / 2**20,
        }
    record["candidate_seconds"] = [second for (process,) in ways["one"] for second in process["candidate_seconds"]]
    both = 2 * record["two"]["median_seconds"]
    record["efficiency"] = record["one"]["median_seconds"] / both
    record["efficiency_beside_another"] = record["two_apart"]["median_seconds"] / both
    return record


def timed(run: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    begin = time.perf_counter()
    run()
    return time.perf_counter() - begin


def main(arguments: Sequence[str] | None = None) -> None:
    """Rank candidates in one of torchrun's processes; write its seconds and its growth to FOLDER/RANK.json.

    All begin at the same moment. The seconds of a process that shares the work last until all are done.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--candidates", type=int, required=True, help="to rank")
    parser.add_argument("--seed", type=int, default=0, help="of weights, candidates and regions (%(default)s)")
    parser.add_argument("--apart", action="store_true", help="each process ranks all of them, without the others")
    options = parser.parse_args(arguments)
    Ranking(1, options.seed).run()  # loads what is loaded once
    with Growth() as growth:
        ranking = Ranking(options.candidates, options.seed)
        with joined(ranking.compute):
            rank = idist.get_rank()
            idist.barrier()
            seconds = None if options.apart else timed(ranking.run)
        if seconds is None:
            seconds = timed(ranking.run)
    record = {"seconds": seconds, "growth_bytes": growth.bytes, "candidate_seconds": ranking.seconds}
    write_json(options.out / f"{rank}.json", record)


if __name__ == "__main__":
    main()
