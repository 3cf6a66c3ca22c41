"""Estimates of a training: by hand on a small plan, and those committed made again."""

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.task_pages import (
    EVIDENCE,
    HAND_MADE,
    SEARCHED,
    STEPS,
    UNET_PATCHES_PER_SECOND,
    estimate,
    estimates,
    measured_rate,
)
from monai_nas.errors import UserError
from monai_nas.files import write_json
from monai_nas.plans.published import committed_plan

DOCS = Path(__file__).parents[2] / "docs"


def training(steps: int, minutes: float) -> dict[str, object]:
    return {
        "steps": {"all": steps},
        "batch_size": 2,
        "gflops": {"patch": 5.0},
        "minutes": {"train": {"taken": minutes}},
    }


def test_the_measured_rate_is_the_work_of_all_steps_in_the_time_taken(tmp_path: Path) -> None:
    write_json(tmp_path / "run.json", training(steps=300, minutes=10.0))
    assert measured_rate(tmp_path / "run.json") == 300 * 2 * 5.0 / 10.0


@pytest.mark.parametrize("damaged", [{}, [], training(1, 0.0), {"steps": 3}])
def test_a_file_without_a_training_is_named(tmp_path: Path, damaged: object) -> None:
    write_json(tmp_path / "run.json", damaged)
    with pytest.raises(UserError, match=r"run\.json: no training's steps, GFLOP and minutes"):
        measured_rate(tmp_path / "run.json")


def test_an_estimate_is_steps_times_work_over_the_rate() -> None:
    plan = replace(committed_plan("Task02_Heart"), patch_size=(16, 16, 16), strides=((2, 2, 2),) * 2, width=4)
    architecture = Architecture.create("dynunet", {}, {})
    found = estimate(architecture, plan, rate=2.0)
    assert found["epochs"] == 25_000  # 20 cases in batches of 2 are 10 steps
    assert found["steps"] == STEPS
    assert found["seconds_per_step"] == pytest.approx(3 * found["gflops"] * 1e9 * 2 / 2e12)
    assert found["hours"] == pytest.approx(STEPS * found["seconds_per_step"] / 3600)
    assert "patch 16x16x16, batch 2, float16, cuda" in found["memory"]
    # 3x3x3 convolutions of 16^3, 8^3 and 4^3 voxels: a pair a level down, a pair a level up on twice the channels; the
    # transposed ones have 2x2x2 weights at the coarser size, the last 1x1x1
    pairs = 27 * (
        16**3 * (1 * 4 + 4 * 4 + 8 * 4 + 4 * 4) + 8**3 * (4 * 8 + 8 * 8 + 16 * 8 + 8 * 8) + 4**3 * (8 * 16 + 16 * 16)
    )
    pairs += 8 * (4**3 * 16 * 8 + 8**3 * 8 * 4) + 16**3 * 4 * 2
    assert found["gflops"] == pytest.approx(2 * pairs / 1e9)


@pytest.mark.slow
def test_the_committed_estimates_are_made_again() -> None:
    committed = json.loads((DOCS / "tasks" / "estimates.json").read_text())
    made = estimates(DOCS / EVIDENCE)
    assert made.keys() == committed.keys()
    gpu = made["gpu"]
    assert gpu["unet_rate"] == pytest.approx(3 * gpu["unet_gflops"] * UNET_PATCHES_PER_SECOND / 1e3)
    rates = [measured_rate(DOCS / EVIDENCE / name) for name in (SEARCHED, HAND_MADE)]
    assert gpu["rate"] == pytest.approx(gpu["unet_rate"] * rates[0] / rates[1])
    for name, task in made["tasks"].items():
        kept = committed["tasks"][name]
        assert task["plan"] == kept["plan"]
        for key in ("num_parameters", "gflops", "steps", "hours"):
            assert task[key] == pytest.approx(kept[key], rel=1e-6), f"{name}, {key}: {EVIDENCE} may have changed"
        assert math.isclose(task["memory_bytes"], kept["memory_bytes"], rel_tol=0.05)  # a torch with CUDA counts others
