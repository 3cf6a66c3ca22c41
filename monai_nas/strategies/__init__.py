"""How the choice is made."""

from monai_nas.strategies.bilevel import Bilevel, BilevelConfig
from monai_nas.strategies.engine import search_engine
from monai_nas.strategies.strategy import STRATEGIES, SearchBatch, SearchStrategy

__all__ = ["STRATEGIES", "Bilevel", "BilevelConfig", "SearchBatch", "SearchStrategy", "search_engine"]
