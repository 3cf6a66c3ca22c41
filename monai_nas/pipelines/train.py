"""Train: from an architecture to a network with its weights, in a RUN folder."""

import hashlib
import logging
import math
import statistics
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.engines.trainer import SupervisedTrainer
from monai.inferers.inferer import SlidingWindowInferer

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.data.loaders import load_cases, training_batches
from monai_nas.data.transforms import augmentation, build
from monai_nas.files import load_weights, save_tensors
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import RunFolder, fold_cases, network_arguments, sound_cases
from monai_nas.plans.plan import Plan
from monai_nas.tasks.task import SegTask
from monai_nas.training import (
    Learners,
    Schedule,
    TrainerConfig,
    attach_loggers,
    attach_progress,
    attach_record,
    make_trainer,
    mean_dice,
)
from monai_nas.training.schedule import epochs_in

logger = logging.getLogger(__name__)

TIMED_STEPS = 6
CHECKPOINT_SECONDS = 60.0


def train(
    data: Path,
    out: Path,
    *,
    task: SegTask,
    architecture: Architecture,
    plan: Plan | None,
    init: Path | None,
    fold: int | None,
    seed: int,
    minutes: float | None,
    epochs: int | None,
    compute: Compute,
) -> None:
    """Train the network of an architecture; continue where ``out`` holds an unfinished run of the same kind.

    Args:
        data: folder with dataset.json.
        out: RUN folder.
        task: what is to be segmented.
        architecture: what is to be trained.
        plan: how; None derives it from the data.
        init: weights to start from, such as those of a search; None starts afresh.
        fold: kept out, and scored at the end; None uses all cases.
        seed: of weights, order and augmentation.
        minutes: length of the run in time; exactly one of ``minutes`` and ``epochs`` is given.
        epochs: length in passes over the cases.
        compute: where and in which number format.

    Raises:
        UserError: for unsound data, a folder of another run, weights of another network, or a loss that is not finite.
    """
    cases = sound_cases(data, task)
    learn, held, folds = fold_cases(cases, fold)
    run = RunFolder(out)
    plan = run.choose_plan(plan, learn, task)

    def fresh() -> Learners:
        torch.manual_seed(seed)  # the fresh weights
        network = build_network(architecture, **network_arguments(plan))
        if init is not None:
            load_weights(network, init)
        return Learners(compute.place(network, len(plan.patch_size)), config, compute)

    config = TrainerConfig()
    fresh()  # an architecture or weights that do not fit show here, before anything is written
    run.open(
        {
            "verb": "train",
            "architecture": architecture.to_record(),
            "data": data.resolve().name,
            "init": None if init is None else hashlib.sha256(init.read_bytes()).hexdigest(),
            "seed": seed,
            "minutes": minutes,
            "epochs": epochs,
            "fold": fold,
            "dtype": str(compute.dtype),
        }
    )
    if run.finished:
        logger.info("%s: finished already", out)
        return
    run.keep(plan, folds)
    run.write_network(architecture, plan)

    items = load_cases(learn, task, plan, progress=True)
    transform = build(augmentation(task, plan))

    def trainer_of(learners: Learners, schedule: Schedule, epoch: int) -> SupervisedTrainer:
        batches = training_batches(
            items,
            transform,
            batch_size=plan.batch_size,
            seed=seed,
            start_step=epoch * schedule.epoch_length,
            num_steps=schedule.total_steps,
            compute=compute,
        )
        return make_trainer(
            learners,
            batches,
            config=config,
            num_epochs=schedule.num_epochs,
            epoch_length=schedule.epoch_length,
            compute=compute,
        )

    if not (out / "schedule.json").exists():
        epoch_length = math.ceil(len(items) / plan.batch_size)
        if epochs is None:
            step_seconds = time_steps(trainer_of(fresh(), Schedule(TIMED_STEPS, 0, 1), 0))
            logger.info("a step takes %.2f s", step_seconds)
            seconds = 60 * (minutes or 0.0)
            epoch_length = min(epoch_length, max(1, int(seconds / step_seconds)))  # large tasks: less than all cases
            epochs = epochs_in(seconds, step_seconds, epoch_length)
        Schedule(epoch_length, 0, epochs).save(out / "schedule.json")
    schedule = Schedule.load(out / "schedule.json")

    learners, checkpoint, epoch = fresh(), run.checkpoint(), 0
    rows: list[dict[str, float]] = []
    if checkpoint is not None:
        learners.load_state_dict(checkpoint["state"])
        rows, epoch = checkpoint["rows"], checkpoint["epoch"]
        logger.info("%s: continuing after epoch %d of %d", out, epoch, schedule.num_epochs)
    trainer = trainer_of(learners, schedule, epoch)
    start = time.perf_counter()
    attach_progress(trainer, "train", schedule.total_steps)
    attach_loggers(trainer, out)
    attach_record(
        trainer,
        run=out,
        end_epoch=lambda mean_loss: {"rate": learners.optimizer.param_groups[0]["lr"]},
        state=learners.state_dict,
        rows=rows,
        save_every_seconds=CHECKPOINT_SECONDS,
    )
    if epoch < schedule.num_epochs:
        trainer.load_state_dict(
            {"epoch": epoch, "epoch_length": schedule.epoch_length, "max_epochs": schedule.num_epochs}
        )
        trainer.run()

    save_tensors(out / "model.pt", {name: value.cpu() for name, value in learners.network.state_dict().items()})
    facts: dict[str, Any] = {
        "verb": "train",
        "task": task.name,
        "seed": seed,
        "minutes": minutes,
        "epochs": schedule.num_epochs,
        "fold": fold,
        "minutes_of_last_part": (time.perf_counter() - start) / 60,
        "steps": schedule.total_steps,
        "num_parameters": sum(parameter.numel() for parameter in learners.network.parameters()),
    }
    if held:
        inferer = SlidingWindowInferer(roi_size=plan.patch_size, sw_batch_size=1, overlap=0.5, mode="gaussian")
        facts["dice_of_fold"] = mean_dice(
            learners.network,
            load_cases(held, task, plan),
            num_classes=task.num_classes,
            inferer=inferer,
            compute=compute,
        )
    run.finish(facts, compute)


def time_steps(trainer: SupervisedTrainer) -> float:
    """Run a trainer made for timing alone; return the median duration of its steps in seconds, the first left out."""
    ends: list[float] = []
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: ends.append(time.perf_counter()))
    trainer.run()
    return statistics.median(end - before for before, end in pairwise(ends))
