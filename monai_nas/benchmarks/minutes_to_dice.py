"""How many minutes from nothing to a Dice? `python -m monai_nas.benchmarks.minutes_to_dice --data DIR --runs RUNS ...`

Ours, MONAI's DynUNet in MONAI's stock pipeline, and nnU-Net train on the cases outside a fold, which is predicted and
scored on its own grids afterwards. As a rate that falls needs an end, a contender trains from nothing for 12 minutes,
then from nothing for a quarter longer, and so on, until the network that such a training ends with has the Dice; its
minutes are those of that training alone. The DynUNet gets one training, of 3 times our minutes, and nnU-Net one of 5
times; where that does not suffice its minutes are censored: it takes longer. Where it does, it takes at most that long.

Minutes are those of the training's process from its start to its weights: imports, reading and preprocessing, training
and a checkpoint each minute, for all alike. Prediction and scoring are not among them, nor what a restart takes to come
back to its checkpoint; both are in the file. What has a result is not run again, and an unfinished training goes on at
its checkpoint, so that the same command continues where it was cut.
"""

import argparse
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from monai_nas.benchmarks.evidence import one_line_faults, parse_minutes
from monai_nas.benchmarks.minutes_to_dice_units import ABOUT, TIMES_OURS, MinutesStudy, Unit
from monai_nas.benchmarks.speed.contest import OURS
from monai_nas.benchmarks.speed.nnunet import left_out
from monai_nas.compute import choose_compute
from monai_nas.errors import UserError
from monai_nas.files import write_json
from monai_nas.pipelines.run_folder import environment

ARCHITECTURE = Path("docs/results/task04_train_architecture.json")
FIRST_MINUTES, MINUTES_LIMIT, LONGER = 12.0, 96.0, 1.25

Record = dict[str, Any]


def lengths(first: float, limit: float) -> list[float]:
    """Return the minutes of trainings: ``first``, ``LONGER`` times that in whole minutes, and so on to ``limit``."""
    found = [first] if first <= limit else []
    while found and (longer := math.ceil(LONGER * found[-1])) <= limit:
        found.append(longer)
    return found


def units_of(contender: str, minutes: Sequence[float], ours: Record | None) -> list[Unit]:
    """Return the trainings of a contender, the shortest first.

    Args:
        contender: of :data:`~monai_nas.benchmarks.minutes_to_dice_units.ABOUT`.
        minutes: of ours.
        ours: our record of :func:`contender_record`; the peers have no training before ours has the Dice.
    """
    if contender not in TIMES_OURS:
        return [Unit(contender, length) for length in minutes]
    if ours is None or ours["censored"]:
        return []
    return [Unit(contender, math.ceil(TIMES_OURS[contender] * ours["minutes"]))]


def contender_record(contender: str, units: Sequence[Unit], study: MinutesStudy, target: float) -> Record | None:
    """Return what a contender's finished trainings say, None where there is none.

    Returns:
        "minutes", "asked_minutes" and "dice" of the first training that has the target, and "censored" false; or of the
        longest, and "censored" true: it takes more. "at_most" where the only training has it: fewer may suffice.
        "trainings" are all of them up to that one.
    """
    done: list[Record] = []
    for unit in units:
        if (record := unit.result(study)) is None:
            break
        done.append(record)
        if record["dice"] >= target:
            break
    if not done:
        return None
    last = {key: done[-1][key] for key in ("minutes", "asked_minutes", "dice")}
    has = bool(last["dice"] >= target)
    bounds = {"censored": not has, "at_most": has and contender in TIMES_OURS}
    return {"about": ABOUT[contender], **bounds, **last, "trainings": done}


