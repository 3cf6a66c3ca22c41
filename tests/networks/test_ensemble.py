"""An ensemble's probabilities are the mean of its members', in every way a network is run."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser
from torch import Tensor, nn

from monai_nas.errors import UserError
from monai_nas.networks import EnsembleNetwork, build_ensemble, build_network
from monai_nas.spaces import CellUNetSpace

NETWORK: dict[str, Any] = {
    "architecture": CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0)).to_record(),
    "spatial_dims": 3,
    "in_channels": 1,
    "out_channels": 3,
    "width": 4,
    "strides": [[2, 2, 2], [1, 2, 2]],
    "dropout": 0.0,
}


class Constant(nn.Module):
    """Gives the same logits at each voxel."""

    def __init__(self, logits: Sequence[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, image: Tensor) -> Tensor:
        return self.logits.reshape(1, -1, 1, 1, 1).expand(image.shape[0], -1, *image.shape[2:])


@pytest.fixture()
def ensemble() -> EnsembleNetwork:
    torch.manual_seed(0)
    return build_ensemble(NETWORK, 3).eval()


def test_softmax_gives_the_mean_probability(ensemble: EnsembleNetwork) -> None:
    image = torch.randn(2, 1, 8, 12, 12)
    with torch.no_grad():
        found = ensemble(image).double()
        expected = torch.stack([member(image).double().softmax(dim=1) for member in ensemble.members]).mean(dim=0)
    assert found.shape == (2, 3, 8, 12, 12)
    torch.testing.assert_close(found.softmax(dim=1), expected, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.exp(), expected, rtol=1e-5, atol=1e-6)


def test_two_members_by_hand() -> None:
    # (0.9, 0.1) and (0.5, 0.5) have the mean (0.7, 0.3); the mean of their logits would give (0.75, 0.25).
    first = Constant([math.log(0.9), math.log(0.1)])
    second = Constant([7.0, 7.0])  # a constant added to both logits changes nothing
    found = EnsembleNetwork([first, second])(torch.zeros(1, 1, 2, 2, 2)).softmax(dim=1)
    torch.testing.assert_close(found, torch.tensor([0.7, 0.3]).reshape(1, 2, 1, 1, 1).expand(1, 2, 2, 2, 2))


def test_probabilities_that_underflow_keep_their_logarithm() -> None:
    # softmax([0, -300]) is (1, 0) in float32, whose log is -inf; the mean with (0, 1) is (1/2, 1/2).
    sure = EnsembleNetwork([Constant([0.0, -300.0]), Constant([0.0, -300.0])])
    torch.testing.assert_close(sure(torch.zeros(1, 1, 1, 1, 1)).flatten(), torch.tensor([0.0, -300.0]))
    torn = EnsembleNetwork([Constant([0.0, -300.0]), Constant([-300.0, 0.0])])
    torch.testing.assert_close(torn(torch.zeros(1, 1, 1, 1, 1)).flatten().exp(), torch.tensor([0.5, 0.5]))


def test_an_ensemble_of_one_is_its_member_up_to_a_constant(ensemble: EnsembleNetwork) -> None:
    image = torch.randn(1, 1, 8, 8, 8)
    alone = EnsembleNetwork([ensemble.members[0]])
    torch.testing.assert_close(alone(image), ensemble.members[0](image).log_softmax(dim=1))


def test_sixteen_bits_do_not_reach_the_mean(ensemble: EnsembleNetwork) -> None:
    image = torch.randn(1, 1, 8, 8, 8)
    ensemble.train()  # in evaluation the members' logits have 32 bits
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        found = ensemble(image)
        logits = [member(image) for member in ensemble.members]
    assert {values.dtype for values in logits} == {torch.bfloat16} and found.dtype == torch.float32
    expected = torch.stack([values.double().softmax(dim=1) for values in logits]).mean(dim=0)
    torch.testing.assert_close(found.double().exp(), expected, rtol=1e-5, atol=1e-7)


def test_gradients_reach_every_member(ensemble: EnsembleNetwork) -> None:
    ensemble(torch.randn(1, 1, 8, 8, 8))[:, 0].mean().backward()
    for member in ensemble.members:
        assert any(parameter.grad is not None and parameter.grad.any() for parameter in member.parameters())


def test_torchscript_gives_the_same(ensemble: EnsembleNetwork, tmp_path: Path) -> None:
    image = torch.randn(1, 1, 8, 8, 8)
    torch.jit.script(ensemble).save(str(tmp_path / "model.ts"))  # type: ignore[no-untyped-call]
    loaded = torch.jit.load(str(tmp_path / "model.ts"))  # type: ignore[no-untyped-call]
    with torch.no_grad():
        torch.testing.assert_close(loaded(image), ensemble(image))
    assert list(loaded.state_dict()) == list(ensemble.state_dict())


def test_the_state_dict_is_that_of_the_members_by_number(ensemble: EnsembleNetwork) -> None:
    single = build_network(**NETWORK)
    assert list(ensemble.state_dict()) == [
        f"members.{index}.{name}" for index in range(3) for name in single.state_dict()
    ]
    assert list(build_ensemble(NETWORK, 3).state_dict()) == list(ensemble.state_dict())
    first, second = (next(iter(ensemble.members[index].parameters())) for index in (0, 1))
    assert not torch.equal(first, second), "each member starts with weights of its own"


def test_a_definition_as_in_network_json_builds_it() -> None:
    definition = {"_target_": "monai_nas.networks.build_ensemble", "network": NETWORK, "members": 2}
    built = ConfigParser({"network_def": definition}).get_parsed_content("network_def")
    assert isinstance(built, EnsembleNetwork) and len(built.members) == 2


def test_dropout_beside_the_network_is_the_members() -> None:
    for ensemble, expected in ((build_ensemble(NETWORK, 2, dropout=0.3), 0.3), (build_ensemble(NETWORK, 2), 0.0)):
        rates = [module.p for module in ensemble.modules() if isinstance(module, nn.modules.dropout._DropoutNd)]
        assert rates == [expected, expected]


def test_no_members_are_refused() -> None:
    with pytest.raises(UserError, match="an ensemble of 0 members: give 1 or more"):
        build_ensemble(NETWORK, 0)
