"""Train: from an architecture to a network with its weights, in a RUN folder."""

import logging
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine
from monai.engines import SupervisedTrainer
from monai.transforms import Compose
from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.data.loaders import load_cases, training_batches
from monai_nas.data.transforms import build
from monai_nas.files import file_sha256, load_weights, save_tensors
from monai_nas.inference.predictor import sliding_window
from monai_nas.losses import SoftLabelLoss
from monai_nas.networks import build_network
from monai_nas.pipelines.epochs import run_epochs
from monai_nas.pipelines.preset import preset_named
from monai_nas.pipelines.run_folder import RunFolder, fold_cases, network_arguments, sound_cases
from monai_nas.pipelines.teacher import load_teacher, teacher_record
from monai_nas.plans.plan import Plan
from monai_nas.tasks.task import SegTask
from monai_nas.training import (
    TIMED_STEPS,
    Learners,
    Schedule,
    TrainerConfig,
    epochs_in,
    make_trainer,
    mean_dice,
    step_seconds,
    typical_seconds,
)

logger = logging.getLogger(__name__)


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
    preset: str = "cpu",
    teachers: Sequence[Path] = (),
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
        minutes: length of the run in time, instead of ``epochs``; where both are None, the preset's.
        epochs: length in passes over the cases.
        compute: where and in which number format.
        preset: name of the values that are not asked for here.
        teachers: finished RUN folders, whose mean probabilities are learnt instead of the labels, whatever the preset's
            loss, by :class:`~monai_nas.losses.SoftLabelLoss`.

    Raises:
        UserError: for unsound data, a folder of another run, weights of another network, a teacher that
            :func:`~monai_nas.pipelines.teacher.load_teacher` refuses, an unknown preset, or a loss that is not finite.
    """
    values = preset_named(preset)
    if minutes is None and epochs is None:
        minutes, epochs = values.minutes, values.epochs
    cases = sound_cases(data, task)
    learn, held, folds = fold_cases(cases, fold)
    run = RunFolder(out)
    plan = run.choose_plan(plan, learn, task, values.adapt)

    def fresh() -> Learners:
        torch.manual_seed(seed)  # the fresh weights
        network = build_network(architecture, **network_arguments(plan))
        if init is not None:
            load_weights(network, init)
        return Learners(compute.place(network, len(plan.patch_size)), values.training, compute)

    init_sha256 = None if init is None else file_sha256(init)
    teacher = load_teacher(teachers, plan, held, compute) if teachers else None
    taught_by = [teacher_record(path) for path in teachers] or None
    fresh()  # an architecture or weights that do not fit show here, before anything is written
    run.open(
        {
            "verb": "train",
            "preset": preset,
            "architecture": architecture.to_record(),
            "init": init_sha256,
            "teachers": taught_by,
            "seed": seed,
            "minutes": minutes,
            "epochs": epochs,
            "fold": fold,
            "dtype": str(compute.dtype),
        }
    )
    run.keep(plan, folds)  # which lists the cases: the data may lie in another folder than when the run began
    if run.finished:
        logger.info("%s: finished already", out)
        return
    run.write_network(architecture, plan)

    items = load_cases(learn, task, plan, progress=True)
    transform = build(values.patches(task, plan))

    def start(learners: Learners, schedule: Schedule, step: int) -> tuple[Engine, Callable[[], object]]:
        trainer = trainer_from(
            step,
            learners,
            items,
            transform,
            plan=plan,
            loss=values.loss() if teacher is None else SoftLabelLoss(),
            config=values.training,
            schedule=schedule,
            seed=seed,
            compute=compute,
            teacher=teacher,
        )
        return trainer, trainer.run

    if not (out / "schedule.json").exists():
        epoch_length = math.ceil(len(items) / plan.batch_size)
        if minutes is not None:
            trial = Schedule(TIMED_STEPS, 0, 1)
            seconds = typical_seconds(step_seconds(*start(fresh(), trial, 0)))
            logger.info("a step takes %.2f s", seconds)
            epoch_length = min(epoch_length, max(1, int(60 * minutes / seconds)))  # large tasks: less than all cases
            epochs = epochs_in(60 * minutes, seconds, epoch_length)
        Schedule(epoch_length, 0, epochs or 1).save(out / "schedule.json")
    schedule = Schedule.load(out / "schedule.json")

    learners = fresh()
    minutes_of_last_part = run_epochs(
        run, schedule, learners, lambda step: start(learners, schedule, step), title="train"
    )

    save_tensors(out / "model.pt", {name: value.cpu() for name, value in learners.network.state_dict().items()})
    facts: dict[str, Any] = {
        "verb": "train",
        "preset": preset,
        "task": task.name,
        "init": init_sha256,
        "teachers": taught_by,
        "seed": seed,
        "minutes": minutes,
        "epochs": schedule.num_epochs,
        "fold": fold,
        "minutes_of_last_part": minutes_of_last_part,
        "steps": schedule.total_steps,
        "num_parameters": sum(parameter.numel() for parameter in learners.network.parameters()),
    }
    if held:
        facts["dice_of_fold"] = mean_dice(
            learners.network,
            load_cases(held, task, plan),
            num_classes=task.num_classes,
            inferer=sliding_window(plan.patch_size, compute.device),
            compute=compute,
        )
    run.finish(facts, compute)


def trainer_from(
    step: int,
    learners: Learners,
    items: Sequence[dict[str, Any]],
    transform: Compose,
    *,
    plan: Plan,
    loss: nn.Module,
    config: TrainerConfig,
    schedule: Schedule,
    seed: int,
    compute: Compute,
    teacher: nn.Module | None = None,
) -> SupervisedTrainer:
    """Return the trainer of the steps that are left after the first ``step`` ones, with its batches.

    Args:
        step: number of finished steps.
        learners: what changes.
        items: preprocessed cases.
        transform: of a case into a patch.
        plan: gives the batch size.
        loss: logits and labels, or the teacher's probabilities -> scalar.
        config: rates.
        schedule: of the whole run.
        seed: of order and augmentation.
        compute: number format.
        teacher: of :func:`~monai_nas.training.make_trainer`.
    """
    batches = training_batches(
        items,
        transform,
        batch_size=plan.batch_size,
        seed=seed,
        start_step=step,
        num_steps=schedule.total_steps,
        compute=compute,
    )
    return make_trainer(
        learners,
        batches,
        loss=loss,
        config=config,
        num_epochs=schedule.num_epochs,
        epoch_length=schedule.epoch_length,
        compute=compute,
        teacher=teacher,
    )
