"""The rules that turn measured numbers into a plan. Each returns its choice and the reason in one sentence."""

from collections.abc import Sequence
from math import prod

import numpy as np

from monai_nas.errors import UserError

Size = tuple[int, int, int]
Spacing = tuple[float, float, float]

ANISOTROPIC_RATIO = 3.0  # nnU-Net's threshold: from here on slices are thick, and what lies between two is unknown
ANISOTROPIC_PERCENTILE = 10  # nnU-Net's choice for that axis
CROP_BELOW_SHARE = 0.9  # of the volume: a crop that saves less is not worth that images differ in how they were read
MAX_DOWN_SAMPLINGS = 3  # the SCNAS network: 12 cells, three of them reductions
MIN_BOTTOM_VOXELS = 4  # an axis shorter than this holds no context for a 3-voxel convolution
BROKEN_FIRST_EXTENT = 2  # of an image's first axis: oneDNN's bfloat16 weight gradients are wrong there (decisions/0004)
MAX_POOLED_RATIO = 2.0  # an axis this much coarser than the finest waits until the others have caught up
WIDTH = 32  # stem channels of the SCNAS paper
SMALL_WIDTH = 16  # where memory is small: a quarter of the convolutions' work, half of the feature maps
SMALL_WIDTH_BELOW_VOXELS = 64**3  # a patch this small shows too little context; rather halve the channels
BATCH_SIZE = 2  # the least that spreads a batch Dice over more than one case
MEMORY_SHARE = 0.5  # of the budget for feature maps; the rest for the cached cases, the optimiser, and the libraries
# Of training memory for a patch voxel and stem channel: by how much a process grows in search steps on a processor in
# float32 (docs/results/step_memory.json). In 16 bits it is about half, but a plan must also serve where there are none.
BYTES_PER_VOXEL_PER_CHANNEL = 350
FULL_PATCH_VOXELS = 128**3  # the patch of the SCNAS paper; more would only make steps slow
MIN_PATCH_VOXELS = 16  # per axis, below which a patch is not shrunk


def choose_spacing(spacings_mm: Sequence[Spacing]) -> tuple[Spacing, str]:
    """Return the target spacing: the median per axis, but finer along a markedly coarser axis.

    Where the median of one axis is at least ``ANISOTROPIC_RATIO`` times the coarser of the other two, that axis gets
    its 10th percentile, so that the scans with thin slices keep their detail, yet nothing finer than the other axes.
    """
    values = np.asarray(spacings_mm, dtype=np.float64)
    target = np.median(values, axis=0)
    coarse = int(np.argmax(target))
    others = float(np.max(np.delete(target, coarse)))
    reason = f"median of {len(values)} cases"
    if target[coarse] >= ANISOTROPIC_RATIO * others:
        fine = max(float(np.percentile(values[:, coarse], ANISOTROPIC_PERCENTILE)), others)
        reason += (
            f"; axis {'RAS'[coarse]} has a median of {target[coarse]:.3g} mm, at least {ANISOTROPIC_RATIO:g} times the "
            f"next axis ({others:.3g} mm), so it gets its {ANISOTROPIC_PERCENTILE}th percentile, {fine:.3g} mm"
        )
        target[coarse] = fine
    x, y, z = (float(round(size, 6)) for size in target)
    return (x, y, z), reason + "."


