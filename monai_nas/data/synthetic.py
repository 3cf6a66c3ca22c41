"""Phantoms in the MSD's layout: small volumes with a task's channels, labels and spacing, for the demo and the tests.

Made so that a working network scores high and intensity alone does not: noise blurs the contrast voxel by voxel, and
hollow distractors share the intensity of the structures.
"""

import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt

from monai_nas.errors import UserError
from monai_nas.files import write_atomic, write_json
from monai_nas.tasks import SegTask
from monai_nas.tasks.modality import is_ct

Array = npt.NDArray[np.float64]

LONGEST_AXIS = 40  # voxels at scale 1: a case then takes milliseconds to write and a patch seconds to train on
SHORTEST_AXIS = 16  # three down-samplings would otherwise leave no slice
LESION_WORDS = ("tum", "cancer", "lesion")  # a label so named lies inside the one before it
BODY_HU, AIR_HU, NOISE_HU = 40.0, -1000.0, 30.0
CONTRAST_HU = (90.0, -75.0, 160.0, -140.0)  # of labels 1, 2, ... against the body: 2.5 noise deviations and more
BODY_MRI, NOISE_MRI = 0.5, 0.12  # of an arbitrary scale, which changes from case to case
CONTRAST_MRI = 0.35


@dataclass(frozen=True)
class _Blob:
    """An ellipsoid with a bumpy surface, in coordinates from -1 to 1 along each axis of the volume."""

    centre: Array  # (3,)
    radii: Array  # (3,)
    waves: Array  # (4, 3): frequencies of the bumps
    phases: Array  # (4,)

    def level(self, grid: Array) -> Array:
        """Return a field (x, y, z) that is under 1 inside; ``grid`` holds coordinates (3, x, y, z)."""
        offset = (grid - self.centre.reshape(3, 1, 1, 1)) / self.radii.reshape(3, 1, 1, 1)
        bumps = np.zeros(grid.shape[1:])
        for wave, phase in zip(self.waves, self.phases, strict=True):
            bumps += np.cos(np.tensordot(wave, grid, axes=1) + phase)
        return np.asarray(np.sqrt((offset**2).sum(axis=0)) + 0.04 * bumps)


def _draw_blob(rng: np.random.Generator, centre: Sequence[float], radii: Sequence[float]) -> _Blob:
    return _Blob(
        np.asarray(centre, dtype=np.float64),
        np.asarray(radii) * rng.uniform(0.85, 1.15, 3),
        rng.uniform(-6.0, 6.0, (4, 3)),
        rng.uniform(0.0, 2 * np.pi, 4),
    )


def _draw_structures(task: SegTask, rng: np.random.Generator) -> list[_Blob]:
    """Draw one blob per foreground label: lesions inside the label before, other structures in line beside it."""
    blobs: list[_Blob] = []
    lesions = [
        index > 0 and any(word in label.lower() for word in LESION_WORDS) for index, label in enumerate(task.labels[1:])
    ]
    num_organs = lesions.count(False)
    organ, centre = 0, np.zeros(3)
    shift = rng.uniform(-0.12, 0.12, 3)
    for is_lesion in lesions:
        if is_lesion:
            parent = blobs[-1]
            centre = parent.centre + rng.uniform(-0.2, 0.2, 3) * parent.radii
            blobs.append(_draw_blob(rng, list(centre), list(0.58 * parent.radii)))
            continue
        # Organs of unlike proportions in a row along y, touching, the row itself left of the middle.
        length = min(0.36, 0.9 / num_organs)
        middle = (organ - (num_organs - 1) / 2) * 1.6 * length
        centre = shift + np.array([-0.25, middle, 0.0])
        radii = (0.36, length, 0.42) if organ % 2 == 0 else (0.28, length, 0.5)
        blobs.append(_draw_blob(rng, list(centre), radii))
        organ += 1
    return blobs


def _draw_shells(rng: np.random.Generator, occupied: npt.NDArray[np.bool_], grid: Array) -> list[npt.NDArray[np.bool_]]:
    """Draw masks (x, y, z) of up to four hollow distractors apart from the structures."""
    shells: list[npt.NDArray[np.bool_]] = []
    taken = occupied.copy()
    for _ in range(40):
        blob = _draw_blob(rng, list(rng.uniform(-0.75, 0.75, 3)), (0.22, 0.22, 0.26))
        level = blob.level(grid)
        if not (taken & (level < 1.25)).any():
            shells.append((level < 1.0) & (level > 0.6))
            taken |= level < 1.25
        if len(shells) == 4:
            break
    return shells


def _contrasts(task: SegTask) -> Array:
    """Return the contrast of each label against the body in each channel (labels, channels); 0 for the background."""
    contrast = np.zeros((task.num_classes, task.in_channels))
    for channel, modality in enumerate(task.modalities):
        for value in range(1, task.num_classes):
            if is_ct(modality):
                contrast[value, channel] = CONTRAST_HU[(value - 1) % len(CONTRAST_HU)]
            else:  # each channel shows the labels in its own order, bright or dark, as sequences do
                step = 2 * ((value + channel - 1) % task.num_classes) / (task.num_classes - 1) - 1  # -1 to 1
                contrast[value, channel] = CONTRAST_MRI * (step if step else 0.8)
    return contrast


