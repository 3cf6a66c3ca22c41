"""What searches of different seeds have in common in their alphas, and the command that makes them."""

from pathlib import Path
from typing import Any

import pytest
import torch

from monai_nas.benchmarks import alpha_noise
from monai_nas.benchmarks.alpha_noise import correlations, main
from monai_nas.files import read_json
from monai_nas.spaces.cell_unet import CELL_TYPES
from monai_nas.strategies import BilevelConfig


def draw(cells: dict[str, torch.Tensor], seed: int) -> dict[str, list[list[float]]]:
    """Return alphas of 400 edges by 8 operations: what the cell likes, noise, and an offset of each edge."""
    generator = torch.Generator().manual_seed(seed)
    noise = {name: torch.randn(400, 8, generator=generator) for name in cells}
    offset = 5 * torch.randn(400, 1, generator=generator)
    return {name: (likes + noise[name] + offset).tolist() for name, likes in cells.items()}


def test_what_cells_like_and_what_edges_like_are_told_apart() -> None:
    likes = {
        name: torch.randn(8, generator=torch.Generator().manual_seed(seed)) for seed, name in enumerate(CELL_TYPES)
    }
    found = correlations(draw(likes, 1), draw(likes, 2))
    assert found["cells"] > 0.95  # the noise of a mean over 400 edges is a twentieth
    assert abs(found["edges"]) < 0.05  # four standard errors of 12800 values are 0.035
    one = draw(likes, 1)
    assert correlations(one, one) == pytest.approx({"cells": 1.0, "edges": 1.0})


def test_the_command_writes_each_search_once(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seeds: list[int] = []

    def sample(items: Any, plan: Any, config: BilevelConfig, *, seed: int, **_: Any) -> dict[str, Any]:
        seeds.append(seed)
        cell = torch.arange(16.0).reshape(2, 8) ** (1 + seed)
        return {
            "seed": seed,
            "loss_of_last_epoch": 0.5 + seed,
            "mean_edge_entropy_nats": config.alpha_rate,
            "choices": {"reduction/0-2": "zero"},
            "alphas": {name: cell.tolist() for name in CELL_TYPES},
        }

    monkeypatch.setattr(alpha_noise, "sample", sample)
    out = tmp_path / "noise.json"
    words = ["--data", str(phantoms), "--out", str(out), "--epochs", "2", "--settings", "third_of_the_rate"]
    main([*words, "--seeds", "0"])
    assert read_json(out)["settings"]["third_of_the_rate"]["correlation"] is None  # of one search
    main(words)
    assert seeds == [0, 1]
    found = read_json(out)["settings"]["third_of_the_rate"]
    assert found["mean_edge_entropy_nats"] == pytest.approx(0.05) and found["loss_of_last_epoch"] == 1.0
    assert 0 < found["correlation"]["cells"] < 1 and found["agreement"]["same_operation"]["mean"] == 1.0
    with pytest.raises(SystemExit, match="2"):
        main([*words[:5], "3"])
    assert f"{out}: of epochs 2, not 3" in capsys.readouterr().err


def test_a_search_of_one_epoch(phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alpha_noise, "SETTINGS", {"shipped": BilevelConfig(warmup_share=0.0)})
    out = tmp_path / "noise.json"
    main(["--data", str(phantoms), "--out", str(out), "--epochs", "1", "--seeds", "0"])
    (search,) = read_json(out)["settings"]["shipped"]["searches"]
    assert [len(search["alphas"][name]) for name in CELL_TYPES] == [14] * 4
    assert 0 < search["mean_edge_entropy_nats"] < 2.0794  # the alphas moved
    assert search["steps"] >= 1 and search["minutes"] > 0 and search["environment"]["versions"]["torch"]
