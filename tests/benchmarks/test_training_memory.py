"""The benchmark of predicted memory: its measurements of a training that runs, its calibration, its verdict."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import training_memory as module
from monai_nas.benchmarks.fresh_process import in_fresh_process
from monai_nas.benchmarks.training_memory import Setting, allocator_peak, judge, main, measure, predict, train
from monai_nas.cost import Calibration, LiveBytes
from monai_nas.files import read_json
from monai_nas.spaces import CellUNetSpace

TINY = Setting(
    space="cell_unet",
    width=4,
    patch=(16, 16, 16),
    batch_size=1,
    in_channels=2,
    classes=3,
    seed=0,
    device="cpu",
    low_precision=False,
)
ARCHITECTURE = CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0))


def test_prediction_is_what_the_training_takes() -> None:
    predicted = predict(TINY, ARCHITECTURE)
    with LiveBytes("cpu") as live:
        train(TINY, ARCHITECTURE)
    assert predicted == live.peak
    # torch's own record of the same training has scratch memory too, which weighs much in so small a network: its peak
    # is where an operator's scratch is, and did not fall when readers of a node came to share its LeakyReLU, nor when
    # the loss came to keep no one-hot labels: the share of scratch grew by as much as live tensors fell
    assert live.peak <= allocator_peak(TINY, ARCHITECTURE) <= 1.39 * live.peak


def test_strides_follow_the_space() -> None:
    assert TINY.network_arguments(ARCHITECTURE)["strides"] == ((2, 2, 2),) * 3
    grid = Architecture.create("topology", {"num_blocks": 2, "num_levels": 4}, {})
    assert TINY.network_arguments(grid)["strides"] == ((2, 2, 2),) * 4


def test_verdict_by_hand() -> None:
    predicted, live, taken = [100, 200, 400, 800], [100, 200, 400, 1000], [150, 300, 600, 1600]
    rows = [
        dict(zip(("predicted", "live", "taken"), row, strict=True)) for row in zip(predicted, live, taken, strict=True)
    ]
    record = judge(rows, TINY.compute)
    assert record["within_live_limit"] == 3 and record["largest_off_live"] == pytest.approx(-0.2)
    assert record["calibration"] == {"device": "cpu", "dtype": "float32", "scratch_share": 0.5}
    # each with the median of the other three, which is 1.5 for all
    assert record["off_taken"] == pytest.approx([0.0, 0.0, 0.0, 1200 / 1600 - 1])
    assert record["within_taken_limit"] == 3


def test_no_architecture_is_judged_by_its_own_measurement() -> None:
    rows = [{"predicted": 100, "live": 100, "taken": taken} for taken in (100, 200)]
    assert judge(rows, TINY.compute)["off_taken"] == pytest.approx([1.0, -0.5])


def test_record_is_a_calibration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured: list[Architecture] = []

    def fixed(work: Any, setting: Setting, architecture: Architecture) -> dict[str, Any]:
        assert work is measure
        measured.append(architecture)
        return {"live": 1000, "taken": 1500, "allocator": 1100}

    monkeypatch.setattr(module, "in_fresh_process", fixed)
    monkeypatch.setattr(module, "predict", lambda setting, architecture: 1000)
    out = tmp_path / "memory.json"
    main(["--out", str(out), "--count", "3", "--width", "4", "--patch", "16x16x8", "--seed", "7", "--float32"])
    record = read_json(out)
    rng = np.random.default_rng(7)
    assert measured == [CellUNetSpace().sample(rng) for _ in range(3)]
    assert record["within_live_limit"] == record["within_taken_limit"] == 3 and len(record["bytes"]) == 3
    assert record["patch"] == [16, 16, 8] and record["environment"]["dtype"] == "float32"
    assert Calibration.load(out) == Calibration("cpu", "float32", 0.5)


@pytest.mark.parametrize("wrong", [["--count", "1"], ["--device", "cuda"], ["--space", "nowhere"]])
def test_wrong_arguments_are_refused(wrong: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.torch.cuda, "is_available", lambda: False)
    with pytest.raises(SystemExit) as stopped:
        main(["--out", str(tmp_path / "x.json"), *wrong])
    assert stopped.value.code == 2


@pytest.mark.slow
def test_measurement_of_a_process() -> None:
    measured = in_fresh_process(measure, TINY, ARCHITECTURE)
    assert measured["live"] == predict(TINY, ARCHITECTURE)
    assert 0 < measured["taken"] < 2**30 and measured["allocator"] > 0


@pytest.mark.cuda
@pytest.mark.skipif(not module.torch.cuda.is_available(), reason="needs a GPU")
def test_measurement_on_cuda() -> None:
    setting = Setting(**{**vars(TINY), "device": "cuda"})
    measured = measure(setting, ARCHITECTURE)
    assert measured["live"] == pytest.approx(predict(setting, ARCHITECTURE), rel=0.02)
    assert measured["taken"] >= measured["live"] * 0.9
