"""Does a ranking that drops hopeless candidates find the same finalists, and how much of its work is left?"""

import statistics
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.grid_evidence_study import SEED, GridStudy, Record
from monai_nas.pipelines.budget_costs import cost_of_kind
from monai_nas.pipelines.judging import regions_dice
from monai_nas.pipelines.supernet_run import space_of
from monai_nas.strategies import CoarseToFine, ScoredTrial, Scores, mean_score
from monai_nas.strategies.within_budget import sample_within

RACE_DRAW = 4  # stream of random numbers
ORDERS = 200  # of the cases: which of them come first


def judge_all(study: GridStudy) -> Record:
    """Judge candidates of one budget on all cases of a search, none dropped; then race them by these scores."""
    budget, rng = study.budget(), np.random.default_rng([SEED, RACE_DRAW])
    cost_of = cost_of_kind(budget.kind, study.plan, study.compute)
    candidates = list(
        sample_within(space_of(study.plan, study.values), cost_of, budget, count=study.settings.raced, rng=rng)
    )
    searcher, scores, seconds = study.supernet("annealed"), list[Scores](), list[float]()
    for architecture in candidates:
        begin = time.perf_counter()
        network = searcher.network(architecture)
        scores.append(regions_dice(network, study.regions, study.plan, study.compute))
        seconds.append(time.perf_counter() - begin)
    values = study.values
    return {
        "seed": [SEED, RACE_DRAW],
        "budget": str(budget),
        "seconds_a_candidate": statistics.median(seconds),
        "scores": scores,
        **races(scores, num_parts=values.num_judging_parts, num_finalists=values.num_finalists),
    }


def races(scores: Sequence[Scores], *, num_parts: int, num_finalists: int) -> dict[str, Any]:
    """Race candidates whose scores on all cases are known, with the cases in ``ORDERS`` random orders.

    Args:
        scores: of each candidate on each case.
        num_parts: into which the cases are dealt.
        num_finalists: the best of the whole ranking, which a race should keep.

    Returns:
        Shares, means over the orders: the judgements that a race makes; the finalists of the whole ranking that are its
        finalists, too; the races that have the same best. Kendall's tau between the scores on the first part of the
        cases and on all, None where either does not vary.
    """
    candidates = [Architecture.create("raced", {}, {"index": str(index)}) for index in range(len(scores))]
    num_cases, rng = len(scores[0]), np.random.default_rng([SEED, RACE_DRAW])
    wanted = _finalists(CoarseToFine(candidates, num_finalists=num_finalists, steps=0), scores)
    judged, kept, best, taus = [], [], [], []
    for _ in range(ORDERS):
        order = rng.permutation(num_cases)
        shuffled = [tuple(own[case] for case in order) for own in scores]
        race = CoarseToFine(candidates, num_finalists=num_finalists, steps=0, num_parts=num_parts)
        found = _finalists(race, shuffled)
        judged.append(sum(map(len, race.scores.values())) / (len(candidates) * num_cases))
        kept.append(len(set(found) & set(wanted)) / len(wanted))
        best.append(float(found[0] == wanted[0]))
        taus.append(
            stats.kendalltau([mean_score(own[::num_parts]) for own in shuffled], list(map(mean_score, scores)))[0]
        )
    tau = statistics.fmean(map(float, taus))
    return {
        "candidates": len(candidates),
        "cases": num_cases,
        "parts": num_parts,
        "finalists": len(wanted),
        "orders": ORDERS,
        "judgements": statistics.fmean(judged),
        "finalists_kept": statistics.fmean(kept),
        "best_kept": statistics.fmean(best),
        "kendall_first_part": None if np.isnan(tau) else tau,
    }


def _finalists(search: CoarseToFine, scores: Sequence[Scores]) -> list[Architecture]:
    """Give a search the scores that it asks for, and return the best of its ranking, the first one first."""
    places = {architecture: index for index, architecture in enumerate(search.candidates)}
    while trials := search.suggest(len(places)):
        search.update([ScoredTrial(one, scores[places[one.architecture]][one.part :: one.num_parts]) for one in trials])
    return [done.trial.architecture for done in search.ranking()[: search.num_finalists]]
