"""The Meta-Assistant Network: the paper's count of channels, what it sees, what it is trained by, and its end."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.spaces import TopologySpace
from monai_nas.supernets import MetaAssistantNetwork, Selection, TopologySupernet, annealed, num_channel_weights

SPACE = TopologySpace(num_blocks=3, num_levels=3)
FIRST, SECOND = (SPACE.sample(np.random.default_rng(seed)) for seed in (0, 1))
ARGUMENTS = {"in_channels": 2, "width": 4, "spatial_dims": 2}


def build(sees_architecture: bool = True) -> MetaAssistantNetwork:
    torch.manual_seed(0)
    man = MetaAssistantNetwork(SPACE, **ARGUMENTS, hidden=32, sees_architecture=sees_architecture)
    with torch.no_grad():  # fresh, its weights lie within 0.48 to 0.52, as in no training
        man.hypernet[-1].weight.mul_(50)
    return man


def supernet() -> TopologySupernet:
    torch.manual_seed(1)
    return TopologySupernet(SPACE, out_channels=3, strides=[[1, 1], [2, 2], [2, 2]], **ARGUMENTS)


def image(seed: int = 0) -> Tensor:
    """Two images of different texture: the encoder's norms remove brightness and contrast."""
    noise = torch.randn(2, 2, 16, 16, generator=torch.Generator().manual_seed(seed))
    noise[1, :, :8] = 0
    return noise


def matrix(architecture: Architecture = FIRST) -> Tensor:
    return torch.from_numpy(SPACE.matrix(architecture))


def test_the_paper_has_27648_channel_weights() -> None:
    space = TopologySpace()
    assert num_channel_weights(space, 32) == 27_648
    with torch.device("meta"):
        man = MetaAssistantNetwork(space, in_channels=1, width=32)
        whole = TopologySupernet(space, in_channels=1, out_channels=3, width=32, strides=[[2, 2, 2]] * 4)
        assert man(torch.empty(8, 1, 96, 96, 96), torch.empty(12, 10, 2)).shape == (8, 27_648)
    assert whole.num_channel_weights == 27_648


def test_other_readings_of_the_count_are_what_the_docstring_says() -> None:
    channels = [32, 64, 128, 256]
    ends = [(channels[source], channels[target]) for source, target in TopologySpace().paths]
    outputs, moves = sum(out for _, out in ends), sum(out for into, out in ends if into != out)
    counts = {
        "inputs": 12 * 2 * sum(into for into, _ in ends),
        "inputs and outputs of convolutions": 12 * sum(into + out for into, out in ends),
        "factor and shift of convolutions": 12 * 2 * outputs,
        "convolutions": 12 * outputs,
        "with skips that change level": 12 * (outputs + moves),
        "nodes": 12 * sum(channels),
        "nodes, two operations": 12 * 2 * sum(channels),
        "pairs": 12 * sum(into * out for into, out in ends),
    }
    assert list(counts.values()) == [27_648, 27_648, 27_648, 13_824, 21_888, 5_760, 11_520, 2_076_672]
    text = MetaAssistantNetwork.__doc__ or ""
    assert all(f"{count:,}" in text for count in counts.values())


def test_layers_are_those_of_the_paper() -> None:
    for sees_architecture, inputs in ((True, 3 * 7 * 2 + 256), (False, 256)):
        man = build(sees_architecture)
        convolutions = [module for module in man.encoder.modules() if isinstance(module, nn.Conv2d)]
        linears = [module for module in man.hypernet if isinstance(module, nn.Linear)]
        assert len(convolutions) == 6 and {conv.kernel_size for conv in convolutions} == {(3, 3)}
        assert convolutions[-1].out_channels == 256
        assert [type(layer).__name__ for layer in man.hypernet] == ["Linear", "ReLU"] * 4 + ["Linear"]
        assert linears[0].in_features == inputs and linears[-1].out_features == num_channel_weights(SPACE, 4)


def test_weights_follow_image_and_architecture() -> None:
    with torch.no_grad():
        for sees_architecture in (True, False):
            man = build(sees_architecture)
            weights = man(image(), matrix())
            assert weights.shape == (2, num_channel_weights(SPACE, 4)) and weights.dtype == torch.float32
            assert weights.min() > 0 and weights.max() < 1
            assert not torch.allclose(weights, man(image(7), matrix()), atol=1e-3)
            assert torch.allclose(weights, man(image(), matrix(SECOND)), atol=1e-3) != sees_architecture
            torch.testing.assert_close(man(image()[1:], matrix()), weights[1:])  # a sample knows itself alone
            assert not torch.allclose(weights[0], weights[1], atol=1e-3)


def test_weights_stay_in_32_bits_under_autocast() -> None:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert build()(image(), matrix()).dtype == torch.float32


@pytest.mark.parametrize("size", [(16, 16, 16), (40, 56, 40), (24, 8, 4)])
def test_small_patches_work_in_training_and_evaluation(size: tuple[int, ...]) -> None:
    man = MetaAssistantNetwork(SPACE, in_channels=1, width=4, hidden=8)
    volume = torch.randn(1, 1, *size)
    man(volume, matrix()).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in man.parameters())
    with torch.no_grad():
        assert man.eval()(volume, matrix()).isfinite().all()


def weighed(man: MetaAssistantNetwork, network: TopologySupernet, progress: float = 0.0) -> Selection:
    selection = network.one_hot(FIRST)
    return selection | {"channel_weights": annealed(man(image(), selection["paths"]), progress)}


def test_gradient_reaches_the_active_weights_only() -> None:
    man, network = build(), supernet()
    network(image(), weighed(man, network)).square().mean().backward()
    for name, parameter in man.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    channels = torch.tensor([4 * 2**target for _, target in SPACE.paths]).repeat_interleave(2).repeat(3)
    active = matrix().bool().flatten().repeat_interleave(channels)
    last = man.hypernet[-1]
    assert not last.weight.grad[~active].any() and not last.bias.grad[~active].any()
    assert last.bias.grad[active].any()


def test_another_output_of_the_man_changes_the_logits() -> None:
    man, network = build(), supernet()
    with torch.no_grad():
        logits = network(image(), weighed(man, network))
        man.hypernet[-1].bias.normal_()
        changed = network(image(), weighed(man, network))
    assert float((changed - logits).norm() / logits.norm()) > 0.01


def test_annealing_is_equation_5() -> None:
    weights = torch.tensor([[0.1, 0.9]])
    torch.testing.assert_close(annealed(weights, 0.0), weights)
    torch.testing.assert_close(annealed(weights, 0.25), torch.tensor([[0.2, 0.8]]))
    assert torch.equal(annealed(weights, 1.0), torch.tensor([[0.5, 0.5]]))


def test_annealing_ends_in_the_network_without_the_man() -> None:
    man, network = build(), supernet()
    with torch.no_grad():
        alone = network(image(), network.one_hot(FIRST))
        distances = []
        for progress in (0.0, 0.5, 0.9, 1.0):
            distances.append(float((network(image(), weighed(man, network, progress)) - alone).norm()))
        extracted = network.extract(FIRST)(image())
    assert distances == sorted(distances, reverse=True) and distances[0] > 0.1 and distances[-1] == 0.0
    torch.testing.assert_close(extracted, alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("progress", [-0.1, 1.01, math.nan])
def test_progress_out_of_range_is_refused(progress: float) -> None:
    with pytest.raises(ValueError, match="progress must be in"):
        annealed(torch.full((1, 2), 0.5), progress)
