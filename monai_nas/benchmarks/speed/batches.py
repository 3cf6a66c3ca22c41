"""Augmented training batches: ours beside the same transforms in MONAI's dataset and loader, and nnU-Net's."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

from monai.data.dataloader import DataLoader
from monai.data.dataset import CacheDataset
from monai.transforms.compose import Compose
from monai.utils import set_determinism

from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, silent
from monai_nas.benchmarks.speed.nnunet import PEER, left_out, nnunet_batches, title
from monai_nas.compute import choose_compute
from monai_nas.data.loaders import load_cases, training_batches
from monai_nas.data.synthetic import write_phantoms
from monai_nas.data.transforms import augmentation, build, class_indices, preprocessing
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import Case, training_cases

NUM_PHANTOMS = 4


def batches_contest(plan: Plan, *, repetitions: int, batches: int, seed: int, tick: Tick = silent) -> dict[str, Any]:
    """Time batches of augmented patches from preprocessed phantoms of the plan's task, prepared in this process.

    Contenders: "ours", :func:`~monai_nas.data.loaders.training_batches`; "monai", the same transforms in MONAI's
    ``CacheDataset`` and ``DataLoader``, with its defaults; "nnunet", nnU-Net's crops, augmentation and loader, which do
    other things to as many patches of the same cases and size.

    Args:
        plan: gives task, patch and batch.
        repetitions: how often each does it.
        batches: of each piece of work.
        seed: of phantoms and augmentation.
        tick: called with the share that is done.

    Returns:
        The record of :func:`~monai_nas.benchmarks.speed.contest.contest`, with "left_out", who is not installed.
    """
    compute = choose_compute(True, "cpu")
    with tempfile.TemporaryDirectory() as folder:
        data = write_phantoms(plan.task, Path(folder), NUM_PHANTOMS, 0, seed)
        cases = training_cases(data)
        items = load_cases(cases, plan.task, plan)
        theirs = monai_batches(cases, plan, workers=0)
    ours = iter(
        training_batches(
            items,
            build(augmentation(plan.task, plan)),
            batch_size=plan.batch_size,
            seed=seed,
            start_step=0,
            num_steps=batches * (repetitions + 1),
            compute=compute,
        )
    )
    sources: dict[str, tuple[Iterator[Any], str]] = {
        OURS: (ours, "plain tensors, seeded by sample"),
        "monai": (theirs, "CacheDataset, tensors with history"),
    }
    absent = left_out()
    if not absent:
        sources[PEER] = nnunet_batches(items, plan), f"{title()}'s loader and transforms, cases in memory"
    set_determinism(seed)
    try:
        record = contest(
            [Contender(name, partial(_take, source, batches), about) for name, (source, about) in sources.items()],
            repetitions=repetitions,
            tick=tick,
        )
    finally:
        set_determinism(None)
    return record | {
        "batches": batches,
        "batch_size": plan.batch_size,
        "patch_size": list(plan.patch_size),
        "left_out": absent,
    }


def monai_batches(cases: Sequence[Case], plan: Plan, *, workers: int) -> Iterator[Mapping[str, Any]]:
    """Return augmented batches without end by our transforms in MONAI's ``CacheDataset`` and ``DataLoader``.

    The cases are read and preprocessed here, once. torch's global generator decides what is drawn.

    Args:
        cases: each with an image and a label file.
        plan: gives task, patch and batch.
        workers: processes that prepare batches; 0 prepares them in this one.
    """
    steps = [*preprocessing(plan.task, plan, ("image", "label")), *class_indices(plan.task)]
    files = [{"image": str(case.image), "label": str(case.label)} for case in cases]
    transforms = Compose([*build(steps).transforms, *build(augmentation(plan.task, plan)).transforms])
    cached = CacheDataset(files, transforms, progress=False)
    return _without_end(DataLoader(cached, batch_size=plan.batch_size, shuffle=True, num_workers=workers))


def _take(source: Iterator[Any], count: int) -> list[Any]:
    return list(islice(source, count))


def _without_end(loader: DataLoader) -> Iterator[Mapping[str, Any]]:
    while True:
        yield from loader
