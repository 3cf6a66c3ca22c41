"""The losses against MONAI's, against their formula and against finite differences; what they keep for gradients."""

from collections.abc import Callable

import pytest
import torch
from monai.losses import DiceCELoss, DiceLoss
from torch import Tensor, nn

from monai_nas.losses import SoftLabelLoss, multi_class_dice_loss, segmentation_loss

SIZES = {2: (9, 8), 3: (6, 5, 7)}
OURS_AND_MONAI = [
    (segmentation_loss(), DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)),
    (multi_class_dice_loss(), DiceLoss(include_background=True, to_onehot_y=True, softmax=True, batch=True)),
]
both = pytest.mark.parametrize(("ours", "monai"), OURS_AND_MONAI, ids=["dice and cross-entropy", "dice"])


def drawn(num_classes: int, dims: int, dtype: torch.dtype = torch.float32) -> tuple[Tensor, Tensor]:
    """Return logits of unlike classes, with gradients, and labels."""
    generator = torch.Generator().manual_seed(num_classes)
    logits = 3 * torch.randn(2, num_classes, *SIZES[dims], generator=generator, dtype=dtype)
    label = torch.randint(0, num_classes, (2, 1, *SIZES[dims]), generator=generator)
    return logits.requires_grad_(), label


def value_and_gradient(
    loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, label: Tensor
) -> tuple[Tensor, Tensor]:
    value = loss(logits, label)
    (gradient,) = torch.autograd.grad(3 * value, logits)  # scaled, as in 16 bits
    return value, gradient


@both
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.float32])
@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("num_classes", [2, 3, 14])
def test_values_and_gradients_are_those_of_monai(
    ours: nn.Module, monai: nn.Module, dtype: torch.dtype, dims: int, num_classes: int
) -> None:
    logits, label = drawn(num_classes, dims)
    layout = torch.channels_last_3d if dims == 3 else torch.channels_last
    for image in (logits, logits.detach().to(memory_format=layout).requires_grad_()):
        (value, gradient), (wanted, wanted_gradient) = (
            value_and_gradient(loss, image, label.to(dtype)) for loss in (ours, monai)
        )
        torch.testing.assert_close(value, wanted, rtol=1e-6, atol=0.0)
        torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-5, atol=1e-6 * float(wanted_gradient.abs().max()))


@both
def test_sums_over_many_voxels_are_as_exact_as_those_of_monai(ours: nn.Module, monai: nn.Module) -> None:
    """Numbers of 32 bits added one after the other would lose what is wanted here."""
    generator = torch.Generator().manual_seed(0)
    logits, label = torch.randn(1, 2, 1500, 1500, generator=generator), torch.zeros(1, 1, 1500, 1500)
    torch.testing.assert_close(ours(logits, label), monai(logits, label), rtol=1e-6, atol=0.0)


@both
def test_gradients_are_those_of_finite_differences(ours: nn.Module, monai: nn.Module) -> None:
    logits, label = drawn(3, 2, torch.float64)
    assert torch.autograd.gradcheck(lambda values: ours(values, label), logits)


@both
def test_it_keeps_the_probabilities_where_monai_keeps_several_copies(ours: nn.Module, monai: nn.Module) -> None:
    logits, label = drawn(4, 3)
    label = label.to(torch.uint8)
    kept, kept_by_monai = (bytes_kept(loss, logits, label) for loss in (ours, monai))
    slopes = 2 * 4 * 4  # two numbers a class
    assert kept == 4 * logits.numel() + slopes
    assert kept < 0.51 * kept_by_monai


def bytes_kept(loss: nn.Module, logits: Tensor, label: Tensor) -> int:
    """Return the bytes that autograd keeps, beside the logits and labels that are there anyway; views once."""
    sizes: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        value = loss(logits, label)  # holds what is kept, so that no place in memory is taken twice
    assert value.requires_grad
    return sum(size for place, size in sizes.items() if place not in (logits.data_ptr(), label.data_ptr()))


@pytest.mark.parametrize("present", [(0, 0), (1, 1), (0, 1), (2, 2)])
def test_loss_is_finite_where_classes_are_absent(present: tuple[int, int]) -> None:
    logits = torch.randn(2, 3, 4, 4, 4, generator=torch.Generator().manual_seed(0)).requires_grad_()
    label = torch.tensor(present).reshape(2, 1, 1, 1, 1).expand(2, 1, 4, 4, 4).contiguous()
    loss = segmentation_loss()(logits, label)
    loss.backward()
    assert loss.isfinite() and logits.grad is not None and logits.grad.isfinite().all()


def test_loss_is_near_zero_for_the_truth_and_large_for_its_opposite() -> None:
    label = torch.randint(0, 3, (2, 1, 6, 6, 6), generator=torch.Generator().manual_seed(0))
    truth = 20 * nn.functional.one_hot(label[:, 0], 3).movedim(-1, 1).float()
    loss = segmentation_loss()
    assert float(loss(truth, label)) < 1e-3 < 1.0 < float(loss(-truth, label))


def test_multi_class_dice_is_its_formula() -> None:
    """1 - mean over classes of 2 sum(p t) / (sum p + sum t), sums over the batch."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 4, 4, generator=generator)
    label = torch.randint(0, 3, (2, 1, 4, 4, 4), generator=generator)
    probability, truth = logits.softmax(dim=1), nn.functional.one_hot(label[:, 0], 3).movedim(-1, 1)
    both = (probability * truth).sum(dim=(0, 2, 3, 4))
    dice = 2 * both / (probability + truth).sum(dim=(0, 2, 3, 4))
    assert float(multi_class_dice_loss()(logits, label)) == pytest.approx(1 - float(dice.mean()), rel=1e-4)


@pytest.mark.parametrize("dims", [2, 3])
@pytest.mark.parametrize("num_classes", [2, 3, 14])
def test_probabilities_of_0_and_1_are_labels(num_classes: int, dims: int) -> None:
    logits, label = drawn(num_classes, dims)
    target = nn.functional.one_hot(label[:, 0], num_classes).movedim(-1, 1).float()
    value, gradient = value_and_gradient(SoftLabelLoss(), logits, target)
    wanted, wanted_gradient = value_and_gradient(segmentation_loss(), logits, label)
    torch.testing.assert_close(value, wanted, rtol=1e-5, atol=0.0)
    torch.testing.assert_close(gradient, wanted_gradient, rtol=1e-4, atol=1e-5 * float(wanted_gradient.abs().max()))


def test_probabilities_are_what_a_network_is_led_to() -> None:
    """Dice against probabilities would lead to 0 and 1 instead."""
    logits = drawn(3, 3, torch.float64)[0].detach()
    target = logits.softmax(dim=1)
    ours, dice = SoftLabelLoss(), DiceCELoss(include_background=False, softmax=True, batch=True)
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-1, 1.0):
        away = logits + size * torch.randn(logits.shape, generator=generator, dtype=torch.float64)
        assert ours(away, target) > ours(logits, target)
    for sharper in (1.01, 1.1):
        assert ours(sharper * logits, target) > ours(logits, target)
        assert dice(sharper * logits, target) < dice(logits, target)


def test_the_loss_of_probabilities_has_the_gradients_of_finite_differences() -> None:
    logits, _ = drawn(3, 2, torch.float64)
    target = drawn(3, 2, torch.float64)[0].detach().flip(0).softmax(dim=1)
    assert torch.autograd.gradcheck(lambda values: SoftLabelLoss()(values, target), logits)
