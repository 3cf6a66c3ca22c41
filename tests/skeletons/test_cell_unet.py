"""What the skeleton connects: cells to cells, and edges inside a cell."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from monai_nas.ops import Node, Resample
from monai_nas.skeletons import CellUNetSkeleton
from monai_nas.skeletons.cell_unet import SearchableCell


class Scale(nn.Module):
    """Fills a hole with a known factor, and takes every second voxel where the edge has a stride."""

    def __init__(self, factor: float, stride: Sequence[int]) -> None:
        super().__init__()
        self.factor = factor
        self.step = tuple(slice(None, None, step) for step in (1, 1, *stride))  # batch and channels as they are

    def forward(self, node: Node, weights: Tensor | None) -> Tensor:
        return self.factor * node[0][self.step]


def build(strides: list[list[int]], width: int = 8) -> CellUNetSkeleton:
    torch.manual_seed(0)
    return CellUNetSkeleton(
        lambda cell_type, edge, channels, stride: Scale(0.5, stride),
        in_channels=1,
        out_channels=2,
        width=width,
        strides=strides,
        num_nodes=4,
        spatial_dims=2,
        dropout=0.0,
    )


def test_a_cell_sums_its_edges_and_concatenates_its_nodes() -> None:
    factors = {(0, 2): 2.0, (1, 2): 3.0, (0, 3): 5.0, (2, 3): 7.0}  # 1-3 is left out

    def fill(cell_type: str, edge: tuple[int, int], channels: int, stride: Sequence[int]) -> nn.Module | None:
        assert (cell_type, channels) == ("reduction", 3) and list(stride) == ([2, 1] if edge[0] < 2 else [1, 1])
        return Scale(factors[edge], stride) if edge in factors else None

    inputs = [Resample(3, 3, down=[1, 1], up=[1, 1], spatial_dims=2) for _ in range(2)]
    cell = SearchableCell(fill, "reduction", inputs=inputs, channels=3, num_nodes=2, stride=[2, 1])
    first, second = torch.randn(2, 3, 6, 4), torch.randn(2, 3, 6, 4)
    zero, one = inputs[0]([first])[:, :, ::2], inputs[1]([second])[:, :, ::2]
    two = 2 * zero + 3 * one
    torch.testing.assert_close(cell([first], [second], None), torch.cat([two, 5 * zero + 7 * two], dim=1))


def test_rows_of_the_weights_are_the_edges_in_order() -> None:
    rows: dict[tuple[int, int], float] = {}

    class Recorder(nn.Module):
        def __init__(self, edge: tuple[int, int]) -> None:
            super().__init__()
            self.edge = edge

        def forward(self, node: Node, weights: Tensor) -> Tensor:
            rows[self.edge] = float(weights[0])
            return node[0]

    inputs = [Resample(1, 1, down=[1, 1], up=[1, 1], spatial_dims=2) for _ in range(2)]
    cell = SearchableCell(
        lambda cell_type, edge, channels, stride: None if edge == (0, 2) else Recorder(edge),
        "expansion",
        inputs=inputs,
        channels=1,
        num_nodes=2,
        stride=[1, 1],
    )
    cell([torch.randn(1, 1, 4, 4)], [torch.randn(1, 1, 4, 4)], torch.arange(5.0)[:, None])
    assert rows == {(1, 2): 1.0, (0, 3): 2.0, (1, 3): 3.0, (2, 3): 4.0}


def test_every_cell_reads_the_two_before_it_and_the_decoder_the_sum_with_the_encoder() -> None:
    network = build([[2, 2], [2, 1]]).eval()
    inputs: dict[nn.Module, tuple[Tensor, Tensor]] = {}
    outputs: dict[nn.Module, Tensor] = {}

    def note(module: nn.Module, arguments: tuple[Node, Node, None], output: Tensor) -> None:
        inputs[module], outputs[module] = (arguments[0][0], arguments[1][0]), output

    stacks = (network.reductions, network.encoder_normals, network.expansions, network.decoder_normals)
    for cell in (cell for stack in stacks for cell in stack):
        cell.register_forward_hook(note)
    stems: list[Tensor] = []
    network.stem.register_forward_hook(lambda module, arguments, output: stems.append(output))
    with torch.no_grad():
        network(torch.randn(1, 1, 8, 8))
    (stem,) = stems
    (r1, r2), (n1, n2), (e1, e2), (d1, d2) = stacks
    sum1, sum2 = outputs[e1] + outputs[n1], outputs[e2] + stem  # the top level takes the stem
    expected = {
        r1: (stem, stem),
        n1: (stem, outputs[r1]),
        r2: (outputs[r1], outputs[n1]),
        n2: (outputs[n1], outputs[r2]),
        e1: (outputs[r2], outputs[n2]),
        d1: (outputs[n2], sum1),
        e2: (sum1, outputs[d1]),
        d2: (outputs[d1], sum2),
    }
    for cell, pair in expected.items():
        assert torch.equal(inputs[cell][0], pair[0]) and torch.equal(inputs[cell][1], pair[1])
    sizes = [tuple(outputs[cell].shape[1:]) for cell in (r1, n1, r2, n2, e1, d1, e2, d2)]
    half, quarter, full = (16, 4, 4), (32, 2, 4), (8, 8, 8)
    assert sizes == [half, half, quarter, quarter, half, half, full, full]


def test_size_unit_is_the_product_of_the_strides() -> None:
    network = build([[2, 2], [2, 1]])
    assert network.size_unit == [4, 2]
    with pytest.raises(ValueError, match=r"divisible by \[4, 2\]"):
        network(torch.zeros(1, 1, 6, 8))
