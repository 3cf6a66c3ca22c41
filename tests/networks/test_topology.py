"""Networks of the topology space: every shape a plan can ask for, only what is used, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks import NETWORKS, TopologyNetwork, build_network
from monai_nas.skeletons.topology_parts import PathOperation
from monai_nas.spaces import TopologySpace
from monai_nas.spaces.topology import decision_name

SPACE = TopologySpace(num_blocks=3, num_levels=3)
ISOTROPIC = [[1, 1, 1], [2, 2, 2], [2, 2, 2]]


def sample(seed: int = 0, space: TopologySpace = SPACE) -> Architecture:
    return space.sample(np.random.default_rng(seed))


def keep(*choices: tuple[int, int, int, str]) -> Architecture:
    """Return the architecture of these (block, source, target, operation)."""
    values = {decision.name: "zero" for decision in SPACE.decisions}
    return SPACE.create(
        values | {decision_name(block, source, target): name for block, source, target, name in choices}
    )


def build(architecture: Architecture | dict[str, Any], strides: list[list[int]], **more: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "width": 4}
    arguments["spatial_dims"] = len(strides[0]) if strides else 3
    return build_network(architecture, strides=strides, **(arguments | more))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(
    ("strides", "size"),
    [
        (ISOTROPIC, (8, 12, 16)),
        ([[2, 2, 2]] * 3, (16, 16, 16)),
        ([[2, 2, 1], [2, 2, 1], [2, 2, 2]], (16, 8, 4)),
        ([[1, 1, 1], [1, 1, 1], [3, 2, 1]], (6, 6, 5)),
        ([[2, 2], [2, 1], [2, 3]], (16, 12)),
        ([[1, 1], [2, 2], [2, 2]], (12, 8)),
    ],
)
def test_logits_have_the_size_of_the_image(strides: list[list[int]], size: tuple[int, ...], seed: int) -> None:
    network = build(sample(seed), strides)
    image = torch.randn(2, 2, *size)
    logits = network(image)
    assert logits.shape == (2, 3, *size) and logits.isfinite().all()
    logits.square().mean().backward()
    for name, parameter in network.named_parameters():  # nothing is built that is not used
        assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name


@pytest.mark.parametrize("seed", range(4))
def test_only_what_the_architecture_keeps_is_built(seed: int) -> None:
    architecture = sample(seed)
    network = build(architecture, ISOTROPIC)
    kept = {name: choice for name, choice in architecture.choices if choice != "zero"}
    found = {name: module for name, module in network.named_modules() if isinstance(module, PathOperation)}
    assert len(found) == len(kept)
    for name, choice in kept.items():
        block, path = name.removeprefix("block_").split("/")
        assert f"blocks.{int(block)}.nodes.{path[-1]}.paths.{path}.operations.{choice}" in found


def test_a_network_may_use_one_level_only() -> None:
    deep = keep(*((block, 2, 2, "conv_3x3x3") for block in range(3)))
    network = build(deep, ISOTROPIC)
    assert isinstance(network, TopologyNetwork)
    assert list(network.stems) == ["2"] and list(network.lifts) == ["2", "1"]
    assert network(torch.randn(1, 2, 8, 8, 8)).shape == (1, 3, 8, 8, 8)
    fine = build(keep(*((block, 0, 0, "identity") for block in range(3))), ISOTROPIC)
    assert isinstance(fine, TopologyNetwork) and list(fine.stems) == ["0"] and not fine.lifts
    assert fine(torch.randn(1, 2, 8, 8, 8)).shape == (1, 3, 8, 8, 8)


def test_the_paper_has_120_paths_with_channels_from_32_to_256() -> None:
    space = TopologySpace()
    choices = {decision.name: "conv_3x3x3" for decision in space.decisions}
    with torch.device("meta"):
        network = build(space.create(choices), [[2, 2, 2]] * 4, width=32)
    weights = [operation.transform.weight for operation in network.modules() if isinstance(operation, PathOperation)]
    assert len(weights) == 120 and {weight.shape[0] for weight in weights} == {32, 64, 128, 256}
    assert sum(weight.numel() for weight in weights) == 27 * 2_076_672


@pytest.mark.parametrize(("seed", "strides"), [(0, [[1, 1, 1], [2, 2, 1], [2, 2, 2]]), (1, [[2, 2], [2, 2], [2, 1]])])
def test_torchscript_gives_the_same(strides: list[list[int]], seed: int, tmp_path: Path) -> None:
    network = build(sample(seed), strides).eval()
    image = torch.randn(1, 2, *(16,) * len(strides[0]))
    torch.jit.script(network).save(str(tmp_path / "model.ts"))
    loaded = torch.jit.load(str(tmp_path / "model.ts"))
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image), rtol=1e-4, atol=1e-4)
    with pytest.raises(torch.jit.Error, match="must be divisible"):
        loaded(image[..., :-1])


def test_torchscript_takes_a_network_of_one_level() -> None:
    network = build(keep(*((block, 0, 0, "identity") for block in range(3))), [[1, 1], [2, 2], [2, 2]]).eval()
    image = torch.randn(1, 2, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(torch.jit.script(network)(image), network(image), rtol=1e-4, atol=1e-4)


def test_value_record_and_file_give_the_same_network(tmp_path: Path) -> None:
    architecture, image = sample(), torch.randn(1, 2, 8, 8, 8)
    architecture.save(tmp_path / "architecture.json")
    again = Architecture.load(tmp_path / "architecture.json")
    with torch.no_grad():
        expected = build(architecture, ISOTROPIC)(image)
        assert torch.equal(build(again, ISOTROPIC)(image), expected)
        assert torch.equal(build(architecture.to_record(), ISOTROPIC)(image), expected)
    assert NETWORKS["topology"] is TopologyNetwork


def test_dropout_is_active_in_training_only() -> None:
    network, image = build(sample(), ISOTROPIC, dropout=0.5), torch.randn(1, 2, 8, 8, 8)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))
        assert torch.equal(network(image), build(sample(), ISOTROPIC)(image))


def other(**changes: Any) -> Architecture:
    return Architecture.from_record(sample().to_record() | changes)


CHOICES = dict(sample().choices)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (other(choices=CHOICES | {"block_00/0-0": "conv_9"}), "'conv_9', must be one of"),
        (other(choices={}), "decisions"),
        (other(settings={"num_blocks": 2, "num_levels": 3}), "decisions"),
        (other(settings={"num_blocks": "x", "num_levels": 3}), "num_blocks"),
        (other(settings={}), "num_"),
        (other(choices=dict.fromkeys(CHOICES, "zero")), "no path"),
        (other(choices=dict.fromkeys(CHOICES, "zero") | {"block_00/0-0": "identity"}), "no path"),
        (sample(0, TopologySpace(num_blocks=65, num_levels=2)), "num_blocks is 65, must be 64 at most"),
        (sample(0, TopologySpace(num_blocks=1, num_levels=9)), "num_levels is 9, must be 8 at most"),
    ],
)
def test_a_wrong_architecture_is_a_user_error(architecture: Architecture, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(architecture, ISOTROPIC)
    assert "\n" not in str(caught.value)


def test_a_dead_path_is_refused() -> None:
    alive = keep(*((block, 0, 0, "identity") for block in range(3)))
    dead = Architecture.from_record(
        alive.to_record() | {"choices": dict(alive.choices) | {"block_01/2-2": "conv_3x3x3"}}
    )
    with pytest.raises(UserError, match="block_01/2-2"):
        build(dead, ISOTROPIC)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 5}, "width 5 is odd"),
        ({"strides": [[2, 2, 2], [2, 2, 2]]}, "the plan has 2 strides, the architecture 3 levels: give the plan 3"),
        ({"strides": []}, "the plan has 0 strides"),
        ({"strides": [[2, 2]] * 3}, "strides must hold 3"),
        ({"strides": [[2] * 4] * 3, "spatial_dims": 4}, "spatial_dims must be 2 or 3"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((UserError, ValueError), match=message):
        build(sample(), **({"strides": ISOTROPIC} | arguments | {"spatial_dims": arguments.get("spatial_dims", 3)}))
