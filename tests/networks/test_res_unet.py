"""The U-ResNet: the paper's cost, gates that gate, and maps that are all used."""

import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.res_unet_cost import PAPER, cost_of_network
from monai_nas.networks import ResUNet
from monai_nas.networks.res_unet import AdditiveAttentionGate
from monai_nas.ops.blocks import Enlarge


@pytest.fixture
def network() -> ResUNet:
    torch.manual_seed(0)
    architecture = Architecture.create("res_unet", {}, {})
    return ResUNet(architecture, in_channels=2, out_channels=3, width=4, strides=[[2, 2, 1], [2, 2, 2], [2, 1, 2]])


@pytest.fixture
def gate() -> AdditiveAttentionGate:
    torch.manual_seed(0)
    return AdditiveAttentionGate(4, 6, enlarge=Enlarge([2, 2, 1]), stride=[2, 2, 1])


def test_cost_is_that_of_the_paper() -> None:
    cost = cost_of_network("res_unet")
    for name, value in PAPER.items():
        assert cost[name] == pytest.approx(value, rel=0.05), name
    fewer = cost["gflops"] - cost["gflops_one_channel"]  # three input channels, and two classes of the next task
    assert fewer == pytest.approx(PAPER["gflops"] - PAPER["gflops_one_channel"], rel=0.05)


def test_one_level_has_a_single_map_and_no_gate() -> None:
    architecture = Architecture.create("res_unet", {}, {})
    network = ResUNet(architecture, in_channels=1, out_channels=2, width=4, strides=[[2, 1]], spatial_dims=2)
    assert network(torch.randn(1, 1, 4, 5)).shape == (1, 2, 4, 5)
    assert len(network.maps) == 1 and network.decoder[0].gate is None


def test_a_gate_is_the_formula(gate: AdditiveAttentionGate) -> None:
    """Both coefficients by hand where the features are constant, so that interpolation changes nothing."""
    skip, below = torch.full((1, 4, 4, 4, 3), 0.5), torch.full((1, 6, 2, 2, 3), -2.0)
    theta = 0.5 * gate.theta.weight.sum(dim=(1, 2, 3, 4))
    phi = -2.0 * gate.phi.weight.sum(dim=(1, 2, 3, 4)) + gate.phi.bias
    inner = (theta + phi).clamp(min=0)
    logit = (gate.psi.weight.flatten() * inner).sum() + gate.psi.bias
    torch.testing.assert_close(gate(skip, below), 0.5 * torch.sigmoid(logit) * torch.ones_like(skip))


def test_coefficients_lie_between_0_and_1_and_follow_both_inputs(gate: AdditiveAttentionGate) -> None:
    skip, below = torch.randn(2, 4, 8, 8, 3), torch.randn(2, 6, 4, 4, 3)
    with torch.no_grad():
        coefficients = gate.coefficients(skip, below)
        assert coefficients.shape == (2, 1, 8, 8, 3)
        assert (coefficients > 0).all() and (coefficients < 1).all()
        assert not torch.allclose(coefficients, gate.coefficients(skip, -below))
        assert not torch.allclose(coefficients, gate.coefficients(-skip, below))
        torch.testing.assert_close(gate(skip, below), skip * coefficients)


def test_a_closed_gate_hides_its_skip_connection(network: ResUNet) -> None:
    """All skip connections are gated but the one at full size, as in the code of Oktay et al."""
    assert [level.gate is not None for level in network.decoder] == [True, True, False]
    level = network.decoder[1]
    assert isinstance(level.gate, AdditiveAttentionGate)
    below, skip = torch.randn(1, 16, 4, 4, 4), torch.randn(1, 8, 8, 8, 8)
    with torch.no_grad():
        level.gate.psi.bias.fill_(50.0)  # open
        assert not torch.allclose(level(below, skip), level(below, -skip))
        level.gate.psi.bias.fill_(-200.0)  # closed: the sigmoid is 0 in float32
        torch.testing.assert_close(level(below, skip), level(below, -skip))


def test_logits_are_the_sum_of_the_maps_of_all_levels(network: ResUNet) -> None:
    """With one map kept at a time, the logits are that map enlarged; together they add up to those of the network."""
    image = torch.randn(1, 2, 16, 8, 8)
    with torch.no_grad():
        whole = network(image)
        kept = [module.conv.weight.clone() for module in network.maps]
        for module in network.maps:
            module.conv.bias.zero_()
        together = network(image)
        alone = []
        for index in range(len(kept)):
            for position, module in enumerate(network.maps):
                module.conv.weight.copy_(kept[position] if position == index else torch.zeros_like(kept[position]))
            alone.append(network(image))
    assert len(alone) == 3 and all(logits.std() > 0 for logits in alone)
    assert not torch.allclose(whole, together)  # the biases count as well
    torch.testing.assert_close(sum(alone), together, rtol=1e-4, atol=1e-5)
