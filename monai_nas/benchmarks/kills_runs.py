"""Kill a command again and again, look at what it left each time, and compare what it ends with."""

import csv
import hashlib
import io
import json
import math
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monai_nas.benchmarks.kills_moments import BUDGETED, Moment, Watch, last_written, stage_of, state_files
from monai_nas.errors import UserError
from monai_nas.files import load_tensors, read_json

POLL_SECONDS = 0.02
MAY_DIFFER = ("minutes_of_last_part", "environment")  # of run.json
MEASURED = "latency"  # of pareto.csv and of the costs in run.json: a duration


@dataclass(frozen=True)
class Kill:
    """One SIGKILL, and what the RUN folder held then."""

    verb: str
    run: int  # of the verb, from 1 on
    stage: str | None  # of a search under a budget
    second: float  # since that start of the command
    seconds_lost: float  # since a file of the run was last written, or since that start
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


def digests(run: Path) -> dict[str, str]:
    """Return the SHA-256 of the files of a RUN folder by name, also of temporary ones that should not be there.

    Left out are TensorBoard's logs, one more for each start, what run.json says of durations and the machine, and
    measured latencies.
    """
    found = {}
    for path in state_files(run):
        content = path.read_bytes()
        if path.name == "run.json":
            facts = {key: value for key, value in json.loads(content).items() if key not in MAY_DIFFER}
            facts.get("costs", {}).pop(MEASURED, None)
            content = json.dumps(facts, sort_keys=True).encode()
        if path.name == "pareto.csv":
            rows = list(csv.DictReader(io.StringIO(content.decode())))
            content = json.dumps([row | {MEASURED: None} for row in rows]).encode()
        found[path.relative_to(run).as_posix()] = hashlib.sha256(content).hexdigest()
    return found


def differing(run: Path, undisturbed: Path) -> tuple[str, ...]:
    """Return the names of the files that differ between two RUN folders, or that only one of them has."""
    one, other = digests(run), digests(undisturbed)
    return tuple(sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name)))


def find_kill(verb: str, run: int, began: float, killed: float, out: Path) -> Kill:
    """Look at the folder of a run that was killed just now.

    Args:
        verb: of the command.
        run: its number.
        began: when this start of the command was, by ``time.time``.
        killed: when it ended, likewise.
        out: the folder.
    """
    paths = state_files(out)
    names = tuple(path.relative_to(out).as_posix() for path in paths)
    epoch, unreadable = 0, []
    for name, path in zip(names, paths, strict=True):
        try:
            if name.endswith(".json"):
                read_json(path)
            if name.endswith(".pt"):
                epoch = max(epoch, load_tensors(path).get("epoch", 0))
        except UserError:
            unreadable.append(name)
    return Kill(
        verb,
        run,
        stage_of(out) if verb == BUDGETED else None,
        round(killed - began, 3),
        round(max(0.0, killed - max(began, last_written(out))), 3),
        epoch,
        names,
        tuple(unreadable),
    )


def start(command: Sequence[str], log: Path, is_due: Callable[[], bool], checkpoint_seconds: float) -> bool:
    """Run a command in a process group of its own; kill the group when ``is_due`` says so, if it lasts that long.

    Args:
        command: the words.
        log: gets what it prints.
        is_due: asked some fifty times a second.
        checkpoint_seconds: least time between two checkpoints of the command.

    Returns:
        Whether it ended by itself.

    Raises:
        UserError: when it ended with another status than 0.
    """
    settings = os.environ | {"MONAI_NAS_CHECKPOINT_SECONDS": f"{checkpoint_seconds:g}"}
    with (
        log.open("w") as file,
        subprocess.Popen(command, env=settings, stdout=file, stderr=file, start_new_session=True) as process,
    ):
        try:
            while process.poll() is None and not is_due():
                time.sleep(POLL_SECONDS)
        finally:  # also on Ctrl-C, which does not reach another group
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
        status = process.wait()
    if status not in (0, -signal.SIGKILL):
        raise UserError(f"{log}: `{' '.join(command)}` ended with status {status}: {log.read_text()[-2000:]}")
    return status == 0


def disturb(
    verb: str,
    command: Sequence[str],
    moments: Sequence[Moment],
    undisturbed: Path,
    seconds: Mapping[str | None, float],
    advance: Callable[[], None],
    checkpoint_seconds: float,
) -> tuple[list[Kill], list[Outcome]]:
    """Run a command until it has been killed at all ``moments``, in new folders where it ends before.

    A moment that is missed, as its stage was shorter than thought, is waited for again.

    Args:
        verb: names the folders, which are made beside ``undisturbed``.
        command: without its ``--out``.
        moments: in the order in which they come.
        undisturbed: what to compare with.
        seconds: how long each stage took there, 0 where it has none, and under None the whole.
        advance: called when a moment is spent.
        checkpoint_seconds: least time between two checkpoints.
    """
    pending, lengths = list(moments), dict(seconds)
    kills, outcomes = list[Kill](), list[Outcome]()
    while pending:
        number, before = len(outcomes) + 1, len(kills)
        out = undisturbed.with_name(f"{verb}_{number}")
        ended = False
        while not ended:
            moment = pending[0] if pending else Moment(None, math.inf)
            watch = Watch(out, moment.stage, moment.share * lengths.get(moment.stage, 0.0))
            ended = start([*command, "--out", str(out)], out.with_suffix(".log"), watch, checkpoint_seconds)
            if not ended:
                kills.append(find_kill(verb, number, watch.began, time.time(), out))
                if kills[-1].stage == moment.stage:
                    pending = pending[1:]
                    advance()
        if len(kills) == before and watch.lasted is not None:
            lengths[moment.stage] = watch.lasted  # shorter than thought: the moment must lie within it
        outcomes.append(Outcome(verb, number, len(kills) - before, differing(out, undisturbed)))
    return kills, outcomes


def losses(kills: Sequence[Kill]) -> dict[str, dict[str, float]]:
    """Return the number of kills and the most seconds lost, by stage, and by verb where that has none."""
    by_name: dict[str, list[float]] = {}
    for kill in kills:
        by_name.setdefault(kill.stage or kill.verb, []).append(kill.seconds_lost)
    return {name: {"kills": len(lost), "most_seconds": max(lost)} for name, lost in by_name.items()}
