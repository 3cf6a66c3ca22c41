"""MONAI's SupervisedTrainer for one network, with this project's number formats."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from monai.engines import SupervisedTrainer
from monai.engines.trainer import Trainer
from monai.utils.enums import CommonKeys
from torch import Tensor, nn

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.training.losses import segmentation_loss


@dataclass(frozen=True)
class TrainerConfig:
    """Rates of a training."""

    rate: float = 3e-3  # Adam; all layers are normalised
    warmup_steps: int = 20  # Adam's second moments need that long to mean anything
    max_gradient_norm: float = 12.0  # as in nnU-Net


def rate_at(step: int, total_steps: int, config: TrainerConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero."""
    if step < config.warmup_steps:
        return config.rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, total_steps - config.warmup_steps)
    return config.rate * 0.5 * (1 + math.cos(math.pi * progress))


def make_trainer(
    network: nn.Module,
    batches: Iterable[dict[str, Tensor]],
    *,
    config: TrainerConfig,
    num_epochs: int,
    epoch_length: int,
    compute: Compute,
) -> SupervisedTrainer:
    """Return a trainer whose ``output["loss"]`` is a float; its ``optimizer`` and ``scaler`` are its other state.

    Args:
        network: on its device, in its layout.
        batches: of the steps still to be run.
        config: rates.
        num_epochs: of the whole run.
        epoch_length: steps an epoch.
        compute: number format.
    """
    total_steps = num_epochs * epoch_length

    def update(engine: Trainer, batch: dict[str, Tensor]) -> dict[str, Any]:
        image = compute.place(batch[CommonKeys.IMAGE])
        label = batch[CommonKeys.LABEL].to(compute.device)
        network.train()
        for group in engine.optimizer.param_groups:
            group["lr"] = rate_at(engine.state.iteration - 1, total_steps, config)
        engine.optimizer.zero_grad()
        with compute.autocast():
            logits = network(image)
        loss = engine.loss_function(logits.float(), label)
        engine.scaler.scale(loss).backward()
        engine.scaler.unscale_(engine.optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
        engine.scaler.step(engine.optimizer)
        engine.scaler.update()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise UserError(f"the loss is {value}: check the data with `monai-nas check`, or run with --float32")
        return {CommonKeys.LOSS: value}

    trainer = SupervisedTrainer(
        device=compute.device,
        max_epochs=num_epochs,
        train_data_loader=batches,
        network=network,
        optimizer=torch.optim.Adam(network.parameters(), lr=config.rate),
        loss_function=segmentation_loss(),
        epoch_length=epoch_length,
        iteration_update=update,
        decollate=False,
    )
    trainer.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.needs_loss_scaling)
    return trainer
