"""Search: from a dataset to an architecture with its weights, in a RUN folder."""

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.inferers import SimpleInferer
from monai.transforms import ResizeWithPadOrCropd

from monai_nas.compute import Compute
from monai_nas.data.loaders import load_cases, training_batches
from monai_nas.data.transforms import augmentation, build
from monai_nas.errors import UserError
from monai_nas.files import read_json, save_tensors, write_json
from monai_nas.pipelines.run_folder import RunFolder, fold_cases, network_arguments, sound_cases
from monai_nas.plans.plan import Plan
from monai_nas.strategies import STRATEGIES, SearchBatch, SearchStrategy, search_engine
from monai_nas.tasks.splits import search_halves
from monai_nas.tasks.task import SegTask
from monai_nas.training import (
    Schedule,
    attach_loggers,
    attach_progress,
    attach_record,
    mean_dice,
    seconds_per_step,
    segmentation_loss,
)
from monai_nas.training.schedule import epochs_in

logger = logging.getLogger(__name__)

SEARCH_SHARE = 0.4  # of the time; the rest trains the weights of the architecture found
SAMPLING_PATCH_SHARE = 0.6  # of each axis of the patch, while operations are sampled
MIN_SAMPLING_EXTENT = 3  # voxels of the deepest level, what its convolutions see
TIMED_STEPS = 6  # of each phase
CHECKPOINT_SECONDS = 60.0
GAP_CASES, GAP_DRAWS = 8, 4  # on which sampled and extracted networks are compared at the end

Items = Sequence[dict[str, Any]]


