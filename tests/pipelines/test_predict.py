"""A folder of scans through a bundle as `monai-nas bundle` writes it."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from monai_nas.compute import choose_compute
from monai_nas.errors import UserError
from monai_nas.export.bundle import write_bundle
from monai_nas.pipelines.predict import predict_folder
from monai_nas.tasks import read_image

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
