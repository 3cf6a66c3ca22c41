"""The learning rate of a step, as trainings and searches share it. Imports no torch."""

import math


def warmed_cosine(step: int, total_steps: int, *, rate: float, warmup_steps: int = 0) -> float:
    """Return the rate of a step: a linear warm-up to ``rate``, then a cosine to zero at ``total_steps``."""
    if step < warmup_steps:
        return rate * (step + 1) / warmup_steps
    progress = (step - warmup_steps) / max(1, total_steps - warmup_steps)
    return rate * 0.5 * (1 + math.cos(math.pi * progress))
