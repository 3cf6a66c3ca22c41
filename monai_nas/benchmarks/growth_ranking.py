"""Candidates of a search under a budget, judged with shared weights: what its processes share."""

import time
from dataclasses import replace

import numpy as np

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.training_step import noise
from monai_nas.compute import choose_compute
from monai_nas.pipelines.judging import regions_dice
from monai_nas.pipelines.one_shot import JUDGES
from monai_nas.pipelines.one_shot_preset import grid_plan, one_shot_preset_named
from monai_nas.pipelines.processes import evaluate_all
from monai_nas.pipelines.supernet_run import build_one_shot
from monai_nas.plans.published import ARCHITECTURE_TASK, committed_plan
from monai_nas.spaces import sample_by_density
from monai_nas.strategies import CoarseToFine, Scores, Trial


class Ranking:
    """Candidates judged with the weights that they share, as a search under a budget judges them; writes no files.

    They are judged on as many regions as a search takes at most, each of one patch.
    The supernet has fresh weights; the candidates are drawn by the law that it would be trained with, without a budget.

    Args:
        candidates: how many.
        seed: of weights, candidates and regions.
    """

    def __init__(self, candidates: int, seed: int) -> None:
        self.compute = choose_compute(True, "cpu")
        self.plan = grid_plan(committed_plan(ARCHITECTURE_TASK))
        self.searcher = build_one_shot(self.plan, one_shot_preset_named("cpu"), 1, seed, self.compute)
        self.searcher.parts.eval()
        batch = noise(replace(self.plan, batch_size=JUDGES), seed)
        self.regions = [
            {"image": image, "label": label} for image, label in zip(batch["image"], batch["label"], strict=True)
        ]
        rng, found = np.random.default_rng(seed), dict[Architecture, None]()
        while len(found) < candidates:
            found[sample_by_density(self.searcher.supernet.space, rng)] = None
        self.candidates = list(found)
        self.seconds: list[float] = []  # of each candidate that this process judged

    def run(self) -> None:
        """Judge all, each by one of the processes."""
        evaluate_all(CoarseToFine(self.candidates, num_finalists=1, steps=0), self._score, lambda _: None)

    def _score(self, trial: Trial) -> Scores:
        begin = time.perf_counter()
        scores = regions_dice(self.searcher.network(trial.architecture), self.regions, self.plan, self.compute)
        self.seconds.append(time.perf_counter() - begin)
        return scores
