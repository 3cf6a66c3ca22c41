"""The DiNTS supernet: its selections against networks, channel weights against the norms that could take them over."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks import DintsNetwork
from monai_nas.skeletons import PathShape
from monai_nas.skeletons.dints_parts import EdgeOperation, dints_path
from monai_nas.spaces import DintsSpace
from monai_nas.spaces.topology import decision_name
from monai_nas.supernets import SUPERNETS, DintsSupernet, MetaAssistantNetwork, num_channel_weights

SPACE = DintsSpace(num_blocks=3, num_levels=3)
PLANE_SPACE = DintsSpace(num_blocks=3, num_levels=3, operations=("conv_3x3x3", "identity"))  # in another order
DOWNSAMPLED = [[2, 2, 2], [2, 2, 2], [2, 2, 2]]
PLANE = [[1, 1], [2, 2], [2, 2]]


def build(strides: list[list[int]]) -> DintsSupernet:
    """Return a supernet whose norms do something: those that do nothing would hide a mix-up."""
    torch.manual_seed(0)
    space = SPACE if len(strides[0]) == 3 else PLANE_SPACE
    supernet = DintsSupernet(
        space, in_channels=2, out_channels=3, width=4, strides=strides, spatial_dims=len(strides[0])
    )
    with torch.no_grad():
        for parameter in supernet.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return supernet


def sample(supernet: DintsSupernet, seed: int) -> Architecture:
    return supernet.space.sample(np.random.default_rng(seed))


def image(strides: list[list[int]], batch: int = 2) -> Tensor:
    length = 16 if strides == DOWNSAMPLED else 8
    return torch.randn(batch, 2, *[length] * len(strides[0]), generator=torch.Generator().manual_seed(1))


def random_weights(supernet: DintsSupernet, seed: int = 0, batch: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(batch, supernet.num_channel_weights, generator=generator) * 0.8 + 0.1


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("seed", "strides"), [(0, DOWNSAMPLED), (1, DOWNSAMPLED), (0, PLANE), (1, PLANE)])
def test_extracted_network_equals_its_one_hot_selection(seed: int, strides: list[list[int]], training: bool) -> None:
    supernet, volume = build(strides).train(training), image(strides)
    architecture = sample(supernet, seed)
    network = supernet.extract(architecture).train(training)
    assert isinstance(network, DintsNetwork)
    selected, own = supernet(volume, supernet.one_hot(architecture)), network(volume)
    torch.testing.assert_close(own, selected, rtol=1e-5, atol=1e-5)
    if training:
        own.square().mean().backward()
        selected.square().mean().backward()
        kept = dict(supernet.named_parameters(remove_duplicate=False))
        used = set()
        for name, parameter in network.named_parameters():
            torch.testing.assert_close(parameter.grad, kept[name].grad)
            used.add(id(kept[name]))
        assert all(parameter.grad is None for parameter in supernet.parameters() if id(parameter) not in used)
    assert SUPERNETS["dints"] is DintsSupernet


def test_operations_of_a_path_share_its_change_of_level() -> None:
    supernet = build(PLANE)
    for first, second in (path.operations.values() for path in supernet.blocks[1].nodes["1"].paths.values()):
        assert first.resample is second.resample and first.operation is not second.operation
    names = [name for name, _ in supernet.named_parameters() if name.startswith("blocks.1.nodes.1.paths.0-1")]
    assert sum("resample" in name for name in names) == 4 and sum("operation.c" in name for name in names) == 3


def held(forward: Callable[[], Tensor]) -> list[tuple[int, ...]]:
    """Return the shapes of what autograd keeps of a forward pass."""
    kept: list[tuple[int, ...]] = []

    def keep(tensor: Tensor) -> Tensor:
        kept.append(tuple(tensor.shape))
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        forward()
    return kept


@pytest.mark.parametrize("seed", range(2))
def test_only_the_selected_architecture_is_computed_and_held(seed: int) -> None:
    supernet = build(DOWNSAMPLED)
    architecture, volume = sample(supernet, seed), image(DOWNSAMPLED)
    ran: list[str] = []
    for name, module in supernet.named_modules():
        if isinstance(module, EdgeOperation):
            module.register_forward_hook(lambda module, inputs, output, name=name: ran.append(name))
    network, selection = supernet.extract(architecture), supernet.one_hot(architecture)
    assert held(lambda: supernet(volume, selection)) == held(lambda: network(volume))
    assert ran == [name for name, module in network.named_modules() if isinstance(module, EdgeOperation)]
    assert len(ran) == SPACE.alive(architecture) < len(SPACE.decisions)


def last_norms(network: nn.Module) -> dict[str, nn.Module]:
    """Return the norm of each path that its channel weights multiply, "block/source-target" -> norm."""
    norms = {}
    for block, column in enumerate(network.blocks):
        for node in column.nodes.values():
            for name, path in node.paths.items():
                (operation,) = path.operations.values()
                found = [module for key, module in operation.named_modules() if key.split(".")[-1] == "norm"]
                if found:
                    norms[f"block_{block:02d}/{name}"] = found[-1]
    return norms


@pytest.mark.parametrize(("seed", "strides"), [(0, DOWNSAMPLED), (1, DOWNSAMPLED), (2, PLANE)])
def test_weights_fold_into_the_norms_of_the_paths(seed: int, strides: list[list[int]]) -> None:
    """Which weight belongs to which channel, and where it acts; a skip without a norm is given the constant."""
    supernet = build(strides).double()
    space, architecture = supernet.space, sample(supernet, seed)
    weights, volume = random_weights(supernet, batch=1).double(), image(strides, batch=1).double()
    network, choices, start = supernet.extract(architecture).double(), dict(architecture.choices), 0
    norms = last_norms(network)
    with torch.no_grad():
        for block in range(space.num_blocks):
            for source, target in space.paths:
                for operation in space.operations:
                    part = slice(start, start + 4 * 2**target)
                    start = part.stop
                    name = decision_name(block, source, target)
                    if choices[name] != operation:
                        continue
                    if name in norms:
                        norms[name].weight.mul_(weights[0, part] / 0.5)
                        norms[name].bias.mul_(weights[0, part] / 0.5)
                    else:
                        assert operation == "identity" and source == target
                        weights[0, part] = 0.5
        assert start == supernet.num_channel_weights
        selection = supernet.one_hot(architecture)
        selected = supernet(volume, selection | {"channel_weights": weights})
        torch.testing.assert_close(network(volume), selected, rtol=1e-10, atol=1e-10)
        assert not torch.allclose(supernet(volume, selection), selected, rtol=1e-2)


def test_a_skip_has_an_exact_factor() -> None:
    (operation,) = dints_path(PathShape(4, 4, (1, 1), (1, 1)), ["identity"]).values()
    node, scale = [torch.randn(2, 4, 6, 6)], torch.rand(2, 4)
    assert operation(node, None) is node[0] and not list(operation.parameters())
    assert torch.equal(operation(node, scale), node[0] * scale.reshape(2, 4, 1, 1))


def test_the_constant_weight_is_no_weight() -> None:
    """Once annealed to 0.5, the weights go and nothing has to be folded: not a bit changes."""
    supernet, volume = build(PLANE), image(PLANE)
    selection = supernet.one_hot(sample(supernet, 0))
    constant = selection | {"channel_weights": torch.full((2, supernet.num_channel_weights), 0.5)}
    with torch.no_grad():
        assert torch.equal(supernet(volume, constant), supernet(volume, selection))


def test_a_common_factor_of_all_paths_defines_the_same_networks() -> None:
    """So dividing by the constant loses nothing: norms of other scales and shifts take the factor over."""
    supernet, volume = build(PLANE).double(), image(PLANE).double()
    architecture = sample(supernet, 0)
    network = supernet.extract(architecture).double()
    halves = {"channel_weights": torch.full((2, supernet.num_channel_weights), 0.25, dtype=torch.float64)}
    with torch.no_grad():
        for name, norm in last_norms(network).items():
            factor = 0.5 ** -int(name[6:8])
            norm.weight.mul_(factor), norm.bias.mul_(factor)
        for name, module in network.named_modules():
            if name.startswith("lifts") and name.endswith(".norm"):
                module.weight.mul_(0.5**-3), module.bias.mul_(0.5**-3)
        selected = supernet(volume, supernet.one_hot(architecture) | halves)
        torch.testing.assert_close(network(volume), selected, rtol=1e-2, atol=1e-3)
        assert not torch.allclose(supernet(volume, supernet.one_hot(architecture)), selected, rtol=1e-2, atol=1e-3)


def change(supernet: DintsSupernet, architecture: Architecture, volume: Tensor) -> float:
    """Return the relative L2 distance of the logits with two draws of channel weights."""
    selection = supernet.one_hot(architecture)
    with torch.no_grad():
        first, second = (
            supernet(volume, selection | {"channel_weights": random_weights(supernet, seed)}) for seed in (0, 1)
        )
    return float((first - second).norm() / first.norm())


def chain(space: DintsSpace, operation: str) -> Architecture:
    """Return an architecture whose nodes have one path each."""
    choices = {decision.name: "zero" for decision in space.decisions}
    ways = enumerate(((0, 1), (1, 2), (2, 1)))
    return space.create(choices | {decision_name(block, *path): operation for block, path in ways})


def test_channel_weights_change_the_logits() -> None:
    """Behind the norms no weight cancels, not even where a node has one path."""
    for strides in (DOWNSAMPLED, PLANE):
        supernet, volume = build(strides), image(strides)
        architectures = [sample(supernet, 0), sample(supernet, 1)]
        architectures += [chain(supernet.space, operation) for operation in supernet.space.operations]
        assert all(change(supernet, architecture, volume) > 0.01 for architecture in architectures)


def test_a_man_changes_the_logits() -> None:
    """A Meta-Assistant Network of this space has a weight for every channel, and what it says is heard."""
    supernet, volume = build(PLANE), image(PLANE)
    torch.manual_seed(0)
    man = MetaAssistantNetwork(supernet.space, in_channels=2, width=4, hidden=16, spatial_dims=2)
    assert num_channel_weights(supernet.space, 4) == supernet.num_channel_weights
    selection = supernet.one_hot(sample(supernet, 0))
    logits = []
    with torch.no_grad():
        for _ in range(2):
            weights = man(torch.randn(2, 2, 16, 16), selection["paths"])
            logits.append(supernet(volume, selection | {"channel_weights": weights}))
            man.hypernet[-1].bias.add_(torch.randn_like(man.hypernet[-1].bias))  # as training would change it
    assert float((logits[0] - logits[1]).norm() / logits[0].norm()) > 0.01


def test_weights_of_what_is_left_out_get_no_gradient() -> None:
    supernet, volume = build(PLANE), image(PLANE)
    architecture, weights = sample(supernet, 0), random_weights(supernet).requires_grad_()
    selection = supernet.one_hot(architecture) | {"channel_weights": weights}
    supernet(volume, selection).square().mean().backward()
    channels = torch.tensor([4 * 2**target for _, target in PLANE_SPACE.paths]).repeat_interleave(2).repeat(3)
    active = torch.from_numpy(PLANE_SPACE.matrix(architecture)).bool().flatten().repeat_interleave(channels)
    assert weights.grad is not None and weights.grad.shape == (2, len(active))
    assert not weights.grad[:, ~active].any() and weights.grad[:, active].all()


def test_16_bits_and_the_layout_are_kept_through_the_grid() -> None:
    supernet = build(DOWNSAMPLED).to(memory_format=torch.channels_last_3d)
    seen: list[Tensor] = []
    for module in supernet.modules():
        if isinstance(module, EdgeOperation):
            module.register_forward_hook(lambda module, inputs, output: seen.append(output))
    selection = supernet.one_hot(sample(supernet, 0)) | {"channel_weights": random_weights(supernet)}
    with torch.autocast("cpu", dtype=torch.bfloat16):
        supernet(image(DOWNSAMPLED).to(memory_format=torch.channels_last_3d), selection)
    assert len(seen) > 3
    for features in seen:
        assert features.dtype == torch.bfloat16
        assert features.is_contiguous(memory_format=torch.channels_last_3d)


def test_what_monai_does_not_have_is_refused() -> None:
    arguments = {"in_channels": 1, "out_channels": 2, "width": 4}
    with pytest.raises(UserError, match="the others 2 on all axes"):
        DintsSupernet(SPACE, strides=[[1, 1, 1], [2, 2, 1], [2, 2, 2]], **arguments)
    with pytest.raises(UserError, match="pseudo-3D operations need 3 axes"):
        DintsSupernet(SPACE, strides=PLANE, spatial_dims=2, **arguments)
