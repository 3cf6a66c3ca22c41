"""The contest of batches: who takes part."""

import pytest

from monai_nas.benchmarks.speed import batches as module
from monai_nas.benchmarks.speed.batches import batches_contest
from monai_nas.benchmarks.speed.nnunet import left_out
from monai_nas.plans.plan import Plan


def test_each_takes_part(tiny_plan: Plan) -> None:
    record = batches_contest(tiny_plan, repetitions=2, batches=1, seed=0)
    peer = () if left_out() else ("nnunet",)
    assert tuple(record["contenders"]) == ("ours", "monai", *peer) and record["left_out"] == left_out()
    assert all(len(values["seconds"]) == 2 for values in record["contenders"].values())
    assert (record["batches"], record["batch_size"], record["patch_size"]) == (1, 1, [16, 16, 16])


def test_without_nnunet_two_remain_and_the_record_says_so(tiny_plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "left_out", lambda: {"nnunet": "not installed"})
    record = batches_contest(tiny_plan, repetitions=1, batches=1, seed=0)
    assert tuple(record["contenders"]) == ("ours", "monai")
    assert record["left_out"] == {"nnunet": "not installed"}
