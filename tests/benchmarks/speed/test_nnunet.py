"""nnU-Net as a peer: its plans by its own rules, and its parts doing their work on plans of ours, quietly."""

import os
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from monai_nas.benchmarks.speed import nnunet as module
from monai_nas.benchmarks.speed.nnunet import (
    left_out,
    nnunet_batches,
    nnunet_network,
    nnunet_predictor,
    nnunet_steps,
    title,
)
from monai_nas.benchmarks.speed.nnunet_plans import coarsest_first, kernel_sizes, nnunet_plans
from monai_nas.benchmarks.speed.training_step import dynunet, noise
from monai_nas.cost import count_flops
from monai_nas.inference.predictor import FLIPS
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import committed_plan

CPU = torch.device("cpu")
with_nnunet = pytest.mark.skipif(bool(left_out()), reason="; ".join(left_out().values()))
TASKS = ("Task04_Hippocampus", "Task09_Spleen", "Task10_Colon")


def test_where_it_is_not_installed_the_record_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_spec", lambda name: None)
    assert left_out() == {"nnunet": "not installed: pip install monai-nas[peers]"}


def test_kernels_grow_where_voxels_are_no_longer_twice_as_long() -> None:
    strides = [(2, 2, 1), (2, 2, 1), (2, 2, 2)]
    assert kernel_sizes((1.0, 1.0, 3.9), strides) == [(3, 3, 1), (3, 3, 3), (3, 3, 3), (3, 3, 3)]
    assert kernel_sizes((1.0, 1.0, 4.0), strides) == [(3, 3, 1), (3, 3, 1), (3, 3, 3), (3, 3, 3)]
    assert kernel_sizes((1.0, 1.0, 1.9), strides)[0] == (3, 3, 3)


def test_the_axis_of_thick_slices_comes_first() -> None:
    assert list(coarsest_first(committed_plan("Task04_Hippocampus"))) == [0, 1, 2]
    spleen = committed_plan("Task09_Spleen")
    assert list(coarsest_first(spleen)) == [2, 0, 1]
    configuration = nnunet_plans(spleen, [2, 0, 1])["configurations"]["3d_fullres"]
    x, y, z = spleen.patch_size
    assert configuration["patch_size"] == [z, x, y]
    assert configuration["architecture"]["arch_kwargs"]["strides"][:2] == [(1, 1, 1), (1, 2, 2)]


@with_nnunet
@pytest.mark.parametrize("task", TASKS)
def test_strides_and_kernels_are_those_of_its_planner_of_as_many_levels(task: str) -> None:
    from nnunetv2.experiment_planning.experiment_planners.network_topology import get_pool_and_conv_props

    plan = committed_plan(task)
    _, strides, kernels, _, _ = get_pool_and_conv_props(plan.spacing_mm, plan.patch_size, 4, 99)
    levels = len(plan.strides)
    network = nnunet_plans(plan)["configurations"]["3d_fullres"]["architecture"]["arch_kwargs"]
    assert tuple(network["strides"]) == strides[: levels + 1]
    assert tuple(network["kernel_sizes"][:levels]) == kernels[:levels]
    assert network["features_per_stage"] == [32, 64, 128, 256]


@with_nnunet
def test_the_network_has_the_flops_of_monais_copy_of_it() -> None:
    plan = committed_plan("Task04_Hippocampus")
    flops = count_flops(nnunet_network(plan), 1, plan.patch_size)
    assert flops == count_flops(dynunet(32, plan), 1, plan.patch_size)
    assert flops < count_flops(nnunet_network(plan, deep_supervision=True), 1, plan.patch_size) < 1.01 * flops


@with_nnunet
def test_it_trains_and_leaves_nothing_behind(tiny_plan: Plan, capsys: pytest.CaptureFixture[str]) -> None:
    before = dict(os.environ)
    torch.manual_seed(0)
    run = nnunet_steps(tiny_plan, noise(tiny_plan, 0), 4, CPU)
    first, second = run(), run()
    assert second < first
    assert dict(os.environ) == before
    assert capsys.readouterr() == ("", "")


@with_nnunet
def test_its_batches_have_the_plans_size_with_thick_slices_first(
    tiny_plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    plan = replace(tiny_plan, spacing_mm=(1.0, 1.0, 3.0), patch_size=(16, 20, 12), batch_size=2)
    label = torch.zeros(1, 24, 24, 10, dtype=torch.uint8)
    label[:, 8:16, 8:16, 3:6] = 1
    label[:, 8:16, 8:16, 6:8] = 2
    batches = nnunet_batches([{"image": torch.randn(1, 24, 24, 10), "label": label}], plan)
    for batch in (next(batches), next(batches)):
        assert batch["data"].shape == (2, 1, 12, 16, 20) and batch["data"].isfinite().all()
        assert [tuple(target.shape[2:]) for target in batch["target"]] == [(12, 16, 20), (6, 8, 10)]
        assert set(batch["target"][0].unique().tolist()) <= {0, 1, 2}
        assert batch["target"][0][-1].any()  # the last of a batch lies around foreground
    assert capsys.readouterr() == ("", "")


@with_nnunet
@pytest.mark.parametrize("mirror", [False, True])
def test_its_predictor_averages_the_logits_of_mirrored_copies(
    mirror: bool, tiny_plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.manual_seed(0)
    network = nn.Conv3d(1, tiny_plan.task.num_classes, 3, padding=1).eval()
    image = torch.randn(1, *tiny_plan.patch_size)  # one window, whose weights cancel
    predictor = nnunet_predictor(network, tiny_plan, mirror=mirror, device=CPU)
    logits: Any = predictor.predict_logits_from_preprocessed_data(image)
    with torch.no_grad():
        flips = FLIPS if mirror else FLIPS[:1]
        expected = torch.stack([network(image[None].flip(axes)).flip(axes) for axes in flips]).mean(dim=0)[0]
    middle = (slice(None), *[slice(4, 12)] * 3)  # at the corners weights are small, and float16 has few digits there
    torch.testing.assert_close(logits[middle].float(), expected[middle], atol=5e-3, rtol=0)
    assert capsys.readouterr() == ("", "")


@with_nnunet
def test_its_name_has_the_pinned_version() -> None:
    assert title() == "nnU-Net 2.8.1"
