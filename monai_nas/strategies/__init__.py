"""How the choice is made."""

from monai_nas.strategies.bilevel import Bilevel, BilevelConfig
from monai_nas.strategies.coarse_to_fine import CoarseToFine
from monai_nas.strategies.engine import search_engine
from monai_nas.strategies.one_shot import OneShot, OneShotConfig
from monai_nas.strategies.strategy import (
    STRATEGIES,
    ArchitectureSearch,
    DecidingStrategy,
    ScoredTrial,
    Scores,
    SearchBatch,
    SearchStrategy,
    Trial,
    mean_score,
)

__all__ = [
    "STRATEGIES",
    "ArchitectureSearch",
    "Bilevel",
    "BilevelConfig",
    "CoarseToFine",
    "DecidingStrategy",
    "OneShot",
    "OneShotConfig",
    "ScoredTrial",
    "Scores",
    "SearchBatch",
    "SearchStrategy",
    "Trial",
    "mean_score",
    "search_engine",
]
