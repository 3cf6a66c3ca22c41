"""Coarse-to-fine search on architectures whose true scores are known."""

import random

import pytest

from monai_nas.architecture import Architecture
from monai_nas.strategies import CoarseToFine, ScoredTrial, Trial


def named(name: str) -> Architecture:
    return Architecture.create("toy", {}, {"which": name})


CANDIDATES = [named(name) for name in "abcdef"]
INHERITED = dict(zip(CANDIDATES, (0.1, 0.6, 0.5, 0.6, 0.2, 0.3), strict=True))  # b, d, c come first
FINE_TUNED = dict(zip(CANDIDATES, (0.99, 0.7, 0.9, 0.8, 0.99, 0.99), strict=True))  # of those, c is the best


def score(trial: Trial) -> ScoredTrial:
    scores = INHERITED if trial.fidelity == "inherited" else FINE_TUNED
    return ScoredTrial(trial, (scores[trial.architecture],))


def run(search: CoarseToFine, count: int, order: random.Random) -> ScoredTrial:
    while trials := search.suggest(count):
        order.shuffle(trials)
        for trial in trials:
            search.update([score(trial)])
    return search.best()


@pytest.mark.parametrize("count", [1, 4, 100])
def test_the_best_of_the_fine_tuned_is_chosen_however_the_work_is_dealt(count: int) -> None:
    search = CoarseToFine(CANDIDATES, num_finalists=3, steps=7)
    best = run(search, count, random.Random(count))
    assert best == ScoredTrial(Trial(named("c"), "fine_tuned", 7), (0.9,))
    assert [done.trial.architecture for done in search.ranking()[:3]] == [named("b"), named("d"), named("c")]
    assert len(search.scores) == len(CANDIDATES) + 3, "only finalists are fine-tuned"


def test_without_fine_tuning_the_inherited_score_decides() -> None:
    assert run(CoarseToFine(CANDIDATES, num_finalists=3, steps=0), 2, random.Random(0)).trial.architecture == named("b")


def test_there_is_no_best_before_every_trial_has_its_score() -> None:
    search = CoarseToFine(CANDIDATES, num_finalists=2, steps=7)
    search.update([score(trial) for trial in search.suggest(100)])
    with pytest.raises(ValueError, match="not over"):
        search.best()


def test_scores_known_before_are_not_asked_for_again() -> None:
    search = CoarseToFine(CANDIDATES, num_finalists=2, steps=7)
    search.update([score(Trial(named("a"), "inherited"))])
    assert Trial(named("a"), "inherited") not in search.suggest(100)


def test_candidates_must_differ() -> None:
    for candidates in ([], [named("a"), named("a")]):
        with pytest.raises(ValueError, match="distinct"):
            CoarseToFine(candidates, num_finalists=1, steps=1)
