"""A table of scores on the terminal."""

import math

from rich.console import Console
from rich.table import Table

from monai_nas.metrics.table import METRICS, ScoreTable


def show_scores(scores: ScoreTable) -> None:
    """Print the mean of each class over the cases, and the mean over the classes, in percent."""
    table = Table(title=f"{scores.task}: {len(scores.cases)} cases, percent")
    table.add_column("class")
    for heading in ("Dice", "surface Dice"):
        table.add_column(heading, justify="right")
    means = [scores.class_means(metric) for metric in METRICS]
    for index, name in enumerate(scores.classes):
        table.add_row(name, *(_percent(values[index]) for values in means))
    table.add_section()
    table.add_row("mean", *(_percent(scores.mean(metric)) for metric in METRICS))
    Console().print(table)


def _percent(value: float) -> str:
    return "-" if math.isnan(value) else f"{100 * value:.1f}"
