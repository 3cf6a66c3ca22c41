"""Peak memory of a training step and of a forward pass, predicted on fake tensors for any device."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from monai_nas.compute import Compute
from monai_nas.cost.fake import FakeRun, fake_run
from monai_nas.losses import segmentation_loss

Loss = Callable[[Tensor, Tensor], Tensor]  # logits (B, K, *S) float32, labels (B, 1, *S) -> scalar

UPDATE_SCALARS = 8  # a weight: more than clipping needs beside gradients; fused Adam needs none
MAX_GRADIENT_NORM = 12.0  # any number: it changes no size


def training_memory(
    network: nn.Module,
    in_channels: int,
    size: Sequence[int],
    batch_size: int = 1,
    *,
    compute: Compute,
    loss: Loss | None = None,
) -> int:
    """Return the peak of live tensor bytes in a step of :func:`monai_nas.training.make_trainer`, nothing being run.

    It counts weights, gradients, Adam's two moments, the batch, what autograd keeps, casts and copies in other layouts,
    and every operator's output as long as it lives; for CUDA each rounded up as the allocator does. Left out is what
    operators allocate within themselves (see :class:`~monai_nas.cost.Calibration`), the loss scaling of float16
    (a few scalars), further batches that wait, and the libraries.

    Args:
        network: maps images to logits of the images' size, on whichever device; it is left as it was.
        in_channels: modalities.
        size: voxels per axis.
        batch_size: images in one step.
        compute: device, number format and layout of the training; for a GPU see :func:`~monai_nas.cost.fake.fake_run`.
        loss: by default Dice plus cross-entropy, that of :func:`~monai_nas.losses.segmentation_loss`.
    """
    loss = loss or segmentation_loss()
    with fake_run(network, compute, spatial_dims=len(size), training=True) as run:
        batch = {
            "image": torch.empty(batch_size, in_channels, *size),
            "label": torch.empty(batch_size, 1, *size, dtype=torch.uint8),  # as data.loaders makes them
        }
        return _peak_of_step(run, batch, loss)


def inference_memory(
    network: nn.Module, in_channels: int, size: Sequence[int], batch_size: int = 1, *, compute: Compute
) -> int:
    """Return the peak of live tensor bytes in a forward pass over patches, weights included, nothing being run.

    Args:
        network: maps images to logits, on whichever device; it is left as it was.
        in_channels: modalities.
        size: voxels per axis.
        batch_size: patches in one pass.
        compute: device, number format and layout; for a GPU see :func:`~monai_nas.cost.fake.fake_run`.
    """
    with fake_run(network, compute, spatial_dims=len(size), training=False) as run, torch.no_grad():
        image = run.compute.place(torch.empty(batch_size, in_channels, *size))
        logits = run.logits(image)
        logits.float()
        return run.live.peak


def _peak_of_step(run: FakeRun, batch: dict[str, Tensor], loss: Loss) -> int:
    """Do what the trainer's update does, in its order, with the same things alive; return the peak.

    It is the second step, of which the moments are there from the start: those of the weights that have gradients.

    Args:
        run: of the network.
        batch: "image" and "label" in main memory.
        loss: of logits and labels.
    """
    live = run.live
    image, label = run.compute.place(batch["image"]), batch["label"].to(run.compute.device)
    logits = run.logits(image)
    value = loss(logits.float(), label)
    value.backward()
    trained = [weight for weight in run.weights if weight.grad is not None]
    scalar = live.size(value)
    moments = sum(2 * live.size(weight) + scalar for weight in trained)  # and Adam's count of steps
    peak = live.peak + moments
    if live.now + moments + UPDATE_SCALARS * scalar * len(trained) > peak:  # else the update cannot be the peak, and
        nn.utils.clip_grad_norm_(trained, MAX_GRADIENT_NORM)  # walking through it takes as long as all before
        torch.optim.Adam(trained, fused=True).step()
    return max(peak, live.peak)
