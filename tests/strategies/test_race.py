"""Candidates are dropped when they cannot win any more, and only then."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats

from monai_nas.architecture import Architecture
from monai_nas.strategies import CoarseToFine, ScoredTrial, Trial
from monai_nas.strategies.race import CONFIDENCE, hopeless

NUM_CASES, NUM_PARTS, NUM_FINALISTS = 12, 3, 5


def drawn_scores(seed: int, num_candidates: int = 60) -> NDArray[np.float64]:
    """Dice as of candidates within one budget: cases differ most, candidates less, luck with a case least."""
    rng = np.random.default_rng(seed)
    difficulty, quality = rng.normal(0.0, 0.05, NUM_CASES), rng.normal(0.0, 0.02, (num_candidates, 1))
    return 0.8 + difficulty + quality + rng.normal(0.0, 0.01, (num_candidates, NUM_CASES))


@pytest.mark.parametrize("num_kept", [1, 3])
def test_the_comparisons_are_scipys_test_for_pairs(num_kept: int) -> None:
    scores = drawn_scores(0, 12)[:, :4]
    tests = [[stats.ttest_rel(rival, own, alternative="greater").pvalue for rival in scores] for own in scores]
    better = np.nansum(np.array(tests) < 1 - CONFIDENCE, axis=1)  # NaN: of a candidate with itself
    assert hopeless(scores, num_kept).tolist() == (better >= num_kept).tolist()
    assert 0 < hopeless(scores, num_kept).sum() < len(scores)


def test_who_cannot_be_told_apart_stays() -> None:
    scores = drawn_scores(1, 6)
    assert not hopeless(scores, len(scores)).any(), "all are wanted"
    assert not hopeless(np.repeat(scores[:1], 6, axis=0), 1).any(), "all are equal"
    assert not hopeless(scores[:, :1], 1).any(), "one case has no spread"
    assert not hopeless(np.full((3, 4), np.nan), 1).any()
    missing = scores.copy()
    missing[0, 3] = np.nan
    assert hopeless(missing, 1).tolist() == hopeless(np.delete(scores, 3, axis=1), 1).tolist()


def race(scores: NDArray[np.float64], num_parts: int, order: random.Random) -> CoarseToFine:
    """Return a search that is over, of candidates with these scores, whatever order they come in."""
    candidates = [Architecture.create("toy", {}, {"which": str(index)}) for index in range(len(scores))]
    search = CoarseToFine(candidates, num_finalists=NUM_FINALISTS, steps=0, num_parts=num_parts)
    while trials := search.suggest(order.randrange(1, 100)):
        order.shuffle(trials)
        for trial in trials:
            own = scores[candidates.index(trial.architecture), trial.part :: trial.num_parts]
            search.update([ScoredTrial(trial, tuple(map(float, own)))])
    return search


def test_a_race_finds_the_finalists_of_the_whole_ranking_with_half_of_the_work() -> None:
    found, work = [], []
    for seed in range(100):
        scores, order = drawn_scores(seed), random.Random(seed)
        whole, raced = (race(scores, num_parts, order) for num_parts in (1, NUM_PARTS))
        first, second = ([done.trial for done in search.ranking()[:NUM_FINALISTS]] for search in (whole, raced))
        found += [trial in second for trial in first]
        assert second[0] == first[0]
        assert raced.best().score == whole.best().score
        work.append(sum(map(len, raced.scores.values())) / scores.size)
    assert np.mean(found) > 0.99
    assert np.mean(work) < 0.6


def test_the_work_left_falls_to_nothing_and_the_dropped_are_not_asked_for() -> None:
    scores = drawn_scores(2)
    candidates = [Architecture.create("toy", {}, {"which": str(index)}) for index in range(len(scores))]
    search = CoarseToFine(candidates, num_finalists=NUM_FINALISTS, steps=7, num_parts=NUM_PARTS)
    left, racing = [search.judgements_left()], []
    for part in range(NUM_PARTS):
        trials = search.suggest(1000)
        assert {trial.part for trial in trials} == {part}
        racing.append(len(trials))
        for trial in trials:
            own = scores[candidates.index(trial.architecture), part::NUM_PARTS]
            search.update([ScoredTrial(trial, tuple(map(float, own)))])
        left.append(search.judgements_left())
    assert left[0] == NUM_PARTS * len(scores) and left[-1] == 0
    assert len(scores) == racing[0] > racing[1] >= racing[2] >= NUM_FINALISTS
    assert left[1] == 2 * racing[1] and left[2] == racing[2]
    assert [trial.fidelity for trial in search.suggest(1000)] == ["fine_tuned"] * NUM_FINALISTS
    assert len(search.ranking()) == racing[2]
    assert search.inherited(search.ranking()[0].trial.architecture).trial == Trial(
        search.ranking()[0].trial.architecture, "inherited"
    )


def test_scores_known_before_change_nothing() -> None:
    """A search that is cut in the second part and begun again knows scores of that part when it starts."""
    scores = drawn_scores(3)
    whole = race(scores, NUM_PARTS, random.Random(0))
    again = CoarseToFine(whole.candidates, num_finalists=NUM_FINALISTS, steps=0, num_parts=NUM_PARTS)
    known = list(whole.scores.items())[: len(scores) + 7]
    assert {trial.part for trial, _ in known} == {0, 1}
    again.update([ScoredTrial(trial, own) for trial, own in known])
    while trials := again.suggest(1):
        again.update([ScoredTrial(trial, whole.scores[trial]) for trial in trials])
    assert again.scores == whole.scores and again.ranking() == whole.ranking()
