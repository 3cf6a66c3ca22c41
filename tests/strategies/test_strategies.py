"""The contract of a search strategy, for every registered one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from monai_nas.compute import Compute
from monai_nas.files import load_tensors, save_tensors
from monai_nas.losses import segmentation_loss
from monai_nas.networks import build_network
from monai_nas.pipelines.preset import PRESETS
from monai_nas.strategies import STRATEGIES, DecidingStrategy, SearchBatch, search_engine

COMPUTE = Compute(torch.device("cpu"), torch.float32, channels_last=True, workers=0)
ARGUMENTS: dict[str, Any] = {"in_channels": 1, "out_channels": 3, "width": 8, "strides": [[2, 2, 2]]}
SEARCH_STEPS, TOTAL_STEPS = 3, 5
strategies = pytest.mark.parametrize("name", list(STRATEGIES))


def batch(seed: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(2, 1, 8, 8, 8, generator=generator)
    return {"image": image, "label": torch.randint(0, 3, (2, 1, 8, 8, 8), generator=generator)}


def search_batch(step: int) -> SearchBatch:
    return SearchBatch(step, batch(step), batch(step + 100) if step < SEARCH_STEPS else None)


def build(name: str, seed: int = 0) -> DecidingStrategy:
    return STRATEGIES[name](
        **ARGUMENTS,
        loss=segmentation_loss(),
        search_steps=SEARCH_STEPS,
        total_steps=TOTAL_STEPS,
        config=PRESETS["cpu"].strategies[name],
        seed=seed,
        compute=COMPUTE,
    )


def run(strategy: DecidingStrategy, first: int = 0, last: int = TOTAL_STEPS) -> DecidingStrategy:
    for step in range(first, last):
        record = strategy.step(search_batch(step))
        assert all(isinstance(value, float) for value in record.values()) and "loss" in record
        if step % 2:
            assert all(isinstance(value, float) for value in strategy.end_epoch(record["loss"]).values())
    return strategy


def saved(strategy: DecidingStrategy, file: Path) -> bytes:
    """Return the bytes of model.pt as a search would write it."""
    save_tensors(file, strategy.network().state_dict())
    return file.read_bytes()


def assert_same(first: Any, second: Any) -> None:
    """Assert that two states are equal to the last bit; pickles also differ by which strings are one object."""
    if isinstance(first, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_same(first[key], second[key])
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_same(one, other)
    elif isinstance(first, Tensor):
        assert torch.equal(first, second)
    else:
        assert first == second


@strategies
def test_same_seed_same_bits_and_another_seed_others(name: str, tmp_path: Path) -> None:
    first = run(build(name))
    torch.manual_seed(12345)  # what others draw must not matter
    second = run(build(name))
    assert saved(first, tmp_path / "a") == saved(second, tmp_path / "a")
    assert first.architecture() == second.architecture()
    assert_same(first.state_dict(), second.state_dict())
    assert saved(run(build(name, seed=1)), tmp_path / "a") != saved(first, tmp_path / "a")


@strategies
@pytest.mark.parametrize("stop", [2, 4])  # while sampling, and in the last phase
def test_a_break_changes_nothing(name: str, stop: int, tmp_path: Path) -> None:
    whole = run(build(name))
    save_tensors(tmp_path / "checkpoint.pt", run(build(name), 0, stop).state_dict())
    torch.manual_seed(999)
    resumed = build(name)
    resumed.load_state_dict(load_tensors(tmp_path / "checkpoint.pt"))
    run(resumed, stop)
    assert resumed.architecture() == whole.architecture()
    assert_same(resumed.state_dict(), whole.state_dict())
    assert saved(resumed, tmp_path / "a") == saved(whole, tmp_path / "a")


@strategies
def test_it_returns_a_valid_architecture_and_its_network(name: str) -> None:
    strategy = run(build(name))
    before = strategy.architecture()
    network = strategy.network()
    built = build_network(before.to_record(), **ARGUMENTS)
    built.load_state_dict(network.state_dict())
    image = batch(7)["image"]
    with torch.no_grad():
        assert torch.equal(network(image), built(image))
        assert strategy.sampled(0)(image).shape == (2, 3, 8, 8, 8)
    assert strategy.architecture() == before and isinstance(network, nn.Module)


@strategies
def test_the_engine_drives_it(name: str) -> None:
    strategy = build(name)
    engine = search_engine(strategy)
    engine.run([search_batch(step) for step in range(2)], max_epochs=1)
    assert engine.state.iteration == 2 and isinstance(engine.state.output, dict)
    expected = run(build(name), 0, 1).step(search_batch(1))
    assert engine.state.output == expected
