"""Mirror averaging and the sliding window against the same sums written out."""

import dataclasses
from itertools import product

import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from torch import Tensor, nn

from monai_nas.compute import choose_compute
from monai_nas.export.inference_config import PATCHES_AT_ONCE
from monai_nas.inference import predict_probabilities, predictor
from monai_nas.inference.predictor import patch_scores

COMPUTE = choose_compute(low_precision=False, device="cpu")


@pytest.fixture()
def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Conv3d(2, 3, 3, padding=1).eval()


def test_one_window_is_the_network_itself(network: nn.Module) -> None:
    image = torch.randn(1, 2, 8, 12, 8)
    found = predict_probabilities(image, network, (8, 12, 8), compute=COMPUTE, mirror=False)
    assert torch.allclose(found, network(image).softmax(dim=1), atol=1e-6)


@pytest.mark.parametrize("at_once", [1, 3, 8])
def test_mirroring_averages_the_eight_copies(network: nn.Module, at_once: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "patches_at_once", lambda device: at_once)
    image = torch.randn(2, 2, 6, 8, 4)
    copies = []
    for flipped in product((False, True), repeat=3):
        axes = [axis for axis, flip in zip((2, 3, 4), flipped, strict=True) if flip]
        copies.append(network(image.flip(axes)).softmax(dim=1).flip(axes))
    found = predict_probabilities(image, network, (6, 8, 4), compute=COMPUTE)
    assert torch.allclose(found, torch.stack(copies).mean(dim=0), atol=1e-6)


@pytest.mark.parametrize("batch", [1, 2, 3, 5])
def test_windows_are_mirrored_by_themselves(network: nn.Module, batch: int) -> None:
    patches = torch.randn(batch, 2, 6, 8, 4)
    with torch.inference_mode():
        found = patch_scores(network, compute=COMPUTE)(patches).softmax(dim=1)
        plain = patch_scores(network, compute=COMPUTE, mirror=False)(patches)
        assert torch.allclose(plain, network(patches), atol=1e-6)
    assert torch.allclose(found, predict_probabilities(patches, network, (6, 8, 4), compute=COMPUTE), atol=1e-6)


def test_scores_survive_probabilities_that_underflow() -> None:
    class Certain(nn.Module):
        def forward(self, patches: Tensor) -> Tensor:
            return torch.cat([1000 * patches, -1000 * patches], dim=1)

    with torch.inference_mode():
        scores = patch_scores(Certain(), compute=COMPUTE)(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1, 1))
    assert scores.isfinite().all() and scores.argmax(dim=1).flatten().tolist() == [0, 1]


def test_bundles_give_the_network_as_many() -> None:
    for device in (torch.device("cpu"), torch.device("cuda")):
        parser = ConfigParser({"device": device, "batch": PATCHES_AT_ONCE})
        assert parser.get_parsed_content("batch") == predictor.patches_at_once(device)


@pytest.mark.parametrize(("at_once", "windows", "passes"), [(1, 1, 8), (4, 1, 2), (4, 2, 4), (4, 4, 8)])
def test_the_network_sees_a_few_patches_at_once(
    at_once: int, windows: int, passes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(predictor, "patches_at_once", lambda device: at_once)
    seen: list[int] = []

    class Counting(nn.Module):
        def forward(self, patches: Tensor) -> Tensor:
            seen.append(len(patches))
            return torch.cat([patches, -patches], dim=1)

    with torch.inference_mode():
        patch_scores(Counting(), compute=COMPUTE)(torch.rand(windows, 1, 2, 2, 2))
    assert sum(seen) == 8 * windows and max(seen) <= at_once and len(seen) == passes


@pytest.mark.parametrize("shape", [(5, 3, 7), (9, 20, 13)], ids=["smaller than the patch", "larger"])
def test_volumes_of_any_shape_get_probabilities(network: nn.Module, shape: tuple[int, int, int]) -> None:
    found = predict_probabilities(torch.randn(1, 2, *shape), network, (8, 8, 8), compute=COMPUTE)
    assert found.shape == (1, 3, *shape)
    assert torch.allclose(found.sum(dim=1), torch.ones(1, *shape), atol=1e-5)


def test_windows_agree_with_the_whole_volume_for_a_network_without_context() -> None:
    torch.manual_seed(0)
    pointwise, image = nn.Conv3d(1, 2, 1).eval(), torch.randn(1, 1, 13, 9, 17)
    found = predict_probabilities(image, pointwise, (8, 8, 8), compute=COMPUTE, mirror=False)
    assert torch.allclose(found, pointwise(image).softmax(dim=1), atol=1e-5)


def test_16_bit_networks_still_give_float32_without_gradients(network: nn.Module) -> None:
    seen: list[torch.dtype] = []

    class Recording(nn.Module):
        def forward(self, patches: Tensor) -> Tensor:
            logits: Tensor = network(patches)
            seen.append(logits.dtype)
            return logits

    compute = dataclasses.replace(COMPUTE, dtype=torch.bfloat16)
    found = predict_probabilities(torch.randn(1, 2, 8, 8, 8), Recording(), (8, 8, 8), compute=compute)
    assert set(seen) == {torch.bfloat16}
    assert found.dtype == torch.float32 and not found.requires_grad
