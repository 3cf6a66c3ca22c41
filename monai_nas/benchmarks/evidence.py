"""Is a searched network better than random and hand-made ones? `python -m monai_nas.benchmarks.evidence --data DIR ...`

Searches and trains every method on pairs of fold and seed, each run by the command line, and scores the fold that was
kept out. After each run its result file and the summary of all are written; what has a result file is not run again, so
that the same command continues where it was cut.
"""

import argparse
import math
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from monai_nas.benchmarks.evidence_result import check_pair, estimated_anew, is_done, write_result
from monai_nas.benchmarks.evidence_runs import EQUAL, LONG, RANDOM, Job, Study, pair_name, run_job
from monai_nas.benchmarks.evidence_table import read_results, summarize
from monai_nas.errors import UserError
from monai_nas.files import write_json
from monai_nas.metrics.table import METRICS
from monai_nas.tasks.task import load_task

RETRAINED = "scnas_retrained"
SEARCHED = ("scnas", RETRAINED)  # search weights as they are; fresh weights
# equal: with the steps of scnas_retrained; long: with the search's time added
OTHERS = (RANDOM, f"{RANDOM}{EQUAL}", "res_unet", "dynunet", f"res_unet{LONG}", f"dynunet{LONG}")
METHODS = SEARCHED + OTHERS
DIFFERENCES = (*((first, second) for first in SEARCHED for second in OTHERS), (RETRAINED, "scnas"))
PAIRS = ((0, 0), (1, 1), (2, 2))
SEARCH_MINUTES, TRAIN_MINUTES = 20.0, 10.0
USER_FAULT, INTERRUPTED = 2, 130  # as of the command line

Planned = Sequence[tuple[Job, Study]]


def make_job(
    method: str, fold: int, seed: int, *, search_minutes: float, train_minutes: float, searched_in: Path
) -> Job:
    """Return the job of a method.

    Args:
        method: one of :data:`METHODS`, or another name for the training of an architecture that was searched.
        fold: kept out, and scored.
        seed: of weights, order, augmentation and draws.
        search_minutes: of a search.
        train_minutes: of a final training.
        searched_in: folder of the result files of the search whose architecture is trained, where one is.
    """
    if method == "scnas":
        return Job(method, fold, seed, search_minutes, 0.0, None)
    if method in OTHERS:
        name = method.removesuffix(LONG).removesuffix(EQUAL)
        short = Job(name, fold, seed, 0.0, train_minutes, name)
        if method.endswith(LONG):
            return replace(short, method=method, train_minutes=train_minutes + search_minutes, paced_by=short)
        if method.endswith(EQUAL):
            minutes = {"search_minutes": search_minutes, "train_minutes": train_minutes}
            retrained = make_job(RETRAINED, fold, seed, **minutes, searched_in=searched_in)
            return replace(short, method=method, paced_by=retrained)
        return short
    return Job(method, fold, seed, search_minutes, train_minutes, searched_in / pair_name(fold, seed) / "scnas.json")


def work_through(planned: Planned, after_each: Callable[[], None]) -> None:
    """Run the jobs that have no result, in order, and write their results.

    Args:
        planned: jobs and where they run.
        after_each: called when a result has been written, and once at the end.

    Raises:
        UserError: when a command fails, or a pair was begun on another processor.
    """
    left = [(job, study) for job, study in planned if not is_done(job, study)]
    for job, study in left:
        check_pair(job, study)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns) as bar:
        whole, done = bar.add_task("runs", total=sum(job.minutes for job, _ in left), left=""), 0.0
        for number, (job, study) in enumerate(left, 1):
            bar.update(whole, description=f"run {number} of {len(left)}: {job.pair} {job.method}")
            run_job(job, study, partial(_advance, bar, whole, time.monotonic(), done, job.minutes))
            done += job.minutes
            record = write_result(job, study)
            dice, nsd = (_shown(record["scores"]["mean"][metric]) for metric in METRICS)
            bar.console.print(f"{study.out.name} {job.pair} {job.method}: Dice {dice} %, NSD {nsd} %", highlight=False)
            after_each()
    after_each()


