"""Label maps of whole files against MONAI's own chain: preprocessing, sliding window, Invertd, argmax."""

import dataclasses
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
from monai.bundle.config_parser import ConfigParser
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SlidingWindowInferer
from monai.transforms import Compose, LoadImaged, Spacingd, SpatialPadd
from torch import nn

from monai_nas.compute import choose_compute
from monai_nas.data.transforms import postprocessing, preprocessing
from monai_nas.inference import predictor, resampling
from monai_nas.inference.predictor import patch_scores, sliding_window
from monai_nas.inference.volume import Volume, labels_on_file, read_volume, segment, turned_probabilities
from monai_nas.plans import IntensityRule, Plan
from monai_nas.plans.plan import FingerprintSummary
from monai_nas.tasks import SegTask

COMPUTE = choose_compute(low_precision=False, device="cpu")
RULES = {
    "CT": IntensityRule("ct", lower=-80.0, upper=90.0, mean=5.0, std=30.0),
    "MRI": IntensityRule("mri", lower=0.0, upper=1.0, mean=0.0, std=1.0),
}
CLASSES = 4
CROP = {"crop_to_nonzero": True}


def plan_of(channels: tuple[str, ...], patch: tuple[int, int, int], **changes: Any) -> Plan:
    labels = ("background", *(str(value) for value in range(1, CLASSES)))
    plan = Plan(
        task=SegTask("Own", "", channels, labels, num_training=0, num_test=1),
        fingerprint=FingerprintSummary(0, (20, 20, 20), (1.0, 1.0, 1.0), ()),
        spacing_mm=(1.1, 0.9, 1.3),
        patch_size=patch,
        batch_size=2,
        strides=((2, 2, 2),),
        width=4,
        intensity=tuple(RULES[channel] for channel in channels),
        memory_bytes=2**30,
        reasons=(),
    )
    return dataclasses.replace(plan, **changes)


def write_scan(
    path: Path, axes: str, shape: tuple[int, int, int], spacing: tuple[float, float, float], channels: int, shear: float
) -> Path:
    """Write smooth noise with empty borders on a grid of these axes; spacing along the file's own axes."""
    coarse = torch.randn(1, channels, 4, 4, 4, generator=torch.Generator().manual_seed(0))
    voxels = 100 * torch.nn.functional.interpolate(coarse, size=shape, mode="trilinear")[0].numpy()
    voxels[:, :3], voxels[:, :, -2:], voxels[:, :, :, :1] = 0, 0, 0
    affine = np.diag([0.0, 0.0, 0.0, 1.0])
    for index, (axis, sign) in enumerate(nibabel.orientations.axcodes2ornt(tuple(axes))):  # type: ignore[no-untyped-call]
        affine[int(axis), index] = sign * spacing[index]
    affine[0, :3] += shear * affine[1, :3]
    affine[:3, 3] = 3.0, -7.0, 11.0
    array = voxels[0] if channels == 1 else np.moveaxis(voxels, 0, -1)
    nibabel.loadsave.save(nibabel.nifti1.Nifti1Image(array, affine), path)  # type: ignore[no-untyped-call]
    return path


def chains_of(plan: Plan) -> tuple[Compose, list[Any]]:
    """Return preprocessing and postprocessing as a bundle's configuration gives them; the latter without saving."""
    chains = {
        "preprocessing": preprocessing(plan.task, plan, ("image",)),
        "postprocessing": postprocessing(plan.task, plan, "")[:-1],
    }
    compose = "monai.transforms.Compose"
    parser = ConfigParser({name: {"_target_": compose, "transforms": chain} for name, chain in chains.items()})
    return parser.get_parsed_content("preprocessing"), parser.get_parsed_content("postprocessing").transforms


