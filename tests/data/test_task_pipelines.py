"""What the transforms do for unlike tasks: thick slices, empty borders, one component; and Task04 as it was."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.data.meta_tensor import MetaTensor

from monai_nas.data.synthetic import write_phantoms
from monai_nas.data.transforms import augmentation, build, class_indices, postprocessing, preprocessing
from monai_nas.plans import IntensityRule, Plan, make_plan, measure_fingerprint
from monai_nas.plans.plan import FingerprintSummary
from monai_nas.tasks import SegTask, msd_task, training_cases

ROOT = Path(__file__).parents[2]
BOTH = ("image", "label")
UNCHANGED = IntensityRule("ct", lower=-1000.0, upper=1000.0, mean=0.0, std=1.0)
MRI = IntensityRule("mri", lower=0.0, upper=1.0, mean=0.0, std=1.0)
Array = np.ndarray[Any, Any]


def plan_of(rule: IntensityRule, spacing_mm: tuple[float, float, float], **changes: Any) -> Plan:
    plan = Plan(
        task=SegTask("Own", "", (rule.kind,), ("background", "organ", "lesion"), num_training=1, num_test=0),
        fingerprint=FingerprintSummary(1, (20, 20, 20), spacing_mm, (1, 1, 1)),
        spacing_mm=spacing_mm,
        patch_size=(16, 16, 8),
        batch_size=2,
        strides=((2, 2, 2),),
        width=4,
        intensity=(rule,),
        memory_bytes=2**30,
        reasons=(),
    )
    return dataclasses.replace(plan, **changes)


def read(folder: Path, plan: Plan, image: Array, label: Array, spacing_mm: tuple[float, ...]) -> dict[str, MetaTensor]:
    item = {}
    for name, array in (("image", image), ("label", label)):
        item[name] = str(folder / f"{name}.nii.gz")
        volume = nibabel.nifti1.Nifti1Image(array, np.diag([*spacing_mm, 1.0]))  # type: ignore[no-untyped-call]
        nibabel.loadsave.save(volume, item[name])
    data: Any = build(preprocessing(plan.task, plan, BOTH))(item)
    return {name: data[name] for name in BOTH}


def test_task04_has_the_lists_of_the_shipped_bundle() -> None:
    configs = ROOT / "bundles" / "msd_task04_hippocampus" / "configs"
    train, inference = (json.loads((configs / f"{name}.json").read_text()) for name in ("train", "inference"))
    plan = Plan.load(ROOT / "docs" / "results" / "task04_plan.json")
    task = plan.task
    made = [*preprocessing(task, plan, BOTH), *class_indices(task), *augmentation(task, plan)]
    assert json.dumps(made) == json.dumps(train["train"]["preprocessing"]["transforms"])
    assert json.dumps(preprocessing(task, plan, ("image",))) == json.dumps(inference["preprocessing"]["transforms"])
    after = json.dumps(postprocessing(task, plan, "@output_dir"))
    assert after == json.dumps(inference["postprocessing"]["transforms"])


@pytest.mark.parametrize("name", ["Task05_Prostate", "Task09_Spleen"])
def test_thick_slices_keep_labels_and_boundaries(name: str, tmp_path: Path) -> None:
    task = msd_task(name)
    data = write_phantoms(task, tmp_path / name, num_training=2, num_test=0, seed=0, scale=0.5)
    cases = training_cases(data)
    plan = make_plan(task, measure_fingerprint(cases, task))
    assert plan.resample_separately == 2 and plan.spacing_mm[2] > 3 * plan.spacing_mm[0]
    plan = dataclasses.replace(plan, spacing_mm=(plan.spacing_mm[0] * 0.7, plan.spacing_mm[1] * 0.9, 1.7))
    read_cases = build(preprocessing(task, plan, BOTH))
    for case in cases:
        found: Any = read_cases({"image": str(case.image), "label": str(case.label)})
        original: Any = nibabel.loadsave.load(str(case.label))
        truth = np.asarray(original.dataobj)
        assert found["image"].shape[1:] == found["label"].shape[1:] and found["image"].shape[0] == task.in_channels
        assert found["label"].affine.diagonal()[:3].tolist() == pytest.approx(plan.spacing_mm)
        assert set(found["label"].unique().tolist()) == set(np.unique(truth).tolist())
        # Each new voxel has the label of the old voxel in whose box its centre lies, or of both where on the border:
        # so no boundary moves by more than half a voxel.
        there = np.linalg.inv(original.affine) @ found["label"].affine.numpy()
        indices = np.indices(found["label"].shape[1:]).reshape(3, -1)
        places = there[:3, :3] @ indices + there[:3, 3:]
        labels = found["label"].numpy().ravel()
        nearby = [truth[tuple(np.rint(places + shift).astype(int).clip(0, np.array(truth.shape)[:, None] - 1))]
                  for shift in (-1e-3, 1e-3)]  # fmt: skip
        assert np.logical_or(labels == nearby[0], labels == nearby[1]).all()


def test_a_thick_axis_shows_slices_that_were_there_and_the_others_are_smooth(tmp_path: Path) -> None:
    across, slices = np.linspace(0, 99, 12), np.array([0.0, 500.0, -300.0, 800.0, 100.0])
    image = (across[:, None, None] + slices).astype(np.float32) * np.ones((12, 10, 5), dtype=np.float32)
    label = np.zeros((12, 10, 5), dtype=np.uint8)
    label[3:8, 3:8, 1:4] = 1
    plan = plan_of(UNCHANGED, (0.7, 1.0, 1.7), resample_separately=2)
    found = read(tmp_path, plan, image, label, (1.0, 1.0, 5.0))["image"][0].numpy()
    assert found.shape == (17, 10, 13)
    nearest = np.rint(np.arange(13) * 1.7 / 5.0).astype(int)  # 0 0 1 1 1 2 ...
    smooth = np.interp(0.7 * np.arange(17), np.arange(12), across)
    assert np.allclose(found[:, 4], smooth[:, None] + slices[nearest], atol=1e-2)
    linear = read(tmp_path, dataclasses.replace(plan, resample_separately=None), image, label, (1.0, 1.0, 5.0))
    assert not np.allclose(linear["image"][0, :, 4].numpy(), smooth[:, None] + slices[nearest], atol=50)


def test_empty_borders_are_cut_and_left_out_of_the_score(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    image = np.zeros((12, 11, 10), dtype=np.float32)
    image[2:9, 3:10, 1:8] = rng.normal(-50.0, 20.0, (7, 7, 7))
    image[4, 5, 3] = 0.0  # a hole
    label = np.zeros((12, 11, 10), dtype=np.uint8)
    label[5:8, 6:9, 4:7] = 2
    plan = plan_of(MRI, (1.0, 1.0, 1.0), crop_to_nonzero=True)
    found = read(tmp_path, plan, image, label, (1.0, 1.0, 1.0))
    inside = image[2:9, 3:10, 1:8]
    assert np.array_equal(found["label"][0].numpy(), label[2:9, 3:10, 1:8])
    tissue = inside[inside != 0]
    expected = np.where(inside != 0, (inside - tissue.mean()) / tissue.std(), 0)
    assert np.allclose(found["image"][0].numpy(), expected, atol=1e-4)
    assert found["image"].affine[:3, 3].tolist() == [2.0, 3.0, 1.0]
    whole = read(tmp_path, dataclasses.replace(plan, crop_to_nonzero=False), image, label, (1.0, 1.0, 1.0))
    assert np.allclose(whole["image"][0].numpy(), (image - image.mean()) / image.std(), atol=1e-4)


def test_only_the_largest_component_of_the_chosen_classes_is_kept() -> None:
    plan = plan_of(MRI, (1.0, 1.0, 1.0), keep_largest=(1,))
    (step,) = [config for config in postprocessing(plan.task, plan, "out") if "Largest" in config["_target_"]]
    pred = torch.zeros(1, 9, 4, 4)
    pred[0, 0:3], pred[0, 4, 0, 0], pred[0, 5, 1, 1] = 1, 1, 1  # touching by a corner, but not the first
    pred[0, 7, 0, 0], pred[0, 8, 3, 3] = 2, 2
    kept = build([step])({"pred": pred.clone()})["pred"]
    expected = pred.clone()
    expected[0, 4:6] = 0
    assert torch.equal(kept, expected)
    plain = postprocessing(plan.task, dataclasses.replace(plan, keep_largest=()), "out")
    assert not [config for config in plain if "Largest" in config["_target_"]]


def test_nothing_is_mixed_across_thick_slices() -> None:
    """Slices hold their number: after the random turns, sizes and places each slice of a patch still holds one."""
    plan = plan_of(UNCHANGED, (1.0, 1.0, 5.0), patch_size=(16, 16, 8))
    configs = augmentation(plan.task, plan)
    steps = {config["_target_"].rpartition(".")[2]: config for config in configs}
    assert steps["RandCropByLabelClassesd"]["spatial_size"] == [20, 20, 8]
    assert steps["RandGaussianSmoothd"]["sigma_z"] == [0.1, 0.2] and "RandSimulateLowResolutiond" not in steps
    others = ("Noised", "Smoothd", "Intensityd", "Contrastd")
    spatial = [config for config in configs if not config["_target_"].endswith(others)]
    transform = build([*class_indices(plan.task), *spatial]).set_random_state(seed=0)
    label = torch.zeros(1, 24, 24, 12, dtype=torch.uint8)
    label[:, 8:16, 8:16, 4:8] = 1
    for _ in range(12):
        [patch] = transform({"image": torch.arange(1.0, 13.0).expand(1, 24, 24, 12).clone(), "label": label.clone()})
        numbers = patch["image"][0, 8, 8]  # the middle, which no turn moves out of the image
        assert torch.allclose(numbers, numbers.round(), atol=1e-2)
        assert sorted(numbers.round().tolist()) in [list(range(low, low + 8)) for low in range(1, 6)]


def test_tiny_lesions_are_met_and_border_slices_are_seen() -> None:
    plan = plan_of(MRI, (1.0, 1.0, 5.0), patch_size=(16, 16, 8))
    transform = build([*class_indices(plan.task), *augmentation(plan.task, plan)]).set_random_state(seed=0)
    label = torch.zeros(1, 40, 40, 10, dtype=torch.uint8)
    label[:, 5:30, 5:30, 2:9], label[:, 20, 20, 9] = 1, 2  # a lesion of one voxel, in the last slice
    image = torch.zeros(1, 40, 40, 10)
    found = [transform({"image": image, "label": label.clone()})[0]["label"] for _ in range(60)]
    assert np.mean([bool((patch == 2).any()) for patch in found]) > 0.2