def make_phantom(
    task: SegTask, shape: tuple[int, int, int], rng: np.random.Generator
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.uint8]]:
    """Draw one case.

    Args:
        task: gives the channels, the labels, and by their modality the kind of intensities.
        shape: voxels.
        rng: everything random comes from it.

    Returns:
        The image (x, y, z, channels), CT in Hounsfield units and MRI in arbitrary ones, and the label map (x, y, z).
    """
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, size) for size in shape), indexing="ij"))
    label = np.zeros(shape, dtype=np.uint8)
    for value, blob in enumerate(_draw_structures(task, rng), start=1):
        label[blob.level(grid) < 1.0] = value
    body = _draw_blob(rng, (0.0, 0.0, 0.0), (1.05, 1.05, 1.3)).level(grid) < 1.0
    body |= label > 0
    look = label.copy()  # which label each voxel looks like
    for index, shell in enumerate(_draw_shells(rng, label > 0, grid)):
        look[shell & body] = index % (task.num_classes - 1) + 1
    contrast = _contrasts(task)
    image = np.empty((*shape, task.in_channels), dtype=np.float32)
    for channel, modality in enumerate(task.modalities):
        if is_ct(modality):
            tissue = np.where(body, BODY_HU + rng.normal(0, 8) + contrast[look, channel], AIR_HU)
            image[..., channel] = np.rint(tissue + rng.normal(0, NOISE_HU, shape))
        else:
            tissue = np.where(body, BODY_MRI + contrast[look, channel], 0.05)
            slope = rng.uniform(-0.15, 0.15, 3).reshape(3, 1, 1, 1)
            bias = 1.0 + (slope * grid).sum(axis=0) + rng.uniform(-0.1, 0.1) * grid[0] * grid[1]
            gain = rng.uniform(200.0, 900.0)
            image[..., channel] = gain * (tissue * bias + rng.normal(0, NOISE_MRI, shape))
    return image, label


def phantom_shape(task: SegTask, scale: float) -> tuple[int, int, int]:
    """Return the usual shape of a task's phantoms: its published median with ``LONGEST_AXIS`` voxels at the longest."""
    median = np.asarray(task.median_shape or (1, 1, 1), dtype=np.float64)
    sizes = np.rint(scale * np.maximum(median * LONGEST_AXIS / median.max(), SHORTEST_AXIS))
    x, y, z = (max(8, int(size)) for size in sizes)
    return x, y, z


def write_phantoms(task: SegTask, out: Path, num_training: int, num_test: int, seed: int, scale: float = 1.0) -> Path:
    """Write a dataset of phantoms in the MSD's layout; the same arguments give the same bytes.

    Args:
        task: any task, of the MSD or not; without published figures a case is a cube of 1 mm voxels.
        out: the new dataset's folder. Beside the MSD's folders it gets labelsTs, so that predictions can be scored.
        num_training: labelled cases.
        num_test: cases whose labels the dataset.json does not name.
        seed: each case draws from (seed, its number).
        scale: 1 gives about 40 voxels along the longest axis, 0.5 half of that.

    Returns:
        ``out``.

    Raises:
        UserError: when the folder already holds a dataset.
    """
    if num_training < 1 or num_test < 0 or not 0.2 <= scale <= 10:
        raise ValueError(f"num_training {num_training}, num_test {num_test} or scale {scale} is out of range")
    if (out / "dataset.json").exists():
        raise UserError(f"{out / 'dataset.json'}: a dataset is already there: choose another folder")
    usual = phantom_shape(task, scale)
    spacing = task.median_spacing_mm or (1.0, 1.0, 1.0)
    stem = task.short_name.lower().replace(" ", "_")
    names = [f"{stem}_{number:03d}" for number in range(1, num_training + num_test + 1)]
    for number, name in enumerate(names):
        rng = np.random.default_rng([seed, number])
        x, y, z = (int(np.rint(size * rng.uniform(0.92, 1.08))) for size in usual)
        image, label = make_phantom(task, (x, y, z), rng)
        part = "Tr" if number < num_training else "Ts"
        affine = _affine(task, spacing, (x, y, z))
        _write(out / f"images{part}" / f"{name}.nii.gz", image[..., 0] if task.in_channels == 1 else image, affine)
        _write(out / f"labels{part}" / f"{name}.nii.gz", label, affine)
    write_json(
        out / "dataset.json",
        {
            "name": task.short_name,
            "description": f"Phantoms in the form of: {task.description}",
            "reference": f"monai_nas.data.synthetic, seed {seed}, scale {scale:g}; no patient data",
            "licence": "CC0",
            "release": "1.0",
            "tensorImageSize": "3D" if task.in_channels == 1 else "4D",
            "modality": {str(index): modality for index, modality in enumerate(task.modalities)},
            "labels": {str(index): label for index, label in enumerate(task.labels)},
            "numTraining": num_training,
            "numTest": num_test,
            "training": [
                {"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"}
                for name in names[:num_training]
            ],
            "test": [f"./imagesTs/{name}.nii.gz" for name in names[num_training:]],
        },
    )
    return out


def _affine(task: SegTask, spacing_mm: tuple[float, float, float], shape: tuple[int, int, int]) -> Array:
    """Return the affine of a phantom centred at the origin: CT in LPS, as scanners write it, MRI in RAS."""
    flip = (-1.0, -1.0, 1.0) if any(map(is_ct, task.modalities)) else (1.0, 1.0, 1.0)
    affine = np.diag([*(np.asarray(spacing_mm) * flip), 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.asarray(shape) - 1) / 2)
    return affine


def _write(path: Path, array: npt.NDArray[np.float32] | npt.NDArray[np.uint8], affine: Array) -> None:
    """Write a NIfTI file; CT and label maps take few bytes as integers."""
    whole = array.dtype == np.float32 and np.array_equal(array, np.rint(array))
    stored = array.astype(np.int16) if whole else array
    image = nibabel.nifti1.Nifti1Image(stored, affine)
    image.header.set_xyzt_units("mm")
    write_atomic(path, gzip.compress(image.to_bytes(), compresslevel=1, mtime=0))
