"""What both networks without a search space must do: every shape a plan can ask for, and what is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.files import write_json
from monai_nas.networks import build_network, load_architecture
from monai_nas.spaces import CellUNetSpace

NAMES = ("dynunet", "res_unet")
ISOTROPIC = [[2, 2, 2], [2, 2, 2]]


def build(name: str, strides: list[list[int]], **more: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    arguments: dict[str, Any] = {"in_channels": 2, "out_channels": 3, "width": 4}
    arguments["spatial_dims"] = len(strides[0]) if strides else 3
    return build_network(Architecture.create(name, {}, {}), strides=strides, **(arguments | more))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("strides", "size"),
    [
        ([[2, 2, 1], [2, 2, 1], [2, 2, 2]], (16, 16, 8)),  # a prostate
        (ISOTROPIC, (8, 12, 8)),
        ([[2, 2, 2]] * 3, (16, 16, 16)),
        ([[3, 2, 1], [1, 2, 2]], (9, 8, 6)),
        ([[2, 2], [2, 1]], (8, 12)),
    ],
)
def test_logits_have_the_size_of_the_image_and_all_weights_learn(
    name: str, strides: list[list[int]], size: tuple[int, ...]
) -> None:
    network = build(name, strides)
    logits = network(torch.randn(2, 2, *size))
    assert logits.shape == (2, 3, *size) and logits.isfinite().all()
    logits.square().mean().backward()
    for parameter_name, parameter in network.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), parameter_name
        assert parameter.grad.any(), parameter_name


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("strides", [[[2, 2, 1], [2, 2, 2]], [[2, 2], [2, 2]]])
def test_torchscript_gives_the_same(name: str, strides: list[list[int]], tmp_path: Path) -> None:
    network = build(name, strides).eval()
    image = torch.randn(1, 2, *(12,) * len(strides[0]))
    torch.jit.script(network).save(str(tmp_path / "model.ts"))
    loaded = torch.jit.load(str(tmp_path / "model.ts"))
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), network(image), rtol=1e-4, atol=1e-4)
    with pytest.raises(torch.jit.Error, match="must be divisible"):
        loaded(image[..., :-1])


@pytest.mark.parametrize("name", NAMES)
def test_each_weight_is_stored_once(name: str) -> None:
    network = build(name, ISOTROPIC)
    stored = sum(value.numel() for value in network.state_dict().values())
    assert stored == sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_dropout_is_active_in_training_only(name: str) -> None:
    network, image = build(name, ISOTROPIC, dropout=0.5), torch.randn(1, 2, 8, 8, 8)
    torch.manual_seed(1)
    with torch.no_grad():
        assert not torch.equal(network(image), network(image))
        network.eval()
        torch.testing.assert_close(network(image), build(name, ISOTROPIC).eval()(image))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("settings", "choices", "message"),
    [({"width": 16}, {}, "settings {'width': 16}"), ({}, {"reduction/0-2": "zero"}, "choices {'reduction/0-2'")],
)
def test_there_is_nothing_to_choose(name: str, settings: dict[str, int], choices: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        build_network(
            Architecture.create(name, settings, choices), in_channels=1, out_channels=2, width=4, strides=ISOTROPIC
        )
    assert name in str(caught.value) and "leave its" in str(caught.value)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("strides", "dims", "message"),
    [
        ([], 3, "strides must hold 3"),
        ([[2, 2]], 3, "strides must hold 3"),
        ([[2] * 4, [2] * 4], 4, "spatial_dims must be 2 or 3"),
    ],
)
def test_impossible_arguments_are_refused(name: str, strides: list[list[int]], dims: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build(name, strides, spatial_dims=dims)


@pytest.mark.parametrize("name", NAMES)
def test_an_indivisible_size_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"must be divisible by \[4, 4, 4\]"):
        build(name, ISOTROPIC)(torch.zeros(1, 2, 8, 8, 10))


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_an_architecture(name: str) -> None:
    architecture = load_architecture(name)
    assert architecture.to_record() == {"format": 1, "space": name, "settings": {}, "choices": {}}


def test_a_file_is_an_architecture(tmp_path: Path) -> None:
    architecture = CellUNetSpace(num_nodes=1).create({d.name: "identity" for d in CellUNetSpace(num_nodes=1).decisions})
    architecture.save(tmp_path / "architecture.json")
    assert load_architecture(str(tmp_path / "architecture.json")) == architecture


@pytest.mark.parametrize("value", ["res_unit", "absent/architecture.json", "cell_unet"])
def test_neither_is_a_user_error_with_the_names(value: str) -> None:
    with pytest.raises(UserError, match=f"^{value}: .* one of dynunet, res_unet$"):
        load_architecture(value)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"space": "cell_net"}, "architecture of unknown space 'cell_net': known are"),
        ({"settings": {"num_nodes": 10**6}}, "num_nodes is 1000000, must be a whole number to 64"),
        ({"settings": {}}, "num_nodes is None, must be"),
        ({"choices": {}}, "architecture lacks the decision"),
    ],
)
def test_a_file_with_another_architecture_is_refused_by_its_name(
    tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    record = CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0)).to_record()
    file = tmp_path / "architecture.json"
    write_json(file, record)
    assert load_architecture(str(file)).to_record() == record
    write_json(file, record | change)
    with pytest.raises(UserError, match=rf"architecture\.json: .*{message}"):
        load_architecture(str(file))
