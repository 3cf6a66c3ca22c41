"""``monai-nas draw``: which files it takes and writes, and a user's mistakes."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from monai_nas.cli.app import app
from monai_nas.files import read_json, write_json
from monai_nas.spaces import TopologySpace
from monai_nas.spaces.dints_code import DintsSpace

pytest.importorskip("matplotlib", reason="drawings need monai-nas[reports]")
CELLS = {
    f"{name}.{ending}"
    for name in ("encoder_normal", "reduction", "decoder_normal", "expansion", "cells")
    for ending in ("png", "svg")
}
LATTICE = {"lattice.png", "lattice.svg"}
HISTORY = {"history.png", "history.svg"}


def draw(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, ["draw", *map(str, arguments)])


def written(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()} if folder.exists() else set()


@pytest.fixture
def run(finished_run: Path, tmp_path: Path) -> Path:
    """A RUN folder with architecture.json, network.json and a training's history.csv."""
    folder = tmp_path / "run"
    folder.mkdir()
    for name in ("architecture.json", "network.json"):
        (folder / name).symlink_to(finished_run / name)
    (folder / "history.csv").write_text("epoch,loss,rate\n1,0.5,0.1\n2,0.25,0.05\n")
    return folder


def test_a_run_is_drawn_into_a_folder_of_its_own(run: Path) -> None:
    result = draw(run)
    assert result.exit_code == 0, result.output
    assert written(run / "drawings") == CELLS | HISTORY
    assert (run / "drawings" / "cells.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert (run / "drawings" / "cells.svg").read_text().startswith("<?xml")
    assert "cells.svg" in result.stdout


def test_files_are_drawn_one_by_one_and_alike(run: Path, tmp_path: Path) -> None:
    for name in ("architecture.json", "network.json", "history.csv"):
        assert draw(run / name, "--out", tmp_path / name).exit_code == 0
    assert written(tmp_path / "history.csv") == HISTORY
    assert written(tmp_path / "architecture.json") == written(tmp_path / "network.json") == CELLS
    for name in CELLS:
        assert (tmp_path / "architecture.json" / name).read_bytes() == (tmp_path / "network.json" / name).read_bytes()


def test_a_run_that_has_not_found_an_architecture_yet_shows_its_history(run: Path) -> None:
    (run / "architecture.json").unlink()
    assert draw(run).exit_code == 0
    assert written(run / "drawings") == HISTORY


@pytest.mark.parametrize("space", [TopologySpace(num_blocks=2), DintsSpace(num_blocks=2)], ids=lambda space: space.name)
def test_a_grid_is_drawn_from_its_file_and_its_run_alike(space: TopologySpace, run: Path, tmp_path: Path) -> None:
    architecture = space.sample(np.random.default_rng(0))
    (run / "architecture.json").unlink()
    architecture.save(run / "architecture.json")
    assert draw(run).exit_code == 0
    assert written(run / "drawings") == LATTICE | HISTORY
    assert draw(run / "architecture.json", "--out", tmp_path / "alone").exit_code == 0
    assert written(tmp_path / "alone") == LATTICE
    for name in LATTICE:
        assert (tmp_path / "alone" / name).read_bytes() == (run / "drawings" / name).read_bytes()


def test_help_shows_an_example() -> None:
    assert "monai-nas draw" in draw("--help").output.partition("Example")[2]


@pytest.mark.parametrize("mistake", ["missing", "empty folder", "made by hand", "no architecture", "no columns", "out"])
def test_a_mistake_is_one_line_and_writes_nothing(run: Path, tmp_path: Path, mistake: str) -> None:
    file, message, out = run, "", tmp_path / "out"
    if mistake == "missing":
        file, message = tmp_path / "none.json", "no such file"
    elif mistake == "empty folder":
        file, message = tmp_path / "empty", "has neither architecture.json nor history.csv"
        file.mkdir()
    elif mistake == "made by hand":
        file, message = tmp_path / "a.json", "'res_unet' has nothing to draw, only cell_unet, topology, dints have"
        record = read_json(run / "architecture.json") | {"space": "res_unet", "settings": {}, "choices": {}}
        write_json(file, record)
    elif mistake == "no architecture":
        file, message = tmp_path / "a.json", "not an architecture"
        write_json(file, {"spacing_mm": [1, 1, 1]})
    elif mistake == "no columns":  # and the architecture beside it is not drawn either
        message = "history.csv: has no column rate"
        (run / "history.csv").write_text("epoch,loss\n1,0.5\n")
    else:
        out, message = run / "network.json", "is a file"
    result = draw(file, "--out", out)
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert out.is_file() or not out.exists()
