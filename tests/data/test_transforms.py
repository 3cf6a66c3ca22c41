"""Preprocessing, augmentation and the way back to the original grid, against what each should do to known volumes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor

from monai_nas.data.transforms import augmentation, build, class_indices, postprocessing, preprocessing
from monai_nas.errors import UserError
from monai_nas.metrics import dice
from monai_nas.plans import IntensityRule, Plan
from monai_nas.plans.plan import FingerprintSummary
from monai_nas.tasks import SegTask

MRI = IntensityRule("mri", lower=0.0, upper=1.0, mean=0.0, std=1.0)
CT = IntensityRule("ct", lower=-100.0, upper=200.0, mean=50.0, std=25.0)
LPS_COARSE = np.diag([-1.0, -1.0, 2.0, 1.0])  # mm


def plan_of(*rules: IntensityRule, spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)) -> Plan:
    names = tuple(f"{rule.kind}{index}" for index, rule in enumerate(rules))
    task = SegTask("Two", "two structures", names, ("background", "left", "right"), num_training=1, num_test=0)
    return Plan(
        task=task,
        fingerprint=FingerprintSummary(1, (20, 20, 20), spacing_mm, (1, 1, 1)),
        spacing_mm=spacing_mm,
        patch_size=(8, 16, 8),
        batch_size=2,
        strides=((2, 2, 2),),
        width=4,
        intensity=rules,
        memory_bytes=2**30,
        reasons=(),
    )


def write(path: Path, array: np.ndarray[Any, Any], affine: np.ndarray[Any, Any]) -> str:
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call]
    return str(path)


def labels_of(shape: tuple[int, int, int]) -> np.ndarray[Any, Any]:
    labels = np.zeros(shape, dtype=np.uint8)
    labels[2:6, 3:9, 2:5], labels[7:9, 4:8, 2:5] = 1, 2
    return labels


def test_configurations_are_plain_json_and_inference_needs_monai_alone() -> None:
    plan = plan_of(CT, MRI)
    lists = [
        preprocessing(plan.task, plan, ("image",)),
        preprocessing(plan.task, plan, ("image", "label")),
        class_indices(plan.task),
        augmentation(plan.task, plan),
        postprocessing(plan.task, plan, "@output_dir"),
    ]
    for configs in lists:
        assert json.loads(json.dumps(configs)) == configs
        assert all(config["_target_"].startswith("monai.transforms.") for config in configs)


def test_preprocessing_turns_to_ras_and_to_the_planned_spacing(tmp_path: Path) -> None:
    # Value = RAS position in voxels of 1 mm along each axis in turn; the file is in LPS with 2 mm slices.
    plan = plan_of(IntensityRule("ct", lower=-1000.0, upper=1000.0, mean=0.0, std=1.0))
    right = np.broadcast_to(-np.arange(12.0)[:, None, None], (12, 10, 6)).astype(np.float32)
    item = {
        "image": write(tmp_path / "image.nii.gz", right, LPS_COARSE),
        "label": write(tmp_path / "label.nii.gz", labels_of((12, 10, 6)), LPS_COARSE),
    }
    data = build(preprocessing(plan.task, plan, ("image", "label")))(item)
    assert data["image"].shape == data["label"].shape == (1, 12, 10, 11)
    assert data["image"].dtype == torch.float32 and data["label"].dtype == torch.uint8
    assert torch.allclose(data["image"].affine.diagonal(), torch.ones(4, dtype=torch.float64))
    assert torch.allclose(data["image"].as_tensor()[0, :, 5, 5], torch.arange(-11.0, 1.0), atol=1e-4)
    assert sorted(data["label"].unique().tolist()) == [0, 1, 2]


def test_ct_is_clipped_and_then_normalised_by_the_plan(tmp_path: Path) -> None:
    plan = plan_of(CT)
    values = np.array([-1000.0, -100.0, 50.0, 75.0, 200.0, 3000.0], dtype=np.float32).reshape(6, 1, 1)
    path = write(tmp_path / "image.nii.gz", np.broadcast_to(values, (6, 4, 4)).copy(), np.eye(4))
    image = build(preprocessing(plan.task, plan, ("image",)))({"image": path})["image"]
    assert image[0, :, 2, 2].tolist() == pytest.approx([-6.0, -6.0, 0.0, 1.0, 6.0, 6.0], abs=1e-4)


def test_mri_channels_are_normalised_each_by_itself(tmp_path: Path) -> None:
    plan = plan_of(MRI, MRI)
    channels = np.random.default_rng(0).normal((100.0, 5.0), (30.0, 2.0), size=(9, 8, 7, 2)).astype(np.float32)
    path = write(tmp_path / "image.nii.gz", channels, np.eye(4))
    image = build(preprocessing(plan.task, plan, ("image",)))({"image": path})["image"].as_tensor()
    assert image.shape == (2, 9, 8, 7)
    expected = (channels - channels.mean(axis=(0, 1, 2))) / channels.std(axis=(0, 1, 2))
    assert np.allclose(image.numpy(), np.moveaxis(expected, -1, 0), atol=1e-4)


def test_ct_beside_another_modality_is_normalised_channel_by_channel(tmp_path: Path) -> None:
    plan = plan_of(CT, MRI)
    channels = np.random.default_rng(0).normal(50.0, 400.0, size=(9, 8, 7, 2)).astype(np.float32)
    path = write(tmp_path / "image.nii.gz", channels, np.eye(4))
    data = build(preprocessing(plan.task, plan, ("image",)))({"image": path})
    assert set(data) == {"image"} and data["image"].shape == (2, 9, 8, 7)
    assert np.allclose(data["image"][0].numpy(), (channels[..., 0].clip(-100, 200) - 50) / 25, atol=1e-4)
    assert float(data["image"][1].mean()) == pytest.approx(0.0, abs=1e-4)


def test_a_plan_of_another_number_of_channels_is_rejected() -> None:
    plan = plan_of(MRI)
    task = dataclasses.replace(plan.task, modalities=("T1", "T2"))
    with pytest.raises(UserError, match="2 modalities but 1 intensity rules"):
        preprocessing(task, plan, ("image",))


@pytest.mark.parametrize("shape", [(6, 20, 30), (8, 16, 8), (5, 5, 5)])
def test_augmentation_gives_patches_of_images_of_any_size(shape: tuple[int, int, int]) -> None:
    plan = plan_of(MRI)
    label = torch.zeros(1, *shape, dtype=torch.uint8)
    label[:, 1:4, 1:4, 1:4] = 2
    transform = build([*class_indices(plan.task), *augmentation(plan.task, plan)]).set_random_state(seed=0)
    for _ in range(5):
        [patch] = transform({"image": torch.rand(1, *shape), "label": label.clone()})
        assert patch["image"].shape == patch["label"].shape == (1, *plan.patch_size)
        assert patch["image"].dtype == torch.float32 and patch["label"].dtype == torch.uint8
        assert set(patch["label"].unique().tolist()) <= {0, 2}


def test_augmentation_keeps_image_and_label_aligned() -> None:
    plan = plan_of(MRI)
    label = torch.zeros(1, 20, 20, 20, dtype=torch.uint8)
    label[:, 4:14, 6:16, 5:15] = 1
    transform = build([*class_indices(plan.task), *augmentation(plan.task, plan)]).set_random_state(seed=0)
    overlaps = []
    for _ in range(20):
        [patch] = transform({"image": label.float() * 4 - 2, "label": label.clone()})
        bright = patch["image"] > patch["image"].mean()
        if 0.2 < patch["label"].float().mean() < 0.8:  # both inside and outside are well in the patch
            overlaps.append(float((bright == (patch["label"] > 0)).float().mean()))
    assert len(overlaps) > 5 and np.median(overlaps) > 0.85


def test_rare_classes_are_in_most_patches() -> None:
    plan = plan_of(MRI)
    label = torch.zeros(1, 64, 64, 64, dtype=torch.uint8)
    label[:, 50:53, 50:53, 50:53], label[:, 10:13, 10:13, 10:13] = 1, 2
    transform = build([*class_indices(plan.task), *augmentation(plan.task, plan)]).set_random_state(seed=0)
    found = [
        set(transform({"image": torch.rand(1, 64, 64, 64), "label": label.clone()})[0]["label"].unique().tolist())
        for _ in range(60)
    ]
    for value in (1, 2):
        assert 0.15 < np.mean([value in values for values in found]) < 0.6  # a third each is planned


def test_coarse_axes_are_not_rotated_into_fine_ones() -> None:
    plan = plan_of(MRI, spacing_mm=(0.6, 0.6, 3.6))
    [affine] = [config for config in augmentation(plan.task, plan) if config["_target_"].endswith("RandAffined")]
    about_x, about_y, about_z = affine["rotate_range"]
    assert about_x == about_y == 0.0 and about_z > 0.0


def test_a_patch_of_one_slice_keeps_what_is_in_it() -> None:
    plan = dataclasses.replace(plan_of(MRI), patch_size=(64, 64, 1), strides=((2, 2, 1),))
    transform = build([*class_indices(plan.task), *augmentation(plan.task, plan)]).set_random_state(seed=0)
    case = {"image": torch.ones(1, 90, 90, 1), "label": torch.zeros(1, 90, 90, 1, dtype=torch.uint8)}
    case["label"][:, 40:50, 40:50], case["label"][:, 50:52, 50:52] = 1, 2
    patches = [transform(dict(case))[0] for _ in range(30)]
    assert all(patch["image"].shape == (1, 64, 64, 1) for patch in patches)
    assert np.mean([float((patch["label"] > 0).sum()) for patch in patches]) == pytest.approx(104, rel=0.15)


def test_long_axes_are_not_rotated_into_short_ones() -> None:
    plan = dataclasses.replace(plan_of(MRI), patch_size=(104, 112, 32))
    [affine] = [config for config in augmentation(plan.task, plan) if config["_target_"].endswith("RandAffined")]
    about_x, about_y, about_z = affine["rotate_range"]
    assert about_x == about_y == 0.0 < about_z and all(affine["scale_range"])


@pytest.mark.parametrize("channels", [(MRI,), (CT, MRI)], ids=["one", "two"])
def test_postprocessing_saves_labels_on_the_original_grid(tmp_path: Path, channels: tuple[IntensityRule, ...]) -> None:
    plan = plan_of(*channels, spacing_mm=(0.8, 1.3, 1.1))
    angle = 0.3
    affine = np.diag([-1.0, -1.2, 2.0, 1.0])
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine[:3, :3] = turn @ affine[:3, :3]
    affine[:3, 3] = 5.0, -7.0, 11.0
    truth = np.zeros((14, 16, 9), dtype=np.uint8)
    truth[3:8, 4:11, 2:7], truth[8:12, 6:13, 2:7] = 1, 2
    image = truth.astype(np.float32) if len(channels) == 1 else np.stack([truth, truth], axis=-1).astype(np.float32)
    item = {
        "image": write(tmp_path / "case_7.nii.gz", image, affine),
        "label": write(tmp_path / "label.nii.gz", truth, affine),
    }
    chains = {
        "preprocessing": preprocessing(plan.task, plan, ("image", "label")),
        "postprocessing": postprocessing(plan.task, plan, tmp_path / "out"),
    }
    compose = "monai.transforms.Compose"
    parser = ConfigParser({name: {"_target_": compose, "transforms": chain} for name, chain in chains.items()})
    data = parser.get_parsed_content("preprocessing")(item)
    logits = torch.nn.functional.one_hot(data["label"].as_tensor()[0].long(), 3).movedim(-1, 0) * 9.0
    data["pred"] = MetaTensor(logits, meta=data["image"].meta)
    parser.get_parsed_content("postprocessing")(data)
    saved: Any = nibabel.loadsave.load(tmp_path / "out" / "case_7.nii.gz")
    assert saved.shape == truth.shape and saved.get_data_dtype() == np.uint8
    assert np.allclose(saved.affine, affine, atol=1e-5)
    # resampling there and back costs some of the boundary; a flip or a shift by a voxel costs more
    assert min(dice(np.asarray(saved.dataobj), truth, 3)) > 0.85
