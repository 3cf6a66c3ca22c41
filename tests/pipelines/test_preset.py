"""The values that a preset's name stands for, and a few steps of the paper's at reduced size."""

import csv
import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from monai_nas.compute import choose_compute
from monai_nas.data.transforms import build, random_crop
from monai_nas.errors import UserError
from monai_nas.export import inference_config
from monai_nas.files import read_json
from monai_nas.inference import predictor
from monai_nas.losses import multi_class_dice_loss
from monai_nas.pipelines.preset import PRESETS, preset_named
from monai_nas.pipelines.search import search
from monai_nas.pipelines.train import train
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.spaces import CellUNetSpace
from monai_nas.strategies import STRATEGIES
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task

PAPER = PRESETS["paper"]
COMPUTE = choose_compute(low_precision=False, device="cpu")


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    """The plan of the rules for the phantoms."""
    task = load_task(None, phantoms)
    return make_plan(task, measure_fingerprint(training_cases(phantoms), task))


@pytest.fixture(scope="module")
def tiny(plan: Plan) -> Plan:
    """The paper's plan with a patch and a width so small that a step takes a fraction of a second."""
    return dataclasses.replace(PAPER.adapt(plan), patch_size=(24, 24, 24), width=4)


def test_every_preset_configures_every_strategy() -> None:
    assert all(set(preset.strategies) == set(STRATEGIES) for preset in PRESETS.values())


def test_values_of_the_paper() -> None:
    """scnas.txt, section 4, 'Implementation details'."""
    scnas = PAPER.strategies["scnas"]
    assert (scnas.weight_rate, scnas.weight_betas) == (0.025, (0.9, 0.999))
    assert (scnas.alpha_rate, scnas.alpha_betas) == (0.003, (0.5, 0.999))
    assert scnas.warmup_share == 0.0 and not PAPER.settle and PAPER.sampling_patch_share == 1.0
    for rule in (scnas, PAPER.training):
        assert (rule.plateau_epochs, rule.plateau_factor) == (20, 0.1)
    training = PAPER.training
    assert (training.rate, training.betas, training.falls_on_cosine) == (0.025, (0.9, 0.999), False)
    assert (training.warmup_steps, training.max_gradient_norm) == (0, float("inf"))
    assert (PAPER.epochs, PAPER.minutes) == (400, None)
    assert predictor.OVERLAP == inference_config.OVERLAP == 0.5
    assert PAPER.loss is multi_class_dice_loss and PAPER.patches is random_crop


@pytest.mark.parametrize(
    ("spacing_mm", "patch"),
    [((1.0, 1.0, 1.0), (128, 128, 128)), ((0.625, 0.625, 3.6), (128, 128, 24)), ((0.77, 0.77, 1.0), (128, 128, 128))],
)
def test_plan_of_the_paper(plan: Plan, spacing_mm: tuple[float, float, float], patch: tuple[int, int, int]) -> None:
    adapted = PAPER.adapt(dataclasses.replace(plan, spacing_mm=spacing_mm))
    assert (adapted.patch_size, adapted.batch_size, adapted.width) == (patch, 1, 32)
    assert adapted.strides == ((2, 2, 2),) * 3
    assert all(rule.kind == "mri" for rule in adapted.intensity) and adapted.spacing_mm == spacing_mm


def test_crops_are_unaltered_pieces_of_the_padded_case(plan: Plan) -> None:
    small = dataclasses.replace(plan, patch_size=(8, 16, 8), strides=((2, 2, 2),))
    transform = build(random_crop(small.task, small))
    image = torch.arange(1, 1 + 12 * 12 * 12, dtype=torch.float32).reshape(1, 12, 12, 12)
    for seed in range(5):
        transform.set_random_state(seed)
        crop = transform({"image": image, "label": image})
        assert crop["image"].shape == (1, 8, 16, 8)
        assert torch.equal(crop["image"].to(torch.uint8), crop["label"])
        values = crop["image"][crop["image"] > 0]
        assert len(values) == 8 * 12 * 8  # the middle axis is padded
        assert values.max() - values.min() == 7 * 144 + 11 * 12 + 7


def test_a_search_of_the_paper_at_reduced_size(phantoms: Path, tiny: Plan, tmp_path: Path) -> None:
    out = tmp_path / "run"
    search(
        phantoms,
        out,
        task=tiny.task,
        strategy="scnas",
        plan=tiny,
        seed=0,
        minutes=None,
        epochs=1,
        fold=0,
        compute=COMPUTE,
        preset="paper",
    )
    with (out / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["weight_rate"]) == 0.025 and row["alpha_loss"] and float(row["loss"]) < 1.0  # no cross-entropy
    facts = read_json(out / "run.json")
    assert (facts["preset"], facts["steps"], facts["settle"]) == ("paper", 4, False)
    assert read_json(out / "schedule.json") == {"epoch_length": 4, "search_epochs": 1, "fixed_epochs": 0}


def test_a_training_of_the_paper_at_reduced_size(phantoms: Path, tiny: Plan, tmp_path: Path) -> None:
    train(
        phantoms,
        tmp_path / "run",
        task=tiny.task,
        architecture=CellUNetSpace().sample(np.random.default_rng(0)),
        plan=tiny,
        init=None,
        fold=None,
        seed=0,
        minutes=None,
        epochs=1,
        compute=COMPUTE,
        preset="paper",
    )
    with (tmp_path / "run" / "history.csv").open() as file:
        (row,) = csv.DictReader(file)
    assert float(row["rate"]) == 0.025 and read_json(tmp_path / "run" / "run.json")["preset"] == "paper"


def test_an_unknown_preset_is_refused() -> None:
    with pytest.raises(UserError, match="--preset gpu: unknown, choose one of cpu, paper"):
        preset_named("gpu")
