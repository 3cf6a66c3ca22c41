"""The comparison of two active operations with one and with eight: its variants, its figures, its limits."""

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_nas.benchmarks import sampling_cost as module
from monai_nas.benchmarks.sampling_cost import MeasuredSearch, Setting, as_one, main, measure, patch_size, ratios
from monai_nas.files import read_json

TINY = Setting(width=4, patch=(16, 16, 16), batch_size=1, seed=0, device="cpu", low_precision=False)


@pytest.fixture(scope="module")
def search() -> MeasuredSearch:
    """A search on a tiny supernet; its variant may be changed."""
    return MeasuredSearch(TINY, "two")


def test_one_is_the_larger_of_two_and_keeps_its_gradient() -> None:
    logits = torch.tensor([[0.3, 0.7, 0.0], [0.9, 0.0, 0.1]]).requires_grad_()
    one = as_one(logits * 1.0)
    assert one.tolist() == [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    one[0, 1].backward()
    assert logits.grad is not None and logits.grad.tolist() == [[0, 1, 0], [0, 0, 0]]


@pytest.mark.parametrize(("variant", "active"), [("one", 1), ("two", 2), ("eight", 8)])
def test_as_many_operations_are_active_as_the_name_says(
    variant: str, active: int, search: MeasuredSearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "variant", variant)
    first, second = search.sample(0), search.sample(1)
    for name, weights in first.items():
        assert ((weights != 0).sum(dim=1) == active).all() and weights.requires_grad
        assert weights.sum(dim=1).tolist() == pytest.approx([1] * 14)
        assert torch.equal(weights, search.sample(0)[name])
        assert torch.equal(weights, second[name]) == (variant == "eight")


def test_updates_are_those_of_a_search_step_and_change_nothing(search: MeasuredSearch) -> None:
    batch = TINY.batch()
    before = {name: value.clone() for name, value in search.supernet.state_dict().items()}
    search.update("weights", batch, 0)
    alphas = list(search.supernet.architecture_parameters())
    assert all(alpha.grad is None for alpha in alphas)
    assert any(weight.grad is not None for weight in search.weights)
    search.weight_optimizer.zero_grad()
    search.update("alphas", batch, 0)
    assert all(alpha.grad is not None and alpha.grad.abs().sum() > 0 for alpha in alphas)
    assert all(weight.grad is None for weight in search.weights)
    assert all(torch.equal(value, before[name]) for name, value in search.supernet.state_dict().items())


def test_ratios_are_of_sums_with_the_spread_of_single_draws() -> None:
    taken = {"two": {"step": [1.0, 3.0]}, "eight": {"step": [2.0, 4.0]}}
    result = ratios(taken | {"one": taken["two"]})["two/eight"]["step"]
    expected = {"of_sums": 4 / 6, "median": 0.625, "min": 0.5, "max": 0.75, "std": 0.25 / 2**0.5}
    assert result == pytest.approx(expected)


def test_variants_are_timed_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[str, str, int]] = []

    class Search:
        def __init__(self, setting: Setting, variant: str) -> None:
            self.variant = variant

        def update(self, kind: str, batch: Any, draw: int) -> None:
            calls.append((self.variant, kind, draw))

    monkeypatch.setattr(module, "MeasuredSearch", Search)
    taken = module.seconds(TINY, 3)
    assert len(calls) == 2 * 3 * (module.WARM_UP + 3)
    assert [variant for variant, _, _ in calls[::2]][:6] == ["two", "one", "eight", "one", "eight", "two"]
    assert [draw for _, _, draw in calls[::6]] == list(range(module.WARM_UP + 3))
    for values in taken.values():
        assert len(values["step"]) == 3
        sums = [first + second for first, second in zip(values["weights"], values["alphas"], strict=True)]
        assert values["step"] == sums


def fixed_figures(*arguments: Any) -> dict[str, dict[str, list[float]]]:
    """Stand in for what takes long: two operations cost 4, eight cost 10, one costs 2."""
    costs = {"two": 4.0, "one": 2.0, "eight": 10.0}
    return {name: {key: [cost] for key in ("flops", "weights", "alphas", "step")} for name, cost in costs.items()}


def test_what_does_not_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "predicted", fixed_figures)
    monkeypatch.setattr(module, "free_bytes", lambda device: 19)
    record = measure(TINY, 1, 1)
    assert "ratios" not in record and record["left_out"].startswith("needs about")
    assert record["predicted_ratios"]["one/eight"]["flops"]["of_sums"] == 0.2


def test_the_record_holds_settings_and_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("predicted", "memory", "seconds"):
        monkeypatch.setattr(module, name, fixed_figures)
    main(["--out", str(tmp_path / "cost.json"), "--width", "4", "8", "--patch", "16x24x16", "--device", "cpu"])
    record = read_json(tmp_path / "cost.json")
    assert [(one["width"], one["patch"]) for one in record["settings"]] == [(4, [16, 24, 16]), (8, [16, 24, 16])]
    for one in record["settings"]:
        assert one["within_limit"] and one["ratios"]["seconds"]["two/eight"]["step"]["of_sums"] == 0.4
    assert record["threads"] >= 1 and record["environment"]["device"] == "cpu"


def test_the_limit_is_the_judged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("predicted", "memory", "seconds"):
        monkeypatch.setattr(module, name, fixed_figures)
    monkeypatch.setattr(module, "LIMIT", 0.39)
    assert not measure(TINY, 1, 1)["within_limit"]


def test_patch_sizes() -> None:
    assert patch_size("40x56x40") == (40, 56, 40)
    with pytest.raises(ValueError, match="unpack"):
        patch_size("40x56")


def test_free_memory_is_known() -> None:
    assert 2**20 < module.free_bytes(torch.device("cpu")) < 2**50


@pytest.mark.slow
def test_two_operations_are_expected_to_cost_less() -> None:
    setting = Setting(width=8, patch=(24, 24, 24), batch_size=2, seed=0, device="cpu", low_precision=False)
    expected = module.predicted(setting, 2)
    result = ratios(expected)
    for kind in ("flops", "weights", "alphas"):
        two, one = (result[name][kind]["of_sums"] for name in ("two/eight", "one/eight"))
        assert one < two < module.LIMIT
    assert expected["eight"]["alphas"] > expected["eight"]["weights"]  # a gradient of a weight needs the map it weighs


@pytest.mark.slow
def test_memory_is_measured_in_processes_of_their_own() -> None:
    setting = Setting(width=8, patch=(24, 24, 24), batch_size=1, seed=0, device="cpu", low_precision=False)
    taken = module.memory(setting, 1)
    for kind in module.UPDATES:
        assert taken["eight"][kind][0] > 1.5 * taken["two"][kind][0] > 2**20
