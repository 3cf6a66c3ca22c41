"""The grid and its parts: what paths are asked for, what is built, and operations against plain torch."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_nas.errors import UserError
from monai_nas.ops.blocks import PooledConv
from monai_nas.skeletons import PATH_OPERATIONS, PathShape, TopologyGridSkeleton
from monai_nas.skeletons.dints_parts import DintsHead
from monai_nas.skeletons.topology_parts import FIRST_FOREGROUND, GridStem, activated, classifier, node_norm_path
from monai_nas.spaces.topology import paths

STRIDES = [[2, 1], [2, 1], [3, 2]]


def fill(block: int, path: tuple[int, int], shape: PathShape) -> dict[str, nn.Module]:
    return {"identity": PATH_OPERATIONS["identity"](shape)}


def build(make_path: Any = fill, **more: Any) -> TopologyGridSkeleton:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"paths": paths(3), "num_blocks": 2, "in_channels": 1, "out_channels": 2, "width": 4}
    arguments |= {"strides": STRIDES, "spatial_dims": 2, "dropout": 0.0}
    return TopologyGridSkeleton(make_path, **(arguments | more))


def test_every_path_of_every_block_is_asked_for_with_its_shape() -> None:
    asked: list[tuple[int, tuple[int, int], PathShape]] = []

    def note(block: int, path: tuple[int, int], shape: PathShape) -> dict[str, nn.Module]:
        asked.append((block, path, shape))
        return fill(block, path, shape)

    build(note)
    channels, ones = {0: 4, 1: 8, 2: 16}, (1, 1)
    down, up = {(0, 1): (2, 1), (1, 2): (3, 2)}, {(1, 0): (2, 1), (2, 1): (3, 2)}
    expected = [
        (block, path, PathShape(channels[path[0]], channels[path[1]], down.get(path, ones), up.get(path, ones)))
        for block in range(2)
        for path in ((0, 0), (1, 0), (0, 1), (1, 1), (2, 1), (1, 2), (2, 2))
    ]
    assert asked == expected


def test_only_what_the_paths_use_is_built() -> None:
    kept = {(0, (1, 0)), (0, (1, 1)), (1, (0, 0)), (1, (1, 0))}
    network = build(lambda block, path, shape: fill(block, path, shape) if (block, path) in kept else {})
    assert list(network.stems) == ["1"] and not network.lifts
    assert [list(block.nodes) for block in network.blocks] == [["0", "1"], ["0"]]
    assert [list(node.paths) for block in network.blocks for node in block.nodes.values()] == [
        ["1-0"],
        ["1-1"],
        ["0-0", "1-0"],
    ]
    whole = build()
    assert list(whole.stems) == ["0", "1", "2"] and list(whole.lifts) == ["2", "1"]


def test_a_node_is_the_normalised_sum_of_its_paths() -> None:
    node = build().blocks[1].nodes["1"]
    nodes = [[torch.randn(2, 4, 12, 4)], [torch.randn(2, 8, 6, 4)], [torch.randn(2, 16, 2, 2)]]
    outputs = [path(nodes, None) for path in node.paths.values()]
    assert len(outputs) == 3 and outputs[1] is nodes[1][0]  # the skip that keeps its level
    node.norm.weight.data.uniform_(0.5, 2)
    node.norm.bias.data.uniform_(-1, 1)
    expected = F.instance_norm(sum(outputs), weight=node.norm.weight, bias=node.norm.bias)
    torch.testing.assert_close(node(nodes, None)[0], expected, rtol=1e-4, atol=1e-5)


def test_a_node_is_activated_once_and_only_for_convolutions() -> None:
    node, shape = [torch.randn(1, 4, 6, 6)], PathShape(4, 4, (1, 1), (1, 1))
    assert PATH_OPERATIONS["identity"](shape)(node, None) is node[0]
    assert len(node) == 1
    PATH_OPERATIONS["conv_3x3x3"](shape)(node, None)
    assert torch.equal(node[1], F.leaky_relu(node[0]))
    first = node[1]
    PATH_OPERATIONS["conv_3x3x3"](shape)(node, None)
    assert activated(node) is first


@pytest.mark.parametrize("stride", [(2, 2, 1), (2, 2, 2), (1, 1, 1), (2, 3), (1, 2)])
@pytest.mark.parametrize("name", ["identity", "conv_3x3x3"])
def test_operations_are_those_of_plain_torch(name: str, stride: tuple[int, ...]) -> None:
    dims, ones = len(stride), (1,) * len(stride)
    conv, pool, mode = (F.conv3d, F.avg_pool3d, "trilinear") if dims == 3 else (F.conv2d, F.avg_pool2d, "bilinear")
    features = torch.randn(2, 3, *[6] * dims, dtype=torch.float64)
    scale = torch.rand(2, 5, dtype=torch.float64)
    factors = scale.reshape(2, 5, *ones)
    for down, up in ((stride, ones), (ones, stride)):
        operation = PATH_OPERATIONS[name](PathShape(3, 5, down, up)).double()
        (weight,) = operation.parameters()
        if name == "identity":
            assert weight.shape == (5, 3, *ones)
            expected = conv(pool(features, down), weight)
        else:
            assert weight.shape == (5, 3, *[3] * dims)
            expected = conv(F.leaky_relu(features), weight, stride=down, padding=1)
        size = [length * times for length, times in zip(expected.shape[2:], up, strict=True)]
        expected = F.interpolate(expected, size=size, mode=mode)
        torch.testing.assert_close(operation([features], None), expected)
        torch.testing.assert_close(operation([features], scale), expected * factors)
    stays = PATH_OPERATIONS[name](PathShape(3, 3, ones, ones)).double()
    assert len(list(stays.parameters())) == (0 if name == "identity" else 1)
    torch.testing.assert_close(stays([features], scale[:, :3]), stays([features], None) * factors[:, :3])


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 1), (2, 3, 2)])
@pytest.mark.parametrize(
    ("name", "plane"),
    [
        ("pseudo_3d_conv_3x3x1", (3, 3, 1)),
        ("pseudo_3d_conv_3x1x3", (3, 1, 3)),
        ("pseudo_3d_conv_1x3x3", (1, 3, 3)),
    ],
)
def test_pseudo_3d_operations_are_one_convolution_of_the_product_of_their_kernels(
    name: str, plane: tuple[int, ...], stride: tuple[int, ...]
) -> None:
    ones = (1, 1, 1)
    features = torch.randn(2, 3, 6, 6, 6, dtype=torch.float64)
    for down, up in ((stride, ones), (ones, stride)):
        operation = PATH_OPERATIONS[name](PathShape(3, 5, down, up)).double()
        first, second = operation.parameters()
        assert first.shape == (3, 3, *plane) and second.shape == (5, 3, *[4 - length for length in plane])
        kernel = torch.einsum("oidhw,ijdhw->ojdhw", second.expand(5, 3, 3, 3, 3), first.expand(3, 3, 3, 3, 3))
        expected = F.conv3d(F.leaky_relu(features), kernel, stride=down, padding=1)
        size = [length * times for length, times in zip(expected.shape[2:], up, strict=True)]
        expected = F.interpolate(expected, size=size, mode="trilinear")
        torch.testing.assert_close(operation([features], None), expected)


def test_pseudo_3d_operations_need_three_axes() -> None:
    with pytest.raises(UserError, match="pseudo-3D operations need 3 axes, the plan has 2"):
        PATH_OPERATIONS["pseudo_3d_conv_3x3x1"](PathShape(3, 5, (1, 1), (1, 1)))


def test_pooling_in_the_convolution_has_the_gradients_of_pooling_before_it() -> None:
    pooled = PooledConv(3, 5, [2, 1, 3]).double()
    features = torch.randn(2, 3, 4, 5, 6, dtype=torch.float64, requires_grad=True)
    target = torch.randn(2, 5, 2, 5, 2, dtype=torch.float64)
    own = torch.autograd.grad((pooled(features) * target).sum(), [features, pooled.conv.weight])
    stock = F.conv3d(F.avg_pool3d(features, (2, 1, 3)), pooled.conv.weight)
    for gradient, expected in zip(
        own, torch.autograd.grad((stock * target).sum(), [features, pooled.conv.weight]), strict=True
    ):
        torch.testing.assert_close(gradient, expected)


def test_a_stem_is_run_where_a_selected_path_reads_it() -> None:
    stem = GridStem(1, 4, [2, 2], readers=[1, 3])
    image = torch.randn(1, 1, 8, 8)
    assert [list(features.shape) for features in stem(image, None)] == [[1, 4, 4, 4]]
    for index in range(4):
        matrix = torch.zeros(2, 4, 2, dtype=torch.uint8)
        matrix[0, index, index % 2] = 1
        matrix[1] = 1  # later blocks do not read stems
        assert len(stem(image, {"paths": matrix})) == (index in (1, 3))


def test_levels_are_summed_top_down() -> None:
    """The head reads y_0, where y = node + interpolation(convolution(LeakyReLU(y of the level below)))."""
    network = build()
    nodes: dict[str, Tensor] = {}
    read: list[Tensor] = []
    for level, node in network.blocks[-1].nodes.items():
        node.register_forward_hook(lambda module, inputs, output, level=level: nodes.update({level: output[0]}))
    network.head.register_forward_hook(lambda module, inputs, output: read.append(inputs[0]))
    with torch.no_grad():
        network(torch.randn(1, 1, 24, 8))
        features = nodes["2"]
        for level, size in ((1, (6, 8)), (0, (12, 8))):
            features = F.conv2d(F.leaky_relu(features), network.lifts[str(level + 1)].conv.weight)
            features = nodes[str(level)] + F.interpolate(features, size=size, mode="bilinear")
    torch.testing.assert_close(read[0], features)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 5}, "width must be even"),
        ({"strides": STRIDES[:2]}, "one stride for each of 3 levels"),
        ({"strides": [[2, 2, 2]] * 3}, "strides must hold 2 numbers"),
        ({"spatial_dims": 3}, "strides must hold 3 numbers"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(**arguments)


def test_an_indivisible_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be divisible by \[12, 2\]"):
        build()(torch.zeros(1, 1, 12, 7))


@pytest.mark.parametrize("dims", [2, 3])
def test_the_first_guess_is_background(dims: int) -> None:
    torch.manual_seed(0)
    last = classifier(4, 5, dims)
    shares = last(torch.zeros(1, 4, *[2] * dims)).softmax(1)
    foreground = FIRST_FOREGROUND / (1 + 4 * FIRST_FOREGROUND)  # of classes that share what is left with background
    assert shares[:, 1:].flatten().tolist() == pytest.approx([foreground] * (4 * 2**dims))
    heads = [build().head, DintsHead(in_channels=1, out_channels=2, width=4, stride=(1,) * dims, dropout=0.0)]
    assert all(head.conv.bias.tolist() == last.bias[:2].tolist() for head in heads)


@pytest.mark.parametrize(
    "shape",
    [
        PathShape(64, 64, (1, 1, 1), (1, 1, 1)),
        PathShape(32, 64, (2, 2, 2), (1, 1, 1)),
        PathShape(32, 64, (2, 2, 1), (1, 1, 1)),
        PathShape(64, 32, (1, 1, 1), (2, 2, 2)),
        PathShape(32, 64, (2, 1), (1, 1)),
    ],
)
def test_operations_of_a_path_begin_alike_and_fresh_ones_do_not(shape: PathShape) -> None:
    torch.manual_seed(0)
    mode = "trilinear" if len(shape.down) == 3 else "bilinear"
    smooth = F.interpolate(torch.randn(2, shape.in_channels, *[4] * len(shape.down)), scale_factor=4.0, mode=mode)
    node = smooth / smooth.std()  # as features are: neighbours are alike

    def agreement(path: Any) -> float:
        """Return the correlation of what the operations make of the same node."""
        with torch.no_grad():
            both = torch.stack([path[name]([node], None).flatten() for name in ("identity", "conv_3x3x3")])
        return float(both.corrcoef()[0, 1])

    names = ["identity", "conv_3x3x3"]
    alike = node_norm_path(shape, names)
    assert agreement(alike) > 0.5
    assert abs(agreement({name: PATH_OPERATIONS[name](shape) for name in names})) < 0.2
    with torch.no_grad():
        stds = [float(alike[name]([node], None).std()) for name in names]
    assert 0.6 < stds[1] / stds[0] < 1.7, "neither drowns the other in a sum"
