"""Choose among candidates in two steps: rank all with shared weights, fine-tune and compare the best few."""

from collections.abc import Sequence

from monai_nas.architecture import Architecture
from monai_nas.strategies.strategy import ArchitectureSearch, ScoredTrial, Trial


class CoarseToFine(ArchitectureSearch):
    """The coarse-to-fine search of HyperSegNAS (Peng et al. 2022, 3.2, "Architecture Search", parts 2 and 3).

    Every candidate is scored with the weights it inherits from the supernet; the best ``num_finalists`` are fine-tuned
    for ``steps`` and scored again, and the best of those is chosen. What it suggests follows from the scores alone, in
    whatever order they came, so that the result does not depend on how many processes share the work. Of equal scores
    the earlier candidate wins.

    Args:
        candidates: distinct architectures, all within the budget.
        num_finalists: N, how many are fine-tuned.
        steps: of fine-tuning; 0 chooses by the inherited weights alone.

    Raises:
        ValueError: without candidates, or with one given twice.
    """

    def __init__(self, candidates: Sequence[Architecture], *, num_finalists: int, steps: int) -> None:
        if not candidates or len(set(candidates)) < len(candidates):
            raise ValueError(f"need distinct candidates, got {len(candidates)} of which {len(set(candidates))} differ")
        self.candidates = list(candidates)
        self.num_finalists = num_finalists
        self.steps = steps
        self.scores: dict[Trial, float] = {}

    def suggest(self, count: int) -> list[Trial]:
        missing = [trial for trial in self._coarse() if trial not in self.scores]
        if not missing:
            missing = [trial for trial in self._fine() if trial not in self.scores]
        return missing[:count]

    def update(self, scored: Sequence[ScoredTrial]) -> None:
        self.scores |= {done.trial: done.score for done in scored}

    def best(self) -> ScoredTrial:
        """Return the winner; raises ValueError while trials are missing."""
        if self.suggest(1):
            raise ValueError("trials are missing: the search is not over")
        return self._ranked(self._fine())[0]

    def ranking(self) -> list[ScoredTrial]:
        """Return all candidates by their scores with inherited weights, the best first."""
        return self._ranked(self._coarse())

    def _coarse(self) -> list[Trial]:
        return [Trial(architecture, "inherited") for architecture in self.candidates]

    def _fine(self) -> list[Trial]:
        finalists = [done.trial.architecture for done in self.ranking()[: self.num_finalists]]
        if not self.steps:
            return [Trial(architecture, "inherited") for architecture in finalists]
        return [Trial(architecture, "fine_tuned", self.steps) for architecture in finalists]

    def _ranked(self, trials: Sequence[Trial]) -> list[ScoredTrial]:
        return sorted((ScoredTrial(trial, self.scores[trial]) for trial in trials), key=lambda done: -done.score)
