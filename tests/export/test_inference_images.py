"""Which files a bundle's inference takes for scans, and what it says where there are none."""

import shutil
from pathlib import Path
from typing import Any

import itk
import monai.bundle
import nibabel
import numpy as np
import pytest

from monai_nas.tasks.splits import IMAGE_ENDINGS

# MONAI warns, rightly, that a config is code whenever one is run
pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may write to."""
    return shutil.copytree(bundle, tmp_path / bundle.name)


def run(root: Path, data: Path, **overrides: Any) -> None:
    """Do what ``python -m monai.bundle run`` does with inference.json."""
    files = [str(root / "configs" / "inference.json")]
    arguments = {"config_file": files, "logging_file": False, "bundle_root": str(root), "dataset_dir": str(data)}
    monai.bundle.run(**arguments, **overrides)


def test_the_same_scan_in_each_format_gives_the_same_labels(own: Path, phantoms: Path, tmp_path: Path) -> None:
    images = tmp_path / "data [1]" / "imagesTs"  # brackets mean something to glob
    images.mkdir(parents=True)
    scan = itk.imread(str(sorted((phantoms / "imagesTs").iterdir())[0]))
    for ending in IMAGE_ENDINGS:
        itk.imwrite(scan, str(images / f"{ending[1:].replace('.', '_')}{ending}"))
    shutil.copy(images / "nrrd.nrrd", images / "capital.NRRD")
    (images / "._nii_gz.nii.gz").write_bytes(b"of macOS")
    (images / "notes.txt").touch()
    run(own, images.parent)
    written = {path.name: nibabel.load(path) for path in (own / "eval").iterdir()}
    assert set(written) == {"nii_gz.nii.gz", "nii.nii.gz", "nrrd.nii.gz", "mha.nii.gz", "capital.nii.gz"}
    first = written["nii_gz.nii.gz"]
    for labels in written.values():
        np.testing.assert_array_equal(labels.dataobj, first.dataobj)
        np.testing.assert_allclose(labels.affine, first.affine, atol=1e-4)
        assert labels.get_data_dtype() == np.uint8


@pytest.mark.parametrize("folder", ["empty", "absent"])
def test_no_image_stops_in_one_line(folder: str, own: Path, tmp_path: Path) -> None:
    images = tmp_path / "data" / "imagesTs"
    if folder == "empty":
        images.mkdir(parents=True)
        (images / "._case.nii.gz").touch()
    with pytest.raises(SystemExit) as stop:
        run(own, images.parent)
    message = str(stop.value.code)
    assert message.startswith(f"error: {images}: no image (.nii.gz, .nii, .nrrd, .mha): ")
    assert "--dataset_dir" in message and len(message.splitlines()) == 1
    assert not (own / "eval").exists()


def test_another_list_needs_no_folder(own: Path, phantoms: Path, tmp_path: Path) -> None:
    image = sorted((phantoms / "imagesTs").iterdir())[0]
    run(own, tmp_path, datalist=[str(image)])
    assert [path.name for path in (own / "eval").iterdir()] == [image.name]
