"""How time and memory grow with volume, patch, batch, layers, candidates and processes, on a processor.

`python -m monai_nas.benchmarks.growth --out FILE --picture docs/pictures/growth.png` on Linux; nothing else should run.
The file is written after each series. One that it holds already, of the same commit, machine and options, is not
measured again; where sources have changed since a commit, delete the file first.
"""

import argparse
import statistics
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import Progress
from scipy import stats

from monai_nas.benchmarks.evidence import one_line_faults
from monai_nas.benchmarks.fresh_process import in_fresh_process
from monai_nas.benchmarks.growth_plan import plan_for_more
from monai_nas.benchmarks.growth_processes import WAYS, measure, sharing, spread
from monai_nas.benchmarks.growth_series import SERIES
from monai_nas.benchmarks.speed.contest import Tick
from monai_nas.compute import choose_compute
from monai_nas.errors import UserError
from monai_nas.export.growth_drawing import growth_picture
from monai_nas.files import read_json, write_json
from monai_nas.pipelines.run_folder import environment

PROCESSES = "processes"  # the series of torchrun's processes
SHARED_CANDIDATES = 16  # that they rank
SETTLED_SECONDS = 20.0  # a size that has been timed for so long is not visited again
LEAST_FITTED = 3  # points of an exponent with a standard error


def grow(name: str, sizes: Sequence[int], *, repetitions: int, seed: int, tick: Tick) -> dict[str, Any]:
    """Return the points of a series and the exponents of its seconds and its memory.

    All sizes are visited in turn, so that what else happens on the machine meets them all; each visit has a process of
    its own, and a seed of its own.

    Args:
        name: of :data:`~monai_nas.benchmarks.growth_series.SERIES`.
        sizes: rising.
        repetitions: visits of each size, fewer where :data:`SETTLED_SECONDS` are reached.
        seed: of the first visits.
        tick: called with the share that is done.

    Returns:
        "title", "unit" and "power" of the series; "points", by size, each with the "amount" that the exponents are of,
        all seconds and growths, their medians, and means of the facts of the work; "seconds" and "memory", each as
        :func:`exponent` has it.
    """
    told: dict[int, list[dict[str, Any]]] = {size: [] for size in sizes}
    for repetition in range(repetitions):
        for place, size in enumerate(sizes):
            if sum(sum(visit["seconds"]) for visit in told[size]) < SETTLED_SECONDS:
                told[size].append(in_fresh_process(measure, name, size, seed + repetition))
            tick((repetition * len(sizes) + place + 1) / (repetitions * len(sizes)))
    points = {str(size): point(size ** SERIES[name].power, visits) for size, visits in told.items()}
    amounts = [values["amount"] for values in points.values()]
    return {
        **{key: getattr(SERIES[name], key) for key in ("title", "unit", "power")},
        "points": points,
        "seconds": exponent(amounts, [values["median_seconds"] for values in points.values()]),
        "memory": exponent(amounts, [values["median_growth_mib"] for values in points.values()]),
    }


