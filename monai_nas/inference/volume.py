"""From an image file to its label map, by a bundle's transforms, in memory to which no class adds a volume."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from monai.data.meta_tensor import MetaTensor
from monai.inferers.inferer import SlidingWindowInferer
from monai.transforms import Invertd, Spacingd, Transform
from monai.transforms.compose import Compose
from torch import Tensor, nn

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.inference import predictor
from monai_nas.inference.predictor import mirrored_probabilities, patch_scores
from monai_nas.inference.resampling import Resampling, Shape, resample, resample_slabs, resampling_of
from monai_nas.inference.sliding_window import band_axis, probability_slabs
from monai_nas.tasks.images import read_image


@dataclass(frozen=True)
class Volume:
    """A preprocessed scan, and what leads back to its file's grid."""

    image: Tensor  # (C, H, W, D) float32, as the network takes it
    resamplings: tuple[Resampling, ...]  # in the order in which they were done
    turned: MetaTensor  # no voxels: affine and history of the grid before the first resampling

    @property
    def turned_shape(self) -> Shape:
        """Voxels of the file, turned and cropped, before it was resampled."""
        if self.resamplings:
            return self.resamplings[0].old_shape
        x, y, z = self.image.shape[1:]
        return x, y, z


def check_scan(path: Path, in_channels: int) -> None:
    """Refuse an image file that a network of ``in_channels`` could make nothing of.

    Raises:
        UserError: when it cannot be read, has another number of channels than the network, NaN or Inf, or 0 only.
    """
    scan = read_image(path)
    if scan.num_channels != in_channels:
        raise UserError(
            f"{path}: has {scan.num_channels} channels, the network takes {in_channels}: give images of its task"
        )
    if not np.isfinite(scan.array).all():
        raise UserError(f"{path}: holds NaN or Inf: replace them by finite values")
    if not scan.array.any():
        raise UserError(f"{path}: all voxels are 0: give a file that shows something")


def read_volume(path: Path, preprocessing: Compose) -> Volume:
    """Read and preprocess an image file: MONAI's transforms, but for the change of spacing, which goes by slabs.

    Raises:
        ValueError: when a transform after the spacing changes the grid. MONAI's transforms raise anything.
    """
    data: dict[str, Any] = {"image": str(path)}
    turned, resamplings = MetaTensor(torch.empty(0)), list[Resampling]()
    for transform in preprocessing.transforms:
        if isinstance(transform, Spacingd):
            turned = turned if resamplings else _without_voxels(data["image"])
            step = resampling_of(transform, data["image"])
            if step is not None:
                data["image"] = _resampled(data["image"], step)
                resamplings.append(step)
        else:
            data = transform(data)
    image: MetaTensor = data["image"]
    if not resamplings:
        turned = _without_voxels(image)
    elif len(image.applied_operations) != len(turned.applied_operations):
        raise ValueError("the transforms after Spacingd must leave the grid as it is")
    return Volume(image.as_tensor(), tuple(resamplings), turned)


@torch.inference_mode()
def turned_probabilities(
    volume: Volume, network: nn.Module, window: SlidingWindowInferer, axis: int, *, compute: Compute, mirror: bool
) -> Iterator[Tensor]:
    """Yield the class probabilities (K, ...) on the grid before the resampling, slab by slab along ``axis``.

    The window's slabs go through the inverse of each resampling, the last one first. A volume of up to
    ``TOGETHER_VOXELS`` is one slab, and is mirrored as a whole; of a larger one each window is mirrored by itself.
    """
    slabs: Iterator[Tensor]
    if volume.image.shape[1:].numel() <= predictor.TOGETHER_VOXELS:
        whole = mirrored_probabilities(volume.image[None], network, window, compute=compute, mirror=mirror)
        slabs = iter([whole[0]])
    else:
        slabs = probability_slabs(volume.image, window, patch_scores(network, compute=compute, mirror=mirror), axis)
    for step in reversed(volume.resamplings):
        slabs = resample_slabs(slabs, step.undone(), axis)
    yield from slabs


def segment(
    volume: Volume, network: nn.Module, window: SlidingWindowInferer, *, compute: Compute, mirror: bool
) -> npt.NDArray[np.uint8]:
    """Return the labels (H, W, D) of a volume on the grid before its resampling.

    They are those of MONAI's sliding window, ``Invertd`` and argmax, but for the rounding of positions.

    Args:
        volume: of :func:`read_volume`.
        network: maps patches to logits; on its device, in evaluation mode.
        window: MONAI's inferer.
        compute: device and number format.
        mirror: average over mirrored copies.
    """
    axis = band_axis(volume.image.shape[1:], window)
    labels = np.empty(volume.turned_shape, dtype=np.uint8)
    start = 0
    for slab in turned_probabilities(volume, network, window, axis, compute=compute, mirror=mirror):
        where: list[slice] = [slice(None)] * 3
        where[axis] = slice(start, start + slab.shape[axis + 1])
        labels[tuple(where)] = slab.argmax(dim=0).cpu().numpy()
        start = where[axis].stop
    return labels


def labels_on_file(
    labels: npt.NDArray[np.uint8], turned: MetaTensor, preprocessing: Compose, finishing: Sequence[Transform]
) -> npt.NDArray[np.uint8]:
    """Return labels on the grid of their file: uncropped with background, turned back, and finished.

    Args:
        labels: (H, W, D) of :func:`segment`.
        turned: of the volume.
        preprocessing: of the volume.
        finishing: MONAI transforms of "pred" on the file's grid, such as the choice of the largest component.
    """
    before = Compose([step for step in preprocessing.transforms if not isinstance(step, Spacingd)])
    invert = Invertd(keys="pred", transform=before, orig_keys="image", nearest_interp=False)
    item = {"image": turned, "pred": MetaTensor(torch.from_numpy(labels)[None])}
    result: npt.NDArray[np.uint8] = Compose([invert, *finishing])(item)["pred"][0].numpy().astype(np.uint8, copy=False)
    return result


def _without_voxels(image: MetaTensor) -> MetaTensor:
    return MetaTensor(torch.empty(0), meta=dict(image.meta), applied_operations=list(image.applied_operations))


def _resampled(image: MetaTensor, step: Resampling) -> MetaTensor:
    """Return the image on its new grid; its history does not tell of it, as the way back goes by slabs."""
    result = MetaTensor(
        resample(image.as_tensor(), step), meta=dict(image.meta), applied_operations=list(image.applied_operations)
    )
    result.affine = image.affine @ step.matrix
    return result
