"""The contest of inference: who takes part, how near their probabilities are, and what each takes of memory."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed import inference as module
from monai_nas.benchmarks.speed.contest import plain_compute
from monai_nas.benchmarks.speed.inference import inference_contest, inference_peaks
from monai_nas.benchmarks.speed.nnunet import left_out
from monai_nas.benchmarks.speed.segmenters import SEGMENTERS, Setting
from monai_nas.files import save_tensors
from monai_nas.plans.plan import Plan

SIZE = (20, 16, 12)
WITHOUT = ("ours", "monai", "monai_float32")


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure memory in this process, which takes a moment and measures nothing."""

    def at_once(work: Callable[..., Any], *arguments: Any) -> Any:
        return work(*arguments)

    monkeypatch.setattr(module, "in_fresh_process", at_once)


def setting_of(architecture: Architecture, plan: Plan, *, mirror: bool = False) -> Setting:
    return Setting(architecture, plan, SIZE, mirror, seed=0, device="cpu")


def run(architecture: Architecture, plan: Plan) -> dict[str, Any]:
    return inference_contest(setting_of(architecture, plan, mirror=True), repetitions=1)


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
    setting = setting_of(architecture, tiny_plan)
    image = setting.image()
    theirs, reference = (SEGMENTERS[name](setting) for name in ("nnunet", "monai_float32"))
    assert theirs.labels(image).shape == SIZE
    # One window along two axes; along the first the windows lie elsewhere, so that only most of the labels are equal.
    assert (theirs.labels(image) == reference.labels(image)).mean() > 0.8
    assert theirs.probabilities(image).sum(dim=0).allclose(reference.probabilities(image).sum(dim=0), atol=1e-3)


def test_a_scan_is_prepared_by_the_plan_and_weights_are_those_of_the_file(
    architecture: Architecture, tiny_plan: Plan, phantoms: Path, tmp_path: Path
) -> None:
    setting = setting_of(architecture, tiny_plan)
    where = plain_compute("cpu")
    trained = dataclasses.replace(setting, seed=1).network(where)
    save_tensors(tmp_path / "model.pt", trained.state_dict())
    scan = next((phantoms / "imagesTr").glob("*.nii.gz"))
    given = dataclasses.replace(setting, weights=tmp_path / "model.pt", scan=scan)
    for name, weight in given.network(where).state_dict().items():
        assert weight.equal(trained.state_dict()[name])
    assert given.image().shape[1:] == nibabel.load(scan).shape and given.image().dtype == torch.float32
    assert float(given.image().mean()) == pytest.approx(0.0, abs=1e-4), "as the plan normalises MR"


@pytest.mark.slow
def test_a_larger_volume_makes_a_fresh_process_grow_more(architecture: Architecture, tiny_plan: Plan) -> None:
    setting, names = setting_of(architecture, tiny_plan), ("ours", "monai_float32")
    small, large = (
        inference_peaks(dataclasses.replace(setting, size=size), names) for size in ((16, 16, 16), (128, 128, 32))
    )
    for name in names:
        assert large[name] > small[name] + 4 * 128 * 128 * 32  # at least the image
