"""The two contracts of a search: what learns from batches, and what picks architectures by their scores."""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.registry import Registry

STRATEGIES: Registry[Callable[..., "DecidingStrategy"]] = Registry("search strategy")

Scores = tuple[float | None, ...]  # of each judging case, higher is better; None where a case cannot be scored
Batch = dict[str, Tensor]  # "image" (B, C, H, W, D), "label" (B, 1, H, W, D)


@dataclass(frozen=True)
class SearchBatch:
    """What a strategy learns from in one step."""

    step: int  # of the whole run; every random draw of the step follows from it and the seed
    weight_batch: Batch
    alpha_batch: Batch | None  # from the other half of the cases; None once the selection is fixed


class SearchStrategy(ABC):
    """Trains a supernet from batches."""

    @abstractmethod
    def step(self, batch: SearchBatch) -> dict[str, float]:
        """Learn from one batch and return the scalars worth logging."""

    @abstractmethod
    def end_epoch(self, mean_loss: float) -> dict[str, float]:
        """Apply the rules that count epochs, and return what describes the state of the search."""

    @abstractmethod
    def state_dict(self) -> dict[str, Any]:
        """Everything that :meth:`load_state_dict` needs to continue as if there had been no break."""

    @abstractmethod
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state; what follows has the same bytes as without the break."""


class DecidingStrategy(SearchStrategy):
    """A strategy that can tell the best architecture at any time, as its alphas are trained along with the weights."""

    @abstractmethod
    def architecture(self) -> Architecture:
        """The best architecture known now. Changes nothing."""

    @abstractmethod
    def network(self) -> nn.Module:
        """Return the plain network of :meth:`architecture` with the weights trained so far, on the CPU."""

    @abstractmethod
    def sampled(self, draw: int) -> Callable[[Tensor], Tensor]:
        """Return one draw of what is being trained, (B, C, *S) -> logits, to compare with :meth:`network`."""


@dataclass(frozen=True)
class Trial:
    """An evaluation asked for. Scores of different fidelity are never compared."""

    architecture: Architecture
    fidelity: str  # "inherited": with the supernet's weights; "fine_tuned": those, trained on for ``steps``
    steps: int = 0
    part: int = 0  # of the judging cases, which are dealt into ``num_parts``
    num_parts: int = 1


@dataclass(frozen=True)
class ScoredTrial:
    """An evaluation done."""

    trial: Trial
    scores: Scores

    @property
    def score(self) -> float:
        """That of :func:`mean_score`."""
        return mean_score(self.scores)


def mean_score(scores: Iterable[float | None]) -> float:
    """Return the mean over the cases that have a score; 0 where none has."""
    known = [score for score in scores if score is not None]
    return statistics.fmean(known) if known else 0.0


class ArchitectureSearch(ABC):
    """Picks architectures to try, knowing only their scores."""

    @abstractmethod
    def suggest(self, count: int) -> list[Trial]:
        """Return at most ``count`` trials that have no score yet; none when the search is over."""

    @abstractmethod
    def update(self, scored: Sequence[ScoredTrial]) -> None:
        """Take note of scores."""
