"""Phantoms: every task's form, the same bytes for a seed, and intensity alone does not solve them."""

import json
from pathlib import Path

import numpy as np
import pytest

from monai_nas.data.check import check_dataset
from monai_nas.data.synthetic import make_phantom, phantom_shape, write_phantoms
from monai_nas.errors import UserError
from monai_nas.tasks import MSD_TASKS, SegTask, load_task, msd_task, read_image, training_cases

OWN = SegTask("My Own", "", ("CT",), ("background", "organ"), 5, 2)


@pytest.mark.parametrize("task", [*MSD_TASKS, OWN], ids=lambda task: task.name)
def test_phantoms_have_the_form_of_their_task(task: SegTask, tmp_path: Path) -> None:
    data = write_phantoms(task, tmp_path / "data", 2, 1, seed=1, scale=0.7)
    loaded = load_task(None, data)
    assert loaded is task or task is OWN
    findings = check_dataset(data)
    assert not [finding for finding in findings if "published" not in finding.message]
    for case in training_cases(data):
        assert case.label
        image, label = read_image(case.image), read_image(case.label)
        assert image.num_channels == task.in_channels
        assert image.spacing_mm == pytest.approx(task.median_spacing_mm or (1, 1, 1))
        assert np.array_equal(np.unique(label.array), range(task.num_classes))
        assert min(image.shape) >= 8 and max(image.shape) <= 40
    assert json.loads((data / "dataset.json").read_text())["numTest"] == 1


def test_same_seed_same_bytes_other_seed_other_case(tmp_path: Path) -> None:
    task = msd_task("Task05_Prostate")
    first, again, other = (
        write_phantoms(task, tmp_path / name, 2, 1, seed=seed, scale=0.5)
        for name, seed in (("a", 3), ("b", 3), ("c", 4))
    )
    files = sorted(file.relative_to(first) for file in first.rglob("*.*") if file.is_file())
    assert len(files) == 7 and "labelsTs/prostate_003.nii.gz" in map(str, files)
    assert all((first / file).read_bytes() == (again / file).read_bytes() for file in files)
    assert all((first / file).read_bytes() != (other / file).read_bytes() for file in files)
    cases = training_cases(first)
    assert cases[0].image.read_bytes() != cases[1].image.read_bytes()


def voxelwise_dice(task: SegTask) -> float:
    """Best mean Dice of the structures from a voxel's own intensities, its class's Gaussian known from the truth."""
    shape = phantom_shape(task, 1.0)
    cases = [make_phantom(task, shape, np.random.default_rng([0, index])) for index in range(6)]
    images = [(image - image.mean((0, 1, 2))) / image.std((0, 1, 2)) for image, _ in cases]
    features = np.concatenate([image.reshape(-1, task.in_channels) for image in images]).astype(np.float64)
    truth = np.concatenate([label.ravel() for _, label in cases])
    scores = []
    for value in range(task.num_classes):
        own = features[truth == value]
        covariance = np.atleast_2d(np.cov(own.T)) + 1e-9 * np.eye(task.in_channels)
        offset = features - own.mean(axis=0)
        distance = np.einsum("ni,ij,nj->n", offset, np.linalg.inv(covariance), offset)
        scores.append(-0.5 * distance - 0.5 * np.linalg.slogdet(covariance)[1])
    guess = np.argmax(scores, axis=0)
    dice = [
        2 * float(np.sum((guess == value) & (truth == value))) / float(np.sum(guess == value) + np.sum(truth == value))
        for value in range(1, task.num_classes)
    ]
    return float(np.mean(dice))


@pytest.mark.parametrize("task", MSD_TASKS, ids=lambda task: task.name)
def test_intensity_alone_scores_low(task: SegTask) -> None:
    assert voxelwise_dice(task) < 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Task04_Hippocampus", "Task09_Spleen"])
def test_a_small_unet_scores_high(name: str) -> None:
    import torch
    from monai.losses.dice import DiceCELoss
    from monai.networks.nets.unet import UNet

    task = msd_task(name)
    x, y, z = (-(-size // 4) * 4 for size in phantom_shape(task, 1.0))
    cases = [make_phantom(task, (x, y, z), np.random.default_rng([0, index])) for index in range(20)]
    images = torch.stack([torch.from_numpy(image).permute(3, 0, 1, 2) for image, _ in cases]).clamp(min=-300)
    images = (images - images.mean((2, 3, 4), keepdim=True)) / images.std((2, 3, 4), keepdim=True)
    labels = torch.stack([torch.from_numpy(label)[None].long() for _, label in cases])  # (B, 1, H, W, D)
    torch.manual_seed(0)
    network = UNet(3, task.in_channels, task.num_classes, (8, 16, 32), (2, 2), num_res_units=1)
    optimizer = torch.optim.Adam(network.parameters(), 3e-3)
    loss = DiceCELoss(to_onehot_y=True, softmax=True)
    for step in range(250):
        batch = [(2 * step) % 16, (2 * step + 1) % 16]
        optimizer.zero_grad()
        loss(network(images[batch]), labels[batch]).backward()
        optimizer.step()
    with torch.no_grad():
        guess = network.eval()(images[16:]).argmax(1, keepdim=True)
    for value in range(1, task.num_classes):
        both = ((guess == value) & (labels[16:] == value)).sum()
        assert 2 * both / ((guess == value).sum() + (labels[16:] == value).sum()) > 0.8


def test_a_dataset_is_not_overwritten(tmp_path: Path) -> None:
    write_phantoms(OWN, tmp_path, 1, 0, seed=0, scale=0.3)
    with pytest.raises(UserError, match=r"dataset\.json: a dataset is already there"):
        write_phantoms(OWN, tmp_path, 1, 0, seed=0)
    with pytest.raises(ValueError, match="scale 0"):
        write_phantoms(OWN, tmp_path / "x", 1, 0, seed=0, scale=0)
