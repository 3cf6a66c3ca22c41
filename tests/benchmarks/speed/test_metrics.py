"""The contest of metrics: its phantom, its record, and that all contenders find the same scores."""

import math

import numpy as np
import pytest

from monai_nas.benchmarks.speed import metrics as module
from monai_nas.benchmarks.speed.contest import silent
from monai_nas.benchmarks.speed.metrics import metrics_contest, phantoms

SHAPE = (40, 36, 32)


def test_the_phantom_follows_from_the_seed_and_has_all_classes_in_both() -> None:
    reference, prediction = phantoms(SHAPE, np.random.default_rng(0))
    assert reference.shape == prediction.shape == SHAPE and reference.dtype == np.uint8
    assert set(np.unique(reference)) == set(np.unique(prediction)) == {0, 1, 2, 3}
    assert not np.array_equal(reference, prediction)
    assert 0.05 < (reference > 0).mean() < 0.2
    again, other = phantoms(SHAPE, np.random.default_rng(0)), phantoms(SHAPE, np.random.default_rng(1))
    assert np.array_equal(again[0], reference) and np.array_equal(again[1], prediction)
    assert not np.array_equal(other[0], reference)


def test_the_record_holds_times_and_equal_scores() -> None:
    pytest.importorskip("surface_distance")
    ticks: list[float] = []
    record = metrics_contest(shape=SHAPE, repetitions=2, seed=0, tick=ticks.append)
    assert len(ticks) == 3 * (1 + 2) and ticks[-1] == 1.0
    assert record["shape"] == list(SHAPE)
    assert (record["spacing_mm"], record["tolerance_mm"]) == (list(module.SPACING_MM), module.TOLERANCE_MM)
    assert list(record["contenders"]) == ["ours", "monai", "deepmind"]
    for entry in record["contenders"].values():
        assert len(entry["seconds"]) == 2 and entry["about"]
        for metric in ("dice", "surface_dice"):
            assert len(entry["values"][metric]) == 3 and all(0.0 < value <= 1.0 for value in entry["values"][metric])
        assert entry["largest_difference"] <= 1e-6
    assert record["contenders"]["ours"]["largest_difference"] == 0.0
    assert record["contenders"]["ours"]["times_as_long"] == 1.0


def test_without_the_package_of_deepmind_two_remain(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    record = metrics_contest(shape=(20, 20, 20), repetitions=1, seed=0, tick=silent)
    assert list(record["contenders"]) == ["ours", "monai"]


def test_differences_count_nan_as_equal_to_nan_only() -> None:
    ours = {"dice": [0.5, math.nan], "surface_dice": [0.25, 1.0]}
    assert module._largest_difference(ours, ours) == 0.0
    assert module._largest_difference({"dice": [0.5, math.nan], "surface_dice": [0.5, 1.0]}, ours) == 0.25
    assert module._largest_difference({"dice": [0.5, 0.0], "surface_dice": [0.25, 1.0]}, ours) == math.inf
