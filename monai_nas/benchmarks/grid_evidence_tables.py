"""From the result files of the evidence on grids to a summary: table 1, figure 3, rank correlations, differences."""

import statistics
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from monai_nas.benchmarks.evidence_table import interval_95
from monai_nas.benchmarks.grid_evidence_budgets import THIRDS
from monai_nas.benchmarks.grid_evidence_study import SUPERNETS, VARIANTS, GridSettings, Record
from monai_nas.files import read_json
from monai_nas.strategies import mean_score
from monai_nas.strategies.one_shot import Assistant

RESAMPLES = 1000
LEAST = 4  # architectures that a rank correlation is computed of
ESTIMATES = ("inherited", "fine_tuned", "trained", "again")
MEMORY = "train_memory_mib"  # of a step, which costs no training to know: what an estimate has to beat
COMPARED = (
    ("inherited", "trained"),
    ("fine_tuned", "trained"),
    (MEMORY, "trained"),
    ("inherited", "fine_tuned"),
    ("again", "trained"),
)
GAIN = ("fine_tuned", "inherited", "trained")  # how much better the first agrees with the third than the second does
CONVENTIONS = {
    "sd": "sample standard deviation",
    "interval_95": "Student's t over architectures in table 1, over pairs elsewhere; null for one value",
    "kendall_95, spearman_95": f"2.5th and 97.5th percentile of {RESAMPLES} bootstrap samples of the architectures",
    "again_trained": "two seeds of training from scratch: what noise leaves of the agreement of equal things",
    "gain": "tau and rho of fine_tuned_trained minus those of inherited_trained, of the same bootstrap samples",
    "difference": "the first minus the other, by pair; a pair has one seed",
    "measured_minus": "live tensor bytes measured in a training step, minus what was promised, in percent of that",
    "as_shipped": "one set of weights: each seed of the other is compared with that one",
}

Array = npt.NDArray[Any]
Read = Callable[[str], Record | None]


def summarize(out: Path, settings: GridSettings) -> dict[str, Any]:
    """Return the summary of the results under ``out``; what has no result yet is null, so that tables can name it."""

    def read(name: str) -> Record | None:
        file = out / f"{name}.json"
        return read_json(file) if file.exists() else None

    return {
        "conventions": CONVENTIONS,
        "table1": {variant: _variant(read, variant) for variant in VARIANTS},
        "figure3": _figure3(read, settings.scored),
        **_correlation(read, settings.correlated),
        "race": _race(read("race/candidates")),
        "chosen": _pairs(read, "chosen", "random", settings.pairs),
        "published": _pairs(read, "published", "dints", settings.pairs),
        **_budgets(read, settings.retrained),
    }


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Return mean, sample standard deviation and the 95 % interval of the mean."""
    return {
        "mean": statistics.fmean(values),
        "sd": statistics.stdev(values) if len(values) > 1 else None,
        "interval_95": interval_95(values),
    }


def ranks(first: Sequence[float], second: Sequence[float]) -> dict[str, Any] | None:
    """Return Kendall's tau-b and Spearman's rho of two scores of the same architectures, with bootstrap intervals.

    None for fewer than ``LEAST`` architectures, or where a score is the same for all.
    """
    return _bootstrap(np.array([first, second], dtype=float), lambda coefficient, scores: coefficient(scores))


def gain(first: Sequence[float], second: Sequence[float], truth: Sequence[float]) -> dict[str, Any] | None:
    """Return by how much better the first score agrees with the truth than the second, otherwise as :func:`ranks`."""

    def difference(coefficient: Callable[[Array], Array], scores: Array) -> Array:
        ours, theirs = (coefficient(scores[..., rows, :]) for rows in ([0, 2], [1, 2]))
        better: Array = ours - theirs
        return better

    return _bootstrap(np.array([first, second, truth], dtype=float), difference)


def _bootstrap(scores: Array, measure: Callable[[Callable[[Array], Array], Array], Array]) -> dict[str, Any] | None:
    """Return what is measured of scores (K, architectures), by both coefficients, with bootstrap intervals."""
    count = scores.shape[1]
    if count < LEAST or not _varies(scores):
        return None
    chosen = np.random.default_rng(0).integers(count, size=(RESAMPLES, count))
    samples = scores[:, chosen].swapaxes(0, 1)  # (samples, K, architectures)
    samples = samples[_varies(samples)]
    row: dict[str, Any] = {"architectures": count}
    for coefficient in (kendall, spearman):
        row[coefficient.__name__] = float(measure(coefficient, scores))
        row[f"{coefficient.__name__}_95"] = np.percentile(measure(coefficient, samples), [2.5, 97.5]).tolist()
    return row


def kendall(pairs: Array) -> Array:
    """Return Kendall's tau-b of (..., 2, n): the cosine between the signs of all differences."""
    return _cosine(np.sign(pairs[..., :, None] - pairs[..., None, :]).reshape(*pairs.shape[:-1], -1))


