"""The comparison with MONAI's DiNTS search: both sides' grids, their steps, the figures and the limits."""

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from monai.networks.blocks.dints_block import ActiConvNormBlock
from monai.networks.nets.dints import Cell
from torch import Tensor, nn

from monai_nas.benchmarks import grid_step as module
from monai_nas.benchmarks.fresh_process import in_fresh_process
from monai_nas.benchmarks.grid_step import COMPARISONS, TRAININGS, Comparison, Setting, Training, compare, main
from monai_nas.benchmarks.speed.training_step import loss_of_monai
from monai_nas.files import read_json
from monai_nas.strategies.adafactor import Adafactor

TINY = Setting(blocks=2, levels=2, width=4, patch=(24, 32, 24), batch=1, steps=1, seed=0, device="cpu")


@pytest.fixture(scope="module")
def trainings() -> dict[str, Training]:
    """All of them, at a tiny size."""
    return {name: make(TINY) for name, make in TRAININGS.items()}


def test_monai_trains_with_its_own_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    losses = []

    def made() -> nn.Module:
        losses.append(loss_of_monai())
        return losses[-1]

    monkeypatch.setattr(module, "loss_of_monai", made)
    monkeypatch.delattr(module, "segmentation_loss")
    TRAININGS["monai_two"](TINY)
    assert len(losses) == 1


def last_features(name: str, training: Training) -> dict[int, tuple[int, ...]]:
    """Return the shapes of what the grid's last block gives in steps of a training, by level."""
    shapes: dict[int, tuple[int, ...]] = {}

    def note(_: nn.Module, __: Any, levels: list[Any]) -> None:
        for level, features in enumerate(levels):
            if isinstance(features, Tensor):
                shapes[level] = tuple(features.shape)
            elif features:  # a node of ours that was reached
                shapes[level] = tuple(features[0].shape)

    network: Any = training.network
    grid = network.dints_space if name.startswith("monai") else network[0].blocks[-1]
    handle = grid.register_forward_hook(note)
    for step in range(6):
        training.step(step)
    handle.remove()
    return shapes


@pytest.mark.parametrize("name", ["ours_float32", "monai_two", "monai"])
def test_both_grids_have_the_same_levels_and_channels(trainings: dict[str, Training], name: str) -> None:
    assert last_features(name, trainings[name]) == {0: (1, 4, 12, 16, 12), 1: (1, 8, 6, 8, 6)}


@pytest.mark.parametrize(
    ("name", "candidates"),
    [("monai_two", 2), ("monai_two_channels_last", 2), ("monai_two_low_precision", 2), ("monai", 5)],
)
def test_monai_s_cells_have_the_candidates_that_are_named(
    trainings: dict[str, Training], name: str, candidates: int
) -> None:
    grid: Any = trainings[name].network.dints_space
    assert len(grid.cell_tree) == TINY.blocks * 4
    assert grid.log_alpha_c.shape == (TINY.blocks, 4, candidates)
    for cell in grid.cell_tree.values():
        skip, conv, *others = cell.op.ops
        assert isinstance(skip, nn.Identity) and isinstance(conv, ActiConvNormBlock)
        assert conv.conv.kernel_size == (3, 3, 3)
        assert len(others) == candidates - 2
    assert len(Cell.OPS3D) == 5  # MONAI itself is as it was


def test_formats_are_those_that_the_names_say(trainings: dict[str, Training]) -> None:
    best = module.choose_compute(True, "cpu").dtype
    types = {name: training.compute.dtype for name, training in trainings.items()}
    low = dict.fromkeys(("ours", "ours_assisted", "ours_kept", "ours_kept_assisted", "monai_two_low_precision"), best)
    assert types == dict.fromkeys(TRAININGS, torch.float32) | low
    last = {name for name, training in trainings.items() if training.compute.channels_last}
    assert set(TRAININGS) - last == {"monai_two", "monai"}


@pytest.mark.parametrize("name", ["ours_float32", "ours_assisted", "monai_two", "monai_two_low_precision"])
def test_a_step_computes_gradients_and_changes_nothing(trainings: dict[str, Training], name: str) -> None:
    training = trainings[name]
    before = {key: value.clone() for key, value in training.network.state_dict().items()}
    touched, reached = [], set[str]()

    def note(gradient: torch.Tensor, key: str) -> None:
        if gradient.any():
            reached.add(key)

    weights = dict(training.network.named_parameters())  # MONAI's were frozen by the last step of another test
    hooks = [weight.requires_grad_().register_hook(partial(note, key=key)) for key, weight in weights.items()]
    for step in (0, 1, 2, 0):
        training.step(step)
        touched.append(reached.copy())
        reached.clear()
    for hook in hooks:
        hook.remove()
    assert all(torch.equal(value, before[key]) for key, value in training.network.state_dict().items())
    assert touched[0] == touched[3]
    trained = {key for key, _ in training.network.named_parameters()}
    if name.startswith("monai"):
        assert touched[0] == touched[1] == touched[2] == trained  # weights and alphas
    else:
        assert len({frozenset(keys) for keys in touched}) == 3  # another architecture each step
        assert all(keys < trained for keys in touched)
        assert any(key.startswith("1.hypernet") for key in touched[0]) == (name == "ours_assisted")


