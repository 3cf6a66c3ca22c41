"""Alternate updates of weights and alphas on two halves of the cases: stochastic bi-level optimisation (SCNAS)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import ReduceLROnPlateau

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.errors import finite_loss
from monai_nas.rates import warmed_cosine
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES
from monai_nas.strategies.strategy import STRATEGIES, Batch, DecidingStrategy, SearchBatch
from monai_nas.supernets import CellUNetSupernet, Selection, edge_entropy, sample_two_operations, temperature_at


@dataclass(frozen=True)
class BilevelConfig:
    """Rates and lengths of a search; the defaults are for an hour on a processor."""

    weight_rate: float = 2e-3  # Adam on normalised edges
    weight_betas: tuple[float, float] = (0.9, 0.999)
    alpha_rate: float = 0.15  # 50 times the paper's, as a search of minutes has a hundredth of its steps: decision 0005
    alpha_betas: tuple[float, float] = (0.5, 0.999)  # scnas.txt, section 4
    warmup_share: float = 0.25  # of the sampling steps: alphas wait until the weights of all candidates mean something
    temperature_start: float = 1.0
    temperature_end: float = 0.05
    plateau_epochs: int = 20  # scnas.txt, section 4: divide the rate by 10 when the training loss stalls so long
    plateau_factor: float = 0.1


class Bilevel(DecidingStrategy):
    """Gradient-based stochastic bi-level optimisation (SCNAS, Kim et al. 2019, algorithms 1 and 2, equations 1-4).

    Each step draws two operations an edge and cell type, updates the weights on one batch and then the alphas on a
    batch of other cases, with the same draw; in a warm-up it updates the weights alone. From ``search_steps`` on the
    selection is the argmax, only weights are updated, and their rate falls to zero on a cosine: annealing makes each
    draw one-hot but not all draws equal, and the last phase closes what is left of the gap between the sampled and the
    final network.

    Args:
        supernet: on its device, in its layout.
        loss: logits (B, K, *S) float32, labels (B, 1, *S) -> scalar.
        config: rates and lengths.
        search_steps: steps with sampling.
        total_steps: all steps.
        seed: of the draws.
        compute: number format.
    """

    def __init__(
        self,
        supernet: CellUNetSupernet,
        *,
        loss: Callable[[Tensor, Tensor], Tensor],
        config: BilevelConfig,
        search_steps: int,
        total_steps: int,
        seed: int,
        compute: Compute,
    ) -> None:
        self.supernet = supernet
        self.loss = loss
        self.config = config
        self.search_steps = search_steps
        self.total_steps = total_steps
        self.seed = seed
        self.compute = compute
        self.weights = list(supernet.weight_parameters())
        self.weight_optimizer = torch.optim.Adam(
            self.weights, lr=config.weight_rate, betas=config.weight_betas, fused=True
        )
        self.alpha_optimizer = torch.optim.Adam(
            supernet.architecture_parameters(), lr=config.alpha_rate, betas=config.alpha_betas
        )
        self.plateau = ReduceLROnPlateau(
            self.weight_optimizer, factor=config.plateau_factor, patience=config.plateau_epochs
        )
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.needs_loss_scaling)
        self.settled: Selection | None = None
        self.temperature = config.temperature_start

    def step(self, batch: SearchBatch) -> dict[str, float]:
        self.supernet.train()
        if batch.alpha_batch is None:
            return self._settle(batch)
        warmup_steps = int(self.config.warmup_share * self.search_steps)
        progress = max(0, batch.step - warmup_steps) / max(1, self.search_steps - 1 - warmup_steps)
        self.temperature = temperature_at(progress, self.config.temperature_start, self.config.temperature_end)
        selection = self.sample(batch.step)
        fixed = {name: weights.detach() for name, weights in selection.items()}
        loss = self._descend(self.weight_optimizer, batch.weight_batch, fixed)
        if batch.step < warmup_steps:
            return {"loss": loss}
        with self._frozen_weights():
            alpha_loss = self._descend(self.alpha_optimizer, batch.alpha_batch, selection)
        return {"loss": loss, "alpha_loss": alpha_loss}

    def sample(self, step: int) -> Selection:
        """Draw the selection of a step at the temperature reached: one draw a cell type, used by all its cells."""
        generator = torch.Generator().manual_seed(int(np.random.SeedSequence([self.seed, step]).generate_state(1)[0]))
        alphas = self.supernet.alphas()
        return {name: sample_two_operations(alphas[name].cpu(), self.temperature, generator) for name in CELL_TYPES}

    def _settle(self, batch: SearchBatch) -> dict[str, float]:
        """Train the weights of the argmax alone, with the rate on a cosine to zero."""
        if self.settled is None:
            self.settled = self.supernet.one_hot(self.architecture())
        step, steps = batch.step - self.search_steps, self.total_steps - self.search_steps
        for group in self.weight_optimizer.param_groups:
            group["lr"] = warmed_cosine(step, steps, rate=self.config.weight_rate)
        return {"loss": self._descend(self.weight_optimizer, batch.weight_batch, self.settled)}

    def _descend(self, optimizer: torch.optim.Optimizer, batch: Batch, selection: Selection) -> float:
        """Take one step of an optimiser down the loss of a selection on a batch; return the loss."""
        image, label = self.compute.place_batch(batch)
        optimizer.zero_grad()
        with self.compute.autocast():
            logits = self.supernet(image, selection)
        loss = self.loss(logits.float(), label)
        if loss.requires_grad:  # where a cell drew nothing but zeros, the alphas do not reach the loss
            self.scaler.scale(loss).backward()
            self.scaler.step(optimizer)
            self.scaler.update()
        return finite_loss(float(loss.detach()))

    @contextmanager
    def _frozen_weights(self) -> Iterator[None]:
        """Keep autograd from storing and computing what only weight gradients need."""
        for parameter in self.weights:
            parameter.requires_grad_(False)
        try:
            yield
        finally:
            for parameter in self.weights:
                parameter.requires_grad_(True)

    def end_epoch(self, mean_loss: float) -> dict[str, float]:
        if self.settled is None:
            self.plateau.step(mean_loss)
        record = {"temperature": self.temperature, "weight_rate": self.weight_optimizer.param_groups[0]["lr"]}
        alphas = self.supernet.alphas()
        shares = torch.cat([alphas[name].detach().cpu().softmax(dim=1) for name in CELL_TYPES]).mean(dim=0)
        for operation, share in zip(self.supernet.space.operations, shares.tolist(), strict=True):
            record[f"share/{operation}"] = share
        for name in CELL_TYPES:
            for edge, entropy in zip(self.supernet.space.edges, edge_entropy(alphas[name]).tolist(), strict=True):
                record[f"entropy/{name}/{edge[0]}-{edge[1]}"] = entropy
        return record

    def architecture(self) -> Architecture:
        return self.supernet.discretize()

    def network(self) -> nn.Module:
        return self.supernet.extract(self.architecture())

    def sampled(self, draw: int) -> Callable[[Tensor], Tensor]:
        selection = self.sample(self.total_steps + draw)
        return lambda image: self.supernet(image, selection)

    def state_dict(self) -> dict[str, Any]:
        return {
            "supernet": self.supernet.state_dict(),
            "weight_optimizer": self.weight_optimizer.state_dict(),
            "alpha_optimizer": self.alpha_optimizer.state_dict(),
            "plateau": self.plateau.state_dict(),
            "scaler": self.scaler.state_dict(),
            "temperature": self.temperature,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.supernet.load_state_dict(state["supernet"])
        self.weight_optimizer.load_state_dict(state["weight_optimizer"])
        self.alpha_optimizer.load_state_dict(state["alpha_optimizer"])
        self.plateau.load_state_dict(state["plateau"])
        self.scaler.load_state_dict(state["scaler"])
        self.temperature = state["temperature"]


def scnas(
    *,
    in_channels: int,
    out_channels: int,
    width: int,
    strides: Sequence[Sequence[int]],
    loss: Callable[[Tensor, Tensor], Tensor],
    search_steps: int,
    total_steps: int,
    config: BilevelConfig | None,
    seed: int,
    compute: Compute,
) -> Bilevel:
    """Return SCNAS: the cell U-Net, two-operation sampling, alternating updates. Arguments as those of its parts."""
    torch.manual_seed(seed)  # the fresh weights
    supernet = CellUNetSupernet(
        CellUNetSpace(), in_channels=in_channels, out_channels=out_channels, width=width, strides=strides
    )
    compute.place(supernet, len(strides[0]))  # modules move in place
    return Bilevel(
        supernet,
        loss=loss,
        config=config or BilevelConfig(),
        search_steps=search_steps,
        total_steps=total_steps,
        seed=seed,
        compute=compute,
    )


STRATEGIES.register("scnas")(scnas)  # no decorator: callers of the function itself get a Bilevel
