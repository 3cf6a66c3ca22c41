"""Search: from a dataset to an architecture with its weights, in a RUN folder."""

import logging
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Engine, Events
from monai.inferers import SimpleInferer
from monai.transforms import Compose, ResizeWithPadOrCropd

from monai_nas.compute import Compute
from monai_nas.data.loaders import load_cases, training_batches
from monai_nas.data.transforms import build
from monai_nas.errors import UserError
from monai_nas.files import read_json, save_tensors, write_json
from monai_nas.pipelines.epochs import run_epochs
from monai_nas.pipelines.preset import preset_named
from monai_nas.pipelines.run_folder import RunFolder, fold_cases, network_arguments, sound_cases
from monai_nas.plans.plan import Plan
from monai_nas.plans.rules import stride_product
from monai_nas.strategies import STRATEGIES, DecidingStrategy, SearchBatch, search_engine
from monai_nas.tasks.splits import search_halves
from monai_nas.tasks.task import SegTask
from monai_nas.training import TIMED_STEPS, Schedule, epochs_in, mean_dice, step_seconds, typical_seconds

logger = logging.getLogger(__name__)

SEARCH_SHARE = 0.4  # of the time; the rest trains the weights of the architecture found
EPOCH_STEPS = 40  # at least, where minutes are given: fewer steps have too noisy a mean loss to judge a plateau by
MIN_SAMPLING_EXTENT = 3  # voxels of the deepest level, what its convolutions see
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
    settle: bool | None = None,
    preset: str = "cpu",
) -> None:
    """Search an architecture and train its weights; continue where ``out`` holds an unfinished run of the same kind.

    Args:
        data: folder with dataset.json.
        out: RUN folder.
        task: what is to be segmented.
        strategy: registered name.
        plan: how; None derives it from the data.
        seed: of weights, order, augmentation and draws.
        minutes: length of the run in time, instead of ``epochs``; where both are None, the preset's.
        epochs: length in passes over one half of the cases.
        fold: kept out of everything; None uses all cases.
        compute: where and in which number format.
        settle: whether the last phase trains the argmax alone; None leaves it to the preset.
        preset: name of the values that are not asked for here.

    Raises:
        UserError: for unsound data, a folder of another run, an unknown name, or a loss that is not finite.
    """
    build_strategy, values = strategy_named(strategy), preset_named(preset)
    if minutes is None and epochs is None:
        minutes, epochs = values.minutes, values.epochs
    settle = values.settle if settle is None else settle
    cases = sound_cases(data, task)
    learn, held, folds = fold_cases(cases, fold)
    run = RunFolder(out)
    plan = run.choose_plan(plan, learn, task, values.adapt)
    run.open(
        {
            "verb": "search",
            "strategy": strategy,
            "preset": preset,
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
    small = build(values.patches(task, sampling_plan(plan, values.sampling_patch_share)))
    full = build(values.patches(task, plan))

    def fresh(schedule: Schedule) -> DecidingStrategy:
        return build_strategy(
            **arguments,
            loss=values.loss(),
            search_steps=schedule.search_steps,
            total_steps=schedule.total_steps,
            config=values.strategies.get(strategy),
            seed=seed,
            compute=compute,
        )

    def start(searcher: DecidingStrategy, schedule: Schedule, step: int) -> tuple[Engine, Callable[[], object]]:
        engine = search_engine(searcher)
        batches = search_batches(
            weight_half,
            alpha_half,
            list(items.values()),
            small,
            full,
            batch_size=plan.batch_size,
            schedule=schedule,
            seed=seed,
            start=step,
            compute=compute,
        )
        return engine, lambda: engine.run(batches, max_epochs=schedule.num_epochs, epoch_length=schedule.epoch_length)

    if not (out / "schedule.json").exists():
        epoch_length = math.ceil(len(weight_half) / plan.batch_size)  # a pass over the cases
        if minutes is None:
            search_epochs = max(1, round((epochs or 1) * (SEARCH_SHARE if settle else 1.0)))
            schedule = Schedule(epoch_length, search_epochs, (epochs or 1) - search_epochs)
        else:
            trial = Schedule(TIMED_STEPS, 1, int(settle))
            seconds = step_seconds(*start(fresh(trial), trial, 0))
            schedule = schedule_within(60 * minutes, seconds, max(epoch_length, EPOCH_STEPS), settle)
        schedule.save(out / "schedule.json")
    schedule = Schedule.load(out / "schedule.json")

    searcher = fresh(schedule)
    unseen = load_cases(held[:GAP_CASES], task, plan) if held else alpha_half[:GAP_CASES]

    def start_with_gap(step: int) -> tuple[Engine, Callable[[], object]]:
        engine, go = start(searcher, schedule, step)
        engine.add_event_handler(
            Events.EPOCH_COMPLETED(once=schedule.search_epochs),
            lambda: write_json(out / "gap.json", sampling_gap(searcher, unseen, plan, compute)),
        )
        return engine, go

    minutes_of_last_part = run_epochs(run, schedule, searcher, start_with_gap, title="search")

    network = searcher.network()
    run.write_network(searcher.architecture(), plan)
    save_tensors(out / "model.pt", network.state_dict())
    facts = {
        "verb": "search",
        "strategy": strategy,
        "preset": preset,
        "task": task.name,
        "seed": seed,
        "minutes": minutes,
        "epochs": epochs,
        "fold": fold,
        "settle": settle,
        "minutes_of_last_part": minutes_of_last_part,
        "steps": schedule.total_steps,
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
    }
    facts["before_last_phase"] = read_json(out / "gap.json")
    run.finish(facts | sampling_gap(searcher, unseen, plan, compute), compute)


def strategy_named(name: str) -> Callable[..., DecidingStrategy]:
    """Return the builder of a registered strategy; raises UserError with near names for another."""
    try:
        return STRATEGIES[name]
    except ValueError as error:
        raise UserError(str(error)) from error


def search_batches(
    weight_half: Items,
    alpha_half: Items,
    everything: Items,
    small: Compose,
    full: Compose,
    *,
    batch_size: int,
    schedule: Schedule,
    seed: int,
    start: int,
    compute: Compute,
) -> Iterator[SearchBatch]:
    """Yield the batches from step ``start`` on: the two halves in small patches while operations are sampled, then all.

    Args:
        weight_half: cases that teach the weights.
        alpha_half: cases that teach the alphas.
        everything: cases of the last phase.
        small: transforms of a case into a patch while operations are sampled.
        full: those of the last phase.
        batch_size: patches a batch.
        schedule: says which phase a step is in.
        seed: of order and augmentation.
        start: first step wanted.
        compute: gives the number of worker processes.
    """

    def stream(
        items: Items, transform: Compose, offset: int, first: int, last: int
    ) -> Iterator[dict[str, torch.Tensor]]:
        return iter(
            training_batches(
                items,
                transform,
                batch_size=batch_size,
                seed=seed + offset,
                start_step=min(first, last),
                num_steps=last,
                compute=compute,
            )
        )

    sampling = schedule.search_steps
    halves = (stream(half, small, offset, start, sampling) for offset, half in enumerate((weight_half, alpha_half), 1))
    for step, (weight_batch, alpha_batch) in enumerate(zip(*halves, strict=True), start):
        yield SearchBatch(step, weight_batch, alpha_batch)
    first = max(start, sampling)  # only now, as worker processes start to read ahead when a stream is made
    for step, batch in enumerate(stream(everything, full, 3, first, schedule.total_steps), first):
        yield SearchBatch(step, batch, None)


def sampling_plan(plan: Plan, share: float) -> Plan:
    """Return the plan with the patches of the steps that sample: ``share`` of each axis.

    What an alpha learns from is the number of draws far more than the number of voxels each is judged by, and steps on
    small patches are that much cheaper. No axis of the deepest level gets fewer than ``MIN_SAMPLING_EXTENT`` voxels.
    """
    x, y, z = (
        min(length, max(MIN_SAMPLING_EXTENT, round(share * length / unit)) * unit)
        for length, unit in zip(plan.patch_size, stride_product(plan.strides), strict=True)
    )
    return replace(plan, patch_size=(x, y, z))


def schedule_within(seconds: float, timed: Sequence[float], epoch_length: int, settle: bool) -> Schedule:
    """Return the schedule that fits a time.

    Args:
        seconds: to spend.
        timed: duration of each step of the trial but the first: ``TIMED_STEPS`` with sampling, as many without.
        epoch_length: wanted, steps; large tasks get less than a pass over all cases.
        settle: whether there is a last phase.
    """
    sampling = typical_seconds(timed[: TIMED_STEPS - 1])
    share = SEARCH_SHARE if settle else 1.0
    epoch_length = min(epoch_length, max(1, int(seconds * share / sampling)))
    search_epochs = epochs_in(seconds * share, sampling, epoch_length)
    if not settle:
        return Schedule(epoch_length, search_epochs, 0)
    fixed = typical_seconds(timed[TIMED_STEPS:])
    logger.info("a step takes %.2f s while operations are sampled, %.2f s with one network", sampling, fixed)
    return Schedule(epoch_length, search_epochs, epochs_in(seconds * (1 - share), fixed, epoch_length))


def sampling_gap(searcher: DecidingStrategy, items: Items, plan: Plan, compute: Compute) -> dict[str, Any]:
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
