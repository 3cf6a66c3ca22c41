"""The plain form of a network, by torch's layers: the same values, and gradients that ours are held against.

Through a whole network gradients in 16 bits are far from those in 32, ours as well as torch's: near a kink of a
LeakyReLU, or between two voxels of nearly the same maximum, rounding decides. So ours are held against how far torch's
own layers are; tests/ops/test_candidates.py bounds each operation by itself.
"""

from collections.abc import Sequence
from statistics import median

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.plain_network import plain_network
from monai_nas.compute import Compute
from monai_nas.losses import segmentation_loss
from monai_nas.networks import build_network
from monai_nas.ops import CANDIDATES
from monai_nas.ops.blocks import DilatedSeparableUnit, FeatureNorm, PooledConv, UnitConv
from monai_nas.spaces import CellUNetSpace, TopologySpace

OWN_FORMS = (DilatedSeparableUnit, FeatureNorm, PooledConv, UnitConv)
IN_FLOAT32 = 1e-5  # of ours from torch's layers, relative
TIMES_AS_FAR = 1.25  # as torch's layers in bfloat16 are from themselves in float32, in the mean of so many draws:
DRAWS = 4


def cells() -> Architecture:
    """Every candidate is somewhere in it."""
    space = CellUNetSpace()
    names = [decision.name for decision in space.decisions]
    operations = list(CANDIDATES)
    return space.create({name: operations[index % len(operations)] for index, name in enumerate(names)})


ARCHITECTURES = {
    "all candidates": cells(),
    "random cells": CellUNetSpace().sample(np.random.default_rng(0)),
    "grid": TopologySpace(num_blocks=3, num_levels=2).sample(np.random.default_rng(0)),
}


architectures = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=ARCHITECTURES)


def fresh(architecture: Architecture, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return build_network(architecture, in_channels=1, out_channels=2, width=8, strides=[[2, 2, 2], [2, 2, 1]])


def logits_and_gradients(network: nn.Module, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Sequence[Tensor]]:
    """Return what a training step computes of noise: logits, and the gradient of each weight."""
    compute = Compute(torch.device("cpu"), dtype, channels_last=True, workers=0)
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(2, 1, 16, 16, 12, generator=generator)
    label = torch.randint(0, 2, image.shape, generator=generator, dtype=torch.uint8)
    with compute.autocast():
        logits = compute.place(network)(compute.place(image)).float()
    return logits, torch.autograd.grad(segmentation_loss()(logits, label), list(network.parameters()))


def distances(found: Sequence[Tensor], wanted: Sequence[Tensor]) -> tuple[float, float]:
    """Return how far gradients are apart, relative, by Euclidean norms: of all weights, and the median of tensors."""
    apart = [float((mine - other).norm()) for mine, other in zip(found, wanted, strict=True)]
    sizes = [float(other.norm()) for other in wanted]
    overall = np.linalg.norm(apart) / np.linalg.norm(sizes)
    return float(overall), median(distance / size for distance, size in zip(apart, sizes, strict=True) if size > 0)


@architectures
def test_same_values_and_gradients_by_torch_layers(architecture: Architecture) -> None:
    network = fresh(architecture, seed=0)
    plain = plain_network(network)
    assert not [part for part in plain.modules() if isinstance(part, OWN_FORMS)]
    assert any(isinstance(part, OWN_FORMS) for part in network.modules())
    (ours, our_gradients), (stock, stock_gradients) = logits_and_gradients(network), logits_and_gradients(plain)
    torch.testing.assert_close(ours, stock, rtol=1e-3, atol=1e-4)
    assert max(distances(our_gradients, stock_gradients)) < IN_FLOAT32


@architectures
def test_gradients_in_16_bits_are_as_near_those_in_32_as_with_torch_layers(architecture: Architecture) -> None:
    ours, stock = [], []
    for seed in range(DRAWS):
        network = fresh(architecture, seed)
        plain = plain_network(network)
        _, reference = logits_and_gradients(plain)
        for form, found in ((network, ours), (plain, stock)):
            found.append(distances(logits_and_gradients(form, torch.bfloat16)[1], reference))
    own_distances, stock_distances = np.mean(ours, axis=0), np.mean(stock, axis=0)
    assert (own_distances > 2.0**-8).all()  # else it was not in 16 bits
    assert (own_distances < TIMES_AS_FAR * stock_distances).all()
