"""The losses of searches and trainings: logits (B, K, *S), labels (B, 1, *S) -> scalar.

They are MONAI's ``DiceLoss`` and ``DiceCELoss`` without one-hot labels and without a second softmax, which autograd
keeps. Of the label of a voxel only the probability that it picks is needed, and sums of these over a class.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

SMOOTHING = 1e-5  # of numerator and denominator of Dice, MONAI's


def segmentation_loss() -> nn.Module:
    """Return Dice plus cross-entropy.

    Dice is taken over the whole batch, so that a class absent from one patch gives no spurious gradient, and over the
    foreground, as the score is; cross-entropy keeps gradients where Dice's vanish.
    """
    return SoftDiceLoss(background=False, cross_entropy=True)


def multi_class_dice_loss() -> nn.Module:
    """Return the mean of the Dice losses of all classes, the background's too (scnas.txt, section 4)."""
    return SoftDiceLoss(background=True, cross_entropy=False)


class SoftDiceLoss(nn.Module):
    """Mean over classes of 1 - 2 sum(p t) / (sum(p) + sum(t)), sums over the voxels of the batch.

    Args:
        background: whether class 0 counts.
        cross_entropy: whether its mean over the voxels is added.
    """

    def __init__(self, *, background: bool, cross_entropy: bool) -> None:
        super().__init__()
        self.first_class = 0 if background else 1
        self.cross_entropy = cross_entropy

    def forward(self, logits: Tensor, label: Tensor) -> Tensor:
        """Return the loss of logits (B, K, *S), K >= 2, in 32 bits or more, and whole numbers below K (B, 1, *S)."""
        loss: Tensor = SoftDice.apply(logits, label, self.first_class, self.cross_entropy)  # type: ignore[no-untyped-call]
        return loss


class SoftLabelLoss(nn.Module):
    """Dice plus cross-entropy, as :func:`segmentation_loss`, but against probabilities instead of labels.

    Cross-entropy -sum_k t_k log p_k, mean over the voxels; and of each foreground class 1 - (P + T - D) / (P + T), with
    P and T the sums of p and t over the voxels of the batch, and D that of |p - t|: Dice where t is 0 or 1, and unlike
    it least where p = t (Wang et al. 2023, "Dice Semimetric Losses", MICCAI, the loss DML1).
    """

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return the loss of logits (B, K, *S), K >= 2, in 32 bits or more, and probabilities (B, K, *S)."""
        log_probability = F.log_softmax(logits, dim=1)
        cross_entropy = -(target * log_probability).sum(1).mean()
        over = (0, *range(2, logits.dim()))
        probability, target = log_probability.exp()[:, 1:], target[:, 1:]
        size = (probability + target).sum(over) + SMOOTHING
        return cross_entropy + ((probability - target).abs().sum(over) / size).mean()


class SoftDice(Function):
    """Soft Dice, with or without cross-entropy, of one softmax; the probabilities and the labels are kept.

    With I_k the sum of p_k over the voxels of class k, and S_k that of p_k over all voxels plus the number of those of
    class k, the loss of one of C classes is 1 - 2 I_k / S_k, and the gradient of its mean in p_k is

        g_k = (2 I_k / S_k^2 - [y = k] 2 / S_k) / C,

    in the logits p_k (g_k - sum_j p_j g_j); cross-entropy of n voxels adds (p_k - [y = k]) / n.
    """

    @staticmethod
    def forward(ctx: Any, logits: Tensor, label: Tensor, first_class: int, cross_entropy: bool) -> Tensor:
        log_probability = F.log_softmax(logits, dim=1)
        of_truth = log_probability.gather(1, label.long())
        loss = -of_truth.mean() if cross_entropy else of_truth.new_zeros(())
        probability = log_probability.exp_()  # in the same memory
        of_truth.exp_()
        sums = torch.stack([_overlap_and_size(of_truth, label == index) for index in range(logits.shape[1])])
        overlap, size = sums.unbind(1)
        numerator = 2 * overlap + SMOOTHING
        denominator = probability.sum(dim=(0, *range(2, logits.dim()))) + size + SMOOTHING
        loss += (1 - numerator / denominator)[first_class:].mean()
        slopes = torch.stack([numerator / denominator**2, -2 / denominator]) / (logits.shape[1] - first_class)
        slopes[:, :first_class] = 0
        ctx.save_for_backward(probability, label, slopes)
        ctx.share = cross_entropy / label.numel()  # of a voxel in cross-entropy
        return loss

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        probability, label, slopes = ctx.saved_tensors
        index = label.long()
        everywhere, at_truth = slopes * gradient
        pull = at_truth[index] * probability.gather(1, index) - ctx.share * gradient
        to_logits = probability * everywhere.view(-1, *[1] * (label.dim() - 2))
        to_logits.addcmul_(probability, to_logits.sum(1, keepdim=True) + pull, value=-1)
        return to_logits.scatter_add_(1, index, pull), None, None, None


def _overlap_and_size(of_truth: Tensor, in_class: Tensor) -> Tensor:
    """Return the sum of the probabilities of the truth over the voxels of a class, and their number."""
    return torch.stack([(of_truth * in_class).sum(), in_class.sum()])
