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
from monai_nas.tasks.task import SegTask

CLASS_INDICES = "label_cls_indices"  # key under which ClassesToIndicesd leaves the voxels of each class
_MAX_VOXELS_PER_CLASS = 20_000  # crop centres kept per class and case: enough variety, and small beside the image
_AFFINE_MARGIN = 1.2  # crop this much more than the patch before rotating, so that its corners hold tissue
_MAX_ROTATION = 0.35  # rad (20 degrees)
_MAX_SCALING = 0.15
_MAX_TRANSLATION = 0.08  # of the patch: small images, which are padded and not cropped, get their shifts from it only
_ISOTROPIC_RATIO = 2.0  # axes whose spacings differ by more are not rotated into each other: voxels would be sheared


def preprocessing(task: SegTask, plan: Plan, keys: Sequence[str]) -> list[dict[str, Any]]:
    """Return the deterministic transforms from file names to normalised volumes (C, H, W, D).

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
    modes = ["nearest" if name == "label" else "bilinear" for name in names]
    configs = [
        _config("LoadImaged", keys=names, ensure_channel_first=True),
        _config("Orientationd", keys=names, axcodes="RAS", labels=None),
        _config("Spacingd", keys=names, pixdim=list(plan.spacing_mm), mode=modes, dtype="$torch.float32"),
    ]
    configs += _intensity(plan)
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

    Every class, background included, is equally often at the centre of the crop. Axes of the volume shorter than the
    crop are kept whole and padded with 0, as the sliding window does at inference. All axes are flipped, because
    mirrored copies are averaged at inference.
    """
    keys = ["image", "label"]
    patch = list(plan.patch_size)
    crop = [_crop_length(length) for length in patch]
    rotation = [_rotation_about(axis, plan.spacing_mm) for axis in range(3)]
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
            scale_range=[_MAX_SCALING] * 3,
            translate_range=[round(_MAX_TRANSLATION * length, 1) for length in patch],
            mode=["bilinear", "nearest"],
            padding_mode="zeros",
        ),
        *(_config("RandFlipd", keys=keys, prob=0.5, spatial_axis=axis) for axis in range(3)),
        _config("RandGaussianNoised", keys=["image"], prob=0.15, std=0.1),
        _config(
            "RandGaussianSmoothd", keys=["image"], prob=0.15, sigma_x=[0.5, 1.0], sigma_y=[0.5, 1.0], sigma_z=[0.5, 1.0]
        ),
        _config("RandSimulateLowResolutiond", keys=["image"], prob=0.15, zoom_range=[0.5, 1.0]),
        _config("RandScaleIntensityd", keys=["image"], prob=0.3, factors=0.25),
        _config("RandShiftIntensityd", keys=["image"], prob=0.3, offsets=0.1),
        _config("RandAdjustContrastd", keys=["image"], prob=0.3, gamma=[0.7, 1.5], retain_stats=True),
        _config("CastToTyped", keys=keys, dtype=["$torch.float32", "$torch.uint8"]),
    ]


def random_crop(task: SegTask, plan: Plan) -> list[dict[str, Any]]:
    """Return the transforms from a preprocessed case to a patch of ``plan.patch_size`` anywhere in it, unaltered.

    Axes of the volume shorter than the patch are padded with 0. The SCNAS paper trains so, without augmentation, on
    crops of the region that is not zero (scnas.txt, section 4); the region is not looked for here.
    """
    keys, patch = ["image", "label"], list(plan.patch_size)
    return [
        _config("SpatialPadd", keys=keys, spatial_size=patch),
        _config("RandSpatialCropd", keys=keys, roi_size=patch, random_size=False),
        _config("CastToTyped", keys=keys, dtype=["$torch.float32", "$torch.uint8"]),
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
    the configuration id "preprocessing", as bundles name it.
    """
    if task.num_classes > 256:
        raise UserError(f"{task.name}: {task.num_classes} classes do not fit uint8 label maps: merge some labels")
    return [
        _config("Activationsd", keys="pred", softmax=True),
        _config("Invertd", keys="pred", transform="@preprocessing", orig_keys="image", nearest_interp=False),
        _config("AsDiscreted", keys="pred", argmax=True),
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


def _intensity(plan: Plan) -> list[dict[str, Any]]:
    """Return the normalisation: one transform for all channels where one rule fits, else channel by channel."""
    rules = plan.intensity
    if all(rule.kind == "mri" for rule in rules):
        # The whole image, zeros included: masking them would give each crop of the same scan another scale.
        return [_config("NormalizeIntensityd", keys=["image"], channel_wise=True, nonzero=False)]
    if len(rules) == 1:
        return [_normalise_channel("image", rules[0])]
    channels = [f"image_{index}" for index in range(len(rules))]
    return [
        _config("SplitDimd", keys=["image"], dim=0, output_postfixes=[str(index) for index in range(len(rules))]),
        *(_normalise_channel(channel, rule) for channel, rule in zip(channels, rules, strict=True)),
        _config("ConcatItemsd", keys=channels, name="image"),
        _config("DeleteItemsd", keys=channels),
    ]


def _normalise_channel(key: str, rule: IntensityRule) -> dict[str, Any]:
    if rule.kind == "mri":
        return _config("NormalizeIntensityd", keys=[key], nonzero=False)
    # Clipping to [lower, upper], then (x - mean) / std, as one linear map with clipped ends.
    low, high = ((bound - rule.mean) / rule.std for bound in (rule.lower, rule.upper))
    return _config(
        "ScaleIntensityRanged", keys=[key], a_min=rule.lower, a_max=rule.upper, b_min=low, b_max=high, clip=True
    )


def _crop_length(length: int) -> int:
    """Length cropped for a patch axis: longer by an even number, so that their centres lie on the same voxel grid."""
    return length + 2 * round((_AFFINE_MARGIN - 1) * length / 2)


def _rotation_about(axis: int, spacing_mm: Sequence[float]) -> float:
    """Largest rotation about ``axis``, in rad: 0 where the two axes it mixes differ much in spacing."""
    first, second = (spacing for index, spacing in enumerate(spacing_mm) if index != axis)
    return _MAX_ROTATION if max(first, second) <= _ISOTROPIC_RATIO * min(first, second) else 0.0
