"""Parameters and FLOPs against torch's own counter, hand counts, and the paper's figures."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import paper_cost
from monai_nas.cost import Cost, architecture_cost, count_flops, network_cost
from monai_nas.files import read_json
from monai_nas.networks import build_network
from monai_nas.ops.blocks import DilatedSeparableUnit, PooledConv
from monai_nas.spaces import CellUNetSpace

SPACE = CellUNetSpace()
NOTHING = {decision.name: "zero" for decision in SPACE.decisions}


def plain_network(dims: int) -> nn.Module:
    conv, up = (nn.Conv3d, nn.ConvTranspose3d) if dims == 3 else (nn.Conv2d, nn.ConvTranspose2d)
    return nn.Sequential(
        conv(2, 6, 3, stride=2, padding=1), nn.ReLU(), conv(6, 6, 3, groups=3, padding=2, dilation=2), up(6, 4, 2, 2)
    )


@pytest.mark.parametrize("dims", [2, 3])
def test_flops_of_convolutions_are_those_of_torch(dims: int) -> None:
    network = plain_network(dims)
    size = (12, 8, 10)[:dims]
    with FlopCounterMode(display=False) as counter:
        network(torch.zeros(3, 2, *size))
    cost = network_cost(network, 2, size, batch_size=3)
    assert cost.flops == count_flops(network, 2, size, 3) == counter.get_total_flops() > 0
    assert cost.num_parameters == sum(parameter.numel() for parameter in network.parameters())


def test_network_is_left_as_it_was() -> None:
    network = plain_network(2).eval()
    before = list(network.parameters())
    network_cost(network, 2, (8, 8))
    assert not network.training and not network[0]._forward_hooks
    after = list(network.parameters())
    assert all(one is other and one.grad is None for one, other in zip(before, after, strict=True))


def test_number_formats_are_of_two_or_four_bytes() -> None:
    with pytest.raises(ValueError, match="got 8"):
        network_cost(plain_network(2), 2, (8, 8), bytes_per_value=8)


class OfNode(nn.Module):
    """Gives an image to what reads a node."""

    def __init__(self, unit: nn.Module) -> None:
        super().__init__()
        self.unit = unit

    def forward(self, image: Tensor) -> Tensor:
        return self.unit([image])


def test_separable_unit_counts_as_its_two_convolutions() -> None:
    unit = DilatedSeparableUnit(6, stride=[2, 1, 1], rate=2, spatial_dims=3)
    voxels = 4 * 4 * 4  # of the output
    expected = 2 * 6 * voxels * 27 + 2 * 6 * voxels * 6
    assert count_flops(OfNode(unit), 6, (8, 4, 4)) == expected


def test_pooled_convolution_counts_as_its_convolution() -> None:
    conv = PooledConv(6, 10, [2, 2, 1])
    assert count_flops(conv, 6, (8, 4, 4)) == 2 * 6 * 10 * (4 * 2 * 4)


def architecture_flops(choices: dict[str, str]) -> Cost:
    return architecture_cost(
        SPACE.create(NOTHING | choices), in_channels=1, out_channels=2, width=8, strides=[[2, 2, 2]], size=(8, 8, 8)
    )


@pytest.mark.parametrize(
    ("option", "weights", "per_output"),
    [
        ("conv_3x3x3", 27 * 4 * 4 + 2 * 4, 27 * 4),
        ("dilated_separable_conv_3x3x3_rate_3", 27 * 4 + 4 * 4 + 2 * 4, 27 + 4),
        ("identity", 8 * 4 * 4 + 2 * 4, 8 * 4),  # strided: a convolution whose kernel is the stride
        ("max_pool_3x3x3", 0, 0),
    ],
)
def test_one_edge_of_a_reduction_cell_by_hand(option: str, weights: int, per_output: int) -> None:
    """Width 8 and 4 nodes make 4 channels a node in the one reduction cell, whose nodes have 4^3 voxels."""
    empty, one = architecture_flops({}), architecture_flops({"reduction/0-2": option})
    assert one.num_parameters - empty.num_parameters == weights
    assert one.flops - empty.flops == 2 * 4 * 4**3 * per_output


def test_whole_empty_network_by_hand() -> None:
    """Stem, the two inputs of each cell, head: width 8, one level, 8^3 voxels."""
    full, half = 8**3, 4**3
    flops = 27 * 1 * 8 * full  # stem
    flops += 2 * (1 * 8 * 4 * full)  # reduction reads the stem twice, 1x1x1 before its strided edges
    flops += 27 * 8 * 4 * half + 1 * 16 * 4 * half  # encoder-normal: the stem strided, the reduction as it is
    flops += 2 * (27 * 16 * 2 * half)  # expansion: both inputs convolved, then enlarged
    flops += 27 * 16 * 2 * half + 1 * 8 * 2 * full  # decoder-normal: encoder's output enlarged, sum as it is
    flops += 8 * 2 * full  # head
    assert architecture_flops({}).flops == 2 * flops


def test_architecture_and_its_network_cost_the_same() -> None:
    architecture = SPACE.sample(np.random.default_rng(0))
    arguments: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "width": 8, "strides": [[2, 2], [2, 1]]}
    network = build_network(architecture, **arguments, spatial_dims=2)
    cost = architecture_cost(architecture.to_record(), **arguments, size=(16, 12), batch_size=2)
    assert cost == network_cost(network, 2, (16, 12), batch_size=2)


@pytest.fixture(scope="module", params=paper_cost.PAPER_NETWORKS, ids=lambda network: network.name)
def paper_network(request: pytest.FixtureRequest) -> paper_cost.PaperNetwork:
    assert isinstance(request.param, paper_cost.PaperNetwork)
    return request.param


def test_space_covers_the_random_networks_of_the_paper(paper_network: paper_cost.PaperNetwork) -> None:
    """The figures of scnas.txt, table 1, lie within those of random architectures, each figure by itself."""
    table = paper_cost.CostTable(paper_network)
    costs = paper_cost.draw_costs(table, seed=0, num_draws=2000)
    paper = [paper_network.gflops, paper_network.million_parameters]
    assert (costs.min(axis=0) <= paper).all() and (paper <= costs.max(axis=0)).all()
    architecture = SPACE.sample(np.random.default_rng(1))
    np.testing.assert_allclose(table[architecture], paper_cost.cost_of(paper_network, architecture), rtol=1e-9)


def test_comparison_of_a_known_distribution() -> None:
    network = paper_cost.PaperNetwork("x", 1, 2, gflops=2.0, million_parameters=0.0)
    costs = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, 2.0], [0.0, -2.0]])  # variances 2/3 and 8/3, no correlation
    record = paper_cost.compare(network, costs)
    assert record["mahalanobis_distance_of_paper"] == pytest.approx(2 / (2 / 3) ** 0.5)
    assert record["gflops"]["share_below_paper"] == 1 and record["million_parameters"]["share_below_paper"] == 0.25


def test_committed_figures_are_of_this_space(paper_network: paper_cost.PaperNetwork) -> None:
    """A change of space or skeleton must be followed by `python -m monai_nas.benchmarks.paper_cost`."""
    record = read_json(Path(__file__).parents[1] / "docs" / "results" / "paper_cost.json")
    costs = np.array([paper_cost.cost_of(paper_network, architecture) for architecture in first_draws(record["seed"])])
    bounds = record[paper_network.name]
    for column, name in zip(costs.T, ("gflops", "million_parameters"), strict=True):
        assert bounds[name]["min"] <= column.min() and column.max() <= bounds[name]["max"]


def first_draws(seed: int) -> list[Architecture]:
    rng = np.random.default_rng(seed)
    return [SPACE.sample(rng) for _ in range(2)]
