"""Choose among candidates in two steps: rank all with shared weights, fine-tune and compare the best few."""

from collections.abc import Sequence

import numpy as np

from monai_nas.architecture import Architecture
from monai_nas.strategies.race import hopeless
from monai_nas.strategies.strategy import ArchitectureSearch, ScoredTrial, Scores, Trial


class CoarseToFine(ArchitectureSearch):
    """The coarse-to-fine search of HyperSegNAS (Peng et al. 2022, 3.2, "Architecture Search", parts 2 and 3).

    Candidates are scored with the weights they inherit from the supernet; the best ``num_finalists`` are fine-tuned
    for ``steps`` and scored again, and the best of those is chosen. What it suggests follows from the scores alone, in
    whatever order they came, so that the result does not depend on how many processes share the work. Of equal scores
    the earlier candidate wins.

    With ``num_parts`` above 1, which is not the paper's, the ranking is a race: the judging cases are dealt into parts,
    and candidates that are :func:`~monai_nas.strategies.race.hopeless` after a part are not judged on the next ones.

    Args:
        candidates: distinct architectures, all within the budget.
        num_finalists: N, how many are fine-tuned.
        steps: of fine-tuning; 0 chooses by the inherited weights alone.
        num_parts: of the judging cases.

    Raises:
        ValueError: without candidates, or with one given twice.
    """

    def __init__(
        self, candidates: Sequence[Architecture], *, num_finalists: int, steps: int, num_parts: int = 1
    ) -> None:
        if not candidates or len(set(candidates)) < len(candidates):
            raise ValueError(f"need distinct candidates, got {len(candidates)} of which {len(set(candidates))} differ")
        self.candidates = list(candidates)
        self.num_finalists = num_finalists
        self.steps = steps
        self.num_parts = num_parts
        self.scores: dict[Trial, Scores] = {}
        self._part = 0  # of the judging cases, that the candidates still in the race are judged on now
        self._racing = self.candidates

    def suggest(self, count: int) -> list[Trial]:
        self._advance()
        asked = self._judgements() if self._part < self.num_parts else self._fine_tunings()
        return [trial for trial in asked if trial not in self.scores][:count]

    def update(self, scored: Sequence[ScoredTrial]) -> None:
        self.scores |= {done.trial: done.scores for done in scored}

    def best(self) -> ScoredTrial:
        """Return the winner; raises ValueError while trials are missing."""
        if self.suggest(1):
            raise ValueError("trials are missing: the search is not over")
        fine_tuned = [ScoredTrial(trial, self.scores[trial]) for trial in self._fine_tunings()]
        return (_ranked(fine_tuned) or self.ranking())[0]

    def ranking(self) -> list[ScoredTrial]:
        """Return the candidates that stayed in the race by their scores with inherited weights, the best first.

        Raises:
            ValueError: while their trials are missing.
        """
        self._advance()
        if self._part < self.num_parts:
            raise ValueError("trials are missing: the ranking is not over")
        return _ranked([self.inherited(architecture) for architecture in self._racing])

    def judgements_left(self) -> int:
        """Return how many trials of the ranking are left at most, if no further candidate is dropped."""
        self._advance()
        if self._part == self.num_parts:
            return 0
        missing = sum(trial not in self.scores for trial in self._judgements())
        return missing + len(self._racing) * (self.num_parts - self._part - 1)

    def inherited(self, architecture: Architecture) -> ScoredTrial:
        """Return the scores of a candidate with inherited weights, on the cases that it was judged on so far."""
        return ScoredTrial(Trial(architecture, "inherited"), self._inherited(architecture, self.num_parts))

    def _inherited(self, architecture: Architecture, num_parts: int) -> Scores:
        """Return a candidate's scores on the first parts of the cases."""
        trials = [Trial(architecture, "inherited", part=part, num_parts=self.num_parts) for part in range(num_parts)]
        return tuple(score for trial in trials for score in self.scores.get(trial, ()))

    def _advance(self) -> None:
        """Go on to the first part of the cases that scores are missing of, with the candidates that may still win."""
        while self._part < self.num_parts and all(trial in self.scores for trial in self._judgements()):
            self._part += 1
            if self._part < self.num_parts:
                known = [self._inherited(one, self._part) for one in self._racing]
                out = hopeless(np.array(known, dtype=np.float64), self.num_finalists)  # None becomes NaN
                self._racing = [one for one, dropped in zip(self._racing, out, strict=True) if not dropped]

    def _judgements(self) -> list[Trial]:
        return [Trial(one, "inherited", part=self._part, num_parts=self.num_parts) for one in self._racing]

    def _fine_tunings(self) -> list[Trial]:
        finalists = self.ranking()[: self.num_finalists] if self.steps else []
        return [Trial(done.trial.architecture, "fine_tuned", self.steps) for done in finalists]


def _ranked(scored: Sequence[ScoredTrial]) -> list[ScoredTrial]:
    return sorted(scored, key=lambda done: -done.score)
