"""From result files to a summary: means and spread by method, and differences paired by fold and seed."""

import math
import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy import stats

from monai_nas.benchmarks.evidence_searches import compare_searches
from monai_nas.files import read_json
from monai_nas.metrics.table import METRICS, ScoreTable

Record = Mapping[str, Any]
Results = Mapping[str, Mapping[str, Record]]  # method -> pair -> result

SEARCH = "scnas"  # the method whose results are those of searches
CONFIDENCE = 0.95
NAMES = {"dice": "dice_percent", "surface_dice": "nsd_percent"}
COLUMNS: Mapping[str, Callable[[Record], float | None]] = {
    "search_minutes_asked": lambda result: result["minutes"]["search"]["asked"],
    "search_minutes_taken": lambda result: result["minutes"]["search"]["taken"],
    "train_minutes_asked": lambda result: result["minutes"]["train"]["asked"],
    "train_minutes_taken": lambda result: result["minutes"]["train"]["taken"],
    "steps": lambda result: result["steps"]["all"],
    "million_parameters": lambda result: result["num_parameters"] / 1e6,
    "gflops_patch": lambda result: result["gflops"]["patch"],
    "gflops_128x128x128": lambda result: result["gflops"]["128x128x128"],
    "memory_gib_estimated": lambda result: _gib(result["training_memory_bytes"]["estimated"]),
    "memory_gib_peak_of_process": lambda result: _gib(result["training_memory_bytes"]["peak_of_process"]),
}
CONVENTIONS = {
    "spread": "mean and sample standard deviation over pairs of fold and seed; sd is null for one pair",
    "difference": "first minus second, by pair",
    "interval_95": "Student's t over the pairs' differences; null for one pair",
    "share_of_cases_better": "of the cases of all pairs, those whose mean over classes is higher with the first",
}


def read_results(out: Path, methods: Iterable[str]) -> Results:
    """Return the results under ``out`` by method and pair."""
    pairs = sorted(path for path in out.glob("fold*_seed*") if path.is_dir())
    return {
        method: {pair.name: read_json(file) for pair in pairs if (file := pair / f"{method}.json").exists()}
        for method in methods
    }


def summarize(results: Results, differences: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the summary of a task; a method or difference without results is null, so that tables can name it.

    Args:
        results: from :func:`read_results`, with all methods.
        differences: names of methods, the second to be taken from the first.
    """
    pairs = sorted({pair for by_pair in results.values() for pair in by_pair})
    return {
        "pairs": pairs,
        "num_pairs": len(pairs),
        "conventions": CONVENTIONS,
        "methods": {method: _method(list(by_pair.values())) for method, by_pair in results.items()},
        "searches": compare_searches(
            {pair: result["architecture"]["choices"] for pair, result in results.get(SEARCH, {}).items()}
        ),
        "differences": {
            f"{first}_minus_{second}": _difference(results[first], results[second]) for first, second in differences
        },
    }


def interval_95(values: Sequence[float]) -> list[float] | None:
    """Return the 95 % confidence interval of the mean, Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    quantile = float(stats.t.ppf(0.5 + CONFIDENCE / 2, len(values) - 1))
    half = quantile * statistics.stdev(values) / math.sqrt(len(values))
    mean = statistics.fmean(values)
    return [mean - half, mean + half]


def _method(results: Sequence[Record]) -> dict[str, Any] | None:
    if not results:
        return None
    summary: dict[str, Any] = {"pairs": len(results)}
    for metric in METRICS:
        classes = results[0]["scores"]["classes"]
        summary[NAMES[metric]] = _spread(_percent(result["scores"]["mean"][metric]) for result in results) | {
            "classes": {
                name: _spread(_percent(result["scores"]["per_class"][metric][name]) for result in results)
                for name in classes
            }
        }
    return summary | {name: _spread(map(read, results)) for name, read in COLUMNS.items()}


def _difference(first: Mapping[str, Record], second: Mapping[str, Record]) -> dict[str, Any] | None:
    """Return the paired differences of two methods by metric, None where they share no pair."""
    pairs = [pair for pair in first if pair in second]
    if not pairs:
        return None
    summary: dict[str, Any] = {"pairs": len(pairs)}
    for metric in METRICS:
        means = [[_percent(by_pair[pair]["scores"]["mean"][metric]) for by_pair in (first, second)] for pair in pairs]
        by_pair = {
            pair: one - other
            for pair, (one, other) in zip(pairs, means, strict=True)
            if one is not None and other is not None
        }
        cases = [
            (values[case], others[case])
            for values, others in ((_by_case(first[pair], metric), _by_case(second[pair], metric)) for pair in pairs)
            for case in values.keys() & others.keys()
        ]
        summary[NAMES[metric]] = _spread(by_pair.values()) | {
            "interval_95": interval_95(list(by_pair.values())),
            "by_pair": by_pair,
            "cases": len(cases),
            "share_of_cases_better": sum(one > other for one, other in cases) / len(cases) if cases else None,
        }
    return summary


def _by_case(result: Record, metric: str) -> dict[str, float]:
    return ScoreTable.from_record(result["scores"]).case_means(metric)


def _spread(values: Iterable[float | None]) -> dict[str, float | None]:
    known = [value for value in values if value is not None]
    return {
        "mean": statistics.fmean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "max": max(known, default=None),
    }


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share


def _gib(num_bytes: float | None) -> float | None:
    return None if num_bytes is None else num_bytes / 1024**3