def search(
    data: Path,
    out: Path,
    *,
    task: SegTask,
    strategy: str,
    plan: Plan | None,
    seed: int,
    minutes: float | None,
    epochs: int | None,
    fold: int | None,
    compute: Compute,
    settle: bool,
) -> None:
    """Search an architecture and train its weights; continue where ``out`` holds an unfinished run of the same kind.

    Args:
        data: folder with dataset.json.
        out: RUN folder.
        task: what is to be segmented.
        strategy: registered name.
        plan: how; None derives it from the data.
        seed: of weights, order, augmentation and draws.
        minutes: length of the run in time; exactly one of ``minutes`` and ``epochs`` is given.
        epochs: length in passes over one half of the cases.
        fold: kept out of everything; None uses all cases.
        compute: where and in which number format.
        settle: whether the last phase trains the argmax alone.

    Raises:
        UserError: for unsound data, a folder of another run, an unknown strategy, or a loss that is not finite.
    """
    build_strategy = strategy_named(strategy)
    cases = sound_cases(data, task)
    learn, held, folds = fold_cases(cases, fold)
    run = RunFolder(out)
    plan = run.choose_plan(plan, learn, task)
    run.open(
        {
            "verb": "search",
            "strategy": strategy,
            "data": data.resolve().name,
            "seed": seed,
            "minutes": minutes,
            "epochs": epochs,
            "fold": fold,
            "settle": settle,
            "dtype": str(compute.dtype),
        }
    )
    if run.finished:
        logger.info("%s: finished already", out)
        return
    run.keep(plan, folds)

    items = {item["name"]: item for item in load_cases(learn, task, plan, progress=True)}
    halves = search_halves(list(items), seed)
    weight_half, alpha_half = ([items[name] for name in half] for half in halves)
    arguments = network_arguments(plan)
    del arguments["spatial_dims"], arguments["dropout"]

    def fresh(schedule: Schedule) -> SearchStrategy:
        return build_strategy(
            **arguments,
            loss=segmentation_loss(),
            search_steps=schedule.search_steps,
            total_steps=schedule.total_steps,
            seed=seed,
            compute=compute,
        )

    def batches(schedule: Schedule, start: int) -> Iterator[SearchBatch]:
        return search_batches(weight_half, alpha_half, list(items.values()), plan, schedule, seed, start, compute)

    if not (out / "schedule.json").exists():
        epoch_length = math.ceil(len(weight_half) / plan.batch_size)
        fix_schedule(epoch_length, minutes, epochs, settle, fresh, batches).save(out / "schedule.json")
    schedule = Schedule.load(out / "schedule.json")

    searcher, rows, epoch = fresh(schedule), [], 0
    checkpoint = run.checkpoint()
    if checkpoint is not None:
        searcher.load_state_dict(checkpoint["state"])
        rows, epoch = checkpoint["rows"], checkpoint["epoch"]
        logger.info("%s: continuing after epoch %d of %d", out, epoch, schedule.num_epochs)
    start = time.perf_counter()
    engine = search_engine(searcher)
    attach_progress(engine, "search", schedule.total_steps)
    attach_loggers(engine, out)
    unseen = load_cases(held[:GAP_CASES], task, plan) if held else alpha_half[:GAP_CASES]
    engine.add_event_handler(
        Events.EPOCH_COMPLETED(once=schedule.search_epochs),
        lambda: write_json(out / "gap.json", sampling_gap(searcher, unseen, plan, compute)),
    )
    attach_record(
        engine,
        run=out,
        end_epoch=searcher.end_epoch,
        state=searcher.state_dict,
        rows=rows,
        save_every_seconds=CHECKPOINT_SECONDS,
    )
    if epoch < schedule.num_epochs:
        engine.load_state_dict(
            {"epoch": epoch, "epoch_length": schedule.epoch_length, "max_epochs": schedule.num_epochs}
        )
        engine.run(batches(schedule, epoch * schedule.epoch_length))

    network = searcher.network()
    run.write_network(searcher.architecture(), plan)
    save_tensors(out / "model.pt", network.state_dict())
    facts = {
        "verb": "search",
        "strategy": strategy,
        "task": task.name,
        "seed": seed,
        "minutes": minutes,
        "epochs": epochs,
        "fold": fold,
        "settle": settle,
        "minutes_of_last_part": (time.perf_counter() - start) / 60,
        "steps": schedule.total_steps,
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    facts["before_last_phase"] = read_json(out / "gap.json")
    run.finish(facts | sampling_gap(searcher, unseen, plan, compute), compute)


def strategy_named(name: str) -> Callable[..., SearchStrategy]:
    """Return the builder of a registered strategy; raises UserError with near names for another."""
    try:
        return STRATEGIES[name]
    except ValueError as error:
        raise UserError(str(error)) from error


def search_batches(
    weight_half: Items,
    alpha_half: Items,
    everything: Items,
    plan: Plan,
    schedule: Schedule,
    seed: int,
    start: int,
    compute: Compute,
) -> Iterator[SearchBatch]:
    """Yield the batches from step ``start`` on: two halves in small patches while operations are sampled, then all."""
    small, full = (build(augmentation(plan.task, each)) for each in (sampling_plan(plan), plan))

    def stream(items: Items, offset: int, first: int, last: int) -> Iterator[dict[str, torch.Tensor]]:
        return iter(
            training_batches(
                items,
                full if items is everything else small,
                batch_size=plan.batch_size,
                seed=seed + offset,
                start_step=min(first, last),
                num_steps=last,
                compute=compute,
            )
        )

    sampling = schedule.search_steps
    pairs = zip(stream(weight_half, 1, start, sampling), stream(alpha_half, 2, start, sampling), strict=True)
    for step, (weight_batch, alpha_batch) in enumerate(pairs, start):
        yield SearchBatch(step, weight_batch, alpha_batch)
    first = max(start, sampling)  # only now, as worker processes start to read ahead when a stream is made
    for step, batch in enumerate(stream(everything, 3, first, schedule.total_steps), first):
        yield SearchBatch(step, batch, None)


def sampling_plan(plan: Plan) -> Plan:
    """Return the plan with the patches of the steps that sample: about a fifth of the voxels.

    What an alpha learns from is the number of draws far more than the number of voxels each is judged by, and steps on
    small patches are that much cheaper. No axis of the deepest level gets fewer than ``MIN_SAMPLING_EXTENT`` voxels.
    """
    units = [math.prod(stride[axis] for stride in plan.strides) for axis in range(len(plan.patch_size))]
    x, y, z = (
        min(length, max(MIN_SAMPLING_EXTENT, round(SAMPLING_PATCH_SHARE * length / unit)) * unit)
        for length, unit in zip(plan.patch_size, units, strict=True)
    )
    return replace(plan, patch_size=(x, y, z))


def fix_schedule(
    epoch_length: int,
    minutes: float | None,
    epochs: int | None,
    settle: bool,
    fresh: Callable[[Schedule], SearchStrategy],
    batches: Callable[[Schedule, int], Iterator[SearchBatch]],
) -> Schedule:
    """Return the length of the run; with ``minutes`` the steps of both phases are timed on objects made for that."""
    share = SEARCH_SHARE if settle else 1.0
    if epochs is not None:
        search_epochs = max(1, round(epochs * share))
        return Schedule(epoch_length, search_epochs, epochs - search_epochs)
    if minutes is None:
        raise ValueError("either minutes or epochs must be given")
    seconds = minutes * 60
    trial = Schedule(TIMED_STEPS, 1, 1)
    searcher, stream = fresh(trial), batches(trial, 0)
    sampling = seconds_per_step(searcher.step, stream, TIMED_STEPS)
    epoch_length = min(epoch_length, max(1, int(seconds * share / sampling)))  # large tasks: less than all cases
    search_epochs = epochs_in(seconds * share, sampling, epoch_length)
    if not settle:
        return Schedule(epoch_length, search_epochs, 0)
    fixed = seconds_per_step(searcher.step, stream, TIMED_STEPS)
    logger.info("a step takes %.2f s while operations are sampled, %.2f s with one network", sampling, fixed)
    return Schedule(epoch_length, search_epochs, epochs_in(seconds * (1 - share), fixed, epoch_length))


def sampling_gap(searcher: SearchStrategy, items: Items, plan: Plan, compute: Compute) -> dict[str, Any]:
    """Compare what was being trained with what comes out: mean Dice of random draws and of the extracted network.

    Args:
        searcher: after its last step.
        items: preprocessed cases that taught the weights nothing while operations were sampled.
        plan: gives the window.
        compute: where to run.
    """
    fit = ResizeWithPadOrCropd(keys=("image", "label"), spatial_size=plan.patch_size)  # whole scans take long
    patches: list[Any] = [fit({key: item[key] for key in ("image", "label")}) for item in items]

    def score(network: Callable[..., torch.Tensor]) -> float:
        return mean_dice(network, patches, num_classes=plan.task.num_classes, inferer=SimpleInferer(), compute=compute)

    extracted = score(compute.place(searcher.network().eval(), len(plan.patch_size)))
    sampled = [score(searcher.sampled(draw)) for draw in range(GAP_DRAWS)]
    mean = sum(sampled) / len(sampled)
    return {"dice_extracted": extracted, "dice_sampled": sampled, "dice_gap": mean - extracted}
