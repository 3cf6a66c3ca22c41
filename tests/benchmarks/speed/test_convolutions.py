"""The convolutions of a step are found, forward and backward, and run again."""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from monai_nas.benchmarks.speed.convolutions import ConvolutionCalls


def count(calls: ConvolutionCalls, name: str) -> int:
    return sum(number for (func, _), number in calls.counts.items() if func._schema.name == f"aten::{name}")


def step() -> None:
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.ReLU(), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1))
    network(torch.ones(1, 1, 4, 4, 4)).square().sum().backward()


def test_all_convolutions_are_counted_and_equal_ones_together() -> None:
    with ConvolutionCalls() as calls:
        step()
    assert count(calls, "convolution") == count(calls, "convolution_backward") == 3
    assert len(calls.counts) == 4  # the last two have the same arguments


def test_they_run_again_as_often_and_nothing_else_does() -> None:
    with ConvolutionCalls() as calls:
        step()
    again = calls.again()
    with ConvolutionCalls() as repeated:
        again()
    assert repeated.counts == calls.counts


def test_expanded_gradients_run_again() -> None:
    with ConvolutionCalls() as calls:
        nn.Conv3d(1, 2, 3)(torch.ones(1, 1, 4, 4, 4)).sum().backward()  # its gradient is one number, expanded
    with ConvolutionCalls() as repeated:
        calls.again()()
    assert repeated.counts == calls.counts


def test_layout_and_number_format_are_kept() -> None:
    network = nn.Conv3d(4, 4, 3).to(memory_format=torch.channels_last_3d)
    image = torch.ones(1, 4, 5, 5, 5).to(memory_format=torch.channels_last_3d)
    with ConvolutionCalls() as calls, torch.autocast("cpu", dtype=torch.bfloat16):
        network(image)
    ((_, (features, *_)),) = calls.counts
    assert features.dtype == torch.bfloat16 and features.stride == image.stride()
    filled = features.filled()
    assert filled.stride() == image.stride() and filled.dtype == torch.bfloat16 and filled.std() > 0.5


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv3d(2, 3, 3, padding=1),
        nn.Conv3d(2, 3, 3, stride=2, padding=1),
        nn.Conv3d(2, 3, 3, dilation=2),
        nn.Conv3d(2, 3, (3, 1, 1), bias=False),
        nn.ConvTranspose3d(2, 3, 2, stride=2),
    ],
)
def test_flops_are_those_that_torch_counts(layer: nn.Module) -> None:
    image = torch.ones(2, 2, 7, 6, 5, requires_grad=True)
    with ConvolutionCalls() as calls, FlopCounterMode(display=False) as torch_counts:
        layer(image).square().sum().backward()
    assert calls.flops() == torch_counts.get_total_flops()


def test_flops_of_groups_by_hand() -> None:
    layer = nn.Conv3d(4, 4, 3, padding=1, groups=4)
    with ConvolutionCalls() as calls:
        layer(torch.ones(1, 4, 3, 3, 3)).square().sum().backward()  # forward, and the gradient of the weights
    assert calls.flops() == 2 * 2 * 4 * 27 * 27
