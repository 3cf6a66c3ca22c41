"""What benchmarks share that train with several settings and seeds, and write one file after each training."""

import argparse
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.progress import Progress

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json

Record = dict[str, Any]


def add_options(parser: argparse.ArgumentParser, settings: Iterable[str]) -> None:
    """Add the options that these benchmarks have in common."""
    names = list(settings)
    parser.add_argument("--data", type=Path, required=True, help="folder that holds dataset.json")
    parser.add_argument("--out", type=Path, required=True, help="JSON file")
    parser.add_argument("--settings", nargs="+", choices=names, default=names, help="all by default")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1], help="0 1 by default")


def open_record(out: Path, asked: Mapping[str, Any], settings: Mapping[str, None]) -> Record:
    """Return what a file holds, or a new record.

    Args:
        out: the file, which need not be there.
        asked: what all its trainings have in common.
        settings: those of a new record.

    Raises:
        UserError: when the file is of something else.
    """
    record: Record = read_json(out) if out.exists() else {}
    for name, value in asked.items():
        if record and record.get(name) != value:
            raise UserError(f"{out}: of {name} {record.get(name)}, not {value}: choose another --out")
    return {**asked, "settings": dict(settings), **record}


def work_through(
    record: Record,
    out: Path,
    asked: Iterable[tuple[str, int]],
    *,
    kept: str,
    train: Callable[[str, int, Progress], Record],
    summarize: Callable[[str, Sequence[Record]], Record],
) -> None:
    """Train with each setting and seed that a record lacks, and write it after each training.

    Args:
        record: of :func:`open_record`.
        out: its file.
        asked: settings and seeds, in order.
        kept: key of a setting's trainings in its summary.
        train: called with setting, seed and a bar for progress; returns what a training gave, its "seed" included.
        summarize: called with a setting and its trainings.
    """
    with Progress() as bar:
        for name, seed in asked:
            done = (record["settings"].get(name) or {kept: []})[kept]
            if seed in (one["seed"] for one in done):
                continue
            bar.console.print(name, highlight=False)
            record["settings"][name] = summarize(name, [*done, train(name, seed, bar)])
            write_json(out, record)
