"""Figures of grids: a line for each kept path in its operation's style, what is not reached faint, the same bytes."""

import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.export.figures import drawing_style, kind_of
from monai_nas.export.lattice_drawing import (
    DASHES,
    SLEEPING,
    SPACES,
    all_paths,
    ends,
    figure_of,
    lattice_drawings,
    lattice_of,
    legend_name,
    legend_rows,
    line_styles,
)
from monai_nas.spaces import TopologySpace
from monai_nas.spaces.dints_code import DintsSpace
from monai_nas.spaces.topology import ZERO, decision_name, paths

pytest.importorskip("matplotlib", reason="drawings need monai-nas[reports]")
SOURCE = Path("architecture.json")
SVG = "{http://www.w3.org/2000/svg}"
SPACE = TopologySpace(num_blocks=4, num_levels=3)


@pytest.fixture(scope="module")
def architecture() -> Architecture:
    return SPACE.sample(np.random.default_rng(5))


@pytest.fixture(scope="module")
def files(architecture: Architecture) -> dict[str, bytes]:
    return lattice_drawings(architecture, SOURCE)


def line_of_levels(*levels: int) -> Architecture:
    """Return the architecture of a single way through the grid, of convolutions."""
    chosen = {decision_name(block, *levels[block : block + 2]): "conv_3x3x3" for block in range(SPACE.num_blocks)}
    return SPACE.create({decision.name: ZERO for decision in SPACE.decisions} | chosen)


def lines_in(svg: bytes) -> dict[str, str]:
    """Return the style of each path drawn: "block_00/1-2" -> "stroke: #0072b2; ..."."""
    found = {}
    for group in ElementTree.fromstring(svg.decode()).iter(f"{SVG}g"):
        name = group.attrib.get("id", "")
        if name.startswith("block_"):
            assert name not in found
            found[name.replace(".", "/")] = " ".join(part.attrib["style"] for part in group.iter(f"{SVG}path"))
    return found


def wires_in(svg: bytes, end: str) -> set[int]:
    """Return the levels that are wired to an end: "stem" or "output"."""
    return {int(level) for level in re.findall(rf'id="{end}\.(\d+)"', svg.decode())}


def test_the_grids_are_those_of_the_spaces() -> None:
    assert set(SPACES) == {TopologySpace.name, DintsSpace.name}
    assert set(DASHES) == set(DintsSpace().operations) > set(TopologySpace().operations)
    drawn = {decision_name(block, *path) for block, *path in all_paths(SPACE.num_blocks, SPACE.num_levels)}
    assert drawn == {decision.name for decision in SPACE.decisions}
    assert len(all_paths(12, 4)) == 12 * len(paths(4)) == 120


def test_a_line_is_drawn_for_each_kept_path_in_its_operation_s_colour(
    files: dict[str, bytes], architecture: Architecture
) -> None:
    kept = {name: operation for name, operation in architecture.choices if operation != ZERO}
    assert set(files) == {"lattice.png", "lattice.svg"}
    lines = lines_in(files["lattice.svg"])
    assert lines.keys() == kept.keys()
    assert SPACE.alive(architecture) == len(lines) < len(SPACE.decisions)
    for name, operation in kept.items():
        assert kind_of(operation).colour.lower() in lines[name]
        assert ("stroke-dasharray" in lines[name]) == (operation == "identity")


def test_image_and_output_are_wired_to_the_levels_that_are_used() -> None:
    svg = lattice_drawings(line_of_levels(2, 1, 1, 0, 1), SOURCE)["lattice.svg"]
    assert len(lines_in(svg)) == 4
    assert (wires_in(svg, "stem"), wires_in(svg, "output")) == ({2}, {1})


def test_nodes_without_a_path_are_faint() -> None:
    from matplotlib.colors import to_hex

    lattice = lattice_of(line_of_levels(0, 1, 1, 2, 2), SOURCE)
    assert lattice.reached == {(0, 0), (1, 1), (2, 1), (3, 2), (4, 2)}
    assert ends((2, 1, 0)) == ((2, 1), (3, 0))
    with drawing_style(SOURCE):
        patches: list[Any] = list(figure_of(lattice).axes[0].patches)
    nodes = [patch for patch in patches if type(patch).__name__ in ("Circle", "Rectangle")]
    assert [type(node).__name__ for node in nodes].count("Rectangle") == 3  # the stems
    assert len(nodes) == 15
    assert sum(to_hex(node.get_edgecolor()).upper() == SLEEPING for node in nodes) == 10


