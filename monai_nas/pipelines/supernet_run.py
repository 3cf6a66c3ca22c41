"""Train the supernet of a RUN, once; every search under a budget starts from it."""

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine

from monai_nas.compute import Compute
from monai_nas.data.loaders import training_batches
from monai_nas.data.transforms import build
from monai_nas.errors import UserError
from monai_nas.files import load_tensors, save_tensors
from monai_nas.pipelines.epochs import run_epochs
from monai_nas.pipelines.one_shot_preset import OneShotPreset, grid_named
from monai_nas.pipelines.run_folder import RunFolder, network_arguments
from monai_nas.plans.plan import Plan
from monai_nas.spaces import TopologySpace
from monai_nas.strategies import OneShot, SearchBatch, search_engine
from monai_nas.supernets import SUPERNETS, MetaAssistantNetwork, TopologySupernet
from monai_nas.training import TIMED_STEPS, Schedule, epochs_in, longest_epoch, step_seconds, typical_seconds

FILE = "supernet.pt"
EPOCH_SECONDS = 30.0  # at most, where steps are timed: what a run of whole epochs may fall short of its minutes

Items = Sequence[dict[str, Any]]


def space_of(plan: Plan, values: OneShotPreset) -> TopologySpace:
    """Return the preset's grid, with as many levels as the plan has strides."""
    return grid_named(values.grid)(num_blocks=values.num_blocks, num_levels=len(plan.strides))


def build_one_shot(plan: Plan, values: OneShotPreset, total_steps: int, seed: int, compute: Compute) -> OneShot:
    """Return supernet and MAN with fresh weights, on their device, and what trains them."""
    torch.manual_seed(seed)  # the fresh weights
    space, dims = space_of(plan, values), len(plan.patch_size)
    arguments = network_arguments(plan)
    del arguments["dropout"]
    supernet = SUPERNETS[space.name](space, **arguments, recompute=values.recompute)
    assert isinstance(supernet, TopologySupernet)  # as all of GRIDS are
    hypernet = None
    if values.supernet.assistant != "none":
        hypernet = MetaAssistantNetwork(
            space,
            in_channels=plan.task.in_channels,
            width=plan.width,
            spatial_dims=dims,
            sees_architecture=values.supernet.assistant != "image_only",
        )
        compute.place(hypernet, dims)
    compute.place(supernet, dims)  # modules move in place
    return OneShot(
        supernet,
        hypernet,
        loss=values.loss(),
        config=values.supernet,
        total_steps=total_steps,
        seed=seed,
        compute=compute,
    )


def supernet_engine(
    searcher: OneShot,
    items: Items,
    plan: Plan,
    values: OneShotPreset,
    schedule: Schedule,
    *,
    first: int,
    seed: int,
    compute: Compute,
) -> tuple[Engine, Callable[[], object]]:
    """Return the engine that trains a supernet, and what runs its steps from ``first`` on.

    Args:
        searcher: supernet and MAN.
        items: preprocessed cases.
        plan: of a grid.
        values: augmentation.
        schedule: all steps of the run.
        first: step that comes next.
        seed: of order and augmentation.
        compute: where and in which number format.
    """
    batches = training_batches(
        items,
        build(values.patches(plan.task, plan)),
        batch_size=plan.batch_size,
        seed=seed,
        start_step=first,
        num_steps=schedule.total_steps,
        compute=compute,
    )
    engine = search_engine(searcher)
    steps = (SearchBatch(step, batch, None) for step, batch in enumerate(batches, first))
    return engine, lambda: engine.run(steps, max_epochs=schedule.num_epochs, epoch_length=schedule.epoch_length)


def train_supernet(
    run: RunFolder,
    items: Items,
    plan: Plan,
    values: OneShotPreset,
    *,
    seed: int,
    minutes: float | None,
    epochs: int | None,
    compute: Compute,
) -> None:
    """Train a supernet with its MAN and write RUN/supernet.pt, unless it is there; continue where the run was cut.

    Args:
        run: gets schedule.json, history.csv, checkpoints and the weights.
        items: preprocessed cases.
        plan: of a grid.
        values: rates, loss, augmentation, and the length where none is given; a number of steps is met exactly.
        seed: of weights, order, augmentation and draws.
        minutes: length in time, instead of ``epochs``.
        epochs: length in passes over the cases.
        compute: where and in which number format.
    """
    if (run.path / FILE).exists():
        (run.path / "checkpoint.pt").unlink(missing_ok=True)  # where a kill came between the two
        return

    def start(searcher: OneShot, schedule: Schedule, first: int) -> tuple[Engine, Callable[[], object]]:
        return supernet_engine(searcher, items, plan, values, schedule, first=first, seed=seed, compute=compute)

    if not (run.path / "schedule.json").exists():
        epoch_length = math.ceil(len(items) / plan.batch_size)
        if epochs is None and minutes is None:
            minutes = values.minutes
            if values.steps is not None:
                epoch_length = longest_epoch(values.steps, epoch_length)
                epochs = values.steps // epoch_length
        if minutes is not None:
            trial = Schedule(TIMED_STEPS, 1, 0)
            searcher = build_one_shot(plan, values, TIMED_STEPS, seed, compute)
            seconds = typical_seconds(step_seconds(*start(searcher, trial, 0)))
            epoch_length = min(epoch_length, max(1, int(min(EPOCH_SECONDS, 60 * minutes) / seconds)))
            epochs = epochs_in(60 * minutes, seconds, epoch_length)
        Schedule(epoch_length, epochs or 1, 0).save(run.path / "schedule.json")
    schedule = Schedule.load(run.path / "schedule.json")

    searcher = build_one_shot(plan, values, schedule.total_steps, seed, compute)
    run_epochs(run, schedule, searcher, lambda step: start(searcher, schedule, step), title="supernet")
    save_tensors(run.path / FILE, {name: value.cpu() for name, value in searcher.parts.state_dict().items()})
    (run.path / "checkpoint.pt").unlink(missing_ok=True)


def supernet_file(path: Path) -> Path:
    """Return RUN/supernet.pt; raises UserError where there is none."""
    file = path / FILE
    if not file.is_file():
        raise UserError(f"{file}: no such file: give a RUN whose supernet has been trained, or train one")
    return file


def load_supernet(path: Path, plan: Plan, values: OneShotPreset, *, seed: int, compute: Compute) -> OneShot:
    """Return the trained supernet of a RUN, to be judged and not to be trained.

    Raises:
        UserError: when RUN/supernet.pt is missing, or of another plan or grid.
    """
    file = supernet_file(path)
    searcher = build_one_shot(plan, values, 1, seed, compute)
    try:
        searcher.parts.load_state_dict(load_tensors(file))
    except (RuntimeError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: weights of another supernet: use the plan of its run") from error
    searcher.parts.eval()
    return searcher
