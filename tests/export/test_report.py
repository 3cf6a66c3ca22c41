"""Pictures: what is shown of a case, where the outlines lie, and what goes wrong in one line."""

import sys
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest

from monai_nas.errors import UserError
from monai_nas.export.figures import drawing_style
from monai_nas.export.report import (
    PicturedCase,
    Volume,
    draw_panel,
    load_volume,
    prediction_figure,
    prediction_picture,
)

figure = pytest.importorskip("matplotlib.figure", reason="pictures need monai-nas[reports]")
LAS = np.diag([-1.0, 1.0, 2.0, 1.0])  # x runs to the left; slices of 2 mm


@pytest.fixture
def case(tmp_path: Path) -> PicturedCase:
    """An image of 20 x 16 x 10 voxels, a box of label 1, a larger slice of label 2, and a shifted prediction."""
    label = np.zeros((20, 16, 10), dtype=np.uint8)
    label[3:6, 4:9, 2:5] = 1
    label[2:8, 3:10, 5] = 2
    image = np.random.default_rng(0).normal(size=label.shape).astype(np.float32)
    arrays = {"image": image, "pred": np.roll(label, 1, axis=0), "label": label}
    for name, array in arrays.items():
        nibabel.save(nibabel.Nifti1Image(array, LAS), tmp_path / f"{name}.nii.gz")
    image_file, pred_file, label_file = (tmp_path / f"{name}.nii.gz" for name in arrays)
    return PicturedCase("case_1", image_file, pred_file, label_file, dice=0.5)


def test_a_case_is_turned_to_ras_and_cut_where_most_voxels_are_wrong(case: PicturedCase) -> None:
    label = nibabel.load(case.label)
    pred = np.asarray(label.dataobj).copy()
    pred[3:5, 4:9, 2] = 0  # 10 voxels missed in a slice of label 1
    pred[7, 3:10, 5] = 0  # and 7 in the larger slice of label 2
    nibabel.save(nibabel.Nifti1Image(pred, LAS), case.pred)
    volume = load_volume(case)
    assert volume.slices == (20 - 1 - 7, 4, 2)


def test_a_faultless_case_is_cut_where_the_truth_is_largest(case: PicturedCase) -> None:
    volume = load_volume(replace(case, pred=case.label))
    assert volume.spacing_mm == (1.0, 1.0, 2.0)
    assert volume.slices[2] == 5  # 6 x 7 voxels of label 2; 3 x 5 of label 1 in the slices below


def test_the_box_holds_truth_and_prediction_in_ras(case: PicturedCase) -> None:
    volume = load_volume(case)
    assert volume.label[20 - 1 - 4, 5, 3] == 1  # x is mirrored
    assert volume.box == ((11, 17), (3, 9), (2, 5))  # of truth and prediction together


def test_the_window_holds_the_structures_and_stays_in_the_image() -> None:
    empty = np.zeros((40, 40, 8))
    volume = Volume(empty, empty, empty, (1.0, 1.0, 2.0), (0, 0, 0), box=((0, 9), (10, 19), (2, 3)))
    assert volume.window_mm(axis=2) == ((7.0, 14.5), 15.0)  # 0 to 15 mm from the border of voxel 0, not -2.5 to 12.5
    (_, vertical), side = volume.window_mm(axis=0)
    assert (vertical, side) == (6.5, 15.0)  # 16 mm high, centred at 5 mm: moved up until its foot is at the border


def test_outlines_run_between_voxels_in_millimetres(case: PicturedCase) -> None:
    volume = load_volume(case)
    panel = figure.Figure().add_subplot()
    draw_panel(panel, volume, volume.label, axis=1, num_structures=1)  # label 1 only, (x, z)
    (_, outline) = panel.collections
    points = np.concatenate([path.vertices for path in outline.get_paths()])
    np.testing.assert_allclose(points.min(axis=0), [13.5, 3.0])  # x 14 to 16 in RAS, z 2 to 4 of 2 mm
    np.testing.assert_allclose(points.max(axis=0), [16.5, 9.0])
    left, right = panel.get_xlim()
    assert left > right  # radiological: the patient's right on the viewer's left


