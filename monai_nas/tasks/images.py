"""Reading one image file: NIfTI through nibabel, NRRD and MHA through ITK, all with the affine in RAS."""

import gzip
import importlib
import math
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import numpy.typing as npt

from monai_nas.errors import UserError

SAME_GRID = 0.1  # voxels between the corners of two grids that count as one: headers are rounded differently
_FLAT = 1e-6  # volume of a voxel over the product of its sides, from which on three axes lie in a plane


class UnreadableImage(UserError):
    """An image file that cannot be used; ``reason`` is the message without the file."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.reason = reason


@dataclass(frozen=True)
class Image:
    """The voxels of a file with their place in space."""

    array: npt.NDArray[Any]  # (x, y, z, channels), in the file's axis order and number type
    affine: npt.NDArray[np.float64]  # (4, 4): voxel indices -> mm, RAS

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along the file's three axes."""
        x, y, z = self.array.shape[:3]
        return x, y, z

    @property
    def num_channels(self) -> int:
        """Number of channels."""
        return int(self.array.shape[3])

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Distance between voxel centres along the file's three axes."""
        x, y, z = np.linalg.norm(self.affine[:3, :3], axis=0)
        return float(x), float(y), float(z)

    @property
    def ras_axes(self) -> tuple[int, int, int]:
        """For each of the axes right, anterior, superior: the file's axis that runs along it, either way."""
        world_axis = nibabel.orientations.io_orientation(self.affine)[:, 0]
        right, anterior, superior = (int(np.flatnonzero(world_axis == world)[0]) for world in range(3))
        return right, anterior, superior

    def largest_shift(self, other: "Image") -> float:
        """Return the largest distance between corners of two grids, in voxels of the finest axis."""
        sides = [(0.0, float(size - 1)) for size in self.shape]
        corners = np.array([(x, y, z, 1.0) for x in sides[0] for y in sides[1] for z in sides[2]]).T  # (4, 8)
        distance_mm = np.linalg.norm(((self.affine - other.affine) @ corners)[:3], axis=0)
        return float(distance_mm.max() / min(self.spacing_mm))


def read_image(path: Path) -> Image:
    """Read a .nii, .nii.gz, .nrrd or .mha file whole.

    Returns:
        The image with channels last; a file of one channel has one.

    Raises:
        UnreadableImage: when the file is missing, damaged, not three-dimensional, or without a usable affine.
    """
    if not path.is_file():
        raise UnreadableImage(path, "no such file: restore it, or remove its entry")
    try:
        array, affine = _read_nifti(path) if path.name.lower().endswith((".nii", ".nii.gz")) else _read_itk(path)
    except Exception as error:  # of damaged files: gzip, zlib, struct, nibabel, numpy and ITK raise their own
        reason = (str(error).strip() or type(error).__name__).splitlines()[-1]
        raise UnreadableImage(path, f"unreadable ({reason}): replace the file") from error
    if array.ndim == 3:
        array = array[..., np.newaxis]
    if array.ndim != 4 or array.size == 0:
        raise UnreadableImage(path, f"has shape {array.shape}, neither x, y, z nor x, y, z, channels: convert it")
    if array.dtype.kind not in "iufb":
        raise UnreadableImage(path, f"has voxels of type {array.dtype}: convert it to numbers")
    image = Image(array, affine)
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) <= _FLAT * math.prod(image.spacing_mm):
        raise UnreadableImage(path, "has no usable affine (a spacing of 0, NaN or Inf): repair its header")
    return image


def label_file(labels: npt.NDArray[np.uint8], source: Path) -> bytes:
    """Return a label map (x, y, z) as the content of a .nii.gz on the grid of the image file ``source``."""
    given = nibabel.loadsave.load(source) if source.name.lower().endswith((".nii", ".nii.gz")) else None
    if isinstance(given, nibabel.nifti1.Nifti1Pair):  # both of its transforms are kept, with their codes
        output = nibabel.nifti1.Nifti1Image(labels, given.affine, given.header)
    else:
        output = nibabel.nifti1.Nifti1Image(labels, read_image(source).affine)
    output.set_data_dtype(np.uint8)
    return gzip.compress(output.to_bytes(), compresslevel=6, mtime=0)


def _read_nifti(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Return the voxels, without a conversion where the header asks for none, and the affine."""
    if path.name.lower().endswith(".gz"):
        # Unpacked to its end, where the checksum stands: nibabel stops before it, and gives wrong voxels unnoticed.
        image = _nifti_from(gzip.decompress(path.read_bytes()))
    else:
        image = nibabel.loadsave.load(path)
    if not isinstance(image, nibabel.spatialimages.SpatialImage) or image.affine is None:
        raise ValueError("no voxel grid")
    return np.asanyarray(image.dataobj), np.asarray(image.affine, dtype=np.float64)


def _nifti_from(content: bytes) -> nibabel.filebasedimages.FileBasedImage:
    """Return the image of an unpacked .nii file, of NIfTI's first or second form."""
    header_sizes = [int.from_bytes(content[:4], order) for order in ("little", "big")]
    kind = nibabel.nifti2.Nifti2Image if 540 in header_sizes else nibabel.nifti1.Nifti1Image
    return kind.from_bytes(content)


def _read_itk(path: Path) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """Return the voxels as (x, y, z[, channels]) and the affine, turned from ITK's LPS to RAS."""
    with warnings.catch_warnings():  # ITK's wrappers, loaded piece by piece, crash where their warnings are errors
        warnings.simplefilter("ignore", DeprecationWarning)
        itk = importlib.import_module("itk")  # half a second, only for those who use it
        try:
            image = itk.imread(str(path))
        except RuntimeError as error:  # pages of it, with places in ITK's own source
            raise ValueError("not a whole file of its kind") from error
        reversed_axes: npt.NDArray[Any] = itk.array_from_image(image)  # ([t,] z, y, x[, channels])
        matrix: npt.NDArray[Any] = itk.array_from_matrix(image.GetDirection())
    dims = int(image.GetImageDimension())
    array = reversed_axes.transpose(*range(dims)[::-1], *range(dims, reversed_axes.ndim))
    affine, axes = np.eye(4), min(dims, 3)
    affine[:axes, :axes] = matrix[:axes, :axes] * np.asarray(image.GetSpacing())[:axes]
    affine[:axes, 3] = np.asarray(image.GetOrigin())[:axes]
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
