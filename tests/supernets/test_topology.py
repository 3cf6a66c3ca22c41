"""The topology supernet against plain torch and against the networks that it holds."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_nas.architecture import Architecture
from monai_nas.cost import LiveBytes
from monai_nas.errors import UserError
from monai_nas.skeletons.topology_grid import GridNode
from monai_nas.skeletons.topology_parts import PathOperation
from monai_nas.spaces import TopologySpace
from monai_nas.spaces.topology import decision_name
from monai_nas.supernets import SUPERNETS, TopologySupernet

SPACE = TopologySpace(num_blocks=3, num_levels=3)
ANISOTROPIC = [[1, 1, 1], [2, 2, 1], [2, 2, 2]]
PLANE = [[2, 2], [2, 1], [1, 2]]


def build(
    strides: list[list[int]] | None = None, space: TopologySpace = SPACE, recompute: bool = False
) -> TopologySupernet:
    """Return a supernet whose norms do something: those that do nothing would hide a mix-up."""
    torch.manual_seed(0)
    strides = strides or PLANE
    dims = len(strides[0])
    supernet = TopologySupernet(
        space, in_channels=2, out_channels=3, width=4, strides=strides, spatial_dims=dims, recompute=recompute
    )
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return supernet


def sample(seed: int, space: TopologySpace = SPACE) -> Architecture:
    return space.sample(np.random.default_rng(seed))


def image(dims: int = 2) -> Tensor:
    return torch.randn(2, 2, *[8] * dims, generator=torch.Generator().manual_seed(1))


def random_weights(supernet: TopologySupernet, seed: int = 0, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, supernet.num_channel_weights, generator=generator) * 0.8 + 0.1


def chain(operation: str) -> Architecture:
    """Return an architecture whose nodes have one path each."""
    choices = {decision.name: "zero" for decision in SPACE.decisions}
    path = ((0, 1), (1, 2), (2, 1))
    return SPACE.create(choices | {decision_name(block, *ends): operation for block, ends in enumerate(path)})


def reference(supernet: TopologySupernet, architecture: Architecture, image: Tensor, weights: Tensor | None) -> Tensor:
    """Return the logits by stock torch, interpolating before weighing, from the supernet's parameters by name."""
    state, choices = supernet.state_dict(), dict(architecture.choices)
    strides = [tuple(stride) for stride in supernet.network_arguments["strides"]]
    dims = len(strides[0])
    conv, pool, mode = (F.conv3d, F.avg_pool3d, "trilinear") if dims == 3 else (F.conv2d, F.avg_pool2d, "bilinear")
    units = np.cumprod(strides, axis=0).tolist()
    sizes = [[length // step for length, step in zip(image.shape[2:], unit, strict=True)] for unit in units]

    def norm(features: Tensor, name: str) -> Tensor:
        return F.instance_norm(features, weight=state[f"{name}.weight"], bias=state[f"{name}.bias"])

    nodes = {}
    for level, unit in enumerate(units):
        stem = conv(pool(image, tuple(unit)), state[f"stems.{level}.conv_norm.conv.weight"], padding=1)
        nodes[level] = norm(stem, f"stems.{level}.conv_norm.norm")
    start = 0
    for block in range(SPACE.num_blocks):
        totals: dict[int, Tensor] = {}
        for source, target in SPACE.paths:
            channels = 4 * 2**target
            for operation in SPACE.operations:
                start += channels
                if choices[decision_name(block, source, target)] != operation:
                    continue
                prefix = f"blocks.{block}.nodes.{target}.paths.{source}-{target}.operations.{operation}.transform."
                kernel = state.get(f"{prefix}weight", state.get(f"{prefix}conv.weight"))
                down = strides[target] if target > source else (1,) * dims
                features = nodes[source]
                if operation == "conv_3x3x3":
                    features = conv(F.leaky_relu(features), kernel, stride=down, padding=1)
                elif source != target:
                    features = conv(pool(features, down), kernel)
                if target < source:
                    features = F.interpolate(features, size=sizes[target], mode=mode)
                if weights is not None:
                    factors = weights[:, start - channels : start] / 0.5
                    features = features * factors.reshape(*factors.shape, *[1] * dims)
                totals[target] = totals.get(target, 0) + features
        nodes = {level: norm(total, f"blocks.{block}.nodes.{level}.norm") for level, total in totals.items()}
    assert start == supernet.num_channel_weights
    current: Any = 0
    for level in range(max(nodes), -1, -1):
        current = current + nodes.get(level, 0)
        weight = state[f"lifts.{level}.conv.weight"] if level else state["head.lift.conv.weight"]
        size = sizes[level - 1] if level else image.shape[2:]
        current = F.interpolate(conv(F.leaky_relu(current), weight), size=size, mode=mode)
    current = norm(current + conv(image, state["head.detail.weight"], padding=1), "head.norm")
    current = conv(F.leaky_relu(current), state["head.unit.conv_norm.conv.weight"], padding=1)
    current = norm(current, "head.unit.conv_norm.norm")
    return conv(F.leaky_relu(current), state["head.conv.weight"], state["head.conv.bias"])


@pytest.mark.parametrize("weighed", [False, True])
@pytest.mark.parametrize("strides", [PLANE, ANISOTROPIC])
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_those_of_plain_torch(seed: int, strides: list[list[int]], weighed: bool) -> None:
    supernet, architecture, volume = build(strides).double(), sample(seed), image(len(strides[0])).double()
    selection = supernet.one_hot(architecture)
    weights = random_weights(supernet, seed).double() if weighed else None
    if weights is not None:
        selection["channel_weights"] = weights
    with torch.no_grad():
        torch.testing.assert_close(supernet(volume, selection), reference(supernet, architecture, volume, weights))


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("seed", "strides"), [(0, PLANE), (1, ANISOTROPIC), (2, [[2, 2, 1], [1, 1, 2], [2, 2, 2]])])
def test_extracted_network_equals_its_one_hot_selection(seed: int, strides: list[list[int]], training: bool) -> None:
    supernet, architecture, volume = build(strides).train(training), sample(seed), image(len(strides[0]))
    network = supernet.extract(architecture).train(training)
    selected, own = supernet(volume, supernet.one_hot(architecture)), network(volume)
    torch.testing.assert_close(own, selected, rtol=1e-5, atol=1e-5)
    if training:
        own.square().mean().backward()
        selected.square().mean().backward()
        kept = dict(supernet.named_parameters())
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.grad, kept[name].grad)
        assert all(kept[name].grad is None for name in kept.keys() - dict(network.named_parameters()).keys())


