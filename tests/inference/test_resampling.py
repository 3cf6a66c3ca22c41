"""Resampling by slabs against MONAI's Spacing of whole volumes, there and back."""

from typing import Any

import pytest
import torch
from monai.data.meta_tensor import MetaTensor
from monai.transforms import Spacingd

from monai_nas.inference import resampling
from monai_nas.inference.resampling import Resampling, resample, resample_slabs, resampling_of, thickness

SHEARED = [[0.9, 0.1, 0.0, 5.0], [0.0, 1.2, 0.35, -3.0], [0.05, 0.0, 2.1, 1.0], [0.0, 0.0, 0.0, 1.0]]


def image_of(shape: tuple[int, int, int], spacing: tuple[float, float, float], channels: int = 2) -> MetaTensor:
    voxels = torch.randn(channels, *shape, generator=torch.Generator().manual_seed(0))
    return MetaTensor(voxels, affine=torch.diag(torch.tensor([*spacing, 1.0], dtype=torch.float64)))


def step_of(image: MetaTensor, pixdim: tuple[float, float, float], mode: str = "bilinear") -> Resampling:
    step = resampling_of(Spacingd(keys=["image"], pixdim=pixdim, mode=mode, dtype=torch.float32), image)
    assert step is not None
    return step


@pytest.mark.parametrize("values", [1, 300, 2**21], ids=["slices", "slabs", "whole"])
@pytest.mark.parametrize("mode", ["bilinear", "nearest"])
@pytest.mark.parametrize(
    ("shape", "spacing", "pixdim"),
    [
        ((9, 12, 7), (1.0, 1.0, 1.0), (0.83, 1.13, 1.7)),
        ((9, 12, 7), (0.6, 0.6, 3.7), (-1.0, -1.0, 1.3)),
        ((9, 12, 7), (0.6, 0.6, 3.7), (0.9, 0.7, -1.0)),
        ((1, 12, 7), (5.0, 0.9, 1.0), (2.0, 0.5, 0.7)),
        ((25, 3, 4), (0.31, 1.0, 1.0), (2.3, 1.0, 1.0)),
    ],
)
def test_both_ways_are_those_of_monai(
    shape: tuple[int, int, int],
    spacing: tuple[float, float, float],
    pixdim: tuple[float, float, float],
    mode: str,
    values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "SLAB_VALUES", values)
    image = image_of(shape, spacing)
    transform = Spacingd(keys=["image"], pixdim=pixdim, mode=mode, dtype=torch.float32)
    expected: Any = transform({"image": image})
    step = step_of(image, pixdim, mode)
    there = resample(image.as_tensor(), step)
    torch.testing.assert_close(there, expected["image"].as_tensor(), rtol=0, atol=1e-4)
    torch.testing.assert_close(image.affine @ step.matrix, expected["image"].affine)
    back = transform.inverse(expected)["image"]
    for axis in range(3):
        rows = max(1, thickness(2, step.new_shape, axis))
        slabs = list(resample_slabs(there.split(rows, dim=axis + 1), step.undone(), axis))
        torch.testing.assert_close(torch.cat(slabs, dim=axis + 1), torch.as_tensor(back).as_subclass(torch.Tensor),
                                   rtol=0, atol=1e-4)  # fmt: skip


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_slices_of_a_sheared_scan_are_made_of_all_that_they_cross(axis: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "SLAB_VALUES", 1)
    image = image_of((9, 12, 7), (1.0, 1.0, 1.0))
    image.affine = torch.tensor(SHEARED, dtype=torch.float64)
    transform = Spacingd(keys=["image"], pixdim=(1.1, 0.8, 1.4), mode="bilinear", dtype=torch.float32)
    expected: Any = transform({"image": image})
    step = resampling_of(transform, image)
    assert step is not None and step.matrix[1, 2].abs() > 0.1
    there = resample(image.as_tensor(), step)
    torch.testing.assert_close(there, expected["image"].as_tensor(), rtol=0, atol=1e-4)
    slabs = list(resample_slabs(there.split(1, dim=axis + 1), step.undone(), axis))
    back = torch.as_tensor(transform.inverse(expected)["image"]).as_subclass(torch.Tensor)
    torch.testing.assert_close(torch.cat(slabs, dim=axis + 1), back, rtol=0, atol=1e-4)


def test_slabs_come_as_soon_as_what_they_are_made_of_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "SLAB_VALUES", 1)
    step = step_of(image_of((20, 3, 3), (1.0, 1.0, 1.0)), (2.0, 1.0, 1.0))
    taken = []

    def slices() -> Any:
        for index in range(20):
            taken.append(index)
            yield torch.full((1, 1, 3, 3), float(index))

    slabs = resample_slabs(slices(), step, 0)
    for index in range(3):
        assert next(slabs).unique().tolist() == [2.0 * index]
        assert taken[-1] <= 2 * index + 1  # one more, as positions are rounded


def test_sources_by_hand() -> None:
    matrix = torch.diag(torch.tensor([0.5, 1.0, 1.0, 1.0], dtype=torch.float64))
    step = Resampling(matrix, (5, 4, 4), (9, 4, 4), "bilinear")
    assert step.sources(0, 3, 6) == (1, 3)  # positions 1.5 to 2.5
    assert step.sources(0, 0, 9) == (0, 4) and step.sources(2, 1, 2) == (0, 2)
    matrix = matrix.clone()
    matrix[0, 1] = 0.25  # 0 to 0.75 voxels more, across axis 1
    assert Resampling(matrix, (5, 4, 4), (9, 4, 4), "bilinear").sources(0, 3, 4) == (1, 3)


def test_a_grid_that_monai_takes_for_the_same_is_left_alone() -> None:
    image = image_of((9, 12, 7), (1.0, 1.0, 2.0))
    assert resampling_of(Spacingd(keys=["image"], pixdim=(1.0, 1.0002, 2.0), dtype=torch.float32), image) is None


@pytest.mark.parametrize("options", [{"padding_mode": "zeros"}, {"align_corners": True}])
def test_other_ways_of_sampling_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="padding_mode 'border' and align_corners false"):
        resampling_of(Spacingd(keys=["image"], pixdim=(1.0, 1.0, 1.0), **options), image_of((3, 3, 3), (2.0, 1.0, 1.0)))


def test_slabs_hold_what_is_stated() -> None:
    assert thickness(4, (512, 512, 1000), 2) == 2 and thickness(1, (35, 50, 35), 0) > 35
    assert thickness(16, (2000, 2000, 10), 2) == 1
