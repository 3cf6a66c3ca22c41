"""The fast forms against torch's own: outputs and gradients."""

from collections.abc import Callable

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from torch import Tensor
from torch.nn import functional as F

from monai_nas.ops import fast, functions

SHAPES = {3: (2, 3, 7, 12, 9), 2: (2, 3, 13, 6)}


def compare(own: Callable[..., Tensor], stock: Callable[..., Tensor], *tensors: Tensor, tolerance: float) -> None:
    """Assert that outputs and all gradients agree."""
    results = []
    for function in (own, stock):
        inputs = [tensor.detach().clone(memory_format=torch.preserve_format).requires_grad_() for tensor in tensors]
        output = function(*inputs)
        weight = torch.linspace(-1, 1, output.numel()).reshape(output.shape).to(output.dtype)
        results.append((output, *torch.autograd.grad((output * weight).sum(), inputs)))
    for mine, theirs in zip(*results, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=tolerance, atol=tolerance)


def features(dims: int, dtype: torch.dtype, channels_last: bool) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    layout = torch.channels_last_3d if dims == 3 else torch.channels_last
    drawn = torch.randn(SHAPES[dims], generator=generator).to(dtype)
    return drawn.to(memory_format=layout) if channels_last else drawn


CASES = [(dims, dtype, last) for dims in (2, 3) for dtype in (torch.float32, torch.bfloat16) for last in (False, True)]
cases = pytest.mark.parametrize(("dims", "dtype", "channels_last"), CASES)
TOLERANCE = {torch.float32: 1e-4, torch.bfloat16: 0.1}


@cases
@pytest.mark.parametrize("rate", [1, 2, 3, 4])
def test_dilated_convolution(dims: int, dtype: torch.dtype, channels_last: bool, rate: int) -> None:
    weight = torch.randn(4, 3, *[3] * dims, generator=torch.Generator().manual_seed(1)).to(dtype)
    convolve = F.conv3d if dims == 3 else F.conv2d
    compare(
        lambda x, w: fast.dilated_convolution(x, w, [1] * dims, rate),
        lambda x, w: convolve(x, w, None, 1, rate, rate),
        features(dims, dtype, channels_last),
        weight,
        tolerance=TOLERANCE[dtype] * 3,
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stride", [(2, 2, 2), (2, 2, 1), (1, 2, 1), (3, 3, 3), (1, 2, 3), (5, 1, 7)])
@pytest.mark.parametrize("rate", [2, 3, 4])
def test_strided_dilated_convolution(stride: tuple[int, ...], rate: int, dtype: torch.dtype) -> None:
    weight = torch.randn(4, 3, 3, 3, 3, generator=torch.Generator().manual_seed(1)).to(dtype)
    compare(
        lambda x, w: fast.dilated_convolution(x, w, list(stride), rate),
        lambda x, w: F.conv3d(x, w, None, stride, rate, rate),
        features(3, dtype, True),
        weight,
        tolerance=TOLERANCE[dtype] * 3,
    )


@pytest.mark.parametrize("size", [(2, 3, 4), (1, 2, 5), (13, 6, 2)])
@pytest.mark.parametrize("stride", [(2, 2, 2), (1, 2, 2), (2, 1, 1)])
def test_gradients_of_few_voxels(size: tuple[int, ...], stride: tuple[int, ...]) -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, 4, *size, generator=generator).to(memory_format=torch.channels_last_3d)
    weight = torch.randn(5, 4, 3, 3, 3, generator=generator)
    found = []
    for dtype, convolve in (
        (torch.bfloat16, lambda x, w: fast.dilated_convolution(x, w, list(stride), 3)),
        (torch.float64, lambda x, w: F.conv3d(x, w, None, stride, 3, 3)),
    ):
        inputs = [tensor.bfloat16().to(dtype).requires_grad_() for tensor in (drawn, weight)]
        found.append([one.double() for one in torch.autograd.grad(convolve(*inputs).sum(), inputs)])
    for own, exact in zip(*found, strict=True):
        assert float((own - exact).norm()) < 2**-7 * float(exact.norm())


@cases
def test_max_pool_with_ties(dims: int, dtype: torch.dtype, channels_last: bool) -> None:
    coarse = (features(dims, dtype, channels_last) * 2).round()  # few values, so that most maxima are ties
    pool = F.max_pool3d if dims == 3 else F.max_pool2d
    compare(lambda x: fast.max_pool(x, [1] * dims), lambda x: pool(x, 3, 1, 1), coarse, tolerance=TOLERANCE[dtype] / 3)
    with torch.no_grad():
        assert torch.equal(fast.max_pool(coarse, [1] * dims), pool(coarse, 3, 1, 1))


@pytest.mark.parametrize("dims", [2, 3])
def test_strided_max_pool_keeps_16_bits(dims: int) -> None:
    drawn = features(dims, torch.bfloat16, True)
    pool = F.max_pool3d if dims == 3 else F.max_pool2d
    with torch.autocast("cpu", dtype=torch.bfloat16):
        pooled = fast.max_pool(drawn, [2] * dims)
    assert pooled.dtype == torch.bfloat16 and torch.equal(pooled, pool(drawn, 3, 2, 1))
    compare(lambda x: fast.max_pool(x, [2] * dims), lambda x: pool(x, 3, 2, 1), drawn, tolerance=0.0)


