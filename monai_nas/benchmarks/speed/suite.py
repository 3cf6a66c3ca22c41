"""All contests of ``monai-nas benchmark``, by name, and the file that they fill."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.batches import batches_contest
from monai_nas.benchmarks.speed.contest import Tick
from monai_nas.benchmarks.speed.cost import cost_contest
from monai_nas.benchmarks.speed.floor import floor_contest
from monai_nas.benchmarks.speed.inference import inference_contest
from monai_nas.benchmarks.speed.metrics import metrics_contest
from monai_nas.benchmarks.speed.pipeline import pipeline_contest
from monai_nas.benchmarks.speed.segmenters import Setting
from monai_nas.benchmarks.speed.supernet_step import cell_step_contest, grid_step_contest
from monai_nas.benchmarks.speed.training_step import training_step_contest
from monai_nas.compute import choose_compute
from monai_nas.files import write_json
from monai_nas.pipelines.run_folder import environment
from monai_nas.plans.plan import Plan

METRICS_SIZE = 256, 256, 128


@dataclass(frozen=True)
class Settings:
    """What all contests share."""

    architecture: Architecture
    plan: Plan
    repetitions: int
    seed: int
    device: str | None
    size: tuple[int, int, int] | None = None  # voxels of the volumes of inference and metrics; None: each its own
    mirror: bool = True  # in inference: average over the eight mirrored copies
    weights: Path | None = None  # of the network in inference; None: fresh ones
    scan: Path | None = None  # that inference segments; None: a phantom

    def training_step(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.training_step`."""
        return training_step_contest(
            self.architecture,
            self.plan,
            repetitions=self.repetitions,
            steps=3,
            seed=self.seed,
            device=self.device,
            tick=tick,
        )

    def pipeline(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.pipeline`."""
        return pipeline_contest(
            self.architecture,
            self.plan,
            repetitions=self.repetitions,
            steps=3,
            seed=self.seed,
            device=self.device,
            tick=tick,
        )

    def floor(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.floor`."""
        return floor_contest(
            self.architecture,
            self.plan,
            repetitions=self.repetitions,
            size=4096,
            copied=2**29,
            seed=self.seed,
            device=self.device,
            tick=tick,
        )

    def search_step(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.supernet_step`."""
        return cell_step_contest(self.plan, repetitions=self.repetitions, seed=self.seed, device=self.device, tick=tick)

    def grid_step(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.supernet_step`."""
        return grid_step_contest(
            blocks=12,
            levels=4,
            width=32,
            size=48,
            repetitions=self.repetitions,
            seed=self.seed,
            device=self.device,
            tick=tick,
        )

    def inference(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.inference`: by default of a phantom of the plan's median shape."""
        setting = Setting(
            self.architecture,
            self.plan,
            self.size or self.plan.fingerprint.median_shape,
            self.mirror,
            self.seed,
            self.device,
            self.weights,
            self.scan,
        )
        return inference_contest(setting, repetitions=self.repetitions, tick=tick)

    def batches(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.batches`."""
        return batches_contest(self.plan, repetitions=self.repetitions, batches=5, seed=self.seed, tick=tick)

    def metrics(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.metrics`."""
        return metrics_contest(shape=self.size or METRICS_SIZE, repetitions=self.repetitions, seed=self.seed, tick=tick)

    def cost(self, tick: Tick) -> dict[str, Any]:
        """See :mod:`~monai_nas.benchmarks.speed.cost`."""
        return cost_contest(self.architecture, self.plan, repetitions=self.repetitions, seed=self.seed, tick=tick)


CONTESTS: dict[str, Callable[[Settings, Tick], dict[str, Any]]] = {
    "training_step": Settings.training_step,
    "pipeline": Settings.pipeline,
    "floor": Settings.floor,
    "search_step": Settings.search_step,
    "grid_step": Settings.grid_step,
    "inference": Settings.inference,
    "batches": Settings.batches,
    "metrics": Settings.metrics,
    "cost": Settings.cost,
}


def run_contests(
    settings: Settings, names: Sequence[str], out: Path, tick: Callable[[str, float], object]
) -> dict[str, Any]:
    """Run contests one after the other; return and write the record, after each of them.

    Args:
        settings: what they share.
        names: of :data:`CONTESTS`.
        out: JSON file.
        tick: called with a contest's name and the share of it that is done.
    """
    record: dict[str, Any] = {
        "plan": settings.plan.task.name,
        "repetitions": settings.repetitions,
        "seed": settings.seed,
        "threads": torch.get_num_threads(),
        "environment": environment(choose_compute(True, settings.device)),
        "contests": {},
    }
    for name in names:
        record["contests"][name] = CONTESTS[name](settings, partial(tick, name))
        write_json(out, record)
    return record
