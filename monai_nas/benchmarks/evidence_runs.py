"""One run of the evidence: its command lines, each a process of its own, continued where they were cut."""

import fcntl
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.pipelines.demo import link_cases
from monai_nas.spaces import CellUNetSpace
from monai_nas.tasks.splits import training_cases

RANDOM = "random"
LONG = "_long"  # ends the name of a method that repeats a shorter one with more steps
EQUAL = "_equal"  # ends the name of a method that repeats another one with the steps of the searched network
PACED = (LONG, EQUAL)
POLL_SECONDS = 0.5

Tick = Callable[[], None]


def pair_name(fold: int, seed: int) -> str:
    """Return the name of a pair's folders, "fold0_seed0"."""
    return f"fold{fold}_seed{seed}"


@dataclass(frozen=True)
class Study:
    """Where a set of runs reads and writes."""

    data: Path  # folder that holds dataset.json
    runs: Path  # gets a folder for each run: RUN folder, bundle, predictions, log
    out: Path  # gets a small result file for each run
    plan: Path | None = None  # of all runs; without one each makes its own from the cases that it learns from


@dataclass(frozen=True)
class Job:
    """One method on one pair of fold and seed."""

    method: str  # names the folders and the result file
    fold: int  # kept out, and scored
    seed: int
    search_minutes: float  # that the architecture costs; 0 where nothing was searched
    train_minutes: float  # 0 where the weights of the search are taken as they are
    architecture: str | Path | None  # a hand-made network, RANDOM, or a result file; None for a search
    paced_by: "Job | None" = None  # the training whose epochs are taken, in proportion to the minutes

    @property
    def pair(self) -> str:
        """The name of the pair."""
        return pair_name(self.fold, self.seed)

    @property
    def minutes(self) -> float:
        """Length of the job's own command."""
        return self.search_minutes if self.architecture is None else self.train_minutes

    @property
    def is_hand_made(self) -> bool:
        """Whether the network is asked for by its name."""
        return isinstance(self.architecture, str) and self.architecture != RANDOM

    def folder(self, study: Study) -> Path:
        """Return where the run works."""
        return study.runs / self.pair / self.method

    def result_file(self, study: Study) -> Path:
        """Return the file that says how the run went; where it exists, the run is over."""
        return study.out / self.pair / f"{self.method}.json"


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    status: int
    peak_memory_bytes: int  # of main memory
    interrupted: bool  # by us, on Ctrl-C


def commands(job: Job, study: Study, length: Sequence[str]) -> list[list[str]]:
    """Return the words after ``monai-nas`` of the four commands: search or train, bundle, predict, evaluate.

    Args:
        job: what to run.
        study: where, as the commands name it.
        length: option of the first command that says how long it takes, see :func:`length_of`.
    """
    folder = job.folder(study)
    if job.architecture is None:
        first = ["search", "--strategy", "scnas"]
    else:
        chosen = job.architecture if job.is_hand_made else folder / "architecture.json"
        first = ["train", "--architecture", str(chosen)]
    first += ["--data", str(study.data), "--fold", str(job.fold), "--seed", str(job.seed)]
    first += [*length, "--out", str(folder / "run")]
    first += ["--plan", str(study.plan)] if study.plan else []
    bundle, withheld, predictions = folder / "bundle", folder / "withheld", folder / "predictions"
    return [
        first,
        ["bundle", "--run", str(folder / "run"), "--out", str(bundle)],
        ["predict", "--bundle", str(bundle), "--images", str(withheld / "images"), "--out", str(predictions)],
        [
            *["evaluate", "--task", str(study.data / "dataset.json"), "--pred", str(predictions)],
            *["--labels", str(withheld / "labels"), "--out", str(folder / "scores.json")],
        ],
    ]


def length_of(job: Job, study: Study) -> list[str]:
    """Return the option that says how long the first command of a job takes.

    A job that is paced by another takes that one's epochs in proportion to the minutes, and not minutes of its own: so
    it is worth the same on a machine that is slower now than when the other one ran.

    Raises:
        UserError: when the other one has no result, or is of another length.
    """
    if job.paced_by is None:
        return ["--minutes", f"{job.minutes:g}"]
    file = job.paced_by.result_file(study)
    if not file.exists():
        raise UserError(f"{file}: no such file, {job.method} needs its steps: add {job.paced_by.method} to --methods")
    record = read_json(file)
    check_minutes(record, file, "train", job.paced_by.train_minutes)
    check_minutes(record, file, "search", job.paced_by.search_minutes)
    num_learned = len(training_cases(study.data)) - len(record["scores"]["cases"])
    epochs = record["steps"]["all"] / math.ceil(num_learned / record["batch_size"])
    return ["--epochs", str(max(1, round(epochs * job.train_minutes / job.paced_by.train_minutes)))]


