"""Does a run that is killed and started again end in the same bytes? `python -m monai_nas.benchmarks.kills --out FILE`.

A search and a training run once undisturbed; then again in other folders with SIGKILL at random moments, the same
command started again after each, until all kills are spent. Every file that they leave is compared.
"""

import argparse
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import Progress

from monai_nas.compute import choose_compute
from monai_nas.data.synthetic import write_phantoms
from monai_nas.errors import UserError
from monai_nas.files import load_tensors, read_json, write_json
from monai_nas.pipelines.run_folder import environment
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import make_plan
from monai_nas.tasks.msd import msd_task
from monai_nas.tasks.splits import training_cases

CHECKPOINT_SECONDS = "0"  # a checkpoint each step, so that some kills come while one is written
MAY_DIFFER = ("minutes_of_last_part", "environment")  # of run.json
NUM_PHANTOMS = 10
EPOCHS = 20


@dataclass(frozen=True)
class Kill:
    """One SIGKILL, and what the RUN folder held then."""

    verb: str
    run: int  # of the verb, from 1 on
    second: float  # since that start of the command
    epoch: int  # of the checkpoint, 0 where there is none
    files: tuple[str, ...]
    unreadable: tuple[str, ...]  # of them, those that have their final name and are not whole


@dataclass(frozen=True)
class Outcome:
    """A run that ended after some kills."""

    verb: str
    run: int
    kills: int
    differing: tuple[str, ...]  # names of files that are not those of the undisturbed run


def draw_moments(kills: int, seed: int) -> dict[str, list[float]]:
    """Return when to kill, by verb, as shares of the duration of an undisturbed run, uniform in [0, 1)."""
    moments = np.random.default_rng(seed).random(kills).tolist()
    half = (kills + 1) // 2
    return {"search": moments[:half], "train": moments[half:]}


def digests(run: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of a RUN folder by name, also of temporary ones that should not be there.

    Left out are TensorBoard's logs, one more for each start, and what run.json says of durations and the machine.
    """
    found = {}
    for path in run.iterdir():
        if path.name == "tensorboard":
            continue
        content = path.read_bytes()
        if path.name == "run.json":
            facts = json.loads(content)
            content = json.dumps({key: facts[key] for key in sorted(facts) if key not in MAY_DIFFER}).encode()
        found[path.name] = hashlib.sha256(content).hexdigest()
    return found


def differing(run: Path, undisturbed: Path) -> tuple[str, ...]:
    """Return the names of the files that differ between two RUN folders, or that only one of them has."""
    one, other = digests(run), digests(undisturbed)
    return tuple(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))


def find_kill(verb: str, run: int, second: float, out: Path) -> Kill:
    """Look at the folder of a run that was killed just now."""
    files = sorted(path.name for path in out.iterdir()) if out.is_dir() else []
    epoch, unreadable = 0, []
    for name in files:
        try:
            if name.endswith(".json"):
                read_json(out / name)
            if name.endswith(".pt"):
                epoch = max(epoch, load_tensors(out / name).get("epoch", 0))
        except UserError:
            unreadable.append(name)
    return Kill(verb, run, round(second, 3), epoch, tuple(files), tuple(unreadable))


def start(command: Sequence[str], log: Path, seconds: float | None) -> bool:
    """Run a command in a process group of its own; kill the group after ``seconds``, if it lasts that long.

    Returns:
        Whether it ended by itself.

    Raises:
        UserError: when it ended with another status than 0.
    """
    settings = os.environ | {"MONAI_NAS_CHECKPOINT_SECONDS": CHECKPOINT_SECONDS}
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=settings, stdout=file, stderr=file, start_new_session=True) as process,
    ):
        try:
            status = process.wait(timeout=seconds)
        except BaseException as error:  # Ctrl-C does not reach another group
            os.killpg(process.pid, signal.SIGKILL)
            if not isinstance(error, subprocess.TimeoutExpired):
                raise
            status = process.wait()
    if status not in (0, -signal.SIGKILL):
        raise UserError(f"{log}: `{' '.join(command)}` ended with status {status}: {log.read_text()[-2000:]}")
    return status == 0


def disturb(
    verb: str,
    command: Sequence[str],
    moments: Sequence[float],
    undisturbed: Path,
    seconds: float,
    advance: Callable[[], None],
) -> tuple[list[Kill], list[Outcome]]:
    """Run a command until it has been killed at all ``moments``, in new folders where it ends before.

    Args:
        verb: names the folders, which are made beside ``undisturbed``.
        command: without its ``--out``.
        moments: shares of ``seconds``.
        undisturbed: what to compare with.
        seconds: how long that took.
        advance: called after each kill.
    """
    pending, kills, outcomes = list(moments), list[Kill](), list[Outcome]()
    while pending:
        number, before = len(outcomes) + 1, len(kills)
        out = undisturbed.with_name(f"{verb}_{number}")
        ended = False
        while not ended:
            began = time.perf_counter()
            limit = pending[0] * seconds if pending else None
            ended = start([*command, "--out", str(out)], out.with_suffix(".log"), limit)
            lasted = time.perf_counter() - began
            if not ended:
                kills.append(find_kill(verb, number, lasted, out))
                pending = pending[1:]
                advance()
        if len(kills) == before:
            seconds = lasted  # shorter than thought: the moment must lie within it
        outcomes.append(Outcome(verb, number, len(kills) - before, differing(out, undisturbed)))
    return kills, outcomes


def make_data(folder: Path) -> tuple[Path, Path]:
    """Write phantoms and a plan so small that a step takes a fraction of a second; return data and plan."""
    task = msd_task("Task04_Hippocampus")
    data = write_phantoms(task, folder / task.name, num_training=NUM_PHANTOMS, num_test=0, seed=0, scale=0.5)
    plan = make_plan(task, measure_fingerprint(training_cases(data), task))
    replace(plan, width=8, patch_size=(16, 16, 16), strides=((2, 2, 2),) * 2).save(folder / "plan.json")
    return data, folder / "plan.json"


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, kill, compare, and write what happened as JSON; exit with status 1 where anything differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--kills", type=int, default=20, help="half in the search, half in the training (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the moments and of the runs (%(default)s)")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of each run (%(default)s)")
    parser.add_argument("--data", type=Path, help="folder with dataset.json; by default phantoms are made")
    options = parser.parse_args(arguments)
    work = Path(tempfile.mkdtemp(prefix="monai_nas_kills_"))
    data, plan = (options.data, None) if options.data else make_data(work)
    shared = ["--data", str(data), "--epochs", str(options.epochs), "--seed", str(options.seed), "--fold", "0"]
    shared += ["--device", "cpu"] + (["--plan", str(plan)] if plan else [])
    moments = draw_moments(options.kills, options.seed)
    durations, kills, outcomes = {}, list[Kill](), list[Outcome]()
    with Progress() as bar:
        task = bar.add_task("kills", total=options.kills)
        for verb in moments:
            out = work / verb
            command = [sys.executable, "-m", "monai_nas", "--quiet", verb, *shared]
            if verb == "train":
                command += ["--architecture", str(work / "search" / "architecture.json")]
            began = time.perf_counter()
            start([*command, "--out", str(out)], out.with_suffix(".log"), None)
            durations[verb] = time.perf_counter() - began
            advance = partial(bar.advance, task)
            more_kills, more_outcomes = disturb(verb, command, moments[verb], out, durations[verb], advance)
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
            "seconds_undisturbed": durations,
            "compared": {verb: sorted(digests(work / verb)) for verb in durations},
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