def test_a_finer_level_is_drawn_higher_and_a_later_block_to_the_right(architecture: Architecture) -> None:
    lattice = lattice_of(architecture, SOURCE)
    heights = [lattice.at((0, level))[1] for level in range(3)]
    columns = [lattice.at((column, 0))[0] for column in range(5)]
    assert heights == sorted(heights, reverse=True) and columns == sorted(columns)


def test_operations_differ_without_colour() -> None:
    names = [*DASHES, "mine", "yours"]
    with drawing_style(SOURCE):
        styles = line_styles(names)
    assert list(styles) == names
    assert len({str(style.get("linestyle", "double")) for style in styles.values()}) == len(names)
    with drawing_style(SOURCE):
        for name in names:  # whatever else a figure holds; but a user's own
            if name in DASHES:
                assert line_styles([name])[name].get("linestyle") == styles[name].get("linestyle")


@pytest.mark.parametrize(
    ("operation", "words"),
    [
        ("conv_3x3x3", "convolution 3\N{MULTIPLICATION SIGN}3\N{MULTIPLICATION SIGN}3"),
        ("identity", "identity"),
        ("pseudo_3d_conv_1x3x3", "pseudo-3D 1\N{MULTIPLICATION SIGN}3\N{MULTIPLICATION SIGN}3"),
        ("max_pool", "max pool"),
    ],
)
def test_the_legend_names_operations_in_words(operation: str, words: str) -> None:
    assert legend_name(operation) == words


def test_the_legend_holds_what_is_drawn(files: dict[str, bytes]) -> None:
    comments = re.findall(r"<!-- (.*?) -->", files["lattice.svg"].decode())
    assert {"image", "output", "block", "level 0", "level 2", legend_name("conv_3x3x3")} <= set(comments)
    assert "identity" not in re.findall(
        r"<!-- (.*?) -->", lattice_drawings(line_of_levels(0, 0, 0, 0, 0), SOURCE)["lattice.svg"].decode()
    )


def test_a_legend_of_many_operations_has_rows_that_fit() -> None:
    names = list(DASHES)
    assert legend_rows(names, 7.0) == [names]
    rows = legend_rows(names, 3.0)
    assert len(rows) > 1 and [name for row in rows for name in row] == names


def test_a_png_has_300_dots_an_inch_on_white(files: dict[str, bytes]) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(files["lattice.png"]))
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.5)
    pixels = np.asarray(picture.convert("RGB"))
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    assert (pixels == (0x00, 0x72, 0xB2)).all(axis=2).sum() > 1000


def test_the_same_architecture_gives_the_same_bytes_without_a_font(
    files: dict[str, bytes], architecture: Architecture
) -> None:
    assert lattice_drawings(architecture, SOURCE) == files
    assert lattice_drawings(line_of_levels(0, 0, 1, 1, 1), SOURCE)["lattice.png"] != files["lattice.png"]
    assert b"<text" not in files["lattice.svg"] and b"font-family" not in files["lattice.svg"]


@pytest.mark.parametrize("space", [TopologySpace(num_blocks=1, num_levels=2), DintsSpace(num_blocks=3)])
def test_grids_of_other_sizes_are_drawn_whole_and_texts_stand_apart(space: TopologySpace) -> None:
    lattice = lattice_of(space.sample(np.random.default_rng(0)), SOURCE)
    with drawing_style(SOURCE):
        figure = figure_of(lattice)
        figure.draw_without_rendering()
        boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts]
    page = figure.bbox
    for place, (one, first) in enumerate(boxes):
        assert page.x0 <= first.x0 and first.x1 <= page.x1 and page.y0 <= first.y0 and first.y1 <= page.y1, one
        for two, second in boxes[place + 1 :]:
            assert not first.overlaps(second), (one, two)


def test_what_is_no_whole_grid_is_refused(architecture: Architecture) -> None:
    settings, choices = dict(architecture.settings), dict(architecture.choices)
    strange = {"block_00/0-3" if name == "block_00/0-0" else name: value for name, value in choices.items()}
    cases = {
        "'cell_unet' has no grid": replace(architecture, space="cell_unet"),
        "must be num_blocks, 1 or more": replace(architecture, settings=()),
        "settings {'num_blocks': 0, 'num_levels': 3}": Architecture.create(
            "topology", settings | {"num_blocks": 0}, choices
        ),
        "has 28 decisions": Architecture.create("topology", settings | {"num_blocks": 10**9}, choices),
        "block_00/0-0 is missing": Architecture.create("topology", settings, strange),
        "block_00/0-0 is 7": Architecture.create("topology", settings, choices | {"block_00/0-0": 7}),  # type: ignore[dict-item]
    }
    for message, wrong in cases.items():
        with pytest.raises(UserError, match=re.escape(message)) as fault:
            lattice_of(wrong, SOURCE)
        assert str(fault.value).startswith("architecture.json: ")
