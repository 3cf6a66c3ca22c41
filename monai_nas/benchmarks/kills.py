"""Does a run that is killed and started again end in the same bytes? `python -m monai_nas.benchmarks.kills --out FILE`.

A search, a training and a search under a budget run once undisturbed; then again in other folders with SIGKILL at
random moments, the same command started again after each, until all kills are spent. Every file that they leave is
compared. The kills of the search under a budget fall into each of its stages.
"""

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress

from monai_nas.benchmarks.kills_moments import BUDGETED, VERBS, Timeline, draw_moments
from monai_nas.benchmarks.kills_runs import Kill, Outcome, digests, disturb, losses, start
from monai_nas.compute import choose_compute
from monai_nas.data.synthetic import write_phantoms
from monai_nas.files import write_json
from monai_nas.pipelines.run_folder import environment
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import make_plan
from monai_nas.spaces import CellUNetSpace
from monai_nas.tasks.msd import msd_task
from monai_nas.tasks.splits import training_cases

CHECKPOINT_SECONDS = 0.0  # a checkpoint each step, so that some kills come while one is written
TASK, NUM_PHANTOMS = "Task04_Hippocampus", 10
EPOCHS = 20
BUDGET, CANDIDATES = "parameters=100K", 12  # of the phantoms' grid


def make_data(folder: Path) -> None:
    """Write phantoms, and a plan.json so small that a step takes a fraction of a second."""
    task = msd_task(TASK)
    data = write_phantoms(task, folder / task.name, num_training=NUM_PHANTOMS, num_test=0, seed=0, scale=0.5)
    plan = make_plan(task, measure_fingerprint(training_cases(data), task))
    replace(plan, width=8, patch_size=(16, 16, 16), strides=((2, 2, 2),) * 2).save(folder / "plan.json")


def words_of(verb: str, work: Path, options: argparse.Namespace) -> list[str]:
    """Return the command line of a verb, without its ``--out``."""
    data, plan = (options.data, None) if options.data else (work / TASK, work / "plan.json")
    words = ["train" if verb == "train" else "search", "--data", str(data), "--fold", "0", "--device", "cpu"]
    words += ["--epochs", str(options.epochs), "--seed", str(options.seed)] + (["--plan", str(plan)] if plan else [])
    if verb == "train":
        architecture = work / "architecture.json"
        CellUNetSpace().sample(np.random.default_rng(options.seed)).save(architecture)
        words += ["--architecture", str(architecture)]
    if verb == BUDGETED:
        words += ["--strategy", BUDGETED, "--budget", options.budget, "--candidates", str(CANDIDATES)]
    return [sys.executable, "-m", "monai_nas", "--quiet", *words]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, kill, compare, and write what happened as JSON; exit with status 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--verbs", nargs="+", choices=VERBS, default=VERBS, help="all by default")
    parser.add_argument("--kills", type=int, default=10, help="of each verb (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the runs (%(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each run (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder with dataset.json; by default phantoms are made")
    parser.add_argument("--budget", default=BUDGET, help=f"of {BUDGETED}, within its reach on the data (%(default)s)")
    parser.add_argument(
        "--checkpoint-seconds",
        type=float,
        default=CHECKPOINT_SECONDS,
        help="least time between two checkpoints: 60 is what a run without this benchmark has (%(default)s)",
    )
    options = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="monai_nas_kills_"))
    if not options.data:
        make_data(work)
    durations, kills, outcomes = {}, list[Kill](), list[Outcome]()
    with Progress() as bar:
        task = bar.add_task("kills", total=options.kills * len(options.verbs))
        for verb in options.verbs:
            out, command = work / verb, words_of(verb, work, options)
            began, timeline = time.perf_counter(), Timeline(out)
            start([*command, "--out", str(out)], out.with_suffix(".log"), timeline, options.checkpoint_seconds)
            durations[verb] = time.perf_counter() - began
            more_kills, more_outcomes = disturb(
                verb,
                command,
                draw_moments(verb, options.kills, options.seed),
                out,
                timeline.seconds | {None: durations[verb]},
                partial(bar.advance, task),
                options.checkpoint_seconds,
            )
            kills += more_kills
            outcomes += more_outcomes
    faults = [f"{work / one.verb}_{one.run}/{name}: differs" for one in outcomes for name in one.differing]
    faults += [f"{work / one.verb}_{one.run}/{name}: half written" for one in kills for name in one.unreadable]
    write_json(
        options.out,
        {
            "equal": not faults,
            "data": options.data.resolve().name if options.data else f"{NUM_PHANTOMS} phantoms",
            "epochs": options.epochs,
            "seed": options.seed,
            "checkpoint_seconds": options.checkpoint_seconds,
            "seconds_undisturbed": durations,
            "compared": {verb: sorted(digests(work / verb)) for verb in durations},
            "lost": losses(kills),
            "kills": [asdict(one) for one in kills],
            "runs": [asdict(one) for one in outcomes],
            "environment": environment(choose_compute(device="cpu")),
        },
    )
    if faults:
        sys.exit("\n".join(faults))  # the folders stay, to be looked at
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