def summarize(study: MinutesStudy, minutes: Sequence[float], target: float) -> Record:
    """Return the record of all contenders, with the minutes of each as multiples of ours once ours has the target."""
    contenders: dict[str, Record | None] = {}
    for name in ABOUT:
        units = units_of(name, minutes, contenders.get(OURS))
        contenders[name] = contender_record(name, units, study, target)
    ours = contenders[OURS]
    our_minutes = None if ours is None or ours["censored"] else ours["minutes"]
    for record in contenders.values():
        if record is not None:
            record["times_as_long"] = record["minutes"] / our_minutes if our_minutes else None
    return {
        "task": study.task.name,
        "fold": study.fold,
        "seed": study.seed,
        "target_dice": target,
        "asked_minutes": list(minutes),
        "contenders": contenders,
        "environment": environment(choose_compute()),
    }


def work_through(
    study: MinutesStudy,
    contenders: Sequence[str],
    minutes: Sequence[float],
    target: float,
    after_each: Callable[[], None],
) -> None:
    """Do the trainings that have no result, each contender's in order, until one has the target.

    Args:
        study: prepared.
        contenders: who trains.
        minutes: of our trainings.
        target: Dice, in [0, 1].
        after_each: called when a result has been written, and once at the end.

    Raises:
        UserError: when a training fails.
    """
    console = Console(highlight=False, soft_wrap=True)
    for contender in (name for name in ABOUT if name in contenders):
        ours = contender_record(OURS, units_of(OURS, minutes, None), study, target)
        units = units_of(contender, minutes, ours)
        if not units:
            console.print(f"{contender} waits until {OURS} has a Dice of {100 * target:g}")
        for unit in _until(target, units, study):
            console.print(f"{unit.name}: training")
            record = unit.work(study, lambda: None)
            console.print(f"{unit.name}: Dice {100 * record['dice']:.2f} after {record['minutes']:.1f} minutes")
            after_each()
    after_each()


def _until(target: float, units: Sequence[Unit], study: MinutesStudy) -> Iterator[Unit]:
    """Yield the units without a result, up to the first that has the target."""
    for unit in units:
        if unit.result(study) is None:
            yield unit
        record = unit.result(study)
        if record is not None and record["dice"] >= target:
            return


def parse_percent(text: str) -> float:
    """Return a share in (0, 1) of a number of percent."""
    percent = parse_minutes(text)
    if percent >= 100:
        raise argparse.ArgumentTypeError(f"{text}: must be less than 100")
    return percent / 100


def main(arguments: Sequence[str] | None = None) -> None:
    """Do what is left, and write the record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dataset.json")
    parser.add_argument("--runs", type=Path, required=True, help="folder for the trainings and their results")
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--target", type=parse_percent, default=0.87, help="mean Dice of the fold in percent (87)")
    parser.add_argument("--contender", nargs="+", choices=ABOUT, default=tuple(ABOUT), help="all by default")
    parser.add_argument("--first-minutes", type=parse_minutes, default=FIRST_MINUTES, help="(%(default)s)")
    parser.add_argument(
        "--minutes-limit", type=parse_minutes, default=MINUTES_LIMIT, help="of our longest training (%(default)s)"
    )
    parser.add_argument("--architecture", type=Path, default=ARCHITECTURE, help=f"of {OURS} (%(default)s)")
    parser.add_argument("--fold", type=int, default=0, help="kept out and scored (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of all trainings (%(default)s)")
    options = parser.parse_args(arguments)
    with one_line_faults():
        minutes = lengths(options.first_minutes, options.minutes_limit)
        if not minutes:
            raise UserError(f"--minutes-limit {options.minutes_limit:g}: less than --first-minutes: give more")
        for name in sorted(set(options.contender) & set(left_out())):
            raise UserError(f"{name}: {left_out()[name]}; or name the others by --contender")
        study = MinutesStudy(options.data, options.runs, options.architecture, options.fold, options.seed)
        study.prepare()
        work_through(
            study,
            options.contender,
            minutes,
            options.target,
            lambda: write_json(options.out, summarize(study, minutes, options.target)),
        )


if __name__ == "__main__":
    main()