def spearman(pairs: Array) -> Array:
    """Return Spearman's rho of (..., 2, n): the cosine between the centred ranks."""
    ranked = stats.rankdata(pairs, axis=-1)
    return _cosine(ranked - ranked.mean(axis=-1, keepdims=True))


def _cosine(vectors: Array) -> Array:
    """Return the cosine between both vectors of (..., 2, m)."""
    first, second = vectors[..., 0, :], vectors[..., 1, :]
    lengths = np.sqrt((first**2).sum(axis=-1) * (second**2).sum(axis=-1))
    cosine: Array = (first * second).sum(axis=-1) / lengths
    return cosine


def _varies(pairs: Array) -> Array:
    """Return whether no score of (..., K, n) is the same for all."""
    varies: Array = (np.ptp(pairs, axis=-1) > 0).all(axis=-1)
    return varies


def _variant(read: Read, variant: Assistant) -> dict[str, Any] | None:
    """Return a row of table 1."""
    scores, vanilla = read(f"table1/{variant}"), read("table1/none")
    supernet = read(f"supernets/{SUPERNETS[variant]}")
    if scores is None or supernet is None:
        return None
    row = {
        "dice_percent": spread(_percent(scores["dice"])),
        "seconds_per_volume": statistics.fmean(scores["seconds_per_volume"]),
        "steps": supernet["steps"],
        "minus_none_percent": None,
    }
    if vanilla is not None and variant != "none":
        row["minus_none_percent"] = spread(_minus(scores["dice"], vanilla["dice"]))
    return row


def _figure3(read: Read, count: int) -> dict[str, Any]:
    """Return, by rising training memory, the Dice of each architecture with the weights of each variant."""
    drawn = read("table1/architectures")
    scores: dict[str, Record | None] = {variant: read(f"table1/{variant}") for variant in VARIANTS}

    def row(index: int) -> dict[str, Any] | None:
        if drawn is None:
            return None
        dice = {name: None if record is None else 100 * record["dice"][index] for name, record in scores.items()}
        return {"train_memory_mib": _mib(drawn["train_memory_bytes"][index]), **dice}

    return {f"{index:02d}": row(index) for index in range(count)}


def _correlation(read: Read, count: int) -> dict[str, Any]:
    """Return the rank correlations of all pairs of scores, and the scores behind them."""
    drawn, estimates = read("correlation/architectures"), read("correlation/estimates")

    def scores(index: int) -> dict[str, float | None]:
        row = {} if estimates is None else {name: 100 * estimates[name][index] for name in ESTIMATES[:2]}
        for kind in ESTIMATES[2:]:
            result = read(f"correlation/{kind}_{index:02d}")
            if result is not None:
                row[kind] = 100 * result["dice_of_fold"]
        return {name: row.get(name) for name in ESTIMATES}

    memory = [None] * count if drawn is None else [_mib(value) for value in drawn["train_memory_bytes"]]
    rows = [{MEMORY: taken, **scores(index)} for index, taken in enumerate(memory)]

    def known(names: Sequence[str]) -> list[list[float]]:
        """Return the scores of these names, of the architectures that have them all."""
        complete = [row for row in rows if all(row[name] is not None for name in names)]
        return [[value for row in complete if (value := row[name]) is not None] for name in names]

    correlations = {"_".join(pair): ranks(*known(pair)) for pair in COMPARED}
    return {
        "correlation": {**correlations, "gain": gain(*known(GAIN))},
        "figure4": {f"{index:02d}": row for index, row in enumerate(rows)},
    }


def _race(record: Record | None) -> dict[str, Any] | None:
    """Return what races of the same candidates keep and save, in percent."""
    if record is None:
        return None
    shares = {f"{name}_percent": 100 * record[name] for name in ("judgements", "finalists_kept", "best_kept")}
    dice = [mean_score(own) for own in record["scores"]]
    kept = ("candidates", "cases", "parts", "finalists", "orders", "seconds_a_candidate", "kendall_first_part")
    return {**{name: record[name] for name in kept}, **shares, "dice_percent": spread(_percent(dice))}


