"""Networks of the DiNTS space against MONAI's own: equal outputs with copied weights, both ways."""

from typing import Any

import numpy as np
import pytest
import torch
from monai.networks.nets.dints import DiNTS, TopologyInstance
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks import (
    NETWORKS,
    DintsNetwork,
    build_network,
    dints_weights,
    load_dints_weights,
    unused_dints_weights,
)
from monai_nas.spaces import DintsSpace, TopologySpace, from_dints_code, to_dints_code
from monai_nas.spaces.topology import decision_name

SPACE = DintsSpace(num_blocks=3, num_levels=3)
PLANE_SPACE = DintsSpace(num_blocks=3, num_levels=3, operations=("identity", "conv_3x3x3"))
DOWNSAMPLED = [[2, 2, 2], [2, 2, 2], [2, 2, 2]]
FULL = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]
PLANE_DOWNSAMPLED = [[2, 2], [2, 2], [2, 2]]
PLANE_FULL = [[1, 1], [2, 2], [2, 2]]
ALL_STRIDES = [DOWNSAMPLED, FULL, PLANE_DOWNSAMPLED, PLANE_FULL]


@pytest.fixture(scope="module")
def published(published_code: dict[str, Any]) -> Architecture:
    """The architecture of the DiNTS paper."""
    return from_dints_code(published_code)


def sample(seed: int, strides: list[list[int]]) -> Architecture:
    space = SPACE if len(strides[0]) == 3 else PLANE_SPACE
    return space.sample(np.random.default_rng(seed))


def build(architecture: Architecture, strides: list[list[int]], **more: Any) -> DintsNetwork:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "width": 4}
    arguments["spatial_dims"] = len(strides[0]) if strides else 3
    network = build_network(architecture, strides=strides, **(arguments | more))
    assert isinstance(network, DintsNetwork)
    return network


def build_monai(architecture: Architecture, strides: list[list[int]], width: int = 4) -> nn.Module:
    code, downsample = to_dints_code(architecture), strides[0][0] == 2
    settings = dict(architecture.settings)
    grid = TopologyInstance(
        arch_code=[np.array(code["arch_code_a"]), np.array(code["arch_code_c"])],
        channel_mul=width / (64 if downsample else 32),
        num_blocks=settings["num_blocks"],
        num_depths=settings["num_levels"],
        spatial_dims=len(strides[0]),
        use_downsample=downsample,
    )
    return DiNTS(
        grid,
        in_channels=2,
        num_classes=3,
        spatial_dims=len(strides[0]),
        use_downsample=downsample,
        node_a=np.array(code["node_a"]),
    )


