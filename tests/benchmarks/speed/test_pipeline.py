"""The contest of training with its data: who takes part, and what the record says."""

import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed import pipeline as module
from monai_nas.benchmarks.speed.pipeline import pipeline_contest
from monai_nas.plans.plan import Plan


def test_each_takes_its_steps_on_new_data(
    architecture: Architecture, tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    whole = module.training_batches

    def counted(*arguments: object, num_steps: int, **more: object) -> object:
        asked.append(num_steps)
        return whole(*arguments, num_steps=num_steps, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(module, "training_batches", counted)
    record = pipeline_contest(architecture, tiny_plan, repetitions=2, steps=2, seed=0, device="cpu")
    assert tuple(record["contenders"]) == ("ours", "batches", "monai", "monai_low_precision")
    assert asked == [6, 6]  # once to warm up, then twice
    seconds = {name: values["median_seconds"] for name, values in record["contenders"].items()}
    assert record["iterations_a_second"] == pytest.approx({name: 2 / value for name, value in seconds.items()})
    assert record["share_of_batches"] == pytest.approx(seconds["batches"] / seconds["ours"])
    assert 0 < record["share_of_batches"] < 1 and record["workers"] == 0
    assert 0.5 < record["flops"]["monai"] / record["flops"]["ours"] < 2