def choose_separate_axis(spacing_mm: Spacing, median_spacing_mm: Spacing) -> tuple[int | None, str]:
    """Return the axis that is resampled by itself, to the nearest slice; None where all are resampled linearly.

    Between thick slices linear interpolation makes up anatomy that was never seen. nnU-Net's rule, which it applies to
    each case (`nnunetv2/preprocessing/resampling/default_resampling.py::determine_do_sep_z_and_axis`): the coarsest
    spacing, of the case or of the target, is more than ``ANISOTROPIC_RATIO`` times the finest and no other axis is as
    coarse. Here the median case stands for all, as one list of transforms serves them all.
    """
    for spacing, owner in ((spacing_mm, "the target"), (median_spacing_mm, "the median case")):
        coarse, finest = max(spacing), min(spacing)
        if coarse > ANISOTROPIC_RATIO * finest and spacing.count(coarse) == 1:
            axis = spacing.index(coarse)
            return axis, (
                f"axis {'RAS'[axis]} by itself to the nearest slice, the others linearly: {owner}'s {coarse:.3g} mm "
                f"along it are more than {ANISOTROPIC_RATIO:g} times its finest spacing, {finest:.3g} mm."
            )
    return None, (
        f"all axes linearly: neither the target nor the median case has one axis more than {ANISOTROPIC_RATIO:g} times "
        "as coarse as its finest."
    )


def choose_crop(shapes: Sequence[Size], nonzero_shapes: Sequence[Size]) -> tuple[bool, str]:
    """Return whether every case is cropped to the box of its non-zero voxels before anything else."""
    if not nonzero_shapes:
        return False, "no crop: the boxes of non-zero voxels were not measured."
    share = float(np.median([prod(box) / prod(shape) for box, shape in zip(nonzero_shapes, shapes, strict=True)]))
    found = f"the box of non-zero voxels is {100 * share:.3g} % of the median case"
    if share < CROP_BELOW_SHARE:
        return True, (
            f"each case is cropped to it, as {found}, under {100 * CROP_BELOW_SHARE:g} %; each image's z-score leaves "
            "out the zeros."
        )
    return False, f"no crop: {found}, not under {100 * CROP_BELOW_SHARE:g} %."


def shape_at_spacing(shapes: Sequence[Size], spacings_mm: Sequence[Spacing], target_mm: Spacing) -> Size:
    """Return the median shape of the cases once resampled to ``target_mm``, in voxels."""
    extent_mm = np.asarray(shapes, dtype=np.float64) * np.asarray(spacings_mm)
    x, y, z = (max(1, int(np.ceil(size - 1e-6))) for size in np.median(extent_mm / np.asarray(target_mm), axis=0))
    return x, y, z


def choose_strides(size: Size, spacing_mm: Spacing) -> tuple[Size, ...]:
    """Return the strides of up to ``MAX_DOWN_SAMPLINGS`` down-samplings of a patch.

    An axis is halved while that leaves ``MIN_BOTTOM_VOXELS`` voxels or more and while its spacing is at most
    ``MAX_POOLED_RATIO`` times that of the finest axis that can still be halved. Tiny patches have fewer levels.
    """
    voxels, spacing = list(map(float, size)), list(spacing_mm)
    strides: list[Size] = []
    for _ in range(MAX_DOWN_SAMPLINGS):
        able = [axis for axis in range(3) if voxels[axis] / 2 >= MIN_BOTTOM_VOXELS]
        if not able:
            break
        finest = min(spacing[axis] for axis in able)
        x, y, z = (2 if axis in able and spacing[axis] <= MAX_POOLED_RATIO * finest else 1 for axis in range(3))
        strides.append((x, y, z))
        voxels = [count / step for count, step in zip(voxels, strides[-1], strict=True)]
        spacing = [length * step for length, step in zip(spacing, strides[-1], strict=True)]
    return tuple(strides)


def stride_product(strides: Sequence[Size]) -> Size:
    """Return by how much each axis is down-sampled in all."""
    x, y, z = (prod(stride[axis] for stride in strides) for axis in range(3))
    return x, y, z


