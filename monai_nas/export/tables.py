"""Figures in documents: what stands between two markers of a Markdown file is written from result files, never typed.

    python -m monai_nas.export.tables README.md docs/*.md docs/decisions/*.md

A block opens with one of the comments below and closes with ``<!-- end -->``; files are named as seen from the
document, and a value by its keys, which count from 0 in a list, optionally with the words to show for it.

    <!-- scores: results/scores.json -->                                     the means of a table of scores
    <!-- values: results/run.json; minutes; environment.dtype as format -->  chosen values of any JSON file
    <!-- rows: results/cost.json; mean, max; flops as FLOPs; memory -->      the same values of several parts of it
    <!-- picture: pictures/cases.png; Truth and prediction -->               a picture with its description

Where a file is not there yet the block says so, and names it.
"""

import math
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_atomic
from monai_nas.metrics.table import METRICS, ScoreTable

BLOCK = re.compile(
    r"(?P<open><!-- (?P<kind>\w+): (?P<rest>[^\n]*?) -->\n)(?P<body>.*?)(?P<close><!-- end -->)", re.DOTALL
)


def fill_tables(text: str, folder: Path) -> str:
    """Return a Markdown text with all of its blocks written anew.

    Args:
        text: the document.
        folder: the one that the document is in.

    Raises:
        UserError: for a block of unknown kind, an unreadable result file, or a value that a file lacks.
    """

    def fill(block: re.Match[str]) -> str:
        kind, (name, *words) = block["kind"], (word.strip() for word in block["rest"].split(";"))
        if kind not in WRITERS:
            raise UserError(f"block of unknown kind {kind!r}: use one of {', '.join(WRITERS)}")
        path = folder / name
        body = WRITERS[kind](path, name, words) if path.is_file() else f"*Not there yet: `{name}`.*"
        return f"{block['open']}{body}\n{block['close']}"

    return BLOCK.sub(fill, text)


def scores_table(path: Path, name: str, words: Sequence[str]) -> str:
    """Return the means of a scores.json as a table, in percent."""
    scores = ScoreTable.load(path)
    means = [scores.class_means(metric) for metric in METRICS]
    rows = [(structure, [values[index] for values in means]) for index, structure in enumerate(scores.classes)]
    rows.append(("mean", [scores.mean(metric) for metric in METRICS]))
    tolerances = sorted({case.tolerance_mm for case in scores.cases})
    limits = ", ".join(f"{tolerance:g}" for tolerance in tolerances)
    lines = [f"| {scores.task}, {len(scores.cases)} cases, % | Dice | NSD at {limits} mm |", "|---|---|---|"]
    lines += [f"| {' | '.join([structure, *map(_percent, values)])} |" for structure, values in rows]
    return "\n".join([*lines, "", f"From `{name}`."])


def values_table(path: Path, name: str, words: Sequence[str]) -> str:
    """Return chosen values of a JSON file as a table; a word is "key.of.key" or "key.of.key as what it is"."""
    record = read_json(path)
    lines = [f"| from `{name}` | |", "|---|---|"]
    lines += [f"| {title} | {_readable(_value(record, key, path))} |" for key, title in map(_key_and_title, words)]
    return "\n".join(lines)


def rows_table(path: Path, name: str, words: Sequence[str]) -> str:
    """Return a table with a row for each part of a JSON file; the first word lists the keys of its columns.

    A part that is null has not been measured yet and gets a row of dashes.
    """
    record = read_json(path)
    columns = [_key_and_title(column.strip()) for column in words[0].split(",")]
    lines = [f"| from `{name}` | {' | '.join(title for _, title in columns)} |", "|---" * (len(columns) + 1) + "|"]
    for part, title in map(_key_and_title, words[1:]):
        values = [_value(record, f"{part}.{key}", path) for key, _ in columns]
        lines.append(f"| {' | '.join([title, *('-' if value is None else _readable(value) for value in values)])} |")
    return "\n".join(lines)


def picture(path: Path, name: str, words: Sequence[str]) -> str:
    """Return the line that shows a picture."""
    return f"![{'; '.join(words)}]({name})"


WRITERS: Mapping[str, Callable[[Path, str, Sequence[str]], str]] = {
    "scores": scores_table,
    "values": values_table,
    "rows": rows_table,
    "picture": picture,
}


def _key_and_title(word: str) -> tuple[str, str]:
    """Return the key, and what to call it, of "key" or "key as title"."""
    key, _, title = word.partition(" as ")
    return key.strip(), title.strip() or key.strip()


def _value(record: Any, keys: str, path: Path) -> Any:
    """Return the value at "key.of.key", None below a null; raises UserError naming the file when there is none."""
    for key in keys.split("."):
        if record is None:
            return None
        if isinstance(record, list):
            record = dict(zip(map(str, range(len(record))), record, strict=True))
        if not isinstance(record, Mapping) or key not in record:
            raise UserError(f"{path}: has no value {keys!r}: name one that it has")
        record = record[key]
    return record


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"


def _readable(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_readable, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def main(documents: Sequence[str]) -> None:
    """Write the blocks of the documents anew.

    Raises:
        SystemExit: with one line, for a document or a result file that cannot be used.
    """
    for document in map(Path, documents):
        try:
            write_atomic(document, fill_tables(document.read_text(), document.parent))
        except (UserError, OSError) as error:
            raise SystemExit(f"{document}: {error}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
