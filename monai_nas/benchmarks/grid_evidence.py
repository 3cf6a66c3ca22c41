"""Does HyperSegNAS hold what it says? `python -m monai_nas.benchmarks.grid_evidence --data DIR --runs RUNS --out DIR`

Trains the supernets of table 1 and scores the same architectures in each; compares shared weights with training from
scratch, a race of candidates with their whole ranking, and the network chosen under a budget with random and published
ones; asks one supernet for three budgets; draws figure 6. All of it is cut into units: after each its result file and
the summary of all are written; what has a result file is not done again, and an unfinished training goes on at its
checkpoint, so that the same command continues where it was cut.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.evidence import one_line_faults, parse_minutes
from monai_nas.benchmarks.evidence_result import check_processor
from monai_nas.benchmarks.grid_evidence_budgets import Shipped
from monai_nas.benchmarks.grid_evidence_study import GridSettings, GridStudy
from monai_nas.benchmarks.grid_evidence_tables import summarize
from monai_nas.benchmarks.grid_evidence_units import PARTS, Unit, all_units, planned
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.spaces import from_dints_code

LEFT_OUT = "published is left out: give --dints-code, the JSON file of DiNTS's arch_code"
NOT_SHIPPED = "budgets leave the shipped network out: give --shipped docs/results/task04"


def work_through(units: Sequence[Unit], study: GridStudy, after_each: Callable[[], None]) -> None:
    """Do the units that have no result, in order, and write their results.

    Args:
        units: in an order in which each comes after those that it needs.
        study: where results go.
        after_each: called when a result has been written, and once at the end.

    Raises:
        UserError: when a unit's minutes are to be compared with those of another processor, or a result rests on one
            that is gone.
    """
    for unit in filter(lambda unit: study.has(unit.name), units):
        for name in unit.needs:
            if not study.has(name):
                raise UserError(
                    f"{study.file(unit.name)}: rests on {study.file(name)}, which is gone: remove it, too, or bring "
                    "that back"
                )
    study.keep_settings()
    console, left = Console(highlight=False, soft_wrap=True), [unit for unit in units if not study.has(unit.name)]
    for unit in left:
        for name in filter(study.has, unit.beside):
            check_processor(study.file(name))
    for number, unit in enumerate(left):
        minutes = sum(later.minutes for later in left[number:])
        console.print(f"unit {number + 1} of {len(left)}: {unit.name}; {minutes:g} minutes of training left")
        begin = time.perf_counter()
        record = unit.work()
        study.write_result(unit.name, record, minutes=(time.perf_counter() - begin) / 60)
        after_each()
    after_each()


def show(units: Sequence[Unit], study: GridStudy) -> None:
    """Print which units are done and which are left, with the minutes of training that these were asked for."""
    table, left = Table(title="Units"), 0.0
    for column in ("unit", "state", "minutes of training left"):
        table.add_column(column)
    for unit in units:
        done = study.has(unit.name)
        left += 0.0 if done else unit.minutes
        state = "done" if done else "started" if (study.runs / unit.name).exists() else "left"
        table.add_row(unit.name, state, "" if done else f"{unit.minutes:g}")
    table.add_section()
    table.add_row("all", "", f"{left:g}")
    Console().print(table)


def parse_count(text: str) -> int:
    """Return a number of things to compare, two at least."""
    if not text.isdecimal() or int(text) < 2:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number from 2 up")
    return int(text)


def parse_width(text: str) -> int:
    """Return the channels of the finest level."""
    if not text.isdecimal() or int(text) < 4 or int(text) % 4:
        raise argparse.ArgumentTypeError(f"{text!r} must be a multiple of 4")
    return int(text)


def make_parser() -> argparse.ArgumentParser:
    """Return the command's options; those of :class:`GridSettings` have its names and defaults."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dataset.json")
    parser.add_argument("--runs", type=Path, required=True, help="folder for supernets, searches and trainings")
    parser.add_argument("--out", type=Path, required=True, help="folder for result files and summary.json")
    parser.add_argument("--part", nargs="+", choices=PARTS, default=PARTS, help="with what it needs; all by default")
    parser.add_argument("--list", action="store_true", help="print what is done and what is left, and do nothing")
    parser.add_argument("--dints-code", type=Path, metavar="FILE", help="JSON file of a published arch_code of DiNTS")
    parser.add_argument(
        "--shipped", metavar="PREFIX", help="of PREFIX_plan.json, PREFIX_train_architecture.json and _train_run.json"
    )
    options: Mapping[str, tuple[Callable[[str], object], str]] = {
        "width": (parse_width, "channels of the finest level"),
        "supernet_minutes": (parse_minutes, "training of the first supernet; the others have equal steps"),
        "train_minutes": (parse_minutes, "training from scratch"),
        "scored": (parse_count, "architectures of table 1"),
        "correlated": (parse_count, "architectures of the correlation"),
        "repeated": (parse_count, "of those, trained with a second seed"),
        "raced": (parse_count, "candidates of one budget that are all judged on all cases"),
        "pairs": (parse_count, "seeds of the chosen network and of those it is compared with"),
        "candidates": (parse_count, "of the search under the budget"),
        "budget": (str, "KIND=AMOUNT, as of monai-nas search; by default the median of the correlation's"),
        "largest": (str, "the largest of three budgets, likewise; by default what the dearest network takes to train"),
        "retrain_minutes": (parse_minutes, "training of its network; the others have equal steps"),
        "retrained": (parse_count, "seeds of each of the three"),
    }
    for name, (parse, text) in options.items():
        default = getattr(GridSettings, name)
        parser.add_argument(f"--{name.replace('_', '-')}", type=parse, default=default, help=f"{text} (%(default)s)")
    return parser


def published_architecture(file: Path | None) -> Architecture | None:
    """Return the architecture of a file of DiNTS, None without one."""
    return None if file is None else from_dints_code(read_json(file))


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is left and write the summary, or list it."""
    options = vars(make_parser().parse_args(arguments))
    data, runs, out, parts, only_list, code, prefix = (
        options.pop(name) for name in ("data", "runs", "out", "part", "list", "dints_code", "shipped")
    )
    with one_line_faults():
        study = GridStudy(data, runs, out, GridSettings(**options))
        shipped = None if prefix is None else Shipped.load(prefix)
        units = planned(all_units(study, published_architecture(code), shipped), parts)
        for part, given, line in (("published", code, LEFT_OUT), ("budgets", prefix, NOT_SHIPPED)):
            if part in parts and given is None:
                Console().print(line)
        if only_list:
            show(units, study)
            return

        def write_summary() -> None:
            write_json(out / "summary.json", {"task": study.task.name, **summarize(out, study.settings)})

        work_through(units, study, write_summary)


if __name__ == "__main__":
    main()
