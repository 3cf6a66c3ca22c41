"""Batches are a function of (seed, step): on resume, with worker processes, and case by case."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.compute import Compute, choose_compute
from monai_nas.data import loaders
from monai_nas.data.loaders import SeededSamples, load_cases, training_batches
from monai_nas.data.transforms import CLASS_INDICES, augmentation, build
from monai_nas.errors import UserError
from monai_nas.plans import Plan, make_plan, measure_fingerprint
from monai_nas.tasks import Case, load_task, training_cases

Batch = dict[str, torch.Tensor]
COMPUTE = choose_compute(device="cpu")


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    task = load_task(None, phantoms)
    return make_plan(task, measure_fingerprint(training_cases(phantoms), task))


@pytest.fixture(scope="module")
def items(phantoms: Path, plan: Plan) -> list[dict[str, Any]]:
    return load_cases(training_cases(phantoms)[:5], plan.task, plan)


def batches(
    items: list[dict[str, Any]],
    plan: Plan,
    *,
    seed: int = 3,
    start: int = 0,
    steps: int = 6,
    compute: Compute = COMPUTE,
) -> Iterable[Batch]:
    transform = build(augmentation(plan.task, plan))
    return training_batches(
        items, transform, batch_size=2, seed=seed, start_step=start, num_steps=steps, compute=compute
    )


def same(first: Iterable[Batch], second: Iterable[Batch]) -> bool:
    return all(
        torch.equal(one[key], other[key])
        for one, other in zip(first, second, strict=True)
        for key in ("image", "label")
    )


def test_items_are_plain_tensors(items: list[dict[str, Any]], plan: Plan) -> None:
    for item in items:
        assert type(item["image"]) is torch.Tensor and item["image"].dtype == torch.float32
        assert type(item["label"]) is torch.Tensor and item["label"].dtype == torch.uint8
        assert item["image"].shape[1:] == item["label"].shape[1:]
        for value, voxels in enumerate(item[CLASS_INDICES]):
            assert bool((item["label"].flatten()[voxels] == value).all())


def test_batches_have_the_planned_shape(items: list[dict[str, Any]], plan: Plan) -> None:
    made = list(batches(items, plan, steps=3))
    assert len(made) == 3
    for batch in made:
        assert batch["image"].shape == batch["label"].shape == (2, 1, *plan.patch_size)
        assert type(batch["image"]) is torch.Tensor
        assert batch["image"].dtype == torch.float32 and batch["label"].dtype == torch.uint8


def test_a_resumed_run_sees_the_same_batches_bit_for_bit(items: list[dict[str, Any]], plan: Plan) -> None:
    fresh = list(batches(items, plan, steps=10))
    assert same(fresh[5:], batches(items, plan, start=5, steps=10))


@pytest.mark.filterwarnings("ignore:This DataLoader will create")  # on machines of one core
def test_worker_processes_change_nothing(items: list[dict[str, Any]], plan: Plan) -> None:
    workers = dataclasses.replace(COMPUTE, workers=2)
    assert same(batches(items, plan, steps=4), batches(items, plan, steps=4, compute=workers))


def test_another_seed_gives_other_batches(items: list[dict[str, Any]], plan: Plan) -> None:
    assert not same(batches(items, plan, steps=1), batches(items, plan, steps=1, seed=4))


def test_a_case_is_augmented_anew_each_epoch(items: list[dict[str, Any]], plan: Plan) -> None:
    samples = SeededSamples(items[:1], build(augmentation(plan.task, plan)), seed=0)
    assert not torch.equal(samples[0]["image"], samples[1]["image"])


def test_loaders_leave_the_global_generators_alone(items: list[dict[str, Any]], plan: Plan) -> None:
    torch.manual_seed(0)
    np.random.seed(0)
    expected = float(torch.rand(1)), float(np.random.rand())
    torch.manual_seed(0)
    np.random.seed(0)
    list(batches(items, plan, steps=2))
    assert (float(torch.rand(1)), float(np.random.rand())) == expected


def test_epochs_visit_each_case_once_in_changing_order() -> None:
    # The transform passes through; each item carries its number as its image.
    items = [
        {"image": torch.tensor([float(number)]), "label": torch.zeros(1), CLASS_INDICES: []} for number in range(7)
    ]
    samples = SeededSamples(items, build([]), seed=1)
    epochs = [[int(samples[7 * epoch + place]["image"]) for place in range(7)] for epoch in range(4)]
    assert all(sorted(epoch) == list(range(7)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_bad_steps_and_no_items_are_rejected(items: list[dict[str, Any]], plan: Plan) -> None:
    with pytest.raises(ValueError, match="start_step"):
        batches(items, plan, start=7, steps=6)
    with pytest.raises(ValueError, match="at least one item"):
        batches([], plan)


def test_cases_beyond_the_memory_share_are_kept_on_disk(
    phantoms: Path, plan: Plan, items: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaders, "_MEMORY_SHARE", 0.0)
    spilled = load_cases(training_cases(phantoms)[:5], plan.task, plan)
    for item, kept in zip(spilled, items, strict=True):
        assert torch.equal(item["image"], kept["image"]) and torch.equal(item["label"], kept["label"])
    assert same(batches(items, plan, steps=2), batches(spilled, plan, steps=2))


def test_faulty_cases_are_named(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    case = training_cases(phantoms)[0]
    with pytest.raises(UserError, match=f"{case.image.name}: no label file"):
        load_cases([Case(case.name, case.image, None)], plan.task, plan)
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"not a volume")
    with pytest.raises(UserError, match=r"damaged\.nii\.gz: cannot be read") as caught:
        load_cases([Case("damaged", damaged, case.label)], plan.task, plan)
    assert "\n" not in str(caught.value)


@pytest.mark.realdata
def test_real_cases_make_batches(msd_root: Path) -> None:
    data = msd_root / "Task04_Hippocampus"
    task, cases = load_task(None, data), training_cases(data)[:2]
    plan = make_plan(task, measure_fingerprint(cases, task))
    real = load_cases(cases, task, plan)
    for item in real:
        assert float(item["image"].mean()) == pytest.approx(0.0, abs=1e-3)
        assert float(item["image"].std()) == pytest.approx(1.0, abs=1e-3)
    made = list(batches(real, plan, steps=3))
    assert all(batch["image"].shape == (2, 1, *plan.patch_size) for batch in made)
    assert set(torch.cat([batch["label"].flatten() for batch in made]).tolist()) == {0, 1, 2}
