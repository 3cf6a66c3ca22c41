"""The decisions of a search space and which combinations are valid. Builds no network, imports no torch."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.registry import Registry

SPACES: Registry[type["SearchSpace"]] = Registry("search space")


@dataclass(frozen=True)
class Decision:
    """One question of a space and its possible answers."""

    name: str
    options: tuple[str, ...]


class SearchSpace(ABC):
    """All allowed architectures: a list of decisions.

    A subclass states its registered ``name``, its ``settings`` and its ``decisions``; sampling, mutation, crossover and
    encoding follow from those. Where decisions depend on each other it overrides what creates and checks members.
    """

    name: str

    @property
    @abstractmethod
    def settings(self) -> Mapping[str, int]:
        """Settings that change which choices exist; they travel with every architecture."""

    @property
    @abstractmethod
    def decisions(self) -> tuple[Decision, ...]:
        """The decisions in a fixed order."""

    def create(self, choices: Mapping[str, str]) -> Architecture:
        """Return the architecture with these choices, one per decision.

        Raises:
            UserError: when a decision is missing, unknown, or answered by no option of it.
        """
        architecture = Architecture.create(self.name, self.settings, choices)
        self.check(architecture)
        return architecture

    def check(self, architecture: Architecture) -> None:
        """Raise UserError naming the first thing that makes ``architecture`` no member of this space."""
        if architecture.space != self.name:
            raise UserError(f"architecture of space {architecture.space!r}, expected {self.name!r}")
        if dict(architecture.settings) != dict(self.settings):
            raise UserError(f"architecture settings {dict(architecture.settings)}, expected {dict(self.settings)}")
        choices = dict(architecture.choices)
        for decision in self.decisions:
            if decision.name not in choices:
                raise UserError(f"architecture lacks the decision {decision.name!r}: use an intact architecture.json")
            choice = choices.pop(decision.name)
            if choice not in decision.options:
                known = ", ".join(decision.options)
                raise UserError(f"architecture decision {decision.name!r} is {choice!r}, must be one of {known}")
        if choices:
            raise UserError(f"architecture has the unknown decision {min(choices)!r}: remove it")

    def contains(self, architecture: Architecture) -> bool:
        """Whether ``architecture`` is a member of this space."""
        try:
            self.check(architecture)
        except UserError:
            return False
        return True

    def sample(self, rng: np.random.Generator) -> Architecture:
        """Draw every decision uniformly: the random architecture that a search has to beat."""
        return self.create({d.name: d.options[int(rng.integers(len(d.options)))] for d in self.decisions})

    def mutate(self, architecture: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a neighbour: one decision, drawn uniformly, gets another option, drawn uniformly."""
        decision = self.decisions[int(rng.integers(len(self.decisions)))]
        choices = dict(architecture.choices)
        others = [option for option in decision.options if option != choices[decision.name]]
        choices[decision.name] = others[int(rng.integers(len(others)))]
        return self.create(choices)

    def crossover(self, first: Architecture, second: Architecture, rng: np.random.Generator) -> Architecture:
        """Return a child that takes each decision from either parent with probability one half."""
        parents = dict(first.choices), dict(second.choices)
        return self.create({d.name: parents[int(rng.integers(2))][d.name] for d in self.decisions})

    def encode(self, architecture: Architecture) -> np.ndarray:
        """Return the one-hot encoding of all decisions, (sum of option counts,) float64, for predictors."""
        self.check(architecture)
        choices = dict(architecture.choices)
        return np.concatenate([np.equal(d.options, choices[d.name]).astype(np.float64) for d in self.decisions])
