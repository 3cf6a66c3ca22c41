"""The plain form of a network computes what the network computes, by torch's layers."""

import numpy as np
import pytest
import torch
from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.plain_network import plain_network
from monai_nas.networks import build_network
from monai_nas.ops import CANDIDATES
from monai_nas.ops.blocks import DilatedSeparableUnit, FeatureNorm, PooledConv, UnitConv
from monai_nas.spaces import CellUNetSpace, TopologySpace

OWN_FORMS = (DilatedSeparableUnit, FeatureNorm, PooledConv, UnitConv)


def cells() -> Architecture:
    """Every candidate is somewhere in it."""
    space = CellUNetSpace()
    names = [decision.name for decision in space.decisions]
    operations = list(CANDIDATES)
    return space.create({name: operations[index % len(operations)] for index, name in enumerate(names)})


@pytest.mark.parametrize(
    ("architecture", "strides"),
    [
        (cells(), [[2, 2, 2], [2, 2, 1]]),
        (TopologySpace(num_blocks=3, num_levels=2).sample(np.random.default_rng(0)), [[2, 2, 2], [2, 2, 1]]),
    ],
    ids=["cells", "grid"],
)
def test_same_values_and_gradients_by_torch_layers(architecture: Architecture, strides: list[list[int]]) -> None:
    torch.manual_seed(0)
    network = build_network(architecture, in_channels=1, out_channels=2, width=8, strides=strides)
    plain = plain_network(network)
    assert not [part for part in plain.modules() if isinstance(part, OWN_FORMS)]
    assert any(isinstance(part, OWN_FORMS) for part in network.modules())

    image, slopes = torch.randn(2, 1, 16, 16, 12), torch.randn(2, 2, 16, 16, 12)
    results = []
    for form in (network, plain):
        logits = form(image)
        (logits * slopes).mean().backward()
        results.append((logits, sum_of_gradients(form)))
    (ours, our_sum), (stock, stock_sum) = results
    torch.testing.assert_close(ours, stock, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(our_sum, stock_sum, rtol=1e-3, atol=1e-5)


def sum_of_gradients(network: nn.Module) -> torch.Tensor:
    """Return a number that every weight's gradient takes part in."""
    return torch.stack([value.grad.abs().sum() for value in network.parameters() if value.grad is not None]).sum()
