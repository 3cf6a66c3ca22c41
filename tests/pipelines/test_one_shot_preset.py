"""The values that a preset's name stands for in searches under budgets."""

import dataclasses
from pathlib import Path

import pytest
import torch
from torch.nn import functional

from monai_nas.data.transforms import build, rotated_and_flipped_crop
from monai_nas.pipelines.one_shot_preset import ONE_SHOT_PRESETS, OneShotPreset, grid_plan, paper_grid_plan
from monai_nas.pipelines.preset import PRESETS, Preset
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task

PAPER = ONE_SHOT_PRESETS["paper"]


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    """The plan of the rules for the phantoms."""
    task = load_task(None, phantoms)
    return make_plan(task, measure_fingerprint(training_cases(phantoms), task))


def test_plans_of_grids(plan: Plan) -> None:
    rules = dataclasses.replace(plan, patch_size=(40, 56, 40), strides=((2, 2, 2),) * 3)
    assert (grid_plan(rules).patch_size, grid_plan(rules).strides) == ((48, 64, 48), ((2, 2, 2),) * 4)
    thick = dataclasses.replace(plan, patch_size=(96, 96, 20), strides=((2, 2, 1), (2, 2, 2)))
    assert (grid_plan(thick).patch_size, grid_plan(thick).strides) == ((96, 96, 24), ((2, 2, 1), *((2, 2, 2),) * 3))
    small = dataclasses.replace(plan, patch_size=(24, 24, 24), strides=((2, 2, 2),) * 3)
    assert grid_plan(small).patch_size == (48, 32, 32), "the first axis keeps three voxels at the coarsest level"
    paper = paper_grid_plan(plan)
    assert (paper.patch_size, paper.batch_size, paper.width, len(paper.strides)) == ((96, 96, 96), 8, 32, 4)


def test_values_of_the_paper() -> None:
    """hypersegnas.txt, section 4."""
    assert (PAPER.minutes, PAPER.steps, PAPER.num_candidates, PAPER.num_finalists, PAPER.fine_tuning_steps) == (
        None,
        180_000,
        2000,
        10,
        5000,
    )
    assert round(180_000 * PAPER.supernet.annealing_share) == 20_000 and PAPER.supernet.law == "coin"
    assert (PAPER.supernet.rate, PAPER.fine_tuning_rate) == (2e-3, 1e-3), "ours, as the paper names none"
    assert PAPER.recompute and not ONE_SHOT_PRESETS["cpu"].recompute
    assert PAPER.adapt is paper_grid_plan and PAPER.patches is rotated_and_flipped_crop


@pytest.mark.parametrize("values", [PAPER, PRESETS["paper"]], ids=["hypersegnas", "scnas"])
def test_a_plan_given_by_hand_is_kept(
    values: OneShotPreset | Preset, plan: Plan, phantoms: Path, tmp_path: Path
) -> None:
    """As the help of --plan and --preset says; the paper's plan is for those that the rules derive."""
    cases = training_cases(phantoms)
    run = RunFolder(tmp_path / "run")
    assert run.choose_plan(plan, cases, plan.task, values.adapt) == plan
    assert run.choose_plan(None, cases, plan.task, values.adapt) == values.adapt(plan) != plan


def test_the_loss_of_the_paper_is_dice_plus_cross_entropy() -> None:
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, 3, 4, 5, 6, generator=generator)
    label = torch.randint(0, 3, (2, 1, 4, 5, 6), generator=generator)
    truth = functional.one_hot(label[:, 0], 3).movedim(-1, 1).float()[:, 1:]  # foreground
    share = logits.softmax(dim=1)[:, 1:]
    overlap, total = (values.sum(dim=(0, 2, 3, 4)) for values in (share * truth, share + truth))
    expected = (1 - 2 * overlap / total).mean() + functional.cross_entropy(logits, label[:, 0])
    assert float(PAPER.loss()(logits, label)) == pytest.approx(float(expected), abs=1e-5)


def drawn_patches(plan: Plan, size: int, count: int) -> list[torch.Tensor]:
    """Return patches of a volume whose voxels are numbered, each checked to be a crop with the label of its image."""
    transform = build(PAPER.patches(plan.task, plan))
    image = torch.arange(size**3, dtype=torch.float32).reshape(1, size, size, size)
    drawn = []
    for seed in range(count):
        transform.set_random_state(seed)
        sample = transform({"image": image, "label": image})
        patch = sample["image"][0]
        assert torch.equal(sample["label"][0].float(), patch % 256), "the label is uint8, and turned with its image"
        sides = [int(values.max() - values.min()) + 1 for values in coordinates(patch, size)]
        assert sorted(sides) == sorted(plan.patch_size) and len(patch.unique()) == patch.numel()
        drawn.append(patch)
    return drawn


def coordinates(patch: torch.Tensor, size: int) -> list[torch.Tensor]:
    """Return where in the volume the voxels of a patch come from, axis by axis."""
    return [patch // size**2, patch // size % size, patch % size]


def direction(patch: torch.Tensor, size: int) -> tuple[tuple[int, int], ...]:
    """Return, for each axis of a patch, the axis of the volume that it runs along, and which way."""
    found = []
    for axis in range(3):
        ends = [coordinates(patch.select(axis, place), size) for place in (0, -1)]
        (along,) = (other for other in range(3) if float((ends[1][other] - ends[0][other]).abs().min()) > 0)
        found.append((along, 1 if bool((ends[1][along] > ends[0][along]).all()) else -1))
    return tuple(found)


def test_crops_of_the_paper_are_turned_and_flipped(plan: Plan) -> None:
    cube = dataclasses.replace(plan, patch_size=(6, 6, 6), strides=((2, 2, 2),), spacing_mm=(1.0, 1.0, 1.0))
    assert len({direction(patch, 6) for patch in drawn_patches(cube, 6, 200)}) > 40  # of 48
    thick = dataclasses.replace(cube, patch_size=(6, 6, 4), spacing_mm=(1.0, 1.0, 3.0))
    found = {direction(patch, 6) for patch in drawn_patches(thick, 6, 200)}
    assert {axes[2][0] for axes in found} == {2}, "thick slices stay in their plane"
    assert len(found) == 16
