"""What several searches of a task found in common: whether alphas carry more than the noise of their draws."""

import itertools
import statistics
from collections import Counter
from collections.abc import Mapping
from typing import Any

Choices = Mapping[str, str]  # "cell/edge" -> operation


def compare_searches(found: Mapping[str, Choices]) -> dict[str, Any] | None:
    """Return how far the searches agree, beside what chance gives; None for fewer than two of them.

    Two architectures agree on an edge where both have the same operation there. By chance, if each kept its operations
    but shuffled them among the edges of a cell, they would agree on sum over operations of n(one) n(other) / edges of
    it. Agreement well above that says that the searches know edges; counts of operations unlike a uniform draw, that
    they know cells.

    Args:
        found: choices of the architecture, by pair of fold and seed; the same decisions in all.

    Returns:
        ``same_operation`` and ``by_chance``, shares of all edges, as ``mean`` over pairs of searches and ``by_pair``;
        ``operations``, by cell and operation, the number of edges with it, and ``edges`` by cell, in all searches.
    """
    if len(found) < 2:
        return None
    couples = {f"{one}, {other}": (found[one], found[other]) for one, other in itertools.combinations(found, 2)}
    same = {name: sum(one[edge] == other[edge] for edge in one) / len(one) for name, (one, other) in couples.items()}
    chance = {name: _by_chance(*couple) for name, couple in couples.items()}
    counts = [operations_by_cell(choices) for choices in found.values()]
    totals = {cell: sum((count[cell] for count in counts), Counter()) for cell in counts[0]}
    known = sorted(set().union(*totals.values()))
    return {
        "searches": len(found),
        "same_operation": {"mean": statistics.fmean(same.values()), "by_pair": same},
        "by_chance": {"mean": statistics.fmean(chance.values()), "by_pair": chance},
        "operations": {cell: {name: count[name] for name in known} for cell, count in totals.items()},
        "edges": {cell: count.total() for cell, count in totals.items()},
    }


def operations_by_cell(choices: Choices) -> dict[str, Counter[str]]:
    """Return how many edges of each cell have each operation."""
    counts: dict[str, Counter[str]] = {}
    for edge, operation in choices.items():
        counts.setdefault(edge.split("/")[0], Counter())[operation] += 1
    return counts


def _by_chance(one: Choices, other: Choices) -> float:
    """Return the share of edges on which two would agree if operations were shuffled within cells."""
    first, second = operations_by_cell(one), operations_by_cell(other)
    return sum(_expected(first[cell], second[cell]) for cell in first) / len(one)


def _expected(one: Counter[str], other: Counter[str]) -> float:
    return sum(one[operation] * other[operation] for operation in one) / one.total()