def _advance(bar: Progress, whole: TaskID, began: float, before: float, minutes: float) -> None:
    """Show the minutes of runs that are done, ``before`` and of the one that began then and takes ``minutes``."""
    done = before + min(minutes, (time.monotonic() - began) / 60)
    bar.update(whole, completed=done, left=f"{(bar.tasks[whole].total or 0.0) - done:.0f} minutes left")


def _shown(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.2f}"


def show(planned: Planned) -> None:
    """Print which runs are done and which are left, with the minutes that these take, without predictions."""
    table, left = Table(title="Runs"), 0.0
    for column in ("results", "pair", "method", "state", "minutes left"):
        table.add_column(column)
    for job, study in planned:
        done = is_done(job, study)
        left += 0.0 if done else job.minutes
        state = "done" if done else "started" if job.folder(study).exists() else "left"
        table.add_row(study.out.name, job.pair, job.method, state, "" if done else f"{job.minutes:g}")
    table.add_section()
    table.add_row("all", "", "", "", f"{left:g}")
    Console().print(table)


@contextmanager
def one_line_faults() -> Iterator[None]:
    """Leave with one line and status 2 on a user's fault, and with 130 on Ctrl-C or SIGTERM, to be continued."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    except UserError as error:
        _leave(f"error: {error}", USER_FAULT)
    except KeyboardInterrupt:
        _leave("interrupted: give the same command again to go on", INTERRUPTED)
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(line: str, status: int) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True, markup=False).print(line)
    sys.exit(status)


def parse_pair(text: str) -> tuple[int, int]:
    """Return fold and seed of "0/1"."""
    fold, slash, seed = text.partition("/")
    if not (slash and fold.isdecimal() and seed.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r} is no FOLD/SEED, such as 0/0")
    return int(fold), int(seed)


def parse_minutes(text: str) -> float:
    """Return a time."""
    try:
        minutes = float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of minutes") from error
    if not 0 < minutes < math.inf:
        raise argparse.ArgumentTypeError(f"{text}: must be more than 0 and finite")
    return minutes


def add_shared_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that the evidence and the transfer have in common."""
    parser.add_argument("--runs", type=Path, required=True, help="folder for RUN folders, bundles and predictions")
    parser.add_argument("--out", type=Path, required=True, help="folder for result files and summary.json")
    parser.add_argument("--search-minutes", type=parse_minutes, default=SEARCH_MINUTES, help="(%(default)s)")
    parser.add_argument("--train-minutes", type=parse_minutes, default=TRAIN_MINUTES, help="(%(default)s)")
    parser.add_argument("--list", action="store_true", help="print what is done and what is left, and run nothing")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left and write the summary, or list it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dataset.json")
    parser.add_argument("--pairs", type=parse_pair, nargs="+", default=PAIRS, help="FOLD/SEED; 0/0 1/1 2/2 by default")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS, help="all by default")
    parser.add_argument("--plan", type=Path, help="of all runs; by default each makes its own from its fold")
    add_shared_options(parser)
    options = parser.parse_args(arguments)
    study = Study(options.data, options.runs, options.out, options.plan)
    minutes = {"search_minutes": options.search_minutes, "train_minutes": options.train_minutes}

    planned = [
        (make_job(method, fold, seed, **minutes, searched_in=options.out), study)
        for fold, seed in dict.fromkeys(options.pairs)
        for method in METHODS
        if method in options.methods
    ]

    def write_summary() -> None:
        results = estimated_anew(read_results(options.out, METHODS), task.in_channels)
        summary = summarize(results, DIFFERENCES)
        write_json(options.out / "summary.json", {"task": task.name, **summary})

    with one_line_faults():
        task = load_task(None, options.data)
        if options.list:
            show(planned)
        else:
            work_through(planned, write_summary)


if __name__ == "__main__":
    main()