def run_job(job: Job, study: Study, tick: Tick) -> None:
    """Search or train, bundle, predict the fold kept out, and score; what is done already is not done again.

    Args:
        job: what to run.
        study: where.
        tick: called about twice a second.

    Raises:
        UserError: when a command fails, with the last line it wrote.
        KeyboardInterrupt: on Ctrl-C, when the command has ended.
    """
    folder, words = job.folder(study), commands(job, study, length_of(job, study))
    if job.architecture is not None and not job.is_hand_made:
        architecture_of(job).save(folder / "architecture.json")
    run_to_its_end([sys.executable, "-m", "monai_nas", *words[0]], f"monai-nas {words[0][0]}", folder, tick)
    folds = read_json(folder / "run" / "folds.json")
    names = set(folds["folds"][folds["kept_out"]])
    link_cases([case for case in training_cases(study.data) if case.name in names], folder / "withheld")
    log = folder / "log.txt"
    for line in words[1:]:
        check(run_command([sys.executable, "-m", "monai_nas", *line], log, tick), f"monai-nas {line[0]}", log)


def run_to_its_end(command: Sequence[str], name: str, folder: Path, tick: Tick) -> None:
    """Run or continue the command that fills ``folder``/run, unless it has ended; note each start in starts.json.

    Args:
        command: what to run; it writes run/run.json last, and run/checkpoint.pt to continue from.
        name: of the command in errors.
        folder: also gets log.txt.
        tick: called about twice a second.

    Raises:
        UserError: when the command fails, with the last line it wrote.
        KeyboardInterrupt: on Ctrl-C, when the command has ended.
    """
    if (folder / "run" / "run.json").exists():
        return
    starts, checkpoint = read_starts(folder), folder / "run" / "checkpoint.pt"
    kept = checkpoint.stat().st_mtime if checkpoint.exists() else None
    start = {"began": time.time(), "checkpoint_before": kept, "peak_memory_bytes": None}
    write_json(folder / "starts.json", [*starts, start])
    ended = run_command(command, folder / "log.txt", tick)
    write_json(folder / "starts.json", [*starts, start | {"peak_memory_bytes": ended.peak_memory_bytes}])
    check(ended, name, folder / "log.txt")


def architecture_of(job: Job) -> Architecture:
    """Return the architecture that a training without a hand-made network trains.

    Raises:
        UserError: when it is that of a search whose result is not there, or is of another length.
    """
    if job.architecture == RANDOM:
        return CellUNetSpace().sample(np.random.default_rng([job.seed, job.fold]))
    file = Path(str(job.architecture))
    if not file.exists():
        raise UserError(f"{file}: no such file, {job.method} needs its architecture: add {file.stem} to --methods")
    record = read_json(file)
    check_minutes(record, file, "search", job.search_minutes)
    return Architecture.from_record(record["architecture"], source=str(file))


def check_minutes(record: Mapping[str, Any], file: Path, kind: str, asked: float) -> None:
    """Raise UserError where a result is of a "search" or "train" of other length, which must not be compared."""
    before = record["minutes"][kind]["asked"]
    if before != asked:
        raise UserError(
            f"{file}: made with {before:g} minutes of {kind}, now {asked:g} are asked for: choose another --out and "
            "--runs, or the same minutes"
        )


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """Return when the first command of a job was started, the time of the checkpoint then, and its peak memory."""
    file = folder / "starts.json"
    return list(read_json(file)) if file.exists() else []


def run_command(command: Sequence[str], log: Path, tick: Tick) -> Ended:
    """Run a command to its end, its output appended to ``log``; on Ctrl-C end it.

    The peak is the kernel's ``ru_maxrss``. What this process itself took when it started the other counts in it, so
    this process must stay smaller than what it measures: it reads no volume and trains nothing.

    Raises:
        UserError: when a process that an earlier call left behind still writes to ``log``.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as file:
        _lock(file, log)
        file.write(f"$ {' '.join(command)}\n".encode())
        file.flush()
        # in a session of its own, so that Ctrl-C reaches this process alone, which then waits for the other's end
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file, start_new_session=True)
    interrupted = False
    try:
        while not (end := os.wait4(process.pid, os.WNOHANG))[0]:
            tick()
            time.sleep(POLL_SECONDS)
    except KeyboardInterrupt:
        interrupted = True
        os.kill(process.pid, signal.SIGTERM)  # SIGINT is ignored by what a shell started in the background
        end = os.wait4(process.pid, 0)
    _, status, usage = end
    process.returncode = os.waitstatus_to_exitcode(status)  # so that Popen does not wait for it again
    return Ended(process.returncode, usage.ru_maxrss * 1024, interrupted)


def _lock(file: IO[bytes], log: Path) -> None:
    """Lock the log for as long as any process has it open, those that inherit it included."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise UserError(f"{log}: in use by another process: wait for its end, or end it") from error


def check(ended: Ended, name: str, log: Path) -> None:
    """Pass on an interruption, and raise UserError for a command that failed, under its name."""
    if ended.interrupted:
        raise KeyboardInterrupt
    if ended.status:
        lines = log.read_text(errors="replace").strip().splitlines()
        raise UserError(f"{log}: `{name}` ended with status {ended.status}: {lines[-1] if lines else ''}")
