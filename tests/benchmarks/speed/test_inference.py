"""The contest of inference: who takes part, how near their probabilities are, and what each takes of memory."""

from collections.abc import Callable
from typing import Any

import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed import inference as module
from monai_nas.benchmarks.speed.inference import inference_contest, inference_peaks
from monai_nas.benchmarks.speed.nnunet import left_out
from monai_nas.benchmarks.speed.segmenters import SEGMENTERS, Setting
from monai_nas.plans.plan import Plan

SIZE = (20, 16, 12)
WITHOUT = ("ours", "monai", "monai_float32")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure memory in this process, which takes a moment and measures nothing."""

    def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(module, "in_fresh_process", at_once)


def run(architecture: Architecture, plan: Plan) -> dict[str, Any]:
    return inference_contest(architecture, plan, size=SIZE, mirror=True, repetitions=1, seed=0, device="cpu")


@pytest.mark.usefixtures("here")
def test_each_takes_part_and_ours_is_near_the_reference(architecture: Architecture, tiny_plan: Plan) -> None:
    record = run(architecture, tiny_plan)
    names = tuple(name for name in SEGMENTERS if name not in left_out())
    assert tuple(record["contenders"]) == names and record["left_out"] == left_out()
    assert record["contenders"]["ours"]["times_as_long"] == 1.0
    for key in ("equal_labels", "largest_difference", "peak_growth_bytes"):
        assert tuple(record[key]) == names
    assert record["equal_labels"]["monai_float32"] == 1.0 and record["largest_difference"]["monai_float32"] == 0.0
    for name in ("ours", "monai"):
        assert record["equal_labels"][name] > 0.9 and record["largest_difference"][name] < 0.01
    assert record["peak_growth_bytes"]["ours"] >= 0


@pytest.mark.usefixtures("here")
def test_without_nnunet_three_remain_and_the_record_says_so(
    architecture: Architecture, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "left_out", lambda: {"nnunet": "not installed"})
    record = run(architecture, tiny_plan)
    assert tuple(record["contenders"]) == WITHOUT
    assert record["left_out"] == {"nnunet": "not installed"}


def test_nnunet_segments_as_well(architecture: Architecture, tiny_plan: Plan) -> None:
    if left_out():
        pytest.skip(left_out()["nnunet"])
    setting = Setting(architecture, tiny_plan, mirror=False, seed=0, device="cpu")
    image = setting.image(SIZE)
    theirs, reference = (SEGMENTERS[name](setting) for name in ("nnunet", "monai_float32"))
    assert theirs.labels(image).shape == SIZE
    # One window along two axes; along the first the windows lie elsewhere, so that only most of the labels are equal.
    assert (theirs.labels(image) == reference.labels(image)).mean() > 0.8
    assert theirs.probabilities(image).sum(dim=0).allclose(reference.probabilities(image).sum(dim=0), atol=1e-3)


@pytest.mark.slow
def test_a_larger_volume_makes_a_fresh_process_grow_more(architecture: Architecture, tiny_plan: Plan) -> None:
    setting = Setting(architecture, tiny_plan, mirror=False, seed=0, device="cpu")
    names = ("ours", "monai_float32")
    small, large = (inference_peaks(setting, size, names) for size in ((16, 16, 16), (128, 128, 32)))
    for name in names:
        assert large[name] > small[name] + 4 * 128 * 128 * 32  # at least the image
