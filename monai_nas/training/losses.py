"""The loss of searches and trainings."""

from monai.losses import DiceCELoss
from torch import nn


def segmentation_loss() -> nn.Module:
    """Return Dice plus cross-entropy on logits (B, K, *S) and labels (B, 1, *S).

    Dice is taken over the whole batch, so that a class absent from one patch gives no spurious gradient, and over the
    foreground, as the score is; cross-entropy keeps gradients where Dice's vanish.
    """
    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
