"""Names and colours of operations, and files of the same bytes whatever the user's settings."""

import sys
from pathlib import Path

import pytest

from monai_nas.errors import UserError
from monai_nas.export.figures import drawing_style, kind_of, picture_bytes, short_name, tint
from monai_nas.spaces.cell_unet import SCNAS_OPERATIONS

matplotlib = pytest.importorskip("matplotlib", reason="drawings need monai-nas[reports]")


@pytest.mark.parametrize(
    ("operation", "short", "kind"),
    [
        ("conv_3x3x3", "conv", "convolution"),
        ("conv_3x3x1", "conv 3x3x1", "convolution"),
        ("dilated_separable_conv_3x3x3_rate_2", "dil. conv r=2", "dilated separable convolution, rate r"),
        ("max_pool_3x3x3", "max pool", "max pooling"),
        ("avg_pool_3x3x3", "avg pool", "average pooling"),
        ("identity", "identity", "identity"),
        ("squeeze_excite", "squeeze excite", "other"),
    ],
)
def test_operations_have_short_names_and_kinds(operation: str, short: str, kind: str) -> None:
    assert (short_name(operation), kind_of(operation).title) == (short, kind)


def test_the_paper_s_operations_differ_in_a_drawing() -> None:
    assert len({short_name(operation) for operation in SCNAS_OPERATIONS}) == 8
    assert len({kind_of(operation).colour for operation in SCNAS_OPERATIONS}) == 6  # three rates of one kind


def test_a_tint_is_a_share_of_a_colour_on_white() -> None:
    assert tint("#FF0000", 0.0) == (1.0, 1.0, 1.0)
    assert tint("#000000", 0.25) == (0.75, 0.75, 0.75)
    assert tint("#336699", 1.0) == pytest.approx((0.2, 0.4, 0.6))


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
def test_files_depend_on_the_figure_alone(ending: str) -> None:
    from matplotlib.figure import Figure

    def picture(title: str) -> bytes:
        with drawing_style(Path("any")):
            figure = Figure(figsize=(1, 1))
            figure.add_subplot().set_title(title)
            return picture_bytes(figure, ending)

    first = picture("title")
    with matplotlib.rc_context({"font.size": 30, "axes.linewidth": 9, "svg.fonttype": "none"}):
        assert picture("title") == first
        assert matplotlib.rcParams["font.size"] == 30  # the user's settings come back
    assert picture("another") != first
    assert b"atplotlib" not in first.replace(b"matplotlib.axis", b"")  # the names of parts in an SVG


def test_a_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with (
        pytest.raises(UserError, match=r"history\.csv: .* pip install monai-nas\[reports\]"),
        drawing_style(Path("history.csv")),
    ):
        pass