def _pairs(read: Read, part: str, other: str, count: int) -> dict[str, Any]:
    """Return the scores of the chosen network and of another, and their differences, over the pairs that are done."""
    both = [[read(f"{part}/{kind}_{seed}") for kind in ("chosen", other)] for seed in range(count)]
    done = [(first, second) for first, second in both if first is not None and second is not None]
    if not done:
        return {"chosen": None, other: None, "difference": None}
    dice = [_percent(record["dice_of_fold"] for record in records) for records in zip(*done, strict=True)]
    summary: dict[str, Any] = {}
    for name, values, records in zip(("chosen", other), dice, zip(*done, strict=True), strict=True):
        summary[name] = {
            "pairs": len(done),
            "dice_percent": spread(values),
            "steps": statistics.fmean(record["steps"] for record in records),
            "train_memory_mib": statistics.fmean(_mib(record["train_memory_bytes"]) for record in records),
            "million_parameters": statistics.fmean(record["num_parameters"] for record in records) / 1e6,
        }
    first, second = (dict(enumerate(records)) for records in zip(*done, strict=True))
    return summary | {"difference": _difference(first, second)}


def _budgets(read: Read, count: int) -> dict[str, Any]:
    """Return what each of three budgets promised and its search took, the networks trained anew, their differences."""
    scores: dict[str, dict[int, Record]] = {}
    for name in (*THIRDS, "shipped"):
        found = {seed: read(f"budgets/{name}_{seed}") for seed in range(count)}
        scores[name] = {seed: record for seed, record in found.items() if record is not None}
    whole, costs = read("budgets/shipped"), {name: read(f"budgets/memory_{name}") for name in THIRDS}
    costs["shipped"] = whole
    networks = {name: _network(list(scores[name].values()), costs[name]) for name in scores}
    networks["as_shipped"] = None if whole is None else _network([whole], whole)
    differences = {
        f"{first}_minus_{second}": _difference(scores[first], scores[second])
        for first, second in (("middle", "largest"), ("smallest", "largest"), *((name, "shipped") for name in THIRDS))
    }
    for name in THIRDS:
        same: dict[int, Record] = {} if whole is None else dict.fromkeys(scores[name], whole)
        differences[f"{name}_minus_as_shipped"] = _difference(scores[name], same)
    promises = {name: _promise(read(f"budgets/search_{name}"), costs[name]) for name in THIRDS}
    return {"promises": promises, "networks": networks, "network_differences": differences}


def _promise(search: Record | None, costs: Record | None) -> dict[str, Any] | None:
    """Return what was asked for and promised, what was measured, and the minutes of the search."""
    if search is None or costs is None:
        return None
    limit, promised, measured = search["limit_bytes"], costs["train_memory_bytes"], costs["measured_bytes"]
    return {
        **{key: search[key] for key in ("budget", "candidates", "minutes")},
        "promised_mib": _mib(promised),
        "measured_mib": _mib(measured),
        "measured_minus_promised_percent": 100 * (measured / promised - 1),
        "measured_minus_budget_percent": None if limit is None else 100 * (measured / limit - 1),
    }


def _network(scores: Sequence[Record], costs: Record | None) -> dict[str, Any] | None:
    """Return a row of the networks of the budgets: the trainings of one network, and what it costs."""
    if not scores or costs is None:
        return None
    return {
        "trainings": len(scores),
        "dice_percent": spread(_percent(record["dice_of_fold"] for record in scores)),
        "steps": statistics.fmean(record["steps"] for record in scores),
        "train_memory_mib": _mib(costs["train_memory_bytes"]),
        "million_parameters": scores[0]["num_parameters"] / 1e6,
        "gflops": costs["flops"] / 1e9,
    }


def _difference(first: Mapping[int, Record], second: Mapping[int, Record]) -> dict[str, Any] | None:
    """Return the differences of Dice by the seeds that both have."""
    seeds = [seed for seed in first if seed in second]
    if not seeds:
        return None
    dice = [[one[seed]["dice_of_fold"] for seed in seeds] for one in (first, second)]
    differences = _minus(*dice)
    return {"pairs": len(seeds), "dice_percent": spread(differences), "by_pair": differences}


def _percent(shares: Iterable[float]) -> list[float]:
    return [100 * share for share in shares]


def _minus(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return _percent(one - other for one, other in zip(first, second, strict=True))


def _mib(num_bytes: float) -> float:
    return num_bytes / 1024**2
