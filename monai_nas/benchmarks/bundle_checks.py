"""Check bundles as the MONAI ecosystem does, on copies and without real data; print a table, task by check.

    python -m monai_nas.benchmarks.bundle_checks --bundles bundles --torchrun

Each bundle is copied to a temporary folder without its weights, trained two steps on phantoms of its task, and put
through the checks of ``bundle_check_list.py``. The exit status is 1 when one fails.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.progress import track
from rich.table import Table

from monai_nas.benchmarks.bundle_check_list import CHECKS, schema
from monai_nas.benchmarks.bundle_copy import BundleCopy, bundle_plan, inside, quiet
from monai_nas.benchmarks.bundle_requirements import Skipped
from monai_nas.benchmarks.evidence import one_line_faults
from monai_nas.compute import choose_compute
from monai_nas.errors import UserError
from monai_nas.files import write_json
from monai_nas.pipelines.run_folder import environment

SCHEMA = Path("../shared/schema/meta_schema_20240725.json")
LONGEST_REASON = 200  # characters: an error of MONAI's parser may hold a whole configuration


@dataclass(frozen=True)
class Outcome:
    """What came of one check of one bundle."""

    status: Literal["ok", "failed", "skipped"]
    reason: str  # one line; empty for "ok"
    seconds: float

    def __str__(self) -> str:
        return f"{self.status}: {self.reason}" if self.reason else self.status


Outcomes = Mapping[str, Outcome]  # by the name of the check


def all_checks(schema_file: Path) -> dict[str, Callable[[BundleCopy], None]]:
    """Return the checks by name, in the order in which they are done."""
    return {"schema": partial(schema, file=schema_file.resolve()), **CHECKS}


def check_bundle(
    bundle: Path, *, schema_file: Path = SCHEMA, checks: Sequence[str] | None = None, log: Path | None = None
) -> dict[str, Outcome]:
    """Check one bundle, on a copy that is removed in the end.

    Args:
        bundle: its folder, which is not written to.
        schema_file: copy of the zoo's schema of metadata.json.
        checks: names of those wanted, all by default; most need "train".
        log: file to which is added what the workflows print; by default it is thrown away.

    Returns:
        The outcome of each check, by name, in the order in which they were done.
    """
    known = all_checks(schema_file)
    wanted = {name: known[name] for name in known if checks is None or name in checks}
    with tempfile.TemporaryDirectory(prefix="monai_nas_bundle_") as work:
        copy = BundleCopy.make(bundle.resolve(), Path(work).resolve())
        with inside(copy.root), quiet(log or Path(work, "log.txt")):
            return {name: _outcome(partial(check, copy)) for name, check in wanted.items()}


def _outcome(check: Callable[[], None]) -> Outcome:
    began = time.perf_counter()
    try:
        check()
    except Skipped as reason:
        return Outcome("skipped", str(reason), time.perf_counter() - began)
    except (Exception, SystemExit) as error:  # a configuration builds and runs anything, which raises anything
        return Outcome("failed", one_line(error), time.perf_counter() - began)
    return Outcome("ok", "", time.perf_counter() - began)


def one_line(error: BaseException) -> str:
    """Return what first went wrong, in a line that is not too long."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [""]
    line = lines[-1] if "TorchScript" in lines[0] else lines[0]  # which shows its code first
    text = line if type(error).__module__.startswith("monai_nas") else f"{type(error).__name__}: {line}"
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."


def find_bundles(folder: Path, tasks: Sequence[str] | None) -> dict[str, Path]:
    """Return the bundles in a folder by the name of their task, in order.

    Args:
        folder: that holds bundles.
        tasks: names of those wanted; all by default.

    Raises:
        UserError: when there is none, or none of a task that is wanted.
    """
    found = {bundle_plan(path.parents[1]).task.name: path.parents[1] for path in folder.glob("*/configs/metadata.json")}
    if not found:
        raise UserError(f"{folder}: no bundles in it: give the folder that holds them with --bundles")
    if absent := [name for name in tasks or () if name not in found]:
        raise UserError(f"{folder}: no bundle of {absent[0]}: choose from {', '.join(sorted(found))}")
    return {name: found[name] for name in sorted(found) if tasks is None or name in tasks}


def show(results: Mapping[str, Outcomes], console: Console) -> None:
    """Print the table, a column for each task, and below it why something was skipped or failed."""
    marks = {"ok": "ok", "failed": "[bold red]FAIL[/]", "skipped": "[dim]-[/]"}
    table = Table(title=f"Checks of {len(results)} bundles")
    table.add_column("check", no_wrap=True)
    for task in results:
        table.add_column(task.split("_")[0].removeprefix("Task"), justify="center", no_wrap=True)  # ten fit a terminal
    for check in next(iter(results.values())):
        table.add_row(check, *(marks[outcomes[check].status] for outcomes in results.values()))
    console.print(table)
    reasons: dict[str, list[str]] = {}
    for task, outcomes in results.items():
        for check, outcome in outcomes.items():
            if outcome.reason:
                reasons.setdefault(f"{check} {outcome}", []).append(task)
    for reason, tasks in reasons.items():
        console.print(f"{reason} ({', '.join(tasks)})", markup=False, highlight=False, soft_wrap=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Check the bundles of a folder; exit with status 1 where a check fails."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundles", type=Path, default=Path("bundles"), help="folder that holds them (%(default)s)")
    parser.add_argument("--tasks", nargs="+", metavar="TaskNN_Name", help="all by default")
    parser.add_argument("--checks", nargs="+", choices=list(all_checks(SCHEMA)), help="all by default")
    parser.add_argument("--torchrun", action="store_true", help="also train with two processes")
    parser.add_argument("--schema", type=Path, default=SCHEMA, help="copy of the zoo's schema (%(default)s)")
    parser.add_argument("--out", type=Path, help="JSON file to write the table to")
    parser.add_argument("--log", type=Path, help="file to add the output of the workflows to")
    options = parser.parse_args(arguments)
    checks = options.checks or [name for name in all_checks(options.schema) if options.torchrun or name != "torchrun"]
    console = Console(file=sys.stdout)  # the one of now: that of the workflows goes to the log
    with one_line_faults():
        bundles = find_bundles(options.bundles, options.tasks)
        results: dict[str, Outcomes] = {}
        for task, bundle in track(bundles.items(), "bundles", console=console):
            results[task] = check_bundle(bundle, schema_file=options.schema, checks=checks, log=options.log)
            if options.out:  # after each: all take minutes
                write_json(options.out, _record(results))
        show(results, console)
    if any(outcome.status == "failed" for outcomes in results.values() for outcome in outcomes.values()):
        sys.exit(1)


def _record(results: Mapping[str, Outcomes]) -> dict[str, object]:
    return {
        "tasks": {task: {check: str(outcome) for check, outcome in one.items()} for task, one in results.items()},
        "seconds": {task: round(sum(outcome.seconds for outcome in one.values()), 1) for task, one in results.items()},
        "environment": environment(choose_compute(device="cpu")),
    }


if __name__ == "__main__":
    main()
