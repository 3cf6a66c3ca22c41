"""The same volume through NIfTI, NRRD and MHA gives the same voxels and the same RAS affine."""

import importlib
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_nas.tasks.images import UnreadableImage, read_image

AFFINE = np.array([[-1.5, 0, 0, 10], [0, -2, 0, 20], [0, 0, 3, 30], [0, 0, 0, 1]], dtype=np.float64)


def volume() -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)


def save(path: Path, array: np.ndarray[tuple[int, ...], np.dtype[np.int16]], affine: object = AFFINE) -> Path:
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call]
    return path


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # of ITK's wrappers, which the test uses itself
@pytest.mark.parametrize("ending", ["nii", "nii.gz", "nrrd", "mha"])
def test_every_format_gives_the_same_image(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"scan.{ending}"
    if ending.startswith("nii"):
        save(path, volume())
    else:
        itk = importlib.import_module("itk")
        image = itk.image_from_array(np.ascontiguousarray(volume().T))
        image.SetSpacing((1.5, 2.0, 3.0))  # LPS identity is the affine above: x and y run against R and A
        image.SetOrigin((-10.0, -20.0, 30.0))
        itk.imwrite(image, str(path))
    image = read_image(path)
    assert np.array_equal(image.array[..., 0], volume()) and image.num_channels == 1
    np.testing.assert_allclose(image.affine, AFFINE)
    assert (image.shape, image.spacing_mm) == ((4, 5, 6), (1.5, 2.0, 3.0))


def test_channels_are_last_and_axes_are_named(tmp_path: Path) -> None:
    permuted = AFFINE[:, [2, 0, 1, 3]]  # the file's axes run along S, R, A
    image = read_image(save(tmp_path / "a.nii.gz", np.stack([volume(), volume() + 1], axis=-1), permuted))
    assert (image.num_channels, image.shape, image.ras_axes) == (2, (4, 5, 6), (1, 2, 0))


@pytest.mark.parametrize("place", [400, 700, -20, -6, -1], ids=lambda place: f"byte {place}")
def test_a_byte_that_has_changed_in_an_archive_is_found(tmp_path: Path, place: int) -> None:
    """Unpacked without its checksum, most such files give other voxels and no error."""
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 999, (9, 9, 9)).astype(np.int16))
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(UnreadableImage, match=r"a\.nii\.gz: unreadable"):
        read_image(path)


def test_an_archive_that_lacks_its_last_byte_is_found(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", volume())
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UnreadableImage, match=r"a\.nii\.gz: unreadable"):
        read_image(path)


@pytest.mark.parametrize(
    "kind", [nibabel.nifti1.Nifti1Image, nibabel.nifti2.Nifti2Image], ids=lambda kind: kind.__name__
)
def test_archives_of_both_forms_of_nifti_are_scaled_as_their_header_says(tmp_path: Path, kind: Any) -> None:
    image = kind(volume(), AFFINE)
    image.header.set_slope_inter(2.0, 5.0)
    nibabel.loadsave.save(image, tmp_path / "a.nii.gz")
    expected: Any = nibabel.loadsave.load(tmp_path / "a.nii.gz")
    read = read_image(tmp_path / "a.nii.gz")
    assert np.array_equal(read.array[..., 0], np.asarray(expected.dataobj)) and read.array.max() > volume().max()
    np.testing.assert_array_equal(read.affine, expected.affine)


def test_damaged_missing_and_flat_files_are_refused(tmp_path: Path) -> None:
    path = save(tmp_path / "a.nii.gz", np.random.default_rng(0).integers(0, 999, (9, 9, 9)).astype(np.int16))
    path.write_bytes(path.read_bytes()[:-300])
    with pytest.raises(UnreadableImage, match=r"a\.nii\.gz: unreadable"):
        read_image(path)
    for name in ("text.nii.gz", "text.nii", "text.nrrd", "text.mha"):
        (tmp_path / name).write_text("not an image")
        with pytest.raises(UnreadableImage, match="unreadable") as caught:
            read_image(tmp_path / name)
        assert "\n" not in str(caught.value)
    with pytest.raises(UnreadableImage, match="no such file"):
        read_image(tmp_path / "absent.nii.gz")
    with pytest.raises(UnreadableImage, match="neither x, y, z nor"):
        read_image(save(tmp_path / "flat.nii", volume()[0]))


def test_micrometres_are_a_spacing(tmp_path: Path) -> None:
    image = read_image(save(tmp_path / "a.nii.gz", volume(), np.diag([5e-4, 5e-4, 5e-4, 1.0])))
    np.testing.assert_allclose(image.spacing_mm, 5e-4)


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")
def test_a_picture_is_no_volume(tmp_path: Path) -> None:
    itk = importlib.import_module("itk")
    itk.imwrite(itk.image_from_array(np.zeros((4, 5), np.int16)), str(tmp_path / "a.nrrd"))
    with pytest.raises(UnreadableImage, match=r"a\.nrrd: has shape \(5, 4\), neither x, y, z nor"):
        read_image(tmp_path / "a.nrrd")


def test_axes_in_one_plane_are_no_grid(tmp_path: Path) -> None:
    flat = AFFINE.copy()
    flat[:3, 2] = flat[:3, 0] + flat[:3, 1]
    image = nibabel.nifti1.Nifti1Image(volume(), AFFINE)  # type: ignore[no-untyped-call]
    image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = flat[:3]
    image.header["qform_code"], image.header["sform_code"] = 0, 1
    (tmp_path / "a.nii").write_bytes(image.header.binaryblock + bytes(4) + image.get_fdata().astype(np.int16).tobytes())
    with pytest.raises(UnreadableImage, match=r"a\.nii: has no usable affine"):
        read_image(tmp_path / "a.nii")
