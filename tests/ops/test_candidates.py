"""The contract of a candidate operation, for every registered one."""

import pytest
import torch
from torch import Tensor, nn

from monai_nas.benchmarks.speed.plain_network import plain_network
from monai_nas.ops import CANDIDATES, CandidateOp
from monai_nas.spaces.cell_unet import SCNAS_OPERATIONS

CHANNELS = 4
SIZE = {2: (9, 6), 3: (9, 6, 7)}
STRIDES = {2: ([1, 1], [2, 2], [2, 1]), 3: ([1, 1, 1], [2, 2, 2], [2, 2, 1])}
ROUNDING = 2.0**-8  # of a number to bfloat16: the largest relative error
BOUND = 3 * ROUNDING  # of a gradient, by its Euclidean norm
CASES = [(name, dims, stride) for name in CANDIDATES for dims in (2, 3) for stride in STRIDES[dims]]
contract = pytest.mark.parametrize(("name", "dims", "stride"), CASES)


def build(name: str, dims: int, stride: list[int]) -> CandidateOp:
    torch.manual_seed(0)
    return CANDIDATES[name](CHANNELS, stride=stride, spatial_dims=dims)


def features(dims: int) -> Tensor:
    return torch.randn(2, CHANNELS, *SIZE[dims], generator=torch.Generator().manual_seed(0))


@contract
def test_channels_stay_and_size_is_divided_rounding_up(name: str, dims: int, stride: list[int]) -> None:
    image = features(dims)
    if name == "identity":  # strided, its kernel is its stride; networks take sizes that divide evenly only
        image = image.repeat(1, 1, *[2] * dims)
    output = build(name, dims, stride)([image])
    size = [-(-extent // step) for extent, step in zip(image.shape[2:], stride, strict=True)]
    assert list(output.shape) == [2, CHANNELS, *size] and output.dtype == image.dtype


@contract
def test_gradients_reach_features_and_weights(name: str, dims: int, stride: list[int]) -> None:
    operation, image = build(name, dims, stride), features(dims).requires_grad_()
    output = operation([image])
    if name == "zero":
        assert not output.any() and not output.requires_grad and not list(operation.parameters())
        return
    # a plain sum after a norm has gradient 0
    (output * torch.randn(output.shape, generator=torch.Generator().manual_seed(1))).sum().backward()
    for gradient in [image.grad, *(parameter.grad for parameter in operation.parameters())]:
        assert gradient is not None and gradient.isfinite().all() and gradient.any()


@contract
def test_gradients_in_16_bits_are_those_of_torch_layers_in_32_within_rounding(
    name: str, dims: int, stride: list[int]
) -> None:
    if name == "zero":
        return
    operation = nn.Sequential(build(name, dims, stride))
    image = features(dims).bfloat16()  # rounded before, so that the largest of neighbours are the same in 32 bits
    if name == "identity":
        image = image.repeat(1, 1, *[2] * dims)
    found = gradients(operation, image, low_precision=True)
    wanted = gradients(plain_network(operation, dims), image.float(), low_precision=False)
    for mine, theirs in zip(found, wanted, strict=True):
        assert (mine - theirs).norm() <= BOUND * theirs.norm()


def gradients(operation: nn.Module, image: Tensor, *, low_precision: bool) -> list[Tensor]:
    """Return those of a random combination of what it computes, in float32: of the features and of all weights."""
    image = image.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=low_precision):
        output = operation([image])
    slopes = torch.randn(output.shape, generator=torch.Generator().manual_seed(1))
    found = torch.autograd.grad((output.float() * slopes).sum(), [image, *operation.parameters()])
    return [gradient.float() for gradient in found]


@contract
def test_torchscript_gives_the_same(name: str, dims: int, stride: list[int]) -> None:
    operation, image = build(name, dims, stride).eval(), features(dims)
    scripted = torch.jit.script(operation)
    for enabled in (False, True):
        with torch.set_grad_enabled(enabled):
            torch.testing.assert_close(scripted([image]), operation([image]), rtol=1e-4, atol=1e-5)


@contract
def test_same_input_same_bits(name: str, dims: int, stride: list[int]) -> None:
    operation, image = build(name, dims, stride), features(dims)
    before = image.clone()
    assert torch.equal(operation([image]), operation([image])) and torch.equal(image, before)


def test_the_candidates_of_the_paper_are_registered() -> None:
    assert set(SCNAS_OPERATIONS) <= set(CANDIDATES) and len(SCNAS_OPERATIONS) == 8


def test_an_unknown_candidate_raises_with_the_nearest() -> None:
    with pytest.raises(ValueError, match="unknown candidate operation 'conv_3x3': did you mean 'conv_3x3x3'"):
        CANDIDATES["conv_3x3"]


def test_identity_of_stride_1_is_the_input_itself() -> None:
    image = features(3)
    assert build("identity", 3, [1, 1, 1])([image]) is image


def test_strided_identity_reads_every_voxel() -> None:
    image = torch.randn(1, CHANNELS, 4, 4, 4, requires_grad=True)
    output = build("identity", 3, [2, 2, 2])([image])
    (output * torch.randn(output.shape)).sum().backward()
    assert image.grad is not None and (image.grad != 0).all()


@pytest.mark.parametrize("rate", [2, 3, 4])
def test_field_of_view_is_what_the_rate_says(rate: int) -> None:
    """Before the norm, which sees everything, a voxel reads 3^d voxels `rate` apart."""
    unit = build(f"dilated_separable_conv_3x3x3_rate_{rate}", 2, [1, 1]).unit
    unit.norm = torch.nn.Identity()
    image = torch.randn(1, CHANNELS, 13, 13, requires_grad=True)
    (gradient,) = torch.autograd.grad(unit([image])[0, 0, 6, 6], image)
    read = gradient[0].abs().sum(dim=0).nonzero() - 6
    assert sorted(map(tuple, read.tolist())) == [(x, y) for x in (-rate, 0, rate) for y in (-rate, 0, rate)]