def test_operations_follow_the_order_of_the_space() -> None:
    """A selection's columns are the operations, whatever their order."""
    space = TopologySpace(num_blocks=3, num_levels=3, operations=("conv_3x3x3", "identity"))
    supernet, architecture = build(space=space), sample(0, space)
    with torch.no_grad():
        selected = supernet(image(), supernet.one_hot(architecture))
        torch.testing.assert_close(supernet.extract(architecture)(image()), selected, rtol=1e-5, atol=1e-5)


def test_evaluating_one_architecture_leaves_the_others_alone() -> None:
    supernet, first, second = build(), sample(0), sample(1)
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    with torch.no_grad():
        expected = supernet(image(), supernet.one_hot(first))
        weighed = supernet.one_hot(second) | {"channel_weights": random_weights(supernet)}
        assert not torch.equal(supernet(image(), weighed), expected)
        assert torch.equal(supernet(image(), supernet.one_hot(first)), expected)
        network = supernet.extract(first)
        for parameter in network.parameters():
            parameter.zero_()  # copies, not views
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def held(forward: Callable[[], Tensor]) -> list[tuple[int, ...]]:
    """Return the shapes of what autograd keeps of a forward pass."""
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return kept


@pytest.mark.parametrize("seed", range(3))
def test_only_the_selected_architecture_is_computed_and_held(seed: int) -> None:
    supernet, architecture = build(), sample(seed)
    ran: list[str] = []
    for name, module in supernet.named_modules():
        if isinstance(module, PathOperation):
            module.register_forward_hook(lambda module, inputs, output, name=name: ran.append(name))
    network, selection = supernet.extract(architecture), supernet.one_hot(architecture)
    assert held(lambda: supernet(image(), selection)) == held(lambda: network(image()))
    assert ran == [name for name, module in network.named_modules() if isinstance(module, PathOperation)]
    assert len(ran) == SPACE.alive(architecture) < len(SPACE.decisions)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_is_computed_once_more_is_the_same_and_holds_less(dtype: torch.dtype) -> None:
    gradients, peaks = [], []
    for recompute in (False, True):
        supernet = build(ANISOTROPIC, recompute=recompute)
        selection = supernet.one_hot(sample(0)) | {"channel_weights": random_weights(supernet).requires_grad_()}
        patch = torch.randn(2, 2, 48, 48, 16, generator=torch.Generator().manual_seed(1))
        with LiveBytes("cpu") as live:
            with torch.autocast("cpu", dtype=dtype, enabled=dtype != torch.float32):
                logits = supernet(patch, selection)
            logits.float().square().mean().backward()
        reached = [selection["channel_weights"], *supernet.parameters()]
        gradients.append([tensor.grad for tensor in reached if tensor.grad is not None])
        peaks.append(live.peak)
    assert len(gradients[0]) > 20 and all(map(torch.equal, *gradients))
    assert peaks[1] < 0.8 * peaks[0]


def test_every_parameter_is_a_weight() -> None:
    supernet = build()
    assert list(supernet.architecture_parameters()) == []
    assert [id(p) for p in supernet.weight_parameters()] == [id(p) for p in supernet.parameters()]
    assert SUPERNETS["topology"] is TopologySupernet


