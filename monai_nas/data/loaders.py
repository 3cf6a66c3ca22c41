"""Preprocessed cases, read once, and training batches that depend on (seed, step) alone."""

import logging
import os
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from monai.data.meta_obj import get_track_meta, set_track_meta
from monai.transforms.compose import Compose
from rich.progress import track
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from monai_nas.compute import Compute
from monai_nas.data.case_cache import CaseCache
from monai_nas.data.transforms import CLASS_INDICES, build, class_indices, preprocessing
from monai_nas.errors import UserError
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import Case
from monai_nas.tasks.task import SegTask

logger = logging.getLogger(__name__)
_MEMORY_SHARE = 0.4  # of the machine's memory for preprocessed cases; those beyond it go to temporary files


def load_cases(cases: Sequence[Case], task: SegTask, plan: Plan, *, progress: bool = False) -> list[dict[str, Any]]:
    """Read and preprocess labelled cases, once for a whole run, and once for all runs where the cache keeps them.

    Args:
        cases: each with an image and a label file.
        task: gives modalities and classes.
        plan: gives spacing and intensity rules.
        progress: show a progress bar.

    Returns:
        One item a case, of plain tensors: "image" (C, H, W, D) float32, "label" (1, H, W, D) uint8, the voxels of each
        class under ``CLASS_INDICES``, and "name". What exceeds a share of the memory is backed by temporary files
        that vanish with the process, however it ends.

    Raises:
        UserError: when a case has no label, or a file cannot be read or has another number of channels.
    """
    configs = [*preprocessing(task, plan, ("image", "label")), *class_indices(task)]
    transforms, cache = build(configs), CaseCache(configs, len(cases))
    budget_bytes = _MEMORY_SHARE * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    items: list[dict[str, Any]] = []
    held_bytes = 0
    for case in track(cases, "reading cases", disable=not progress, transient=True):
        item = _load(case, task, transforms, cache)
        held_bytes += item["image"].nbytes + item["label"].nbytes
        if held_bytes > budget_bytes:
            item["image"], item["label"] = _on_disk(item["image"]), _on_disk(item["label"])
        items.append(item)
    cache.tell()
    if held_bytes > budget_bytes:
        logger.info("preprocessed cases take %.1f GB; part of them is kept in temporary files", held_bytes / 1e9)
    return items


def training_batches(
    items: Sequence[dict[str, Any]],
    transform: Compose,
    *,
    batch_size: int,
    seed: int,
    start_step: int,
    num_steps: int,
    compute: Compute,
) -> Iterable[dict[str, Tensor]]:
    """Return the batches of steps ``start_step`` to ``num_steps - 1`` of a run.

    Batch t is a function of (seed, t) and nothing else: a run that is killed and resumed, or that uses another number
    of worker processes, sees the same batches bit for bit. Cases come in a new order each epoch, each once an epoch.

    Args:
        items: what :func:`load_cases` returned.
        transform: the composed augmentation; reseeded for each sample.
        batch_size: samples a batch; epochs run on across batches, so none is cut short.
        seed: of order and augmentation.
        start_step: first step wanted; 0 for a fresh run, the number of finished steps for a resumed one.
        num_steps: steps of the whole run.
        compute: gives the number of worker processes.

    Returns:
        An iterable of {"image": (B, C, H, W, D) float32, "label": (B, 1, H, W, D) uint8}, plain tensors on the CPU.
    """
    if not items:
        raise ValueError("training_batches needs at least one item, got none")
    if not 0 <= start_step <= num_steps:
        raise ValueError(f"start_step must be in [0, {num_steps}], got {start_step}")
    return DataLoader(
        SeededSamples(items, transform, seed),
        batch_size=batch_size,
        sampler=range(start_step * batch_size, num_steps * batch_size),
        num_workers=compute.workers,
        collate_fn=_stack,
        pin_memory=compute.device.type == "cuda",
        generator=torch.Generator(),  # else each loader draws from the global generator, which dropout uses
    )


class SeededSamples(Dataset[dict[str, Tensor]]):
    """An endless sequence of augmented samples in which sample i is a function of (seed, i)."""

    def __init__(self, items: Sequence[dict[str, Any]], transform: Compose, seed: int) -> None:
        self.items = items
        self.transform = transform
        self.seed = seed
        self._order: tuple[int, np.ndarray[Any, np.dtype[np.int64]]] | None = None  # (epoch, its permutation)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        epoch, place = divmod(index, len(self.items))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng([self.seed, 0, epoch]).permutation(len(self.items))
        item = self.items[self._order[1][place]]
        sample_seed = int(np.random.SeedSequence([self.seed, 1, index]).generate_state(1)[0])
        with _plain_tensors():
            self.transform.set_random_state(sample_seed)
            sample = self.transform({key: item[key] for key in ("image", "label", CLASS_INDICES)})
        crop = sample[0] if isinstance(sample, list) else sample  # crops come as a list of one
        return {"image": crop["image"], "label": crop["label"]}


@contextmanager
def _plain_tensors() -> Iterator[None]:
    """Run transforms on plain tensors: keeping the history of each for its inverse doubles their cost."""
    before = get_track_meta()
    set_track_meta(False)
    try:
        yield
    finally:
        set_track_meta(before)


def _stack(samples: list[dict[str, Tensor]]) -> dict[str, Tensor]:
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}


def _load(case: Case, task: SegTask, transforms: Compose, cache: CaseCache) -> dict[str, Any]:
    if case.label is None:
        raise UserError(f"{case.image}: no label file for this training case: complete dataset.json")
    try:
        place = cache.place(case)
        kept = cache.read(place)
        tensors = _preprocess(case, transforms) if kept is None else kept
    except Exception as error:  # readers raise anything; the file is what the user needs to know
        cause = error.__cause__ or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        raise UserError(f"{case.image}: cannot be read with its label ({reason}): run `monai-nas check`") from error
    image, label = tensors["image"], tensors["label"]  # (C, H, W, D), (1, H, W, D)
    if image.shape[0] != task.in_channels or label.shape[1:] != image.shape[1:]:
        raise UserError(
            f"{case.image}: shape {tuple(image.shape)} with a label {tuple(label.shape)} does not fit "
            f"{task.in_channels} channels: run `monai-nas check`"
        )
    if kept is None:
        cache.write(place, tensors)
    return {"name": case.name, **tensors}


def _preprocess(case: Case, transforms: Compose) -> dict[str, Any]:
    data = transforms({"image": str(case.image), "label": str(case.label)})
    indices = [torch.as_tensor(voxels).as_subclass(Tensor) for voxels in data[CLASS_INDICES]]
    image, label = data["image"].as_tensor().contiguous(), data["label"].as_tensor().contiguous()
    return {"image": image, "label": label, CLASS_INDICES: indices}


def _on_disk(tensor: Tensor) -> Tensor:
    """Return a copy of ``tensor`` mapped from an unnamed temporary file, of which only the pages read are in memory."""
    array = tensor.numpy()
    try:
        with tempfile.TemporaryFile() as file:
            file.write(np.ascontiguousarray(array).data)
            file.flush()
            mapped = np.memmap(file, dtype=array.dtype, mode="r+", shape=array.shape)
    except OSError as error:
        raise UserError(
            f"{tempfile.gettempdir()}: cannot hold preprocessed cases ({error.strerror}): free some space or set TMPDIR"
        ) from error
    return torch.from_numpy(mapped)
