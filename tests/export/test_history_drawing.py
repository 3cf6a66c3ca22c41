"""The picture of a history: which lines, which phases, which names, and the same bytes each time."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from monai_nas.export.figures import drawing_style, short_name
from monai_nas.export.history import History
from monai_nas.export.history_drawing import history_drawing, search_figure, spread, training_figure
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import SCNAS_OPERATIONS
from monai_nas.training.handlers import write_history

pytest.importorskip("matplotlib", reason="drawings need monai-nas[reports]")


def searched(num_epochs: int, num_sampling: int) -> History:
    """Return a made history of the paper's space, of seeded values."""
    rng, space, epochs = np.random.default_rng(0), CellUNetSpace(), np.arange(1.0, num_epochs + 1)
    sampled = np.minimum(epochs, num_sampling)
    columns = {"epoch": epochs, "loss": 1 / epochs, "alpha_loss": np.where(epochs <= num_sampling, 1.1, np.nan)}
    columns |= {"temperature": 0.05 ** (sampled / num_sampling), "weight_rate": 0.1 / epochs}
    shares = rng.dirichlet(np.ones(8))
    for operation, share in zip(SCNAS_OPERATIONS, shares, strict=True):
        columns[f"share/{operation}"] = 0.125 + (share - 0.125) * sampled / num_sampling
    for decision in space.decisions:
        columns[f"entropy/{decision.name}"] = np.log(8) * (1 - rng.random() * sampled / num_sampling)
    return History(columns)


def test_a_search_is_drawn_in_seven_panels() -> None:
    history = searched(20, 15)
    with drawing_style(Path("a")):
        figure = search_figure(history)
    titles = [panel.get_title(loc="left") for panel in figure.axes]
    assert titles[:3] == ["Loss", "Temperature", "Learning rate"]
    assert titles[3:7] == ["Encoder-normal cell", "Reduction cell", "Decoder-normal cell", "Expansion cell"]
    loss, temperature = figure.axes[:2]
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), history.columns["loss"])
    assert [text.get_text() for text in loss.get_legend().get_texts()] == ["loss", "alpha loss"]
    np.testing.assert_array_equal(temperature.lines[0].get_ydata(), history.columns["temperature"])
    assert temperature.get_yscale() == "log"


def test_each_edge_has_a_line_below_the_undecided() -> None:
    history = searched(20, 15)
    with drawing_style(Path("a")):
        panels = search_figure(history).axes[3:7]
    for panel, cell_type in zip(panels, ("encoder_normal", "reduction", "decoder_normal", "expansion"), strict=True):
        undecided, *edges, mean = panel.lines
        np.testing.assert_allclose(undecided.get_ydata(), np.log(8))
        wanted = [values[:15] for name, values in history.under("entropy").items() if name.startswith(cell_type)]
        np.testing.assert_array_equal([line.get_ydata() for line in edges], wanted)  # 14 edges, while sampling
        np.testing.assert_allclose(mean.get_ydata(), np.mean(wanted, axis=0))
        assert {line.get_color() for line in edges} == {"#440154", "#31688E", "#35B779", "#E0A800"}  # of the targets
        low, high = panel.get_ylim()
        assert low < np.min(wanted) and np.log(8) < high
    assert len({panel.get_ylim() for panel in panels}) == 1


def test_each_operation_is_named_at_the_end_of_its_line() -> None:
    history = searched(20, 15)
    with drawing_style(Path("a")):
        figure = search_figure(history)
        figure.draw_without_rendering()
    panel = figure.axes[7]
    names = {text.get_text().partition("  ")[2]: text for text in panel.texts}
    assert set(names) == {short_name(operation) for operation in SCNAS_OPERATIONS}
    assert names["conv"].get_text().startswith(f"{100 * history.columns['share/conv_3x3x3'][14]:.1f} ")
    boxes = sorted((text.get_window_extent() for text in panel.texts), key=lambda box: box.y0)
    assert all(lower.y1 <= upper.y0 for lower, upper in pairwise(boxes))
    assert max(box.x1 for box in boxes) <= figure.bbox.x1


@pytest.mark.parametrize(("num_sampling", "shaded"), [(15, 3), (20, 0)])
def test_the_last_phase_is_shaded_where_there_is_one(num_sampling: int, shaded: int) -> None:
    with drawing_style(Path("a")):
        figure = search_figure(searched(20, num_sampling))
    spans = [patch for panel in figure.axes for patch in panel.patches]
    assert len(spans) == shaded
    assert all(span.get_x() == 15.5 for span in spans)
    assert ("shaded" in figure.axes[0].get_title(loc="right")) == bool(shaded)


@pytest.mark.parametrize(("num_epochs", "num_sampling"), [(1, 1), (2, 1), (400, 320)])
def test_short_and_long_searches_fit_the_page(num_epochs: int, num_sampling: int) -> None:
    with drawing_style(Path("a")):
        figure = search_figure(searched(num_epochs, num_sampling))
        figure.draw_without_rendering()
        box = figure.get_tightbbox()
    width, height = figure.get_size_inches()
    assert box.x0 >= 0 and box.x1 <= width
    assert box.y0 >= 0 and box.y1 <= height


def test_a_training_is_drawn_in_two_panels() -> None:
    columns = {"epoch": np.arange(1.0, 4), "loss": np.array([3.0, 2, 1]), "rate": np.array([0.1, 0.05, 0.0])}
    with drawing_style(Path("a")):
        loss, rate = training_figure(History(columns)).axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), [3.0, 2, 1])
    np.testing.assert_array_equal(rate.lines[0].get_ydata(), [0.1, 0.05, 0.0])


def test_the_files_are_the_same_each_time(tmp_path: Path) -> None:
    history = searched(3, 2)
    rows = [
        {name: float(values[epoch]) for name, values in history.columns.items() if np.isfinite(values[epoch])}
        for epoch in range(3)
    ]
    write_history(tmp_path / "history.csv", rows)
    first, second = (history_drawing(tmp_path / "history.csv") for _ in range(2))
    assert set(first) == {"history.png", "history.svg"}
    assert first == second
    assert b"<!-- Reduction cell -->" in first["history.svg"]


def test_names_are_moved_as_little_as_may_be() -> None:
    assert spread([5.0, 1.0], 2.0) == [5.0, 1.0]
    assert spread([1.0, 1.0], 2.0) == [0.0, 2.0]
    assert spread([3.0, 0.0, 3.5], 1.0) == [2.75, 0.0, 3.75]
    assert spread([0.0, 0.0, 0.0, 9.0], 3.0) == pytest.approx([-3.0, 0.0, 3.0, 9.0])
