"""Whether a plan was made for a dataset's scans, told from the plan and from the scans' headers."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from monai_nas.tasks.images import Image

logger = logging.getLogger(__name__)
TOLERANCE = 0.1  # relative; scanners and rounding differ by less


def warn_of_published_plan(num_cases: int) -> None:
    """Warn in one line when a plan rests on published figures, which only stand in until there are data.

    Args:
        num_cases: scans that the plan was made from; 0 for published figures.
    """
    if not num_cases:
        logger.warning(
            "the plan (spacing, crop, intensities, patch) rests on published figures, not on your scans: make it anew "
            "with `monai-nas plan --data DIR --out plan.json`, and the bundle with it: `monai-nas bundle --task T "
            "--plan plan.json --architecture configs/inference.json --out NEW`"
        )


def warn_of_other_spacing(data: Sequence[Mapping[str, Any]], planned_mm: Sequence[float]) -> None:
    """Warn in one line when the median spacing of the scans is not the one that the plan was made for.

    Args:
        data: items with the path of a scan under "image", as MONAI's datasets take them; only NIfTI files are read.
        planned_mm: median spacing along right, anterior, superior.
    """
    spacings = [spacing for item in data if (spacing := _nifti_spacing(item["image"])) is not None]
    if not spacings:
        return
    median = np.median(spacings, axis=0)
    if np.allclose(median, planned_mm, rtol=TOLERANCE):
        return
    logger.warning(
        "the scans' median spacing is %s mm, the plan was made for %s mm: make it anew with `monai-nas plan --data DIR "
        "--out plan.json`, and the bundle with it (docs/README.md)",
        _times(median),
        _times(planned_mm),
    )


def _nifti_spacing(path: object) -> tuple[float, ...] | None:
    """Return the spacing along right, anterior, superior in mm; None where there is no readable NIfTI header."""
    if not isinstance(path, (str, Path)) or not str(path).lower().endswith((".nii", ".nii.gz")):
        return None
    try:
        header = nibabel.loadsave.load(path)
    except (OSError, nibabel.filebasedimages.ImageFileError):  # training tells, with the file's name
        return None
    affine: npt.NDArray[np.float64] = header.affine  # type: ignore[attr-defined]
    image = Image(np.empty(0), affine)
    return tuple(image.spacing_mm[axis] for axis in image.ras_axes)


def _times(spacing_mm: Sequence[float] | npt.NDArray[np.float64]) -> str:
    return " x ".join(f"{length:.3g}" for length in spacing_mm)
