"""Prediction with a bundle whose network is known: a threshold, so that every label map can be told in advance."""

import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from monai_nas.compute import choose_compute
from monai_nas.errors import UserError
from monai_nas.files import read_json, save_tensors, write_json
from monai_nas.inference import BundlePredictor, write_labels
from monai_nas.tasks import read_image

Array = np.ndarray[Any, Any]
COMPUTE = choose_compute(low_precision=False, device="cpu")
THRESHOLD = 0.5
# SWIG's classes in ITK; as an error the warning kills the interpreter while the extension is being imported
pytestmark = pytest.mark.filterwarnings("ignore:builtin type .* has no __module__ attribute:DeprecationWarning")


def transforms(*configs: dict[str, Any]) -> dict[str, Any]:
    chain = [{**config, "_target_": f"monai.transforms.{config['_target_']}"} for config in configs]
    return {"_target_": "monai.transforms.Compose", "transforms": chain}


@pytest.fixture()
def bundle(tmp_path: Path) -> Path:
    """A bundle that labels voxels above ``THRESHOLD``."""
    folder = tmp_path / "bundle"
    config = {
        "bundle_root": ".",
        "output_dir": "$@bundle_root + '/eval'",
        "device": "$torch.device('cuda:0')",
        "network_def": {"_target_": "torch.nn.Conv3d", "in_channels": 1, "out_channels": 2, "kernel_size": 1},
        "preprocessing": transforms(
            {"_target_": "LoadImaged", "keys": ["image"], "ensure_channel_first": True},
            {"_target_": "Orientationd", "keys": ["image"], "axcodes": "RAS", "labels": None},
            {"_target_": "Spacingd", "keys": ["image"], "pixdim": [1.0, 1.0, 1.0], "dtype": "$torch.float32"},
        ),
        "postprocessing": transforms(
            {"_target_": "Activationsd", "keys": "pred", "softmax": True},
            {"_target_": "Invertd", "keys": "pred", "transform": "@preprocessing", "orig_keys": "image",
             "nearest_interp": False},
            {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            {"_target_": "SaveImaged", "keys": "pred", "output_dir": "@output_dir"},
        ),
        "inferer": {"_target_": "monai.inferers.SlidingWindowInferer", "roi_size": [8, 8, 8], "overlap": 0.5},
    }  # fmt: skip
    write_json(folder / "configs" / "inference.json", config)
    weight = torch.tensor([-10.0, 10.0]).reshape(2, 1, 1, 1, 1)
    save_tensors(folder / "models" / "model.pt", {"weight": weight, "bias": -weight.flatten() * THRESHOLD})
    return folder


def block() -> Array:
    volume = np.zeros((12, 10, 9), dtype=np.float32)
    volume[2:8, 1:6, 3:7] = 1.0
    return volume


def grid(axes: str) -> Array:
    """An affine of 1 mm voxels whose axes run left, posterior, superior; or the same turned about all three."""
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    if axes == "oblique":
        c, s = math.cos(0.25), math.sin(0.25)
        about_z = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
        about_x = np.array([[1, 0, 0], [0, c, -s], [0, s, c]])
        affine[:3, :3] = about_z @ about_x @ affine[:3, :3]
    affine[:3, 3] = 3.5, -20.25, 7.0
    return affine


def write_image(path: Path, volume: Array, affine: Array) -> Path:
    if path.suffix in (".nrrd", ".mha"):
        itk = pytest.importorskip("itk")
        lps = np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
        spacing = np.linalg.norm(lps[:3, :3], axis=0)
        image = itk.image_from_array(np.ascontiguousarray(volume.transpose(2, 1, 0)))
        image.SetSpacing(spacing.tolist())
        image.SetDirection(itk.matrix_from_array(np.ascontiguousarray(lps[:3, :3] / spacing)))
        image.SetOrigin(lps[:3, 3].tolist())
        itk.imwrite(image, str(path))
    else:
        nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(volume, affine), path)  # type: ignore[no-untyped-call]
    return path


