"""The pieces against torch's own layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from monai_nas.ops import ConvNorm, Resample, UnitConv, convolution, empty_like_strided
from monai_nas.ops.blocks import DilatedSeparableUnit

SIZE = {2: (13, 10), 3: (9, 12, 10)}


@pytest.mark.parametrize("rate", [1, 2, 3, 4])
@pytest.mark.parametrize(("dims", "step"), [(2, 1), (3, 1), (3, 2)])
def test_separable_unit_is_its_two_stock_convolutions(dims: int, step: int, rate: int) -> None:
    torch.manual_seed(rate)
    unit = DilatedSeparableUnit(4, stride=[step] * dims, rate=rate, spatial_dims=dims)
    image = torch.randn(2, 4, *SIZE[dims], requires_grad=True)
    convolve = F.conv3d if dims == 3 else F.conv2d
    stock = convolve(F.leaky_relu(image), unit.depthwise.weight, None, step, rate, rate, groups=4)
    stock = F.instance_norm(convolve(stock, unit.pointwise.weight), weight=unit.norm.weight, bias=unit.norm.bias)
    own = unit([image])
    torch.testing.assert_close(own, stock, rtol=1e-4, atol=1e-4)
    wanted = [image, *unit.parameters()]
    direction = torch.randn(own.shape)
    for mine, theirs in zip(
        torch.autograd.grad((own * direction).sum(), wanted),
        torch.autograd.grad((stock * direction).sum(), wanted),
        strict=True,
    ):
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-3)


def test_unit_is_activation_convolution_norm() -> None:
    torch.manual_seed(0)
    unit = UnitConv(3, 5, kernel_size=3, stride=(2, 1), padding=1, spatial_dims=2)
    image = torch.randn(2, 3, 8, 6)
    expected = F.instance_norm(F.conv2d(F.leaky_relu(image, 0.01), unit.conv_norm.conv.weight, None, (2, 1), 1))
    torch.testing.assert_close(unit([image]), expected, rtol=1e-4, atol=1e-5)
    assert isinstance(unit.conv_norm, ConvNorm) and unit.conv_norm.conv.bias is None


@pytest.mark.parametrize(
    ("down", "up", "size", "kernel"),
    [
        ([1, 1, 1], [1, 1, 1], [8, 8, 6], 1),
        ([2, 2, 1], [1, 1, 1], [4, 4, 6], 3),
        ([1, 1, 1], [2, 2, 1], [16, 16, 6], 3),
    ],
)
def test_resample_brings_channels_and_size(down: list[int], up: list[int], size: list[int], kernel: int) -> None:
    resample = Resample(3, 5, down=down, up=up, spatial_dims=3)
    assert list(resample([torch.randn(2, 3, 8, 8, 6)]).shape) == [2, 5, *size]
    assert resample.unit.conv_norm.conv.kernel_size == (kernel,) * 3


def test_zeros_have_the_features_type_and_the_strided_size() -> None:
    zeros = empty_like_strided(torch.ones(2, 3, 7, 4, dtype=torch.bfloat16), 5, [2, 1])
    assert zeros.shape == (2, 5, 4, 4) and zeros.dtype == torch.bfloat16 and not zeros.any()


def test_convolution_of_other_dimensions_is_refused() -> None:
    assert (convolution(2), convolution(3)) == (nn.Conv2d, nn.Conv3d)
    with pytest.raises(ValueError, match="spatial_dims must be 2 or 3, got 1"):
        convolution(1)