def point(amount: int, visits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the visits of one size say together."""
    seconds = [value for visit in visits for value in visit["seconds"]]
    growth = [visit["growth_bytes"] for visit in visits]
    facts = {key: statistics.fmean(visit["facts"][key] for visit in visits) for key in visits[0]["facts"]}
    return {
        "amount": amount,
        "seconds": seconds,
        "median_seconds": statistics.median(seconds),
        "growth_bytes": growth,
        "median_growth_mib": statistics.median(growth) / 2**20,
        **facts,
    }


def exponent(amounts: Sequence[float], values: Sequence[float]) -> dict[str, float] | None:
    """Fit values = factor * amount ** exponent by least squares of the logarithms.

    Returns:
        "exponent", its "standard_error", "factor", "r_squared", and the exponent "between_last" two amounts, which is
        nearer to what larger ones will show where a part of the values is fixed; None where there are fewer than
        :data:`LEAST_FITTED` values, or one that is not positive.
    """
    if len(amounts) < LEAST_FITTED or min(values) <= 0:
        return None
    line = stats.linregress(np.log(amounts), np.log(values))
    return {
        "exponent": float(line.slope),
        "standard_error": float(line.stderr),
        "factor": float(np.exp(line.intercept)),
        "r_squared": float(line.rvalue**2),
        "between_last": log(values[-1] / values[-2]) / log(amounts[-1] / amounts[-2]),
    }


def share(candidates: int, *, repetitions: int, seed: int, tick: Tick) -> dict[str, Any]:
    """Return :func:`~monai_nas.benchmarks.growth_processes.sharing` of a ranking that is done in all ways, in turn."""
    ways: dict[str, list[list[dict[str, Any]]]] = {way: [] for way in WAYS}
    for repetition in range(repetitions):
        for place, way in enumerate(WAYS):
            ways[way].append(spread(way, candidates, seed))
            tick((repetition * len(WAYS) + place + 1) / (repetitions * len(WAYS)))
    return {"title": "Ranking, shared", "unit": "processes", "candidates": candidates, **sharing(ways)}


def measure_all(options: argparse.Namespace, tick: Callable[[str, float], object]) -> None:
    """Measure the series that the file lacks, and write it after each, with the plan for more machines.

    Args:
        options: of :func:`make_parser`.
        tick: called with a series' name and the share of it that is done.

    Raises:
        UserError: when the file is of something else, or a process of torchrun fails.
    """
    record = read_json(options.out) if options.out.exists() else {"series": {}}
    if "series" not in record:
        raise UserError(f"{options.out}: is no file of this benchmark: give another --out")
    circumstances = {"threads": torch.get_num_threads(), "environment": environment(choose_compute(True, "cpu"))}
    for name in options.series:
        sizes = [getattr(options, name)] if name == PROCESSES else getattr(options, name)
        settings = {"sizes": sizes, "repetitions": options.repetitions, "seed": options.seed} | circumstances
        if record["series"].get(name, {}).get("settings") != settings:
            work = partial(share, options.processes) if name == PROCESSES else partial(grow, name, sizes)
            result = work(repetitions=options.repetitions, seed=options.seed, tick=partial(tick, name))
            record["series"][name] = result | {"settings": settings}
        write_json(options.out, record | {"plan": plan_for_more(record["series"])})
        tick(name, 1.0)


def make_parser() -> argparse.ArgumentParser:
    """Return the options, those of sizes named as the series."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write, or to complete")
    parser.add_argument("--picture", type=Path, help="draw the file as .png, .svg or .pdf; needs monai-nas[reports]")
    names = [*SERIES, PROCESSES]
    parser.add_argument("--series", nargs="+", choices=names, default=names, help="only these; all by default")
    parser.add_argument("--repetitions", type=int, default=3, help="processes of each size, at most (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of weights, noise and candidates (%(default)s)")
    for name, series in SERIES.items():
        kind = f"{series.title}: {'edges in ' if series.power > 1 else ''}{series.unit}, rising"
        parser.add_argument(f"--{name}", type=int, nargs="+", default=list(series.sizes), help=f"{kind} (%(default)s)")
    text = "candidates that one process ranks, or two (%(default)s)"
    parser.add_argument(f"--{PROCESSES}", type=int, default=SHARED_CANDIDATES, metavar="CANDIDATES", help=text)
    return parser


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what is missing, write the figures as JSON, and draw them."""
    parser = make_parser()
    options = parser.parse_args(arguments)
    if min(options.repetitions, options.processes) < 1:
        parser.error("--repetitions and --processes must be 1 or more")
    for name, series in SERIES.items():
        sizes = getattr(options, name)
        fitting = all(size >= series.least and size % series.step == 0 for size in sizes)
        if not fitting or sizes != sorted(set(sizes)):
            parser.error(f"--{name} must be rising multiples of {series.step} from {series.least} up")
    with one_line_faults(), Progress(transient=True) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in options.series}
        measure_all(options, lambda name, done: progress.update(bars[name], completed=done))
        if options.picture is not None:
            growth_picture(options.out, options.picture)


if __name__ == "__main__":
    main()
