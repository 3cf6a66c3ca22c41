"""The stated memory of a prediction: by hand, and held to by a process that predicts."""

from pathlib import Path
from typing import Any

import pytest

from monai_nas.benchmarks import inference_memory as module
from monai_nas.benchmarks.inference_memory import LIMIT_BYTES, Setting, main, measure
from monai_nas.files import read_json
from monai_nas.inference.memory import KEPT_BYTES, prediction_bytes
from monai_nas.inference.resampling import SLAB_VALUES

# small patches and many classes, so that whole volumes of probabilities would count most
MEDIUM = Setting(
    shape=(96, 96, 256),
    spacing_mm=(0.8, 0.8, 0.8),
    plan_spacing_mm=(0.8, 0.8, 0.9),
    patch=(32, 32, 16),
    classes=32,
    mirror=False,
    slope=1.5,
)


def test_formula_by_hand() -> None:
    size, patch, slab = (100, 100, 100), (10, 50, 50), 36 * SLAB_VALUES

    def stated(file: tuple[int, ...], grid: tuple[int, ...], classes: int, patch: tuple[int, ...], **more: Any) -> int:
        options = {"channels": 1} | more
        return prediction_bytes(file, grid, classes=classes, patch_size=patch, **options) - KEPT_BYTES

    assert stated(size, size, 2, (10, 10, 10)) == 12_000_000 + slab  # resampling, 12 bytes a voxel
    # image and labels; the band: 10 x 100 x 100 voxels; a patch of 25 000 voxels
    predicting = 4_000_000 + 1_000_000 + 6 * 33 * 100_000 + 24 * 33 * 25_000 + slab
    assert stated(size, size, 32, patch) == predicting
    assert stated((1000, 1000, 1000), size, 2, patch) == 20_000_000_000  # reading
    assert stated(size, (500, 500, 500), 2, patch, channels=2) == 32 * 500**3  # normalising
    assert stated((300, 300, 300), (20, 20, 20), 2, patch, keep_largest=True) == 20 * 27_000_000


@pytest.mark.parametrize("classes", [2, 4])
def test_a_large_ct_is_stated_to_fit_the_limit(classes: int) -> None:
    size = (512, 512, 1000)
    stated = prediction_bytes(
        size, (532, 532, 1000), channels=1, classes=classes, patch_size=(128,) * 3, keep_largest=True
    )
    assert stated <= LIMIT_BYTES


def test_a_prediction_takes_what_is_stated() -> None:
    figures = measure(MEDIUM)
    assert figures["grid"] == [96, 96, 228]
    assert figures["growth_bytes"] <= figures["stated_bytes"]
    assert figures["growth_bytes"] < 0.6 * 4 * (MEDIUM.classes + 1) * 96 * 96 * 228  # of MONAI's sums alone
    assert figures["growth_bytes"] >= 8 * 96 * 96 * 256  # the float64 that a slope asks for


def test_figures_are_written_with_what_they_hold_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures = {"grid": [9, 9, 9], "stated_bytes": 100, "growth_bytes": 101, "seconds": 1.0}
    monkeypatch.setattr(module, "measure", lambda setting: figures)
    main(["--out", str(tmp_path / "m.json"), "--shape", "8", "8", "8", "--patch", "4", "4", "4", "--no-mirror"])
    record = read_json(tmp_path / "m.json")
    assert record["shape"] == [8, 8, 8] and record["mirror"] is False and record["classes"] == 4
    assert record["within_stated"] is False and record["within_limit"] is True
    assert record["environment"]["device"] == "cpu"