def test_a_structure_at_the_border_has_an_outline(case: PicturedCase) -> None:
    volume = load_volume(case)
    panel = figure.Figure().add_subplot()
    draw_panel(panel, volume, np.ones_like(volume.label), axis=2, num_structures=1)
    points = np.concatenate([path.vertices for path in panel.collections[1].get_paths()])
    np.testing.assert_allclose(points.min(axis=0), [-0.5, -0.5])


def test_a_row_shows_image_truth_and_prediction_in_each_plane_in_true_proportions(case: PicturedCase) -> None:
    with drawing_style(case.image):
        drawn = prediction_figure([case, replace(case, name="case_2", dice=None)], ["a", "b"])
        drawn.draw_without_rendering()
    assert len(drawn.axes) == 2 * 3 * 3
    assert [panel.get_title() for panel in drawn.axes[:9]] == ["image", "truth", "prediction"] * 3
    assert drawn.axes[0].get_ylabel() == "case_1\nDice 50.0"
    assert drawn.axes[9].get_ylabel() == "case_2"
    for place, panel in enumerate(drawn.axes):
        assert bool(panel.collections) == (place % 3 != 0)  # outlines beside the image, not on it
        box = panel.bbox  # dots
        across, up = (abs(high - low) for low, high in (panel.get_xlim(), panel.get_ylim()))
        assert across / box.width == pytest.approx(up / box.height, rel=1e-3)  # mm a dot
    assert {"axial", "coronal", "sagittal"} <= {text.get_text() for text in drawn.texts}


def test_a_long_name_stays_in_its_row(case: PicturedCase) -> None:
    with drawing_style(case.image):
        drawn = prediction_figure([replace(case, name="a_very_long_name_of_a_case_" * 2)], ["a"])
        drawn.draw_without_rendering()
        name = drawn.axes[0].yaxis.label.get_window_extent()
    assert name.y0 >= 0 and name.y1 <= drawn.bbox.y1


@pytest.mark.parametrize(("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")])
def test_the_ending_gives_the_format(case: PicturedCase, tmp_path: Path, ending: str, start: bytes) -> None:
    prediction_picture([case], ["a", "b"], tmp_path / f"one.{ending}")
    assert (tmp_path / f"one.{ending}").read_bytes().startswith(start)


def test_a_picture_grows_with_its_cases_and_is_the_same_each_time(case: PicturedCase, tmp_path: Path) -> None:
    for name, cases in (("one", [case]), ("again", [case]), ("two", [case, case])):
        prediction_picture(cases, ["a", "b"], tmp_path / f"{name}.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    (width, low), (_, high) = (
        np.frombuffer((tmp_path / f"{name}.png").read_bytes()[16:24], dtype=">u4").astype(int)
        for name in ("one", "two")
    )
    assert high - low == pytest.approx(240, abs=2)  # 1.2 inches of 200 dots
    assert width == pytest.approx(9 * 240, rel=0.1)


def test_maps_without_structures_are_drawn_too(case: PicturedCase, tmp_path: Path) -> None:
    empty = tmp_path / "empty.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((20, 16, 10), dtype=np.uint8), LAS), empty)
    prediction_picture([PicturedCase("empty", empty, empty, empty)], ["a"], tmp_path / "empty.png")
    prediction_picture([PicturedCase("missed", case.image, empty, case.label)], ["a", "b"], tmp_path / "missed.png")
    assert (tmp_path / "missed.png").read_bytes() != (tmp_path / "empty.png").read_bytes()


def test_maps_of_another_grid_are_refused(case: PicturedCase, tmp_path: Path) -> None:
    other = tmp_path / "other.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4), dtype=np.uint8), LAS), other)
    with pytest.raises(UserError, match=r"other\.nii\.gz: has shape \(4, 4, 4\)"):
        prediction_picture([PicturedCase("case_1", case.image, other, case.label)], ["a"], tmp_path / "a.png")
    assert not (tmp_path / "a.png").exists()


@pytest.mark.parametrize("name", ["picture.doc", "picture"])
def test_an_unknown_format_is_refused(case: PicturedCase, tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"use \.png"):
        prediction_picture([case], ["a"], tmp_path / name)


def test_a_missing_matplotlib_is_named(case: PicturedCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(UserError, match=r"pip install monai-nas\[reports\]"):
        prediction_picture([case], ["a"], tmp_path / "a.png")