def shaken(network: nn.Module) -> nn.Module:
    """Return the network in double precision with norms that do something: others would hide a mix-up."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in network.double().parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return network.eval()


def image(strides: list[list[int]], length: int = 16) -> Tensor:
    shape = (2, 2, *[length] * len(strides[0]))
    return torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def check_both_ways(architecture: Architecture, strides: list[list[int]], volume: Tensor) -> None:
    own, monai = build(architecture, strides).double().eval(), shaken(build_monai(architecture, strides))
    load_dints_weights(own, monai.state_dict())
    with torch.no_grad():
        torch.testing.assert_close(own(volume), monai(volume), rtol=1e-8, atol=1e-8)
        shaken(own)  # now ours differ
        missing, unexpected = monai.load_state_dict(dints_weights(own), strict=False)
        assert sorted(missing) == unused_dints_weights(own) and not unexpected
        torch.testing.assert_close(monai(volume), own(volume), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("strides", ALL_STRIDES)
@pytest.mark.parametrize("seed", range(3))
def test_logits_are_those_of_monai_with_copied_weights(seed: int, strides: list[list[int]]) -> None:
    check_both_ways(sample(seed, strides), strides, image(strides))


@pytest.mark.parametrize("downsample", [True, False])
def test_the_published_architecture_computes_as_in_monai(published: Architecture, downsample: bool) -> None:
    strides = [[2 if downsample else 1] * 3, [2] * 3, [2] * 3, [2] * 3]
    check_both_ways(published, strides, image(strides, 32 if downsample else 16)[:1])


def keep(*choices: tuple[int, int, int, str]) -> Architecture:
    """Return the architecture of these (block, source, target, operation)."""
    values = {decision.name: "zero" for decision in SPACE.decisions}
    return SPACE.create(values | {decision_name(b, source, target): name for b, source, target, name in choices})


def test_unused_stems_worked_by_hand() -> None:
    """Block 0 reads level 1 only, and the last block reaches no level below 1."""
    path = keep((0, 1, 2, "identity"), (1, 2, 1, "conv_3x3x3"), (2, 1, 1, "pseudo_3d_conv_3x1x3"))
    stem, more = ["mod.1.weight", "mod.2.bias", "mod.2.weight"], ["mod.4.weight", "mod.5.bias", "mod.5.weight"]
    up = [f"stem_up.2.{name}" for name in stem]
    for strides, names in ((FULL, stem), (DOWNSAMPLED, stem + more)):
        network = build(path, strides)
        assert unused_dints_weights(network) == [f"stem_down.{level}.{name}" for level in (0, 2) for name in names] + up
        assert list(network.stems) == ["1"] and list(network.lifts) == ["1"]
        check_both_ways(path, strides, image(strides))


def count(network: nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def check_count(architecture: Architecture, strides: list[list[int]], width: int) -> int:
    """Compare the numbers of parameters and return how many MONAI never uses."""
    own, monai = build(architecture, strides, width=width), build_monai(architecture, strides, width)
    theirs = dict(monai.named_parameters())
    unused = sum(theirs[name].numel() for name in unused_dints_weights(own))
    assert count(own) == count(monai) - unused
    return unused


@pytest.mark.parametrize("strides", ALL_STRIDES)
@pytest.mark.parametrize("seed", range(3))
def test_parameters_are_those_of_monai_but_for_unused_stems(seed: int, strides: list[list[int]]) -> None:
    check_count(sample(seed, strides), strides, 4)


def test_monai_never_uses_one_stem_of_the_published_architecture(published: Architecture) -> None:
    # level 3, 4 -> 8 times the width of 4: 2 * 16 * 27 + 2 * 16 + 16 * 32 * 27 + 2 * 32
    assert check_count(published, [[2, 2, 2]] * 4, 4) == 14_784
    network = build(published, [[2, 2, 2]] * 4)
    assert {name.rsplit(".mod", 1)[0] for name in unused_dints_weights(network)} == {"stem_down.3"}


@pytest.mark.parametrize(("strides", "width"), [(PLANE_DOWNSAMPLED, 64), (PLANE_FULL, 32)])
def test_the_default_channels_of_monai_are_width_64_or_32(strides: list[list[int]], width: int) -> None:
    architecture = sample(0, strides)
    monai = build_monai(architecture, strides, width)
    assert monai.filter_nums == [32, 64, 128, 256]
    check_count(architecture, strides, width)


@pytest.mark.parametrize("strides", ALL_STRIDES)
def test_logits_have_the_size_of_the_image_and_all_weights_learn(strides: list[list[int]]) -> None:
    network, volume = build(sample(1, strides), strides), image(strides).float()
    logits = network(volume)
    assert logits.shape == (2, 3, *volume.shape[2:])
    (logits * torch.randn(logits.shape)).mean().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    assert NETWORKS["dints"] is DintsNetwork


@pytest.mark.parametrize("strides", [DOWNSAMPLED, FULL, PLANE_FULL])
def test_torchscript_gives_the_same(strides: list[list[int]]) -> None:
    network, volume = build(sample(0, strides), strides).eval(), image(strides).float()
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(volume), network(volume), rtol=1e-4, atol=1e-4)


def test_dropout_is_active_in_training_only() -> None:
    network, volume = build(sample(0, FULL), FULL, dropout=0.5), image(FULL, 8).float()
    with torch.no_grad():
        assert not torch.equal(network(volume), network(volume))
        network.eval()
        assert torch.equal(network(volume), build(sample(0, FULL), FULL)(volume))


def test_weights_of_another_network_are_refused() -> None:
    first, second = sample(0, FULL), sample(1, FULL)
    weights = build_monai(first, FULL).state_dict()
    with pytest.raises(UserError, match=r"cell_tree.* is of no part of this architecture"):
        load_dints_weights(build(second, FULL), weights)
    with pytest.raises(UserError, match=r"stem_finals.1.weight has the shape \(3, 4, 1, 1, 1\), the network's \(5,"):
        load_dints_weights(build(first, FULL, out_channels=5), weights)
    with pytest.raises(UserError, match=r"stem_finals.1.bias is missing"):
        load_dints_weights(build(first, FULL), {k: v for k, v in weights.items() if k != "stem_finals.1.bias"})


CHOICES = dict(sample(0, FULL).choices)


def other(**changes: Any) -> Architecture:
    return Architecture.from_record(sample(0, FULL).to_record() | changes)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (other(choices=CHOICES | {"block_00/0-0": "conv_9"}), "'conv_9', must be one of"),
        (other(choices=dict.fromkeys(CHOICES, "zero")), "no path"),
        (other(settings={}), "num_blocks"),
        (DintsSpace(num_blocks=65, num_levels=2).sample(np.random.default_rng(0)), "is 65, must be 64 at most"),
        (DintsSpace(num_blocks=1, num_levels=9).sample(np.random.default_rng(0)), "is 9, must be 8 at most"),
    ],
)
def test_a_wrong_architecture_is_a_user_error(architecture: Architecture, message: str) -> None:
    with pytest.raises(UserError, match=message):
        build(architecture, FULL)


def test_an_architecture_of_the_other_norm_setting_is_refused() -> None:
    architecture = TopologySpace(num_blocks=2, num_levels=2).sample(np.random.default_rng(0))
    with pytest.raises(UserError, match="space 'topology', expected 'dints'"):
        DintsNetwork.check(architecture)


@pytest.mark.parametrize(
    ("strides", "arguments", "message"),
    [
        (FULL, {"width": 5}, "width 5 is odd"),
        (FULL[:2], {}, r"the plan has the strides \[\[1, 1, 1\], \[2, 2, 2\]\], but DiNTS with 3 levels takes 3"),
        ([], {}, "but DiNTS with 3 levels takes 3"),
        ([[2, 2, 1], [2, 2, 2], [2, 2, 2]], {}, "the first 1 or 2 on all axes"),
        ([[2, 2, 2], [2, 2, 2], [2, 2, 1]], {}, "the others 2 on all axes"),
        ([[2, 2, 2], [1, 1, 1], [2, 2, 2]], {}, "the others 2 on all axes"),
        ([[4, 4, 4], [2, 2, 2], [2, 2, 2]], {}, "the first 1 or 2"),
        (PLANE_FULL, {"spatial_dims": 3}, "strides must hold 3 numbers"),
        (PLANE_FULL, {}, "pseudo-3D operations need 3 axes, the plan has 2"),
    ],
)
def test_what_monai_does_not_have_is_refused(strides: list[list[int]], arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((UserError, ValueError), match=message):
        build(sample(0, FULL), strides, **arguments)
