"""Regions and scores by which candidates are compared."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import Tensor

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.pipelines import judging
from monai_nas.pipelines.judging import RankingProgress, foreground_region, regions_dice
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.strategies import CoarseToFine, ScoredTrial, mean_score
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task

COMPUTE = Compute(torch.device("cpu"), torch.float32, channels_last=True, workers=0)


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    task = load_task(None, phantoms)
    measured = make_plan(task, measure_fingerprint(training_cases(phantoms), task))
    return dataclasses.replace(measured, patch_size=(16, 16, 16))


def test_regions_hold_the_foreground_and_no_more_than_allowed(plan: Plan) -> None:
    label = torch.zeros(1, 60, 40, 300, dtype=torch.uint8)
    label[0, 10:30, 5:15, 20:290] = 1
    image = torch.arange(label.numel(), dtype=torch.float32).reshape(label.shape)
    region = foreground_region({"image": image, "label": label}, plan)
    assert region["label"].shape == region["image"].shape == (1, 20, 16, 192)
    assert region["label"].sum() == 20 * 10 * 192
    assert torch.equal(region["image"][region["label"] > 0] % 1, torch.zeros(20 * 10 * 192))
    whole = foreground_region({"image": image, "label": torch.zeros_like(label)}, plan)
    assert whole["image"].shape == image.shape


def labelled(values: list[int]) -> dict[str, Tensor]:
    label = torch.tensor(values, dtype=torch.uint8).reshape(1, -1, 1, 1).expand(1, -1, 4, 4)
    return {"image": torch.zeros(1, *label.shape[1:]), "label": label}


def test_scores_of_cases_are_means_over_classes(plan: Plan) -> None:
    def network(image: Tensor) -> Tensor:
        """Everything is class 1."""
        return torch.tensor([0.0, 1.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(len(image), 3, *image.shape[2:]).clone()

    both, one, none = labelled([1, 1, 1, 2]), labelled([1, 1, 1, 1]), labelled([0, 0, 0, 0])
    first = (2 * 3 / (4 + 3) + 0) / 2  # class 2 is missed
    scores = regions_dice(network, [both, one, none], plan, COMPUTE)
    assert scores == pytest.approx((first, 1.0, 0.0)) and mean_score(scores) == pytest.approx((first + 1.0) / 3)


def test_a_case_without_any_class_has_no_score(plan: Plan) -> None:
    def network(image: Tensor) -> Tensor:
        """Everything is background."""
        return torch.tensor([1.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(len(image), 3, *image.shape[2:]).clone()

    scores = regions_dice(network, [labelled([0, 0, 0, 0]), labelled([0, 0, 0, 1])], plan, COMPUTE)
    assert scores == (None, 0.0) and mean_score(scores) == mean_score([None]) == 0.0


def test_a_ranking_tells_once_a_minute_how_much_is_left(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = 1000.0
    monkeypatch.setattr(judging, "time", SimpleNamespace(monotonic=lambda: now))
    caplog.set_level("INFO")
    search = CoarseToFine(
        [Architecture.create("toy", {}, {"which": name}) for name in "abcd"], num_finalists=1, steps=1
    )
    search.update([ScoredTrial(search.suggest(1)[0], (0.5,))])  # known from before: no time was spent on it
    progress = RankingProgress(search, "flops=1G")
    for seconds, left in ((50.0, 2), (50.0, 1), (200.0, 0)):
        now += seconds
        search.update([ScoredTrial(search.suggest(1)[0], (0.5,))])
        assert search.judgements_left() == left
        progress.tell()
    assert caplog.messages == ["flops=1G: ranking, at most 1 scores and 1 minutes left"]
