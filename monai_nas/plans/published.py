"""Plans of the MSD tasks from published figures, which stand in while the data are absent; and the plans we ship.

The figures are nnU-Net's, which measures a dataset as we do and aims at the same spacing.
"""

from collections.abc import Mapping
from dataclasses import replace
from importlib.resources import as_file, files

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.plans.fingerprint import ChannelStatistics, Fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks import SegTask
from monai_nas.tasks.msd import MSD_TASKS

ARCHITECTURE_TASK = "Task04_Hippocampus"  # on which the shipped architecture was searched
SOURCE = (
    "nnU-Net 2's plans as printed in github.com/automl/AutoNNUnet, output/baseline/DatasetNNN_Name/3d_fullres/fold_0/"
    "debug.json"
)

# Distance in mm and number of the median case's slices once resampled, where the median distance is 5 mm and the target
# its 10th percentile: "spacing" and "median_image_size_in_voxels" of SOURCE; the distances also in MONAI tutorials
# modules/dynunet_pipeline/task_params.py and in NVIDIA DeepLearningExamples nnUNet/data_preprocessing/configs.py.
THIN_SLICES: Mapping[str, tuple[float, int]] = {
    "Task08_HepaticVessel": (1.5, 150),
    "Task09_Spleen": (1.6, 187),
    "Task10_Colon": (3.0, 150),
}

# Whose volume a crop to non-zero voxels reduces by a quarter or more in the median: there, and only there, nnU-Net has
# "use_mask_for_norm", which SOURCE gives as true for these two of the MRI tasks.
CROPPED = ("Task01_BrainTumour", "Task02_Heart")

# Percentiles 0.5 and 99.5, mean and std of each channel's foreground: "foreground_intensity_properties_per_channel" of
# SOURCE, which like our fingerprint draws as many voxels of each case. Measured on the 208 cases of Task04 that were at
# hand: 29, 280460, 23321, 61846. nnU-Net 1 drew every tenth voxel, so that large structures count more; the CT figures
# in MONAI's and NVIDIA's files above are of that kind: for Task08, -3, 243, 104.37, 52.62.
INTENSITIES: Mapping[str, tuple[ChannelStatistics, ...]] = {
    "Task01_BrainTumour": (
        ChannelStatistics(104.0, 1733.0, 728.87, 354.56),
        ChannelStatistics(56.0, 2421.0, 621.56, 335.95),
        ChannelStatistics(44.0, 2963.0, 662.56, 420.27),
        ChannelStatistics(103.0, 1997.0, 664.29, 318.49),
    ),
    "Task02_Heart": (ChannelStatistics(598.0, 1521.0, 1090.21, 165.17),),
    "Task03_Liver": (ChannelStatistics(-15.0, 197.0, 99.48, 37.14),),
    "Task04_Hippocampus": (ChannelStatistics(28.0, 277682.03, 22360.33, 60656.13),),
    "Task05_Prostate": (
        ChannelStatistics(83.0, 822.0, 350.19, 139.96),
        ChannelStatistics(0.0, 2563.0, 1351.11, 376.43),
    ),
    "Task06_Lung": (ChannelStatistics(-1024.0, 311.0, -273.46, 346.95),),
    "Task07_Pancreas": (ChannelStatistics(-92.0, 217.0, 80.36, 72.71),),
    "Task08_HepaticVessel": (ChannelStatistics(8.0, 268.0, 128.67, 54.58),),
    "Task09_Spleen": (ChannelStatistics(-42.0, 176.0, 93.19, 40.78),),
    "Task10_Colon": (ChannelStatistics(-40.0, 188.0, 67.2, 37.13),),
}


def published_fingerprint(task: SegTask) -> Fingerprint:
    """Return what was published of a task, as the fingerprint of one case: the median case at the target spacing.

    The axes x, y, z of the published figures are taken for right, anterior, superior. ``class_voxels`` is empty: how
    many voxels each class has was not published.

    Raises:
        UserError: when the task is none of the MSD.
    """
    if task.name not in INTENSITIES or task.median_shape is None or task.median_spacing_mm is None:
        raise UserError(f"{task.name}: no published figures: make its plan with `monai-nas plan --data DIR`")
    spacing, shape = task.median_spacing_mm, task.median_shape
    if task.name in THIN_SLICES:
        distance, slices = THIN_SLICES[task.name]
        spacing, shape = (*spacing[:2], distance), (*shape[:2], slices)
    return Fingerprint(
        shapes=(shape,),
        spacings_mm=(spacing,),
        median_shape=task.median_shape,
        median_spacing_mm=task.median_spacing_mm,
        channels=INTENSITIES[task.name],
        class_voxels=(),
    )


def published_plan(task: SegTask) -> Plan:
    """Return the plan that the rules give for a task's published figures; ``fingerprint.num_cases`` is 0.

    Raises:
        UserError: when the task is none of the MSD.
    """
    plan = make_plan(task, published_fingerprint(task))
    spacing = f"the published median, {_times(task.median_spacing_mm)} mm"
    if task.name in THIN_SLICES:
        distance, slices = THIN_SLICES[task.name]
        spacing += (
            f", but for the slices, which are markedly coarser, their 10th percentile: {distance:g} mm, {slices} slices"
        )
    reasons = dict(plan.reasons)
    reasons["spacing_mm"] = f"{spacing}. Source: {SOURCE}."
    reasons["crop_to_nonzero"] = "no crop: the published shapes, measured after such a crop, are those of whole images."
    if task.name in CROPPED:
        reasons["crop_to_nonzero"] = (
            "each case is cropped to its non-zero voxels, and each image's z-score leaves out the zeros: nnU-Net does, "
            "which it would not unless the crop took a quarter or more of the median case."
        )
    reasons["intensity"] += f" The figures are published: {SOURCE}."
    stand_in = (
        "No case was measured: published figures stand in for the data, and the number of voxels of each class is not "
        "among them. `monai-nas plan --data DIR --out plan.json` makes the plan anew from the data."
    )
    return replace(
        plan,
        fingerprint=replace(plan.fingerprint, num_cases=0),
        crop_to_nonzero=task.name in CROPPED,
        reasons=(("fingerprint", stand_in), *reasons.items()),
    )


def committed_plan(name: str) -> Plan:
    """Return the plan of an MSD task that is shipped with the package: "Task03_Liver".

    Raises:
        UserError: when there is no such task.
    """
    names = [task.name for task in MSD_TASKS]
    if name not in names:
        raise UserError(f"{name}: no plan is shipped for it: there are those of {', '.join(names)}")
    with as_file(files("monai_nas.plans") / "msd" / f"{name}.json") as path:
        return Plan.load(path)


def committed_architecture() -> Architecture:
    """Return the architecture that all shipped bundles share; it was searched on :data:`ARCHITECTURE_TASK`."""
    with as_file(files("monai_nas.plans") / "msd" / "architecture.json") as path:
        return Architecture.load(path)


def _times(spacing_mm: tuple[float, float, float] | None) -> str:
    return " x ".join(f"{length:g}" for length in spacing_mm or ())
