"""The one source of preprocessing, augmentation and post-transforms: plain MONAI configurations from (task, plan).

The same lists build our pipelines and are written into the bundles' JSON: only JSON values and ``monai.*`` classes.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from monai.bundle.config_parser import ConfigParser
from monai.transforms.compose import Compose

from monai_nas.errors import UserError
from monai_nas.plans.plan import IntensityRule, Plan
from monai_nas.tasks.task import MOST_LABELS, SegTask

CLASS_INDICES = "label_cls_indices"  # key under which ClassesToIndicesd leaves the voxels of each class
_MAX_VOXELS_PER_CLASS = 20_000  # crop centres kept per class and case: enough variety, and small beside the image
_AFFINE_MARGIN = 1.2  # crop this much more than the patch before rotating, so that its corners hold tissue
_MAX_ROTATION = 0.35  # rad (20 degrees)
_MAX_SCALING = 0.15
_MAX_TRANSLATION = 0.08  # of the patch: small images, which are padded and not cropped, get their shifts from it only
_BLUR = (0.5, 1.0)  # voxels of the finest axis: the std of the smoothing
_ISOTROPIC_RATIO = 2.0  # axes whose spacings differ by more are not rotated into each other: voxels would be sheared
_CUBIC_RATIO = 3.0  # nor are axes of a patch whose lengths do (as in nnU-Net): the long one would leave the crop
_FEW_SLICES = 8  # voxels: along a patch axis with fewer, nothing is scaled or moved, as there is too little to see
_NON_ZERO = "$lambda image: image != 0"  # MONAI's own choice, positive values, would lose the negative ones
_KEPT_SPACING = -1.0  # Spacingd keeps the image's own spacing along an axis with this pixdim


def preprocessing(task: SegTask, plan: Plan, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the deterministic transforms from file names to normalised volumes (C, H, W, D).

    - Turned to RAS, so that a patch axis means the same in every scan.
    - Where the plan says so, cropped to the box of the voxels that are not 0 in some channel: skull-stripped heads are
      half empty. Predictions are background outside it.
    - Resampled to the plan's spacing: the image linearly, label maps to the nearest voxel, so that no value and no
      label arises that was not there (nnU-Net resamples each label's mask linearly instead; half a voxel is the most
      that a boundary moves here). Where slices are thick, the image too takes the nearest slice along their axis, after
      the others: between two of them linear interpolation makes up anatomy.
    - Normalised by the plan's rules: CT by the training set's numbers, as Hounsfield units mean the same everywhere;
      other modalities each image by itself, over the voxels that are not 0 where the image is cropped to them (as in
      nnU-Net, or the share of background would shift the tissue), else over all.

    Args:
        task: gives the number of channels.
        plan: gives spacing (mm, RAS axes) and intensity rules.
        keys: ("image",) or ("image", "label"). The image ends as float32, the label as uint8.

    Raises:
        UserError: when the plan has not one intensity rule for each modality.
    """
    if len(plan.intensity) != task.in_channels:
        raise UserError(
            f"{task.name}: {task.in_channels} modalities but {len(plan.intensity)} intensity rules in the plan: "
            "make the plan again with `monai-nas plan`"
        )
    names = list(keys)
    configs = [
        _config("LoadImaged", keys=names, ensure_channel_first=True),
        _config("Orientationd", keys=names, axcodes="RAS", labels=None),
    ]
    if plan.crop_to_nonzero:
        configs.append(
            _config(
                "CropForegroundd",
                keys=names,
                source_key="image",
                select_fn=_NON_ZERO,
                allow_smaller=True,
                start_coord_key=None,
                end_coord_key=None,
            )
        )
    configs += [*_resampling(plan, names), *_intensity(plan)]
    if "label" in names:
        configs.append(_config("CastToTyped", keys=["label"], dtype="$torch.uint8"))
    return configs


def class_indices(task: SegTask) -> list[dict[str, Any]]:
    """Return the transform that lists each class's voxels once, so that class-balanced crops need not look for them."""
    return [
        _config(
            "ClassesToIndicesd",
            keys=["label"],
            num_classes=task.num_classes,
            max_samples_per_class=_MAX_VOXELS_PER_CLASS,
        )
    ]


