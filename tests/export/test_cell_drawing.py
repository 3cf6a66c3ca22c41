"""Figures of cells: each edge with its label, zero left out, readable without fonts, the same bytes each time."""

import io
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.export.cell_drawing import TITLES, cell_drawings, cells_of, figure_of, read_architecture
from monai_nas.export.figures import KINDS, drawing_style, kind_of, picture_files, short_name
from monai_nas.files import write_json
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES

pytest.importorskip("matplotlib", reason="drawings need monai-nas[reports]")
SOURCE = Path("architecture.json")
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def architecture() -> Architecture:
    return CellUNetSpace().sample(np.random.default_rng(3))


@pytest.fixture(scope="module")
def files(architecture: Architecture) -> dict[str, bytes]:
    return cell_drawings(architecture, SOURCE)


def parts(svg: bytes) -> dict[str, str]:
    """Return the named parts of an SVG with the text that matplotlib notes in them, empty where there is none."""
    parser = ElementTree.XMLParser(target=ElementTree.TreeBuilder(insert_comments=True))
    root = ElementTree.fromstring(svg.decode(), parser)
    named = {}
    for group in root.iter(f"{SVG}g"):
        if "id" in group.attrib:
            assert group.attrib["id"] not in named
            comments = [child.text.strip() for child in group if child.tag is ElementTree.Comment]
            named[group.attrib["id"]] = " ".join(comments)
    return named


def edges_in(svg: bytes) -> dict[str, str]:
    """Return the label of each edge drawn: "reduction/0-2" -> "conv"."""
    named = parts(svg)
    wires = {name for name in named if re.fullmatch(r"\w+\.\d+-\d+", name)}
    labels = {name.removesuffix(".label"): text for name, text in named.items() if name.endswith(".label")}
    assert labels.keys() == wires
    return {name.replace(".", "/"): text for name, text in labels.items()}


def test_each_cell_and_the_page_are_png_and_svg(files: dict[str, bytes]) -> None:
    assert set(TITLES) == set(CELL_TYPES)
    assert set(files) == {f"{name}.{ending}" for name in (*CELL_TYPES, "cells") for ending in ("png", "svg")}


@pytest.mark.parametrize("figure", [*CELL_TYPES, "cells"])
def test_every_edge_but_zero_is_drawn_with_its_label(
    files: dict[str, bytes], architecture: Architecture, figure: str
) -> None:
    shown = edges_in(files[f"{figure}.svg"])
    wanted = {
        decision: short_name(operation)
        for decision, operation in architecture.choices
        if operation != "zero" and (figure == "cells" or decision.startswith(f"{figure}/"))
    }
    assert shown == wanted
    assert len(wanted) < (56 if figure == "cells" else 15)
    assert any(operation == "zero" for _, operation in architecture.choices)


def test_inputs_nodes_and_the_concatenation_are_named(files: dict[str, bytes]) -> None:
    comments = re.findall(r"<!-- (.*?) -->", files["reduction.svg"].decode())
    for text in ("$c_{k{-}2}$", "$c_{k{-}1}$", "0", "1", "2", "3", "concatenation", "$c_k$", "Reduction cell"):
        assert text in comments
    assert {f"reduction.{node}-concat" for node in (2, 3, 4, 5)} <= set(parts(files["reduction.svg"]))


def test_an_svg_needs_no_font(files: dict[str, bytes]) -> None:
    for name, content in files.items():
        if name.endswith(".svg"):
            assert b"<text" not in content
            assert b"font-family" not in content


def test_a_png_has_300_dots_an_inch_on_white_in_the_colours_of_its_operations(
    files: dict[str, bytes], architecture: Architecture
) -> None:
    from PIL import Image

    picture = Image.open(io.BytesIO(files["cells.png"]))
    assert picture.info["dpi"] == pytest.approx((300, 300), abs=0.5)
    pixels = np.asarray(picture.convert("RGB")).astype(np.int64)
    assert (pixels[[0, 0, -1, -1], [0, -1, 0, -1]] == 255).all()
    counts = np.bincount((pixels @ [65536, 256, 1]).ravel())
    often = {f"#{value:06X}" for value in np.flatnonzero(counts > 1000)}
    used = {kind_of(operation).colour for _, operation in architecture.choices if operation != "zero"}
    assert often & {kind.colour for kind in KINDS} == used


def test_the_same_architecture_gives_the_same_bytes(architecture: Architecture) -> None:
    cell = {"expansion": cells_of(architecture, SOURCE)["expansion"]}
    with drawing_style(SOURCE):
        first, second = (picture_files(figure_of(cell), "expansion") for _ in range(2))
        other = picture_files(figure_of({"expansion": cells_of(architecture, SOURCE)["reduction"]}), "expansion")
    assert first == second
    assert first["expansion.png"] != other["expansion.png"]