def test_the_constant_weight_is_no_weight() -> None:
    """Once annealed to 0.5, the weights go and nothing has to be folded: not a bit changes."""
    supernet = build()
    selection = supernet.one_hot(sample(0))
    constant = selection | {"channel_weights": torch.full((2, supernet.num_channel_weights), 0.5)}
    with torch.no_grad():
        assert torch.equal(supernet(image(), constant), supernet(image(), selection))


def test_weights_and_their_common_factor_define_the_same_network() -> None:
    """norm(c x, eps) == norm(x, eps / c^2): why weights may be divided by the constant."""
    features, norm = torch.randn(1, 4, 8, 8, dtype=torch.float64), GridNode(nn.ModuleDict(), 4).norm.double()
    halved = norm(0.5 * features)
    norm.eps /= 0.5**2
    torch.testing.assert_close(norm(features), halved, rtol=1e-12, atol=1e-12)


def change(supernet: TopologySupernet, architecture: Architecture) -> float:
    """Return the relative L2 distance of the logits with two draws of channel weights."""
    selection = supernet.one_hot(architecture)
    with torch.no_grad():
        first, second = (
            supernet(image(), selection | {"channel_weights": random_weights(supernet, seed)}) for seed in (0, 1)
        )
    return float((first - second).norm() / first.norm())


@pytest.mark.parametrize("seed", range(3))
def test_channel_weights_change_the_logits(seed: int) -> None:
    """The trap of a positive weight in front of a norm: it cancels where a node has one path, and only there."""
    supernet = build()
    assert change(supernet, sample(seed)) > 0.01
    assert change(supernet, chain("conv_3x3x3")) < 1e-3 and change(supernet, chain("identity")) < 1e-3


def test_channel_weights_are_per_sample() -> None:
    supernet = build()
    selection = supernet.one_hot(sample(0))
    weights, other = random_weights(supernet, 0), random_weights(supernet, 1)
    mixed = torch.stack([weights[0], other[1]])
    with torch.no_grad():
        logits, changed = (supernet(image(), selection | {"channel_weights": rows}) for rows in (weights, mixed))
        alone = supernet(image()[:1], selection | {"channel_weights": weights[:1]})
    torch.testing.assert_close(changed[0], logits[0])
    assert float((changed[1] - logits[1]).norm() / logits[1].norm()) > 0.01
    torch.testing.assert_close(alone[0], logits[0], rtol=1e-4, atol=1e-5)


def test_gradient_of_channel_weights_is_that_of_finite_differences() -> None:
    supernet, architecture, volume = build().double(), sample(0), image().double()
    selection, weights = supernet.one_hot(architecture), random_weights(supernet).double()

    def loss(weights: Tensor) -> Tensor:
        return supernet(volume, selection | {"channel_weights": weights}).square().mean()

    (gradient,) = torch.autograd.grad(loss(weights.requires_grad_()), weights)
    place = divmod(int(gradient.abs().argmax()), gradient.shape[1])
    shift = torch.zeros_like(weights)
    shift[place] = 1e-5
    with torch.no_grad():
        numeric = float(loss(weights + shift) - loss(weights - shift)) / 2e-5
    assert numeric == pytest.approx(float(gradient[place]), rel=1e-4)


def test_weights_of_what_is_left_out_get_no_gradient() -> None:
    supernet, architecture = build(), sample(0)
    weights = random_weights(supernet).requires_grad_()
    supernet(image(), supernet.one_hot(architecture) | {"channel_weights": weights}).square().mean().backward()
    channels = torch.tensor([4 * 2**target for _, target in SPACE.paths]).repeat_interleave(2).repeat(3)
    active = torch.from_numpy(SPACE.matrix(architecture)).bool().flatten().repeat_interleave(channels)
    assert weights.grad is not None and weights.grad.shape == (2, len(active))
    assert not weights.grad[:, ~active].any()
    assert weights.grad[:, active].any(dim=0).float().mean() > 0.9  # but for nodes with one path


def test_16_bits_and_the_layout_are_kept_through_the_grid() -> None:
    supernet = build(ANISOTROPIC).to(memory_format=torch.channels_last_3d)
    seen: list[Tensor] = []
    for module in supernet.modules():
        if isinstance(module, GridNode):
            module.register_forward_hook(lambda module, inputs, output: seen.extend(output))
    selection = supernet.one_hot(sample(0)) | {"channel_weights": random_weights(supernet)}
    volume = image(3).to(memory_format=torch.channels_last_3d)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        supernet(volume, selection)
    assert len(seen) > 3
    for features in seen:
        assert features.dtype == torch.bfloat16
        assert features.is_contiguous(memory_format=torch.channels_last_3d)


def test_an_architecture_of_another_space_is_refused() -> None:
    other = sample(0, TopologySpace(num_blocks=2, num_levels=3))
    for refuse in (build().one_hot, build().extract):
        with pytest.raises(UserError, match="settings"):
            refuse(other)