def level_sizes(patch: Size, strides: Sequence[Size]) -> tuple[Size, ...]:
    """Return the size of a patch's feature maps on every level, the patch itself first."""
    sizes = [patch]
    for stride in strides:
        x, y, z = (length // step for length, step in zip(sizes[-1], stride, strict=True))
        sizes.append((x, y, z))
    return tuple(sizes)


def training_bytes(patch: Size, batch_size: int, width: int) -> int:
    """Return the estimated memory of the feature maps of a training step."""
    return prod(patch) * batch_size * width * BYTES_PER_VOXEL_PER_CHANNEL


def _patch_limit(width: int, memory_bytes: int) -> int:
    """Return how many voxels a patch may have: a batch must fit the memory, and a step's time must stay bearable."""
    fitting = MEMORY_SHARE * memory_bytes / (BATCH_SIZE * width * BYTES_PER_VOXEL_PER_CHANNEL)
    return int(min(fitting, FULL_PATCH_VOXELS))


def choose_width(shape: Size, memory_bytes: int) -> tuple[int, str]:
    """Return the paper's number of stem channels, or half of it where that would leave only a small patch."""
    wanted = min(prod(shape), SMALL_WIDTH_BELOW_VOXELS)
    limit = _patch_limit(WIDTH, memory_bytes)
    if limit >= wanted:
        return WIDTH, f"{WIDTH} stem channels as in the SCNAS paper; {_gib(memory_bytes)} leave {limit} voxels a patch."
    return SMALL_WIDTH, (
        f"{SMALL_WIDTH} stem channels, as {WIDTH} would leave {limit} voxels a patch in {_gib(memory_bytes)}, "
        f"under the {wanted} wanted."
    )


def choose_patch(
    shape: Size, spacing_mm: Spacing, width: int, memory_bytes: int
) -> tuple[Size, tuple[Size, ...], str, str]:
    """Return the largest patch that fits, its strides, and the reasons of both.

    The patch starts as the median case at the target spacing, rounded up to multiples of the strides' product; while it
    has too many voxels, the axis that shows most of its case is shortened, to keep the case's proportions. No level's
    first axis has ``BROKEN_FIRST_EXTENT`` voxels: an axis that is halved keeps ``MIN_BOTTOM_VOXELS``.

    Raises:
        UserError: when not even the smallest patch fits.
    """
    limit = _patch_limit(width, memory_bytes)
    size = list(shape) if max(shape) >= 2 * MIN_BOTTOM_VOXELS else [2 * MIN_BOTTOM_VOXELS] * 3  # one level at least
    if size[0] == BROKEN_FIRST_EXTENT:
        size[0] += 1
    floor = [min(length, MIN_PATCH_VOXELS) for length in size]
    while True:
        strides = choose_strides((size[0], size[1], size[2]), spacing_mm)
        product = stride_product(strides)
        x, y, z = (-(-length // step) * step for length, step in zip(size, product, strict=True))
        patch = (x, y, z)
        if prod(patch) <= limit:
            break
        able = [axis for axis in range(3) if patch[axis] - product[axis] >= floor[axis]]
        if not able:
            raise UserError(
                f"--memory {_gib(memory_bytes)}: room for a patch of {limit} voxels, the smallest has {prod(patch)}: "
                f"give at least {_gib(memory_bytes * prod(patch) / max(limit, 1))}"
            )
        axis = max(able, key=lambda axis: (patch[axis] / shape[axis], patch[axis]))
        size[axis] = patch[axis] - product[axis]
    case, voxels = "x".join(map(str, shape)), "x".join(map(str, patch))
    whole = "the whole median case" if prod(patch) >= prod(shape) else "the median case shrunk in proportion"
    patch_reason = (
        f"{voxels} voxels: {whole} ({case} at the target spacing), in multiples of the strides' product {product}; "
        f"{_gib(memory_bytes)} allow {limit} voxels."
    )
    stride_reason = (
        f"{len(strides)} down-samplings of at most {MAX_DOWN_SAMPLINGS}; an axis is halved while {MIN_BOTTOM_VOXELS} "
        f"voxels remain and its spacing is at most {MAX_POOLED_RATIO:g} times the finest."
    )
    return patch, strides, patch_reason, stride_reason


def choose_batch_size() -> tuple[int, str]:
    """Return samples a batch, and the rule."""
    return BATCH_SIZE, f"{BATCH_SIZE}: in a given time more steps teach more than larger batches."


def _gib(memory_bytes: float) -> str:
    return f"{memory_bytes / 1024**3:.3g} GiB"