@pytest.mark.parametrize("stride", [(1, 1, 1), (2, 2, 2), (1, 2, 3), (2, 2), (1, 1)])
def test_avg_pool_without_gradients_keeps_32_bits(stride: tuple[int, ...]) -> None:
    pool = F.avg_pool3d if len(stride) == 3 else F.avg_pool2d
    for channels_last in (False, True):
        drawn = features(len(stride), torch.float32, channels_last)
        before = drawn.clone()
        with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = fast.avg_pool(drawn, list(stride))
        torch.testing.assert_close(pooled, pool(drawn, 3, stride, 1), rtol=1e-5, atol=1e-6)
        assert torch.equal(drawn, before) and functions.layout(pooled) == functions.layout(drawn)
    voxel = torch.ones(1, 1, *[1] * len(stride))
    with torch.no_grad():
        assert float(fast.avg_pool(voxel, list(stride))) == pytest.approx(3.0 ** -len(stride))


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("dims", [2, 3])
def test_avg_pool(dims: int, stride: int) -> None:
    pool = F.avg_pool3d if dims == 3 else F.avg_pool2d
    compare(
        lambda x: fast.avg_pool(x, [stride] * dims),
        lambda x: pool(x, 3, stride, 1),
        features(dims, torch.float32, True),
        tolerance=1e-5,
    )


@cases
@pytest.mark.parametrize(("channels", "size"), [(3, 6), (4, 5), (8, 6), (16, 6)])  # 4 of 5: each voxel alone
def test_instance_norm(dims: int, dtype: torch.dtype, channels_last: bool, channels: int, size: int) -> None:
    drawn = torch.randn(2, channels, *[size] * dims, generator=torch.Generator().manual_seed(0)).to(dtype) + 1
    layout = torch.channels_last_3d if dims == 3 else torch.channels_last
    compare(
        lambda x, w, b: fast.instance_norm(x, w, b, 1e-5),
        lambda x, w, b: F.instance_norm(x, weight=w, bias=b, eps=1e-5),
        drawn.to(memory_format=layout) if channels_last else drawn,
        torch.linspace(0.5, 2.0, channels),
        torch.linspace(-1.0, 1.0, channels),
        tolerance=TOLERANCE[dtype] * (1 if dtype == torch.float32 else 2),
    )


@pytest.mark.parametrize("channels", [4, 16])
def test_instance_norm_of_a_tensor_with_history(channels: int) -> None:
    image = torch.randn(1, channels, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    weight, bias = torch.ones(channels), torch.zeros(channels)
    with torch.no_grad():
        own = fast.instance_norm(MetaTensor(image), weight, bias, 1e-5)
    torch.testing.assert_close(torch.as_tensor(own).as_subclass(Tensor), F.instance_norm(image), rtol=1e-4, atol=1e-5)


@cases
def test_join(dims: int, dtype: torch.dtype, channels_last: bool) -> None:
    first, second = features(dims, dtype, channels_last), features(dims, dtype, channels_last)[:, :2]
    compare(lambda x, y: fast.join([x, y]), lambda x, y: torch.cat([x, y], 1), first, second, tolerance=0.0)
    inputs = [first.requires_grad_(), second.requires_grad_()]
    output = fast.join(inputs)
    memory_format = functions.layout(output)
    for part in torch.autograd.grad(output, inputs, torch.ones_like(output)):
        assert part.is_contiguous(memory_format=memory_format)


def test_interleave_takes_every_second_voxel() -> None:
    lattices = functions.interleave(torch.arange(4.0).reshape(1, 1, 2, 2), 2)
    assert lattices.shape == (4, 1, 1, 1)
    assert lattices.flatten().tolist() == [0.0, 1.0, 2.0, 3.0]


def test_results_of_a_lattice_read_it() -> None:
    line = torch.arange(1.0, 8.0).reshape(1, 1, 7, 1)
    lattices = functions.lattices_read(line, [2, 1], 3)[:, 0]
    # of results 0 to 3, which read voxels (-3, 0, 3), (-1, 2, 5), (1, 4, 7) and (3, 6, 9): 0 and 3 share a lattice
    assert [lattices[3 * which, :, 1].tolist() for which in range(3)] == [
        [0, 1, 4, 7, 0],
        [0, 3, 6, 0, 0],
        [2, 5, 0, 0, 0],
    ]


@cases
def test_leaky_relu(dims: int, dtype: torch.dtype, channels_last: bool) -> None:
    compare(fast.leaky_relu, F.leaky_relu, features(dims, dtype, channels_last), tolerance=0.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_leaky_relu_without_gradients_is_what_a_convolution_reads(dtype: torch.dtype) -> None:
    drawn = features(3, dtype, True)
    before = drawn.clone()
    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        result = fast.leaky_relu(drawn)
    assert result.dtype == torch.bfloat16 and torch.equal(drawn, before)
    torch.testing.assert_close(result.float(), F.leaky_relu(drawn.float()), rtol=2**-7, atol=0.0)
    with torch.no_grad():
        assert torch.equal(fast.leaky_relu(drawn), F.leaky_relu(drawn))


def test_leaky_relu_keeps_what_the_convolution_after_it_keeps() -> None:
    kept: list[int] = []

    def note(tensor: Tensor) -> Tensor:
        kept.append(tensor.data_ptr())
        return tensor

    weight = torch.ones(3, 3, 1, 1, 1)
    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        F.conv3d(fast.leaky_relu(features(3, torch.float32, True).requires_grad_()), weight)
    assert len(set(kept) - {weight.data_ptr()}) == 1
