"""The losses of searches and trainings: logits (B, K, *S), labels (B, 1, *S) -> scalar."""

from monai.losses import DiceCELoss, DiceLoss
from torch import nn


def segmentation_loss() -> nn.Module:
    """Return Dice plus cross-entropy.

    Dice is taken over the whole batch, so that a class absent from one patch gives no spurious gradient, and over the
    foreground, as the score is; cross-entropy keeps gradients where Dice's vanish.
    """
    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)


def multi_class_dice_loss() -> nn.Module:
    """Return the mean of the Dice losses of all classes, the background's too (scnas.txt, section 4)."""
    return DiceLoss(include_background=True, to_onehot_y=True, softmax=True, batch=True)
