"""Adafactor: steps in closed form and against torch's, and what it keeps."""

import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from monai_nas.strategies.adafactor import Adafactor


def gradients(shape: tuple[int, ...], count: int = 5) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=generator) for _ in range(count)]


def follow(weight: nn.Parameter, optimizer: torch.optim.Optimizer, found: list[Tensor]) -> Tensor:
    for gradient in found:
        weight.grad = gradient.clone()
        optimizer.step()
    return weight.detach()


def test_squares_that_are_a_product_give_steps_of_one_rate() -> None:
    signs = torch.tensor([[1.0, -1.0, 1.0], [-1.0, -1.0, 1.0]])
    gradient = signs * torch.outer(torch.tensor([1.0, 4.0]), torch.tensor([0.1, 2.0, 3.0]))
    weight = nn.Parameter(torch.zeros(2, 3))
    assert torch.allclose(follow(weight, Adafactor([weight], lr=0.5), [gradient]), -0.5 * signs)


@pytest.mark.parametrize("shape", [(7,), (6, 5)])
def test_steps_are_those_of_torch(shape: tuple[int, ...]) -> None:
    """torch's rate is relative to the root mean square of the weights, here 1 but for steps that are tiny beside it."""
    start, found = torch.ones(shape), gradients(shape)
    ours, theirs = (nn.Parameter(start.clone()) for _ in range(2))
    rate = 1e-4
    moved = follow(ours, Adafactor([ours], lr=rate), found) - start
    expected = follow(theirs, torch.optim.Adafactor([theirs], lr=rate, eps=(1e-30, 1e-3)), found) - start
    assert torch.allclose(moved, expected, rtol=5e-3, atol=1e-2 * rate)


def test_a_kernel_is_a_matrix_of_its_output_channels() -> None:
    found = gradients((4, 3, 3, 3, 3))
    kernel, matrix = nn.Parameter(torch.zeros(4, 3, 3, 3, 3)), nn.Parameter(torch.zeros(4, 81))
    moved = follow(kernel, Adafactor([kernel], lr=0.1), found)
    flat = follow(matrix, Adafactor([matrix], lr=0.1), [gradient.flatten(1) for gradient in found])
    assert torch.equal(moved.flatten(1), flat)


def test_it_keeps_rows_and_columns_alone() -> None:
    kernel, bias = nn.Parameter(torch.zeros(16, 8, 3, 3, 3)), nn.Parameter(torch.zeros(16))
    optimizer = Adafactor([kernel, bias], lr=0.1)
    for weight in (kernel, bias):
        weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = {name: value.numel() for name, value in optimizer.state[kernel].items() if isinstance(value, Tensor)}
    assert kept == {"rows": 16, "columns": 8 * 27}
    assert optimizer.state[bias]["moment"].shape == bias.shape


def test_the_layout_of_a_kernel_changes_nothing() -> None:
    found = gradients((4, 3, 3, 3, 3))
    plain = nn.Parameter(torch.zeros(4, 3, 3, 3, 3))
    last = nn.Parameter(torch.zeros(4, 3, 3, 3, 3).to(memory_format=torch.channels_last_3d))
    moved = follow(plain, Adafactor([plain], lr=0.1), found)
    optimizer = Adafactor([last], lr=0.1)
    for gradient in found:
        last.grad = gradient.to(memory_format=torch.channels_last_3d)
        optimizer.step()
    assert torch.allclose(moved, last, atol=1e-6) and last.is_contiguous(memory_format=torch.channels_last_3d)


def test_the_scale_of_gradients_changes_nothing() -> None:
    one, other = (nn.Parameter(torch.zeros(6, 5)) for _ in range(2))
    found = gradients((6, 5))
    moved = follow(one, Adafactor([one], lr=0.1), found)
    assert torch.allclose(moved, follow(other, Adafactor([other], lr=0.1), [1024 * gradient for gradient in found]))


def test_weights_without_gradients_stay() -> None:
    weight = nn.Parameter(torch.ones(3, 3))
    optimizer = Adafactor([weight], lr=0.1)
    optimizer.step()
    assert torch.equal(weight, torch.ones(3, 3)) and not optimizer.state


def test_updates_in_backward_are_the_same_and_leave_no_gradients() -> None:
    def build() -> tuple[nn.Module, Adafactor]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LeakyReLU(), nn.Conv2d(4, 2, 3))
        first, second = network[0].parameters(), network[2].parameters()
        return network, Adafactor([{"params": first}, {"params": second, "lr": 0.01}], lr=0.1)

    image = torch.randn(2, 2, 8, 8, generator=torch.Generator().manual_seed(1))
    (after, one), (within, other) = build(), build()
    other.update_in_backward()
    for step in range(3):
        if step == 2:
            other.load_state_dict(other.state_dict())  # replaces the groups
            for optimizer in (one, other):
                optimizer.param_groups[1]["lr"] = 0.05
        after(image).square().mean().backward()
        one.step()
        within(image).square().mean().backward()
        assert all(weight.grad is None for weight in within.parameters())
        other.step()  # nothing is left to do
    assert all(map(torch.equal, after.parameters(), within.parameters()))


def test_gradients_are_dropped_one_by_one_and_nothing_is_kept_alive() -> None:
    network = nn.Sequential(*(nn.Linear(3, 3) for _ in range(3)))
    weights = list(network.parameters())
    optimizer = Adafactor(weights, lr=0.1)
    optimizer.update_in_backward()
    there: list[int] = []

    def count(_: Tensor) -> None:
        there.append(sum(weight.grad is not None for weight in weights))

    hooks = [weight.register_post_accumulate_grad_hook(count) for weight in weights]
    network(torch.ones(2, 3)).sum().backward()
    assert there == [0] * 6
    for hook in hooks:
        hook.remove()
    kept = [weakref.ref(optimizer), *map(weakref.ref, weights)]
    weights.clear()
    del network, optimizer
    gc.collect()
    assert not any(one() is not None for one in kept)


@pytest.mark.parametrize("wrong", [float("nan"), float("inf")])
def test_gradients_that_are_no_numbers_are_remembered(wrong: float) -> None:
    weight = nn.Parameter(torch.ones(2, 2))
    optimizer = Adafactor([weight], lr=0.1)
    follow(weight, optimizer, [torch.ones(2, 2)])
    assert optimizer.is_finite
    follow(weight, optimizer, [torch.tensor([[1.0, wrong], [1.0, 1.0]]), torch.ones(2, 2)])
    assert not optimizer.is_finite


def test_rows_and_columns_without_gradients_are_no_trouble() -> None:
    """The product of two tiny means is no number that can be divided by."""
    gradient = torch.zeros(4, 5)
    gradient[0, 0] = 1e-6
    weight = nn.Parameter(torch.zeros(4, 5))
    moved = follow(weight, Adafactor([weight], lr=0.1), [gradient, torch.zeros(4, 5), gradient])
    assert torch.isfinite(moved).all() and moved[0, 0] < 0
    assert torch.equal(moved.flatten()[1:], torch.zeros(19))