@pytest.mark.parametrize("streamed", [True, False], ids=["slabs", "whole"])
@pytest.mark.parametrize(
    ("axes", "shape", "spacing", "channels", "patch", "changes"),
    [
        ("RAS", (21, 17, 19), (1.1, 0.9, 1.3), ("MRI",), (8, 8, 8), {}),  # nothing to resample
        ("LPS", (21, 17, 19), (1.0, 1.2, 1.0), ("CT",), (8, 8, 8), {"keep_largest": (1, 3)}),
        ("PSR", (13, 12, 21), (1.7, 0.8, 1.4), ("MRI", "CT"), (8, 8, 8), {}),
        ("SPL", (12, 17, 19), (3.7, 1.2, 1.0), ("CT",), (8, 8, 8), {"resample_separately": 2}),
        ("ASR", (12, 17, 19), (3.7, 1.2, 1.0), ("MRI",), (8, 12, 8), {"resample_separately": 1, **CROP}),
        ("IPL", (5, 33, 19), (3.7, 0.5, 1.0), ("MRI",) * 2, (16, 40, 8), CROP),  # padded
        ("sheared LAS", (14, 15, 16), (1.2, 0.8, 1.0), ("CT",), (8, 8, 8), {}),
    ],
)  # fmt: skip
def test_streamed_is_unstreamed(
    tmp_path: Path,
    axes: str,
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    channels: tuple[str, ...],
    patch: tuple[int, int, int],
    changes: dict[str, Any],
    streamed: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if streamed:
        monkeypatch.setattr(resampling, "SLAB_VALUES", 700)
        monkeypatch.setattr(predictor, "TOGETHER_VOXELS", 0)
    shear = 0.3 if axes.startswith("sheared") else 0.0
    path = write_scan(tmp_path / "scan.nii.gz", axes.split()[-1], shape, spacing, len(channels), shear)
    plan = plan_of(channels, patch, **changes)
    before, after = chains_of(plan)
    torch.manual_seed(0)
    network = nn.Conv3d(len(channels), CLASSES, 3, padding=1).eval()
    window = SlidingWindowInferer(patch, sw_batch_size=4, overlap=0.5, mode="gaussian")
    with torch.inference_mode():
        item = before({"image": str(path)})
        logits: Any = window(item["image"].as_tensor()[None], network)
        item["pred"] = MetaTensor(logits[0], meta=item["image"].meta)
        probabilities = Compose(after[:2])(item)["pred"]  # (K, H, W, D) on the file's grid
        expected = Compose(after)(item)["pred"][0].numpy()

        volume = read_volume(path, before)
        torch.testing.assert_close(volume.image, item["image"].as_tensor(), rtol=0, atol=1e-4)
        found = torch.cat(list(turned_probabilities(volume, network, window, 1, compute=COMPUTE, mirror=False)), dim=2)
        labels = labels_on_file(
            segment(volume, network, window, compute=COMPUTE, mirror=False), volume.turned, before, after[3:]
        )
    assert labels.shape == expected.shape == shape and labels.dtype == np.uint8
    # MONAI turns and uncrops probabilities, we labels: compared where both are, whatever the order of the voxels
    inside = probabilities.as_tensor().sum(dim=0) > 0.5
    ours, theirs = (part.flatten(1).sort().values for part in (found, probabilities.as_tensor()[:, inside]))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)
    assert float((labels != expected).mean()) < 1e-3
    assert bool(inside.all()) is not plan.crop_to_nonzero
    assert set(np.unique(labels)) == set(range(CLASSES)) or plan.keep_largest


def test_streamed_volumes_are_mirrored_window_by_window(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "TOGETHER_VOXELS", 0)
    path = write_scan(tmp_path / "scan.nii.gz", "RAS", (21, 17, 19), (1.1, 0.9, 1.3), 1, 0.0)
    before, _ = chains_of(plan_of(("MRI",), (8, 8, 8)))
    torch.manual_seed(0)
    network = nn.Conv3d(1, CLASSES, 3, padding=1).eval()
    window = SlidingWindowInferer((8, 8, 8), sw_batch_size=4, overlap=0.5, mode="gaussian")
    with torch.inference_mode():
        volume = read_volume(path, before)
        scores: Any = window(volume.image[None], patch_scores(network, compute=COMPUTE))
        found = torch.cat(list(turned_probabilities(volume, network, window, 0, compute=COMPUTE, mirror=True)), dim=1)
        torch.testing.assert_close(found, scores[0].softmax(dim=0), rtol=0, atol=1e-5)
        plain: Any = window(volume.image[None], network)
        assert not torch.allclose(found, plain[0].softmax(dim=0), atol=1e-2)


@pytest.mark.parametrize("together", [0, predictor.TOGETHER_VOXELS])
def test_nothing_is_kept_for_gradients(together: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(predictor, "TOGETHER_VOXELS", together)
    volume = Volume(torch.zeros(1, 24, 16, 16), (), MetaTensor(torch.empty(0)))
    network, compute = nn.Conv3d(1, 2, 1), choose_compute(False, "cpu")
    window = sliding_window((16, 16, 16), compute.device)
    slabs = turned_probabilities(volume, network, window, 0, compute=compute, mirror=False)
    assert not any(slab.requires_grad for slab in slabs)


def test_a_grid_changed_after_its_spacing_is_refused(tmp_path: Path) -> None:
    path = write_scan(tmp_path / "scan.nii.gz", "RAS", (8, 8, 8), (1.0, 1.0, 1.0), 1, 0.0)
    steps = [
        LoadImaged(keys=["image"], ensure_channel_first=True),
        Spacingd(keys=["image"], pixdim=(0.7, 1.0, 1.0)),
        SpatialPadd(keys=["image"], spatial_size=(20, 20, 20)),
    ]
    with pytest.raises(ValueError, match="after Spacingd must leave the grid as it is"):
        read_volume(path, Compose(steps))
