"""Train a topology supernet on sampled architectures, assisted by a HyperNet that is annealed away (HyperSegNAS)."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.errors import finite_loss
from monai_nas.rates import warmed_cosine
from monai_nas.spaces import TopologySpace, sample_by_coin, sample_by_density
from monai_nas.strategies.adafactor import Adafactor
from monai_nas.strategies.strategy import SearchBatch, SearchStrategy
from monai_nas.supernets import MetaAssistantNetwork, Selection, TopologySupernet, annealed

Assistant = Literal["annealed", "removed", "kept", "image_only", "none"]

LAWS: dict[str, Callable[[TopologySpace, np.random.Generator], Architecture]] = {
    "density": sample_by_density,
    "coin": sample_by_coin,
}


@dataclass(frozen=True)
class OneShotConfig:
    """Rates and shares of a supernet's training; the defaults are for hours on a processor."""

    rate: float = 1e-2  # of Adafactor; the paper names no optimiser: decision 0008
    assistant_rate: float = 0.1  # of the rate, for the MAN: decision 0008
    warmup_steps: int = 20
    annealing_share: float = 1 / 9  # 20,000 of 180,000 steps (hypersegnas.txt, section 4)
    annealing_rate: float = 0.2  # of the rate, where annealing begins: the weights have to take over from the MAN
    law: str = "density"  # of sampling; "coin" is the paper's, which never trains dense grids
    # The rows of table 1. annealed: HyperSegNAS; removed: at the end, at once; kept: at inference, too; image_only:
    # kept, and blind to the architecture; none: vanilla one-shot.
    assistant: Assistant = "annealed"

    def first_annealed_step(self, total_steps: int) -> int:
        """Return where the last phase begins, with annealing or, for the comparisons of table 1, without."""
        return total_steps - round(self.annealing_share * total_steps)


class OneShot(SearchStrategy):
    """One-shot training with a Meta-Assistant Network (HyperSegNAS, Peng et al. 2022, 3.2, equations 2, 4 and 5).

    Each step draws an architecture and trains its weights and the MAN on one batch. In the last steps the MAN's channel
    weights are annealed to a constant that the supernet takes as none, and then the MAN is gone.

    Args:
        supernet: on its device, in its layout.
        hypernet: the MAN, likewise; None for the assistant "none".
        loss: logits (B, K, *S) float32, labels (B, 1, *S) -> scalar.
        config: rates and shares.
        total_steps: all steps, with those of annealing.
        seed: of the draws.
        compute: number format.
    """

    def __init__(
        self,
        supernet: TopologySupernet,
        hypernet: MetaAssistantNetwork | None,
        *,
        loss: Callable[[Tensor, Tensor], Tensor],
        config: OneShotConfig,
        total_steps: int,
        seed: int,
        compute: Compute,
    ) -> None:
        if (hypernet is None) != (config.assistant == "none"):
            raise ValueError(f"assistant {config.assistant!r} does not go with the hypernet {hypernet!r}")
        self.supernet = supernet
        self.hypernet = hypernet
        self.loss = loss
        self.config = config
        self.total_steps = total_steps
        self.seed = seed
        self.compute = compute
        self.sample = LAWS[config.law]
        self.parts = nn.ModuleList([supernet] if hypernet is None else [supernet, hypernet])
        self.shares = (1.0, config.assistant_rate)[: len(self.parts)]  # of the rate, by part
        groups = [{"params": part.parameters()} for part in self.parts]
        self.optimizer = Adafactor(groups, lr=config.rate)
        if not compute.needs_loss_scaling:  # scaled gradients have to be there together, as some may be infinite
            self.optimizer.update_in_backward()
        self.scaler = torch.amp.GradScaler(compute.device.type, enabled=compute.needs_loss_scaling)

    def step(self, batch: SearchBatch) -> dict[str, float]:
        self.parts.train()
        image, label = self.compute.place_batch(batch.weight_batch)
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, batch.step]))
        architecture = self.sample(self.supernet.space, rng)
        for group, share in zip(self.optimizer.param_groups, self.shares, strict=True):
            group["lr"] = share * self.rate_at(batch.step)
        self.optimizer.zero_grad()  # of a step that was left out
        with self.compute.autocast():
            logits = self.supernet(image, self.selection(architecture, image, self.annealing(batch.step)))
        loss = self.loss(logits.float(), label)
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return {"loss": finite_loss(float(loss.detach()) if self.optimizer.is_finite else math.nan)}

    def selection(self, architecture: Architecture, image: Tensor, annealing: float) -> Selection:
        """Return what the supernet runs: the architecture, with channel weights as long as there is a MAN.

        Args:
            architecture: of the supernet's space.
            image: (B, Ci, *S), on the device.
            annealing: lambda of equation 5; at 1 the MAN does not run any more.
        """
        selection = self.supernet.one_hot(architecture)
        if self.hypernet is not None and annealing < 1.0:
            selection["channel_weights"] = annealed(self.hypernet(image, selection["paths"]), annealing)
        return selection

    def network(self, architecture: Architecture) -> Callable[[Tensor], Tensor]:
        """Return the architecture as it is judged: (B, Ci, *S) -> logits, with the MAN where that is kept."""
        annealing = 0.0 if self.config.assistant in ("kept", "image_only") else 1.0
        return lambda image: self.supernet(image, self.selection(architecture, image, annealing))

    def annealing(self, step: int) -> float:
        """Return lambda of equation 5 at a step: linear over the last steps, to 1 after the last one."""
        if self.config.assistant != "annealed":
            return 0.0
        first = self.config.first_annealed_step(self.total_steps)
        return max(0, step + 1 - first) / max(1, self.total_steps - first)

    def rate_at(self, step: int) -> float:
        """Return the supernet's rate of a step: linear warm-up and a cosine to zero, then a lower one while annealing.

        With one cosine over all steps the rate would be some hundredths of its peak while the MAN goes, and the weights
        could not follow.
        """
        config, first = self.config, self.config.first_annealed_step(self.total_steps)
        if step < first:
            return warmed_cosine(step, first, rate=config.rate, warmup_steps=config.warmup_steps)
        return warmed_cosine(step - first, self.total_steps - first, rate=config.annealing_rate * config.rate)

    def end_epoch(self, mean_loss: float) -> dict[str, float]:
        return {"rate": self.optimizer.param_groups[0]["lr"]}

    def state_dict(self) -> dict[str, Any]:
        return {name: getattr(self, name).state_dict() for name in ("parts", "optimizer", "scaler")}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name in ("parts", "optimizer", "scaler"):
            getattr(self, name).load_state_dict(state[name])
