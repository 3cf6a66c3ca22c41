"""MONAI's SupervisedTrainer for one network, with this project's number formats."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from monai_nas.compute import Compute
from monai_nas.errors import finite_loss
from monai_nas.rates import warmed_cosine

LEARNING = "network", "optimizer", "plateau", "scaler"  # the attributes of Learners that a checkpoint holds


@dataclass(frozen=True)
class TrainerConfig:
    """Rates of a training with Adam."""

    rate: float = 2e-3  # as in the search; all layers are normalised
    betas: tuple[float, float] = (0.9, 0.999)
    warmup_steps: int = 20  # Adam's second moments need that long to mean anything
    falls_on_cosine: bool = True  # to zero at the last step; else only where the loss stalls
    plateau_epochs: int = 20  # without a lower training loss, before the rate is multiplied by the factor
    plateau_factor: float = 0.1
    max_gradient_norm: float = 12.0  # as in nnU-Net


class Learners:
    """What changes while a network is trained: its weights, the optimiser's moments, the scale of the loss.

    Args:
        network: on its device, in its layout.
        config: rates.
        compute: number format; in float16 the loss is scaled.
    """

    def __init__(self, network: nn.Module, config: TrainerConfig, compute: Compute) -> None:
        self.network = network
        self.config = config
        self.optimizer = torch.optim.Adam(network.parameters(), lr=config.rate, betas=config.betas, fused=True)
        self.plateau = ReduceLROnPlateau(self.optimizer, factor=config.plateau_factor, patience=config.plateau_epochs)
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.needs_loss_scaling)

    def end_epoch(self, mean_loss: float) -> dict[str, float]:
        """Apply the rule that counts epochs, where no cosine sets the rate of each step; return the rate."""
        if not self.config.falls_on_cosine:
            self.plateau.step(mean_loss)
        return {"rate": self.optimizer.param_groups[0]["lr"]}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that :meth:`load_state_dict` needs to continue."""
        return {name: getattr(self, name).state_dict() for name in LEARNING}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from a state that :meth:`state_dict` returned."""
        for name in LEARNING:
            getattr(self, name).load_state_dict(state[name])


def rate_at(step: int, total_steps: int, config: TrainerConfig) -> float:
    """Return the learning rate of a step: linear warm-up, then a cosine to zero."""
    return warmed_cosine(step, total_steps, rate=config.rate, warmup_steps=config.warmup_steps)


def make_trainer(
    learners: Learners,
    batches: Iterable[dict[str, Tensor]],
    *,
    loss: Callable[[Tensor, Tensor], Tensor],
    config: TrainerConfig,
    num_epochs: int,
    epoch_length: int,
    compute: Compute,
    teacher: nn.Module | None = None,
) -> SupervisedTrainer:
    """Return a trainer whose ``output["loss"]`` is a float and whose whole state is in ``learners``.

    Args:
        learners: what changes; the network on its device, in its layout.
        batches: of the steps still to be run.
        loss: logits (B, K, *S) float32, labels (B, 1, *S) -> scalar; with a teacher, its probabilities (B, K, *S).
        config: rates.
        num_epochs: of the whole run.
        epoch_length: steps an epoch.
        compute: number format.
        teacher: trained network, placed like the other, in evaluation mode, that says what is in an image instead of
            the label (Hinton et al. 2015, "Distilling the Knowledge in a Neural Network"). It sees the same augmented
            patches, as in Beyer et al. 2022, "Knowledge distillation: A good teacher is patient and consistent", CVPR,
            section 3.
    """
    total_steps = num_epochs * epoch_length
    network, optimizer, scaler = learners.network, learners.optimizer, learners.scaler

    def update(engine: Engine, batch: dict[str, Tensor]) -> dict[str, float]:
        image, label = compute.place_batch(batch)
        network.train()
        if config.falls_on_cosine:
            for group in optimizer.param_groups:
                group["lr"] = rate_at(engine.state.iteration - 1, total_steps, config)
        optimizer.zero_grad()
        # the teacher first: its feature maps are gone when those of the network, which its gradients need, are made
        target = label if teacher is None else _probabilities(teacher, image, compute)
        with compute.autocast():
            logits = network(image)
        value = loss(logits.float(), target)
        scaler.scale(value).backward()
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(network.parameters(), config.max_gradient_norm)
        scaler.step(optimizer)
        scaler.update()
        return {"loss": finite_loss(float(value.detach()))}

    return SupervisedTrainer(
        device=compute.device,
        max_epochs=num_epochs,
        train_data_loader=batches,
        network=network,
        optimizer=optimizer,
        loss_function=loss,
        epoch_length=epoch_length,
        iteration_update=update,
        decollate=False,
    )


def _probabilities(teacher: nn.Module, image: Tensor, compute: Compute) -> Tensor:
    with torch.no_grad(), compute.autocast():
        logits: Tensor = teacher(image)
    return logits.float().softmax(dim=1)
