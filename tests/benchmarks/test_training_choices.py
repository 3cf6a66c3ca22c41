"""Trainings that differ in augmentation, rate and averaging, and the command that makes them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.progress import Progress

from monai_nas.benchmarks import training_choices
from monai_nas.benchmarks.training_choices import SETTINGS, Choices, main, summarize, teach
from monai_nas.compute import choose_compute
from monai_nas.data.loaders import load_cases
from monai_nas.data.transforms import augmentation, random_crop
from monai_nas.files import read_json
from monai_nas.pipelines.run_folder import fold_cases, plan_for, sound_cases
from monai_nas.spaces import CellUNetSpace
from monai_nas.tasks.task import load_task


def test_each_setting_is_one_change_from_what_is_shipped() -> None:
    shipped = SETTINGS["shipped"]
    assert shipped == Choices() and shipped.patches is augmentation and shipped.config.falls_on_cosine
    assert SETTINGS["no_augmentation"] == replace(shipped, patches=random_crop)
    assert SETTINGS["constant_rate"] == replace(shipped, config=replace(shipped.config, falls_on_cosine=False))


def test_last_and_averaged_weights_are_scored(phantoms: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task, compute = load_task(None, phantoms), choose_compute()
    learn, kept_out, _ = fold_cases(sound_cases(phantoms, task), 0)
    plan = replace(plan_for(None, learn, task), width=4, patch_size=(16, 16, 16), strides=((2, 2, 2), (2, 2, 2)))
    items, held = (load_cases(cases, task, plan) for cases in (learn[:3], kept_out[:2]))
    architecture = CellUNetSpace(num_nodes=1).sample(np.random.default_rng(0))

    def trained(momentum: float, **options: Any) -> dict[str, Any]:
        monkeypatch.setattr(training_choices, "MOMENTUM", momentum)
        with Progress(disable=True) as bar:
            return teach(
                items, held, plan, architecture, Choices(**options), seed=0, epochs=2, compute=compute, bar=bar
            )

    one = trained(0.999999)  # hardly any average
    assert one["steps"] == 4 and len(one["dice_percent"]) == len(held)
    assert one["averaged_dice_percent"] == pytest.approx(one["dice_percent"], abs=0.5)
    other = trained(0.2)
    assert other["dice_percent"] == one["dice_percent"], "averaging does not change the training"
    assert other["averaged_dice_percent"] != one["averaged_dice_percent"]
    assert trained(0.2, patches=random_crop)["dice_percent"] != one["dice_percent"]


def test_means_over_cases_and_seeds() -> None:
    trainings = [
        {"steps": 3, "dice_percent": [80.0, 90.0], "averaged_dice_percent": [82.0, 90.0]},
        {"steps": 3, "dice_percent": [84.0, 90.0], "averaged_dice_percent": [86.0, 92.0]},
    ]
    found = summarize(trainings)
    assert found["dice_percent"] == {"mean": 86.0, "by_seed": [85.0, 87.0]}
    assert found["averaged_dice_percent"] == {"mean": 87.5, "by_seed": [86.0, 89.0]}


def test_the_command_writes_each_training_once(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []

    def taught(*arguments: Any, seed: int, **_: Any) -> dict[str, Any]:
        seeds.append(seed)
        return {"seed": seed, "steps": 6, "dice_percent": [80.0 + seed], "averaged_dice_percent": [81.0]}

    monkeypatch.setattr(training_choices, "teach", taught)
    out = tmp_path / "choices.json"
    words = ["--data", str(phantoms), "--out", str(out), "--epochs", "2", "--settings", "constant_rate"]
    main([*words, "--seeds", "0"])
    main(words)
    assert seeds == [0, 1]
    record = read_json(out)
    assert record["settings"]["shipped"] is None
    assert record["settings"]["constant_rate"]["dice_percent"] == {"mean": 80.5, "by_seed": [80.0, 81.0]}
    with pytest.raises(SystemExit):
        main([*words[:4], "--epochs", "3"])