def test_cells_of_one_architecture_have_one_size_whatever_their_operations() -> None:
    space = CellUNetSpace()
    sizes = set()
    with drawing_style(SOURCE):
        for operation in ("conv_3x3x3", "dilated_separable_conv_3x3x3_rate_4"):
            cells = cells_of(space.create({decision.name: operation for decision in space.decisions}), SOURCE)
            sizes.add(tuple(figure_of({"reduction": cells["reduction"]}).get_size_inches()))
        assert len(sizes) == 1
        long = figure_of({"reduction": dict.fromkeys(cells["reduction"], "an_operation_of_a_very_long_name")})
    assert long.get_size_inches()[0] > sizes.pop()[0]


def test_a_cell_without_edges_says_that_its_nodes_are_zeros() -> None:
    space = CellUNetSpace(num_nodes=2)
    cells = cells_of(space.create({decision.name: "zero" for decision in space.decisions}), SOURCE)
    with drawing_style(SOURCE):
        svg = picture_files(figure_of({"reduction": cells["reduction"]}), "a")["a.svg"]
    assert edges_in(svg) == {}
    assert "node without input: zeros" in svg.decode()
    assert "stroke-dasharray" in svg.decode()


@pytest.mark.parametrize("num_nodes", [1, 2, 6])
def test_cells_of_other_sizes_are_drawn_whole(num_nodes: int) -> None:
    cells = cells_of(CellUNetSpace(num_nodes=num_nodes).sample(np.random.default_rng(0)), SOURCE)
    with drawing_style(SOURCE):
        figure = figure_of({"expansion": cells["expansion"]})
        figure.draw_without_rendering()
        page = figure.bbox
        for text in figure.axes[0].texts:
            box = text.get_window_extent()
            assert page.x0 <= box.x0 and box.x1 <= page.x1, text.get_text()
            assert page.y0 <= box.y0 and box.y1 <= page.y1, text.get_text()


def test_texts_of_a_cell_do_not_overlap(architecture: Architecture) -> None:
    with drawing_style(SOURCE):
        figure = figure_of(cells_of(architecture, SOURCE))
        figure.draw_without_rendering()
        boxes = [(text.get_text(), text.get_window_extent()) for text in figure.axes[0].texts if text.get_text()]
    assert len(boxes) > 60
    for place, (one, first) in enumerate(boxes):
        for two, second in boxes[place + 1 :]:
            assert not first.overlaps(second), (one, two)


@pytest.mark.parametrize("wrap", [None, "architecture", "network_def"])
def test_an_architecture_is_found_in_the_files_that_hold_one(
    architecture: Architecture, tmp_path: Path, wrap: str | None
) -> None:
    record = architecture.to_record()
    if wrap is not None:
        record = {"_target_": "monai_nas.networks.build_network", "architecture": record}
    write_json(tmp_path / "a.json", {"network_def": record} if wrap == "network_def" else record)
    assert read_architecture(tmp_path / "a.json") == architecture


@pytest.mark.parametrize("content", [[], 3, {"network_def": "@network"}, {"architecture": {"format": 1}}])
def test_other_files_are_refused(tmp_path: Path, content: object) -> None:
    write_json(tmp_path / "a.json", content)
    with pytest.raises(UserError, match=r"a\.json: not an architecture"):
        read_architecture(tmp_path / "a.json")


def test_what_is_no_whole_cell_is_refused(architecture: Architecture) -> None:
    settings, choices = dict(architecture.settings), dict(architecture.choices)
    less = {name: operation for name, operation in choices.items() if name != "expansion/1-3"}
    cases = {
        "'res_unet' has no cells": replace(architecture, space="res_unet"),
        "num_nodes is None": replace(architecture, settings=()),
        "num_nodes is 0": Architecture.create("cell_unet", {"num_nodes": 0}, {}),
        "expansion/1-3 is missing": Architecture.create("cell_unet", settings, less),
        "reduction/0-6 is 'identity'": Architecture.create(
            "cell_unet", settings, choices | {"reduction/0-6": "identity"}
        ),
        "reduction/0-2 is 7": Architecture.create("cell_unet", settings, choices | {"reduction/0-2": 7}),  # type: ignore[dict-item]
    }
    for message, wrong in cases.items():
        with pytest.raises(UserError, match=re.escape(message)) as fault:
            cells_of(wrong, SOURCE)
        assert str(fault.value).startswith("architecture.json: ")
