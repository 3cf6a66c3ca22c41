"""A folder of scans through a bundle as `monai-nas bundle` writes it."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from monai_nas.compute import choose_compute
from monai_nas.data.synthetic import write_phantoms
from monai_nas.errors import UserError
from monai_nas.export.bundle import write_bundle
from monai_nas.inference import BundlePredictor, write_labels
from monai_nas.pipelines.predict import predict_folder
from monai_nas.tasks import msd_task, read_image

COMPUTE = choose_compute(device="cpu")


def test_every_scan_gets_a_label_map_on_its_grid(phantoms: Path, finished_run: Path, tmp_path: Path) -> None:
    bundle, images = tmp_path / "bundle", phantoms / "imagesTs"
    write_bundle(finished_run, bundle)
    written = predict_folder(bundle, images, tmp_path / "out", mirror=False, compute=COMPUTE)
    assert [path.name for path in written] == sorted(path.name for path in images.glob("[!.]*.nii.gz"))
    for path in written:
        labels, image = read_image(path), read_image(images / path.name)
        assert labels.shape == image.shape and np.allclose(labels.affine, image.affine, atol=1e-6)
        assert labels.array.dtype == np.uint8 and labels.array.max() <= 2
    with pytest.raises(UserError, match="no images"):
        predict_folder(bundle, tmp_path, tmp_path / "none", mirror=False, compute=COMPUTE)
    assert not (tmp_path / "none").exists()


def test_nothing_is_written_where_one_scan_is_damaged(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(phantoms / "imagesTs", tmp_path / "images"))
    last = sorted(images.iterdir())[-1]
    last.write_bytes(last.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{last.name}: unreadable"):
        predict_folder(bundle, images, tmp_path / "out", mirror=False, compute=COMPUTE)
    assert not (tmp_path / "out").exists()


def test_scans_are_not_replaced_by_their_label_maps(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    images = Path(shutil.copytree(phantoms / "imagesTs", tmp_path / "images"))
    before = {path: path.read_bytes() for path in images.iterdir()}
    with pytest.raises(UserError, match=r"images: holds the scans, .*: choose another --out"):
        predict_folder(bundle, images, tmp_path / "x" / ".." / "images", mirror=False, compute=COMPUTE)
    assert {path: path.read_bytes() for path in images.iterdir()} == before


def test_a_label_map_is_written_while_the_next_scan_is_segmented(
    bundle: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segmented, begun, waited = list[str](), threading.Event(), list[bool]()

    def predict(self: BundlePredictor, image: Path, *, mirror: bool) -> np.ndarray[Any, np.dtype[np.uint8]]:
        segmented.append(image.name)
        if len(segmented) == 2:
            begun.set()
        return np.full(read_image(image).shape, len(segmented), np.uint8)

    def write(labels: np.ndarray[Any, np.dtype[np.uint8]], image: Path, path: Path) -> None:
        waited.append(begun.wait(timeout=20))  # the first would wait in vain if the second scan had to wait for it
        write_labels(labels, image, path)

    monkeypatch.setattr(BundlePredictor, "predict", predict)
    monkeypatch.setattr("monai_nas.pipelines.predict.write_labels", write)
    written = predict_folder(bundle, phantoms / "imagesTs", tmp_path / "out", mirror=False, compute=COMPUTE)
    assert waited == [True, True] and [path.name for path in written] == segmented
    assert [int(read_image(path).array.max()) for path in written] == [1, 2]


def test_a_label_map_that_cannot_be_written_stops_the_prediction(
    bundle: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(labels: object, image: Path, path: Path) -> None:
        raise UserError(f"{path}: cannot be written")

    monkeypatch.setattr("monai_nas.pipelines.predict.write_labels", write)
    first = sorted(path.name for path in (phantoms / "imagesTs").glob("[!.]*.nii.gz"))[0]
    with pytest.raises(UserError, match=rf"{first}: cannot be written"):
        predict_folder(bundle, phantoms / "imagesTs", tmp_path / "out", mirror=False, compute=COMPUTE)


def write_turned(image: Any, axes: str, path: Path) -> None:
    """Write a scan with its axes along ``axes``, the same voxels at the same places."""
    start = nibabel.orientations.io_orientation(image.affine)  # type: ignore[no-untyped-call]
    end = nibabel.orientations.axcodes2ornt(tuple(axes))  # type: ignore[no-untyped-call]
    turned = image.as_reoriented(nibabel.orientations.ornt_transform(start, end))  # type: ignore[no-untyped-call]
    path.parent.mkdir(exist_ok=True)
    if path.name.endswith(".nii.gz"):
        nibabel.loadsave.save(turned, path)
        return
    itk = pytest.importorskip("itk")
    lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ turned.affine
    spacing = np.linalg.norm(lps[:3, :3], axis=0)
    volume = itk.image_from_array(np.ascontiguousarray(np.asarray(turned.dataobj, dtype=np.float32).transpose(2, 1, 0)))
    volume.SetSpacing(spacing.tolist())
    volume.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
    volume.SetOrigin(lps[:3, 3].tolist())
    itk.imwrite(volume, str(path))


@pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")
@pytest.mark.parametrize(
    ("name", "turns"),
    [
        ("Task09_Spleen", {"nrrd": ("LPS", ".nrrd"), "mha": ("PIR", ".mha"), "nifti": ("SAL", ".nii.gz")}),
        ("Task05_Prostate", {"lps": ("LPS", ".nii.gz"), "asr": ("ASR", ".nii.gz")}),  # two channels, in 4D
    ],
)
def test_a_scan_of_thick_slices_gets_the_same_labels_however_it_is_stored(
    name: str, turns: dict[str, tuple[str, str]], run_maker: Callable[[Path, Path], None], tmp_path: Path
) -> None:
    data = write_phantoms(msd_task(name), tmp_path / name, num_training=5, num_test=1, seed=0, scale=0.5)
    run_maker(data, tmp_path / "run")
    write_bundle(tmp_path / "run", tmp_path / "bundle")
    (test_scan,) = (data / "imagesTs").glob("*.nii.gz")
    scan: Any = nibabel.loadsave.load(test_scan)
    places = {"ras": ("RAS", ".nii.gz"), **turns}
    for case, (axes, ending) in places.items():
        write_turned(scan, axes, tmp_path / "scans" / f"{case}{ending}")
    predict_folder(tmp_path / "bundle", tmp_path / "scans", tmp_path / "out", mirror=True, compute=COMPUTE)
    found: dict[str, Any] = {case: nibabel.loadsave.load(tmp_path / "out" / f"{case}.nii.gz") for case in places}
    expected = np.asarray(found["ras"].dataobj)
    assert len(np.unique(expected)) > 1  # an untrained network still tells some voxels from others
    for case, (axes, ending) in places.items():
        stored = read_image(tmp_path / "scans" / f"{case}{ending}")
        assert "".join(nibabel.orientations.aff2axcodes(found[case].affine)) == axes  # type: ignore[no-untyped-call]
        assert np.allclose(found[case].affine, stored.affine, atol=1e-4) and found[case].shape == stored.shape
        turned_back = nibabel.funcs.as_closest_canonical(found[case])  # type: ignore[no-untyped-call]
        assert float((np.asarray(turned_back.dataobj) != expected).mean()) < 1e-3