def augmentation(task: SegTask, plan: Plan) -> list[dict[str, Any]]:
    """Return the random transforms from a preprocessed case, with its class indices, to a patch of ``plan.patch_size``.

    What each step is for, in order; amounts are nnU-Net's or smaller, but that it does not shift intensities:

    - Crop: every class, background included, is equally often at the centre, however small it is. A lesion of a few
      voxels, which a crop anywhere would rarely meet, is so in one patch of K at least. Axes of the volume shorter than
      the crop are kept whole and padded with 0, as the sliding window does at inference.
    - Affine: patients lie turned, differ in size, and structures lie anywhere in a patch. The crop is larger than the
      patch, so that turned corners hold tissue. Axes of unlike spacing or length are not turned into each other, and
      along an axis of thick slices, or of few, nothing is scaled or moved: the slices beside lie millimetres apart, or
      outside.
    - Flips of all axes, because mirrored copies are averaged at inference.
    - Noise, smoothing and low resolution: scanners and protocols. The smoothing is as wide in mm along a coarse axis as
      along the finest; the low resolution halves all axes at once in MONAI, which thick slices do not survive, so
      tasks with thick slices go without.
    - Scale, shift and gamma of the intensities: contrast agents, coils and exposure.
    """
    keys = ["image", "label"]
    patch, coarse = list(plan.patch_size), _coarse_axes(plan)
    crop = [length if axis in coarse else _crop_length(length) for axis, length in enumerate(patch)]
    rotation = [_rotation_about(axis, plan) for axis in range(3)]
    blur_x, blur_y, blur_z = (_blur_range(axis, plan) for axis in range(3))
    low_resolution = [_config("RandSimulateLowResolutiond", keys=["image"], prob=0.15, zoom_range=[0.5, 1.0])]
    return [
        _config(
            "RandCropByLabelClassesd",
            keys=keys,
            label_key="label",
            spatial_size=crop,
            ratios=[1] * task.num_classes,
            num_classes=task.num_classes,
            indices_key=CLASS_INDICES,
            allow_smaller=True,
            warn=False,
        ),
        _config("SpatialPadd", keys=keys, spatial_size=crop),
        _config(
            "RandAffined",
            keys=keys,
            prob=0.8,
            spatial_size=patch,
            rotate_range=rotation,
            scale_range=[0.0 if axis in coarse else _MAX_SCALING for axis in range(3)],
            translate_range=[
                0.0 if axis in coarse else round(_MAX_TRANSLATION * length, 1) for axis, length in enumerate(patch)
            ],
            mode=["bilinear", "nearest"],
            padding_mode="zeros",
        ),
        *(_config("RandFlipd", keys=keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
        _config("RandGaussianNoised", keys=["image"], prob=0.15, std=0.1),
        _config("RandGaussianSmoothd", keys=["image"], prob=0.15, sigma_x=blur_x, sigma_y=blur_y, sigma_z=blur_z),
        *([] if coarse else low_resolution),
        _config("RandScaleIntensityd", keys=["image"], prob=0.3, factors=0.25),
        _config("RandShiftIntensityd", keys=["image"], prob=0.3, offsets=0.1),
        _config("RandAdjustContrastd", keys=["image"], prob=0.3, gamma=[0.7, 1.5], retain_stats=True),
        _plain_tensors(keys),
    ]


def random_crop(task: SegTask, plan: Plan) -> list[dict[str, Any]]:
    """Return the transforms from a preprocessed case to a patch of ``plan.patch_size`` anywhere in it, unaltered.

    Axes of the volume shorter than the patch are padded with 0. The SCNAS paper trains so, without augmentation, on
    crops of the region that is not zero (scnas.txt, section 4); here preprocessing crops to it where the plan says so.
    """
    keys, patch = ["image", "label"], list(plan.patch_size)
    return [
        _config("SpatialPadd", keys=keys, spatial_size=patch),
        _config("RandSpatialCropd", keys=keys, roi_size=patch, random_size=False),
        _plain_tensors(keys),
    ]


def rotated_and_flipped_crop(task: SegTask, plan: Plan) -> list[dict[str, Any]]:
    """Return :func:`random_crop` followed by quarter turns and flips (hypersegnas.txt, section 4).

    "Augmented with rotation and flip" is all that the paper says. Turns are by 90 degrees, in the plane of two axes of
    equal length and similar spacing, so that nothing is interpolated.
    """
    keys, patch, spacing = ["image", "label"], plan.patch_size, plan.spacing_mm
    planes = [
        (one, other)
        for one, other in ((0, 1), (0, 2), (1, 2))
        if patch[one] == patch[other]
        and max(spacing[one], spacing[other]) <= _ISOTROPIC_RATIO * min(spacing[one], spacing[other])
    ]
    return [
        *random_crop(task, plan),
        *(_config("RandRotate90d", keys=keys, prob=0.5, max_k=3, spatial_axes=list(plane)) for plane in planes),
        *(_config("RandFlipd", keys=keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
    ]


def postprocessing(task: SegTask, plan: Plan, output_dir: str | Path) -> list[dict[str, Any]]:
    """Return the transforms from logits under "pred" (K, H, W, D) to a label map on the original grid, saved as uint8.

    Probabilities, not labels, are resampled to the original grid, which keeps boundaries smooth. The inverse refers to
    the configuration id "preprocessing", as bundles name it. The largest component is looked for on the original grid,
    among voxels that touch by a face, an edge or a corner.
    """
    if task.num_classes > MOST_LABELS:
        raise UserError(f"{task.name}: {task.num_classes} classes do not fit uint8 label maps: merge some labels")
    largest = [_config("KeepLargestConnectedComponentd", keys="pred", applied_labels=list(plan.keep_largest))]
    return [
        _config("Activationsd", keys="pred", softmax=True),
        _config("Invertd", keys="pred", transform="@preprocessing", orig_keys="image", nearest_interp=False),
        _config("AsDiscreted", keys="pred", argmax=True),
        *(largest if plan.keep_largest else []),
        _config(
            "SaveImaged",
            keys="pred",
            output_dir=str(output_dir),
            output_postfix="",
            output_ext=".nii.gz",
            output_dtype="$np.uint8",
            resample=False,
            separate_folder=False,
        ),
    ]


def build(configs: Sequence[dict[str, Any]]) -> Compose:
    """Return the transforms that ``configs`` describe, composed."""
    parser = ConfigParser({"transforms": {"_target_": "monai.transforms.Compose", "transforms": list(configs)}})
    transforms = parser.get_parsed_content("transforms")
    if not isinstance(transforms, Compose):
        raise TypeError(f"expected a Compose, got {type(transforms).__name__}")
    return transforms


def _config(target: str, **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"monai.transforms.{target}", **arguments}


def _plain_tensors(keys: list[str]) -> dict[str, Any]:
    """Return the end of every training chain: the types of a batch, without metadata that each operation would copy."""
    return _config("EnsureTyped", keys=keys, dtype=["$torch.float32", "$torch.uint8"], track_meta=False)


def _resampling(plan: Plan, names: list[str]) -> list[dict[str, Any]]:
    """Return the change of spacing: in one step, or in two where one axis is resampled by itself."""
    nearest = ["nearest"] * len(names)
    modes = ["nearest" if name == "label" else "bilinear" for name in names]
    whole = {"keys": names, "pixdim": list(plan.spacing_mm), "mode": modes, "dtype": "$torch.float32"}
    if plan.resample_separately is None:
        return [_config("Spacingd", **whole)]
    in_plane = list(plan.spacing_mm)
    in_plane[plan.resample_separately] = _KEPT_SPACING
    return [_config("Spacingd", **whole | {"pixdim": in_plane}), _config("Spacingd", **whole | {"mode": nearest})]


def _intensity(plan: Plan) -> list[dict[str, Any]]:
    """Return the normalisation: one transform for all channels where one rule fits, else channel by channel."""
    rules, nonzero = plan.intensity, plan.crop_to_nonzero
    if all(rule.kind == "mri" for rule in rules):
        return [_config("NormalizeIntensityd", keys=["image"], channel_wise=True, nonzero=nonzero)]
    if len(rules) == 1:
        return [_normalise_channel("image", rules[0], nonzero)]
    channels = [f"image_{index}" for index in range(len(rules))]
    return [
        _config("SplitDimd", keys=["image"], dim=0, output_postfixes=[str(index) for index in range(len(rules))]),
        *(_normalise_channel(channel, rule, nonzero) for channel, rule in zip(channels, rules, strict=True)),
        _config("ConcatItemsd", keys=channels, name="image"),
        _config("DeleteItemsd", keys=channels),
    ]


def _normalise_channel(key: str, rule: IntensityRule, nonzero: bool) -> dict[str, Any]:
    if rule.kind == "mri":
        return _config("NormalizeIntensityd", keys=[key], nonzero=nonzero)
    # Clipping to [lower, upper], then (x - mean) / std, as one linear map with clipped ends.
    low, high = ((bound - rule.mean) / rule.std for bound in (rule.lower, rule.upper))
    return _config(
        "ScaleIntensityRanged", keys=[key], a_min=rule.lower, a_max=rule.upper, b_min=low, b_max=high, clip=True
    )


def _crop_length(length: int) -> int:
    """Length cropped for a patch axis: longer by an even number, so that their centres lie on the same voxel grid."""
    return length + 2 * round((_AFFINE_MARGIN - 1) * length / 2)


def _coarse_axes(plan: Plan) -> set[int]:
    """Axes of thick slices, much coarser than the finest, or of few."""
    coarsest_mm = _ISOTROPIC_RATIO * min(plan.spacing_mm)
    return {
        axis
        for axis, (spacing, length) in enumerate(zip(plan.spacing_mm, plan.patch_size, strict=True))
        if spacing > coarsest_mm or length < _FEW_SLICES
    }


def _blur_range(axis: int, plan: Plan) -> list[float]:
    """Least and largest std of the smoothing along an axis, in voxels: along a coarse axis the same in mm."""
    voxels = min(plan.spacing_mm) / plan.spacing_mm[axis] if axis in _coarse_axes(plan) else 1.0
    return [round(std * voxels, 3) for std in _BLUR]


def _rotation_about(axis: int, plan: Plan) -> float:
    """Largest rotation about ``axis``, in rad: 0 where the two axes it mixes differ much in spacing or length."""
    for sizes, ratio in ((plan.spacing_mm, _ISOTROPIC_RATIO), (plan.patch_size, _CUBIC_RATIO)):
        first, second = (size for index, size in enumerate(sizes) if index != axis)
        if max(first, second) > ratio * min(first, second):
            return 0.0
    return _MAX_ROTATION
