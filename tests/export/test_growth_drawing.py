"""The picture of growth: which panels, which lines, what is said of them, and the same bytes each time."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_nas.errors import UserError
from monai_nas.export.figures import drawing_style
from monai_nas.export.growth_drawing import growth_figure, growth_picture, panel_of, wide
from monai_nas.files import write_json

pytest.importorskip("matplotlib", reason="drawings need monai-nas[reports]")


def grown(title: str, sizes: tuple[int, ...], power: int, exponent: float) -> dict[str, Any]:
    """Return a made series of which time follows a power law, and memory hardly changes."""
    points = {
        str(size): {
            "amount": size**power,
            "median_seconds": 0.5 * (size**power) ** exponent,
            "median_growth_mib": 100.0 + size,
        }
        for size in sizes
    }
    fit = {"exponent": exponent, "standard_error": 0.014, "factor": 0.5}
    return {"title": title, "unit": "pieces", "power": power, "points": points, "seconds": fit, "memory": None}


SHARED = {
    "title": "Ranking, shared",
    "unit": "processes",
    "one": {"processes": 1, "median_seconds": 8.0, "median_growth_mib": 300.0},
    "two": {"processes": 2, "median_seconds": 5.0, "median_growth_mib": 310.0},
    "efficiency": 0.8,
    "efficiency_beside_another": 0.96,
}
SERIES = {
    "volume": grown("Volume to segment", (48, 64, 96, 128, 160), 3, 1.05),
    "batch": grown("Training step, by batch", (1, 2, 8), 1, 0.9),
    "processes": SHARED,
}


def test_a_series_shows_its_values_the_law_and_the_exponent() -> None:
    panel = panel_of(SERIES["batch"])
    seconds, memory = panel.curves
    assert (panel.title, panel.unit, panel.names) == ("Training step, by batch", "pieces", ["1", "2", "8"])
    assert seconds.note == "seconds: exponent 0.90 ± 0.01"
    np.testing.assert_allclose(seconds.line, seconds.values)
    assert memory.note == "memory: no exponent" and memory.line is None
    assert panel_of(SERIES["volume"]).names[0] == "48³"
    assert panel_of(SERIES["volume"]).amounts[0] == 48**3


def test_two_processes_stand_beside_half_of_the_time_of_one() -> None:
    seconds, memory = panel_of(SHARED).curves
    assert (list(seconds.values), list(seconds.line or ())) == ([8.0, 5.0], [8.0, 4.0])
    assert seconds.note == "efficiency 0.80; beside a load 0.96"
    assert list(memory.values) == [300.0, 310.0] and memory.line is None


def test_each_series_has_a_panel_with_logarithmic_axes_on_the_page() -> None:
    with drawing_style(Path("a")):
        figure = growth_figure([panel_of(record) for record in SERIES.values()] + [panel_of(SHARED)])
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    titles = [axes.get_title(loc="left") for axes in figure.axes if axes.get_title(loc="left")]
    assert titles == ["Volume to segment", "Training step, by batch", "Ranking, shared", "Ranking, shared"]
    assert len(figure.axes) == 2 * 4
    for axes in figure.axes:
        assert axes.get_xscale() == axes.get_yscale() == "log"
        low, high = axes.get_ylim()
        assert any(low <= tick <= high for tick in axes.get_yticks())
    width, height = figure.get_size_inches()
    assert box.x0 >= 0 and box.x1 <= width
    assert box.y0 >= 0 and box.y1 <= height


def test_small_changes_do_not_look_large() -> None:
    low, high = wide([100.0, 101.0])
    assert low < 100 and high > 101 and high / low == pytest.approx(6)
    low, high = wide([1.0, 1000.0])
    assert low < 1 and high > 1000


def test_the_file_is_the_same_each_time(tmp_path: Path) -> None:
    source, out = tmp_path / "growth.json", tmp_path / "pictures" / "growth.png"
    write_json(source, {"series": SERIES})
    growth_picture(source, out)
    first = out.read_bytes()
    growth_picture(source, out)
    assert out.read_bytes() == first and first.startswith(b"\x89PNG")


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    source = tmp_path / "growth.json"
    write_json(source, {"series": {}})
    with pytest.raises(UserError, match="no series in it"):
        growth_picture(source, tmp_path / "a.png")
    write_json(source, {"series": SERIES})
    with pytest.raises(UserError, match="no picture format"):
        growth_picture(source, tmp_path / "a.txt")
