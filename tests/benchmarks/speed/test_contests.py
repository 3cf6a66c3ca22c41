"""Contests without files of tests of their own, at a size that takes a moment: who takes part, what the record says."""

from dataclasses import replace
from typing import Any

import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.cost import cost_contest
from monai_nas.benchmarks.speed.floor import OperatorBytes, floor_contest
from monai_nas.benchmarks.speed.nnunet import left_out
from monai_nas.benchmarks.speed.supernet_step import cell_step_contest, grid_step_contest
from monai_nas.benchmarks.speed.training_step import dynunet, segresnet, training_step_contest, width_of
from monai_nas.cost import count_flops
from monai_nas.plans.plan import Plan


def check(record: dict[str, Any], *names: str) -> None:
    """Assert that all took part and took time."""
    assert tuple(record["contenders"]) == names
    assert all(values["median_seconds"] > 0 for values in record["contenders"].values())
    assert record["contenders"]["ours"]["times_as_long"] == 1.0


def test_training_step(architecture: Architecture, tiny_plan: Plan) -> None:
    record = training_step_contest(architecture, tiny_plan, repetitions=1, steps=1, seed=0, device="cpu")
    peer = () if left_out() else ("nnunet",)
    check(record, "ours", "float32", "plain", "convolutions", "dynunet", "dynunet_float32", "segresnet", *peer)
    assert record["left_out"] == left_out()
    seconds = {name: values["median_seconds"] for name, values in record["contenders"].items()}
    assert record["share_of_convolutions"] == pytest.approx(seconds["convolutions"] / seconds["ours"])
    wider = count_flops(dynunet(128, tiny_plan), 1, tiny_plan.patch_size)
    assert 0 < record["flops"]["dynunet"] < wider


def test_width_of_the_flops_asked_for() -> None:
    assert [width_of(flops, range(2, 9, 2), lambda width: width**2) for flops in (0, 9, 11, 36, 99)] == [2, 2, 4, 6, 8]


@pytest.mark.parametrize(("last", "length", "levels"), [(2, 64, 3), (1, 20, 2), (1, 5, 0)])
def test_segresnet_halves_as_often_as_it_can(tiny_plan: Plan, last: int, length: int, levels: int) -> None:
    plan = replace(tiny_plan, strides=((2, 2, last),) * 3, patch_size=(64, 64, length))
    assert len(segresnet(8, plan).up_layers) == levels


def test_floor(architecture: Architecture, tiny_plan: Plan) -> None:
    size, copied = 64, 2**20
    record = floor_contest(architecture, tiny_plan, repetitions=1, size=size, copied=copied, seed=0, device="cpu")
    check(record, "ours", "convolutions", "product", "product_float32", "copy")
    seconds = {name: values["median_seconds"] for name, values in record["contenders"].items()}
    step, rates, floor = record["step"], record["rates"], record["floor"]
    assert rates["product"] * seconds["product"] == pytest.approx(2 * size**3)
    assert rates["copy"] * seconds["copy"] == pytest.approx(2 * copied)
    assert rates["step"] * seconds["ours"] == pytest.approx(step["flops"])
    assert floor["flops"] * rates["product"] == pytest.approx(step["flops"])
    assert floor["bytes"] * rates["copy"] == pytest.approx(step["bytes"])
    assert floor["share"] == pytest.approx(max(floor["flops"], floor["bytes"]) / seconds["ours"])


def test_bytes_are_those_that_operators_read_and_write() -> None:
    one, other, single = torch.zeros(3, 4), torch.zeros(4, dtype=torch.bfloat16), torch.zeros(1)
    with OperatorBytes() as moved:
        torch.empty_like(one)
        one.t()
        torch.add(one, one)
        torch.neg(other)
        torch.neg(single.expand(4))
    assert moved.total == 3 * 48 + 2 * 8 + (4 + 16)
    whole = torch.ones(3, 4)
    with OperatorBytes() as moved:
        torch.ops.aten._unsafe_view(one, [12])
        one.zero_()
        one.add_(1.0)
        one.copy_(whole)
        torch.add(one, one, out=torch.empty_like(one))
    assert moved.total == 48 + 2 * 48 + 2 * 48 + 3 * 48


def test_search_step(tiny_plan: Plan) -> None:
    check(cell_step_contest(tiny_plan, repetitions=1, seed=0, device="cpu"), "ours", "float32")


def test_grid_step() -> None:
    record = grid_step_contest(blocks=1, levels=2, width=4, size=24, repetitions=1, seed=0, device="cpu")
    check(record, "ours", "monai_two", "monai")


def test_cost(architecture: Architecture, tiny_plan: Plan) -> None:
    record = cost_contest(architecture, tiny_plan, repetitions=1, seed=0)
    check(record, "ours", "measured")
    assert record["bytes"]["ours"] == pytest.approx(record["bytes"]["measured"], rel=0.1)
