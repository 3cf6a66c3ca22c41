"""How well a label map agrees with the reference: overlap, boundaries, and the table of both."""

from monai_nas.metrics.dice import dice
from monai_nas.metrics.surface_dice import surface_dice
from monai_nas.metrics.table import CaseScores, ScoreTable

__all__ = ["CaseScores", "ScoreTable", "dice", "surface_dice"]