@pytest.mark.parametrize("axes", ["LPS", "oblique"])
@pytest.mark.parametrize("ending", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_labels_come_on_the_grid_of_the_file(bundle: Path, tmp_path: Path, ending: str, axes: str) -> None:
    image = write_image(tmp_path / f"case{ending}", block(), grid(axes))
    labels = BundlePredictor(bundle, compute=COMPUTE).predict(image)
    assert np.array_equal(labels, block() > THRESHOLD) and labels.dtype == np.uint8
    write_labels(labels, image, tmp_path / "out" / "case.nii.gz")
    saved: Any = nibabel.loadsave.load(tmp_path / "out" / "case.nii.gz")
    assert saved.get_data_dtype() == np.uint8 and np.array_equal(np.asarray(saved.dataobj), labels)
    assert np.allclose(saved.affine, read_image(image).affine, atol=1e-6)
    assert np.allclose(saved.affine, grid(axes), atol=1e-5)


@pytest.mark.parametrize("ending", [".nii.gz", ".nrrd", ".mha"])
def test_anisotropic_files_come_back_in_their_own_shape(bundle: Path, tmp_path: Path, ending: str) -> None:
    volume = np.repeat(np.repeat(block(), 2, axis=0), 2, axis=1)
    affine = grid("LPS") @ np.diag([0.5, 0.5, 3.0, 1.0])
    image = write_image(tmp_path / f"c{ending}", volume, affine)
    labels = BundlePredictor(bundle, compute=COMPUTE).predict(image)
    assert labels.shape == volume.shape
    assert float((labels == (volume > THRESHOLD)).mean()) > 0.95
    write_labels(labels, image, tmp_path / "out" / "c.nii.gz")
    saved: Any = nibabel.loadsave.load(tmp_path / "out" / "c.nii.gz")
    assert np.allclose(saved.affine, affine, atol=1e-5) and saved.header.get_zooms() == pytest.approx((0.5, 0.5, 3.0))


def test_post_transforms_of_label_maps_are_applied(bundle: Path, tmp_path: Path) -> None:
    volume = block()
    volume[10, 8, 0] = 1.0  # apart from the block
    image = write_image(tmp_path / "c.nii.gz", volume, grid("LPS"))
    assert np.array_equal(BundlePredictor(bundle, compute=COMPUTE).predict(image), volume > THRESHOLD)
    path = bundle / "configs" / "inference.json"
    config = read_json(path)
    step = {"_target_": "monai.transforms.KeepLargestConnectedComponentd", "keys": "pred", "applied_labels": [1]}
    config["postprocessing"]["transforms"].insert(3, step)
    write_json(path, config)
    assert np.array_equal(BundlePredictor(bundle, compute=COMPUTE).predict(image), block() > THRESHOLD)


def test_both_transforms_of_a_nifti_header_are_kept(tmp_path: Path) -> None:
    image = nibabel.nifti1.Nifti1Image(block(), grid("oblique"))  # type: ignore[no-untyped-call]
    image.set_qform(grid("oblique"), code=1)  # type: ignore[no-untyped-call]
    image.set_sform(grid("oblique"), code=4)  # type: ignore[no-untyped-call]
    nibabel.loadsave.save(image, tmp_path / "image.nii.gz")
    write_labels(np.ones((12, 10, 9), dtype=np.uint8), tmp_path / "image.nii.gz", tmp_path / "labels.nii.gz")
    saved: Any = nibabel.loadsave.load(tmp_path / "labels.nii.gz")
    assert (int(saved.header["qform_code"]), int(saved.header["sform_code"])) == (1, 4)
    assert saved.header.get_data_dtype() == np.uint8 and int(np.asarray(saved.dataobj).max()) == 1


def test_labels_are_the_same_bytes_each_time(tmp_path: Path) -> None:
    image = write_image(tmp_path / "image.nii.gz", block(), grid("LPS"))
    for name in ("a.nii.gz", "b.nii.gz"):
        write_labels(block().astype(np.uint8), image, tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_missing_weights_name_the_command_that_makes_them(bundle: Path) -> None:
    (bundle / "models" / "model.pt").unlink()
    with pytest.raises(UserError, match=r"model\.pt: no such file: train with `monai-nas train .*`monai-nas bundle"):
        BundlePredictor(bundle, compute=COMPUTE)


@pytest.mark.parametrize("key", ["weight", "bias", "other"])
def test_weights_of_another_network_are_refused(bundle: Path, key: str) -> None:
    path = bundle / "models" / "model.pt"
    state = torch.load(path, weights_only=True)
    save_tensors(path, {**state, key: torch.zeros(5)})
    expected = rf"model\.pt: weights of another network \(1 tensors differ, first {key}\)"
    with pytest.raises(UserError, match=expected) as caught:
        BundlePredictor(bundle, compute=COMPUTE)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("part", ["network_def", "preprocessing", "postprocessing", "inferer"])
def test_an_incomplete_configuration_is_named(bundle: Path, part: str) -> None:
    path = bundle / "configs" / "inference.json"
    write_json(path, {key: value for key, value in read_json(path).items() if key != part})
    with pytest.raises(UserError, match=rf"inference\.json: '{part}'") as caught:
        BundlePredictor(bundle, compute=COMPUTE)
    assert "\n" not in str(caught.value)


def test_a_configuration_that_is_no_object_is_named(bundle: Path) -> None:
    write_json(bundle / "configs" / "inference.json", [1])
    with pytest.raises(UserError, match=r"inference\.json: not a bundle's configuration"):
        BundlePredictor(bundle, compute=COMPUTE)


def test_images_that_give_nothing_are_found_before_prediction(bundle: Path, tmp_path: Path) -> None:
    predictor = BundlePredictor(bundle, compute=COMPUTE)
    predictor.check(write_image(tmp_path / "sound.nii.gz", block(), grid("LPS")))
    with pytest.raises(UserError, match=r"two\.nii\.gz: has 2 channels, the network takes 1"):
        predictor.check(write_image(tmp_path / "two.nii.gz", np.stack([block(), block()], axis=-1), grid("LPS")))
    for value in (np.nan, np.inf):
        broken = block()
        broken[3, 3, 3] = value
        with pytest.raises(UserError, match=r"broken\.nii\.gz: holds NaN or Inf"):
            predictor.check(write_image(tmp_path / "broken.nii.gz", broken, grid("LPS")))
    with pytest.raises(UserError, match=r"empty\.nii\.gz: all voxels are 0"):
        predictor.check(write_image(tmp_path / "empty.nii.gz", 0 * block(), grid("LPS")))


def test_images_with_other_channels_or_none_are_named(bundle: Path, tmp_path: Path) -> None:
    predictor = BundlePredictor(bundle, compute=COMPUTE)
    two = write_image(tmp_path / "two.nii.gz", np.stack([block(), block()], axis=-1), grid("LPS"))
    with pytest.raises(UserError, match=r"two\.nii\.gz: has 2 channels in 3 dimensions, the network takes 1"):
        predictor.predict(two)
    damaged = tmp_path / "damaged.nii.gz"
    damaged.write_bytes(b"not a volume")
    with pytest.raises(UserError, match=r"damaged\.nii\.gz: cannot be preprocessed") as caught:
        predictor.predict(damaged)
    assert "\n" not in str(caught.value)