def test_parameters_are_counted_as_trained(trainings: dict[str, Training]) -> None:
    counts = {name: training.num_parameters for name, training in trainings.items()}
    assert counts["ours"] == counts["ours_float32"] < counts["ours_assisted"]
    assert counts["monai_two"] == counts["monai_two_channels_last"] < counts["monai"]
    everything = sum(weight.numel() for weight in trainings["monai"].network.parameters())
    assert counts["monai"] == everything


@pytest.mark.parametrize(
    ("build", "moment"),
    [(torch.optim.Adam, "exp_avg_sq"), (partial(torch.optim.SGD, momentum=0.9), "momentum_buffer")],
)
def test_moments_of_all_weights_are_there_before_the_first_step(build: Any, moment: str) -> None:
    weights = [nn.Parameter(torch.ones(size)) for size in (2, 3)]
    optimizer = build(weights, lr=0.1)
    module.fill_moments(optimizer)
    for weight in weights:
        assert weight.grad is None and torch.equal(weight, torch.ones_like(weight))
        assert torch.equal(optimizer.state[weight][moment], torch.zeros_like(weight))


def test_moments_of_adafactor_are_there_before_the_first_step() -> None:
    kernel = nn.Parameter(torch.ones(4, 2, 3, 3, 3))
    optimizer = Adafactor([kernel], lr=0.1)
    optimizer.update_in_backward()
    module.fill_moments(optimizer)
    assert kernel.grad is None and torch.equal(kernel, torch.ones_like(kernel))
    assert optimizer.state[kernel]["columns"].numel() == 2 * 27


def figures(seconds: float, size: float) -> dict[str, Any]:
    """Stand in for what is measured."""
    return {"median_seconds": seconds, "mean_seconds": 2 * seconds, "taken_bytes": size, "live_bytes": size / 2}


def test_a_comparison_is_of_times_and_shares() -> None:
    measured = {"a": figures(1.0, 3.0), "b": figures(8.0, 12.0)}
    record = compare(measured, Comparison("a", "b", 8.0, 0.25))
    assert record["times_as_fast"] == {"median": 8.0, "mean": 8.0}
    assert record["share_of_memory"] == {"taken": 0.25, "live": 0.25}
    assert all(record["within_limits"].values()) and len(record["within_limits"]) == 4
    for one, comparison in (("median", Comparison("a", "b", 8.1, 0.25)), ("live", Comparison("a", "b", 8.0, 0.24))):
        within = compare(measured, comparison)["within_limits"]
        assert not within[one] and sum(within.values()) == 2


def test_the_limits_are_the_judged_ones() -> None:
    limits = {name: (one.least_speed, one.largest_memory) for name, one in COMPARISONS.items()}
    same, shipped = (4.0, 0.25), (20.0, 0.1)
    assert limits == {name: same if name.startswith("same") else shipped for name in COMPARISONS}
    kinds = ("shipped", "shipped_assisted", "shipped_kept", "shipped_kept_assisted")
    assert set(COMPARISONS) == {"same", "same_layout", "same_low_precision", *kinds}
    assert all(COMPARISONS[name].theirs == "monai" for name in kinds)
    for comparison in COMPARISONS.values():
        assert comparison.ours.startswith("ours") and comparison.theirs.startswith("monai")
        assert {comparison.ours, comparison.theirs} <= set(TRAININGS)


def test_the_record_holds_settings_figures_and_verdicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, seen = tmp_path / "step.json", []

    def fake(work: Any, setting: Setting, name: str) -> dict[str, Any]:
        assert work is module.measure
        seen.append(list(read_json(out)["trainings"]) if out.exists() else [])
        assert (setting.blocks, setting.patch, setting.steps) == (3, (24, 32, 24), 2)
        return figures(1.0, 1.0) if name.startswith("ours") else figures(5.0, 5.0)

    monkeypatch.setattr(module, "in_fresh_process", fake)
    words = "--blocks 3 --levels 3 --width 8 --patch 24x32x24 --batch 2 --steps 2 --device cpu"
    main(["--out", str(out), *words.split()])
    record = read_json(out)
    assert seen == [list(TRAININGS)[:done] for done in range(len(TRAININGS))]  # written after each
    assert (record["width"], record["batch"], record["environment"]["device"]) == (8, 2, "cpu")
    assert set(record["trainings"]) == set(TRAININGS)
    assert all(record["same"]["within_limits"].values())
    assert not any(record["shipped"]["within_limits"].values())


@pytest.mark.parametrize(
    "words",
    ["--patch 40x48x48", "--patch 32x48x48", "--levels 1", "--width 7", "--blocks 0", "--steps 0", "--patch 48x48"],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "step.json"), *words.split()])
    assert words.split()[0] in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "step.json").exists()


@pytest.mark.slow
def test_a_training_is_measured_in_a_process_of_its_own() -> None:
    setting = Setting(blocks=3, levels=2, width=8, patch=(24, 24, 24), batch=2, steps=2, seed=0, device="cpu")
    ours, theirs = (in_fresh_process(module.measure, setting, name) for name in ("ours_float32", "monai"))
    for measured in (ours, theirs):
        assert len(measured["seconds"]) == 2
        assert min(measured["seconds"]) <= measured["median_seconds"] <= max(measured["seconds"])
    assert ours["taken_bytes"] > ours["live_bytes"] > 4 * ours["num_parameters"]
    assert theirs["taken_bytes"] > theirs["live_bytes"] > 12 * theirs["num_parameters"], "weights, momentum, gradients"
    assert theirs["live_bytes"] > 2 * ours["live_bytes"]
