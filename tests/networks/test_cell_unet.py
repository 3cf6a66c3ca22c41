"""Networks of searched cells: every shape a plan can ask for, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks import CellUNet, build_network
from monai_nas.ops.blocks import FeatureNorm
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES

SPACE = CellUNetSpace()
ISOTROPIC = [[2, 2, 2], [2, 2, 2]]


def sample(seed: int = 0) -> Architecture:
    return SPACE.sample(np.random.default_rng(seed))


def build(architecture: Architecture | dict[str, Any], strides: list[list[int]], **more: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "width": 8}
    arguments["spatial_dims"] = len(strides[0]) if strides else 3
    return build_network(architecture, strides=strides, **(arguments | more))


@pytest.mark.parametrize(
    ("strides", "size"),
    [
        ([[2, 2, 1], [2, 2, 1], [2, 2, 2]], (24, 24, 24)),  # a prostate
        ([[2, 2, 1], [2, 2, 1], [2, 2, 1]], (24, 24, 3)),
        ([[2, 2, 2]], (8, 6, 6)),
        (ISOTROPIC, (12, 16, 12)),
        ([[2, 2, 2]] * 3, (24, 24, 24)),
        ([[3, 2, 1]], (9, 6, 5)),
        ([[2, 2]], (10, 12)),
        ([[2, 2], [2, 1]], (12, 12)),
    ],
)
def test_logits_have_the_size_of_the_image(strides: list[list[int]], size: tuple[int, ...]) -> None:
    network = build(sample(), strides)
    image = torch.randn(2, 2, *size)
    logits = network(image)
    assert logits.shape == (2, 3, *size) and logits.isfinite().all()
    logits.square().mean().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_the_paper_has_twelve_cells_in_order() -> None:
    network = build(sample(), [[2, 2, 2]] * 3)
    assert isinstance(network, CellUNet)
    stacks = [network.reductions, network.encoder_normals, network.expansions, network.decoder_normals]
    assert [len(stack) for stack in stacks] == [3] * 4
    order: list[str] = []
    for name, stack in zip(("R", "N", "E", "D"), stacks, strict=True):
        for cell in stack:
            cell.register_forward_hook(lambda module, inputs, output, name=name: order.append(name))
    network(torch.randn(1, 2, 24, 24, 24))
    assert order == list("RNRNRNEDEDED")


@pytest.mark.parametrize("seed", range(3))
def test_only_chosen_operations_are_built(seed: int) -> None:
    architecture = sample(seed)
    network = build(architecture, ISOTROPIC)
    holes = [module for module in network.modules() if type(module).__name__ == "ChosenOperation"]
    connected = sum(choice != "zero" for _, choice in architecture.choices)
    assert len(holes) == connected * 2  # two levels: each structure is used twice
    assert len({id(hole) for hole in holes}) == len(holes)


@pytest.mark.parametrize(("seed", "strides"), [(0, [[2, 2, 1], [2, 2, 2]]), (1, [[2, 2]]), (2, [[2, 2]])])
def test_torchscript_gives_the_same(strides: list[list[int]], seed: int, tmp_path: Path) -> None:
    network = build(sample(seed), strides).eval()
    image = torch.randn(1, 2, *(12,) * len(strides[0]))
    torch.jit.script(network).save(str(tmp_path / "model.ts"))
    loaded = torch.jit.load(str(tmp_path / "model.ts"))
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image), rtol=1e-4, atol=1e-4)
    with pytest.raises(torch.jit.Error, match="must be divisible"):
        loaded(image[..., :-1])


def test_value_record_and_file_give_the_same_network() -> None:
    architecture, image = sample(), torch.randn(1, 2, 8, 8, 8)
    again = Architecture.from_record(architecture.to_record())
    with torch.no_grad():
        expected = build(architecture, ISOTROPIC)(image)
        assert torch.equal(build(again, ISOTROPIC)(image), expected)
        assert torch.equal(build(architecture.to_record(), ISOTROPIC)(image), expected)


def test_every_candidate_on_every_edge_runs() -> None:
    for operation in SPACE.operations:
        architecture = SPACE.create({decision.name: operation for decision in SPACE.decisions})
        logits = build(architecture, [[2, 2]])(torch.randn(1, 2, 8, 8))
        assert logits.shape == (1, 3, 8, 8) and logits.isfinite().all()


def test_a_node_without_edges_is_zeros() -> None:
    choices = {decision.name: "identity" for decision in SPACE.decisions}
    for cell_type in CELL_TYPES:
        choices |= {f"{cell_type}/0-2": "zero", f"{cell_type}/1-2": "zero"}
    network = build(SPACE.create(choices), ISOTROPIC)
    assert isinstance(network, CellUNet)
    for cell in (*network.reductions, *network.expansions):
        cell.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    outputs: list[torch.Tensor] = []
    assert network(torch.randn(1, 2, 12, 12, 12)).isfinite().all() and len(outputs) == 4
    for output in outputs:
        first, second = output.tensor_split(4, dim=1)[:2]
        assert not first.any() and second.any()


def test_dropout_is_active_in_training_only() -> None:
    network, image = build(sample(), ISOTROPIC, dropout=0.5), torch.randn(1, 2, 8, 8, 8)
    torch.manual_seed(1)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        network.eval()
        assert torch.equal(network(image), network(image))
        assert torch.equal(network(image), build(sample(), ISOTROPIC)(image))


def test_in_evaluation_16_bits_are_for_the_convolutions_inside() -> None:
    """The image keeps its bits, and so do the maps between convolutions, and the logits; in training none of them."""
    network, image = build(sample(), ISOTROPIC), torch.randn(1, 2, 8, 8, 8)
    convolved: dict[str, torch.dtype] = {}
    normalised: set[torch.dtype] = set()
    for name, module in network.named_modules():
        if isinstance(module, torch.nn.Conv3d):
            module.register_forward_hook(
                lambda module, inputs, output, name=name: convolved.update({name: output.dtype})
            )
        if isinstance(module, FeatureNorm):
            module.register_forward_hook(lambda module, inputs, output: normalised.add(output.dtype))
    found = {}
    for mode in (True, False):
        normalised.clear()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            logits = network.train(mode)(image)
        outer = {convolved.pop("stem.conv"), convolved.pop("head"), logits.dtype}
        found[mode] = (outer, set(convolved.values()), set(normalised))
    low, full = {torch.bfloat16}, {torch.float32}
    assert found == {True: (low, low, low), False: (full, low, full)}


@pytest.mark.parametrize("operation", SPACE.operations)
def test_nodes_of_one_operation_have_32_bits_in_evaluation(operation: str) -> None:
    network = build(SPACE.create({decision.name: operation for decision in SPACE.decisions}), ISOTROPIC).eval()
    assert isinstance(network, CellUNet)
    found: set[torch.dtype] = set()
    for cell in (*network.reductions, *network.encoder_normals, *network.expansions, *network.decoder_normals):
        cell.register_forward_hook(lambda module, inputs, output: found.add(output.dtype))
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(torch.randn(1, 2, 8, 8, 8))
    assert found == {torch.float32} and logits.dtype == torch.float32


def test_evaluation_takes_weights_of_any_format_as_they_are() -> None:
    for dtype in (torch.float64, torch.bfloat16):
        network = build(sample(), ISOTROPIC).to(dtype).eval()
        image = torch.randn(1, 2, 8, 8, 8, dtype=dtype)
        assert network(image).dtype == dtype
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            assert network(image).dtype == dtype


def test_an_indivisible_size_is_refused() -> None:
    with pytest.raises(ValueError, match=r"must be divisible by \[4, 4, 4\]"):
        build(sample(), ISOTROPIC)(torch.zeros(1, 2, 8, 8, 10))


def other(**changes: Any) -> Architecture:
    record = sample().to_record()
    return Architecture.from_record(record | changes)


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (other(space="nowhere"), "unknown space 'nowhere'"),
        (other(choices={}), "lacks the decision"),
        (other(choices=dict(sample().choices) | {"reduction/0-2": "conv_9"}), "'conv_9', must be one of"),
        (other(settings={"num_nodes": 3}), "unknown decision"),
        (other(settings={"num_nodes": "x"}), "num_nodes"),
        (other(settings={"num_nodes": 0}), "num_nodes"),
        (other(settings={}), "settings"),
    ],
)
def test_a_wrong_architecture_is_a_user_error(architecture: Architecture, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build(architecture, ISOTROPIC)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"width": 6}, "multiple of the 4 nodes"),
        ({"strides": []}, "strides must hold 3"),
        ({"strides": [[2, 2]]}, "strides must hold 3"),
        ({"strides": [[2] * 4], "spatial_dims": 4}, "spatial_dims must be 2 or 3"),
    ],
)
def test_impossible_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises((UserError, ValueError), match=message):
        build(sample(), **({"strides": ISOTROPIC} | arguments | {"spatial_dims": arguments.get("spatial_dims", 3)}))
