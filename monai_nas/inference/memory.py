"""How much memory a prediction takes at most: a formula in the sizes, which a test and a benchmark hold to."""

from collections.abc import Sequence
from math import prod

from monai.inferers.inferer import SlidingWindowInferer

from monai_nas.inference.resampling import SLAB_VALUES
from monai_nas.inference.sliding_window import band_axis

KEPT_BYTES = 128 * 2**20  # by the C library: what it asks for ahead (`compute.keep_freed_memory`), and freed blocks


def prediction_bytes(
    file_shape: Sequence[int],
    grid_shape: Sequence[int],
    *,
    channels: int,
    classes: int,
    patch_size: Sequence[int],
    keep_largest: bool = False,
) -> int:
    """Return the most bytes that predicting a file adds to a process, the network's own feature maps aside.

    With N voxels in the file, M at the plan's spacing, C channels, K classes, P voxels in a patch, and B in the band,
    which is as thick as the patch along one axis and as the volume across it, the largest of:

    | step | bytes | |
    |---|---|---|
    | reading | 20 C N | the file unpacked and in its own numbers, which a slope widens to float64 |
    | turning, resampling | 8 C N + 4 C M | float32 |
    | normalising | 16 C M | MONAI's intermediate results |
    | predicting | 4 C M + N + 6 (K + 1) B + 24 (C + K) P | image, labels, sums of the band, a patch |
    | finishing | 3 N, with the largest component 17 N | label maps; labelled components |

    Resampling and predicting also take a slab, 36 bytes for each of its ``SLAB_VALUES``, and ``KEPT_BYTES`` come on top
    of all. In a folder of scans the label map before is written at the same time, which takes 3 bytes for each of its
    voxels more. No class adds a whole volume, but for volumes of up to ``TOGETHER_VOXELS`` voxels. On a GPU the band,
    the patches, four instead of one, and the slab lie in its memory.
    """
    voxels, resampled, patch = prod(file_shape), prod(grid_shape), prod(patch_size)
    window = SlidingWindowInferer(roi_size=tuple(patch_size))
    axis = band_axis(grid_shape, window)
    padded = [max(sizes) for sizes in zip(grid_shape, patch_size, strict=True)]
    band = prod(padded) // padded[axis] * patch_size[axis]
    slab = 36 * SLAB_VALUES
    return KEPT_BYTES + max(
        20 * channels * voxels,
        8 * channels * voxels + 4 * channels * resampled + slab,
        16 * channels * resampled,
        4 * channels * resampled + voxels + 6 * (classes + 1) * band + 24 * (channels + classes) * patch + slab,
        (17 if keep_largest else 3) * voxels,
    )
