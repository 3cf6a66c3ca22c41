"""The ten tasks of the Medical Segmentation Decathlon as values: published facts with their sources, no tuning.

Axis order of shapes and spacings: x, y, z as in the NIfTI header (nnU-Net prints z, y, x).
"""

import difflib

from monai_nas.errors import UserError
from monai_nas.tasks.task import SegTask

DATASET = (
    "modalities, labels, numbers of cases: the task's dataset.json (dataset paper arXiv:1902.09063); checked against "
    "public code that quotes the file"
)
TOLERANCE = (
    "NSD tolerance: MSD challenge paper, doi:10.1038/s41467-022-30695-9, Methods; only the paper's beginning could "
    "be read here, which does not give it: unverified"
)
TOLERANCE_QUOTED = (
    "NSD tolerance: MSD challenge paper, doi:10.1038/s41467-022-30695-9, Methods; only the paper's beginning could "
    "be read here, which does not give it; checked against the presets of SegEvalKit, which quote it"
)
SPACING = (
    "median spacing: the nnU-Net fingerprint, doi:10.1038/s41592-020-01008-z; the figures agree with the target "
    "spacings in NVIDIA DeepLearningExamples nnUNet"
)
SHAPE = (
    "median shape, after cropping to non-zero voxels and at the median spacing: nnU-Net, arXiv:1809.10486; checked "
    "against public code that quotes its plans"
)
SHAPE_QUOTED = (
    "median shape, after cropping to non-zero voxels: nnU-Net, doi:10.1038/s41592-020-01008-z; checked against nnU-Net "
    "2's plans as printed in github.com/automl/AutoNNUnet, output/baseline/*/3d_fullres/fold_0/debug.json"
)
THICK_SPACING = (
    "median spacing: the nnU-Net fingerprint, doi:10.1038/s41592-020-01008-z; in-plane agrees with NVIDIA "
    "DeepLearningExamples nnUNet, the slice distance with nnU-Net 2's plans in github.com/automl/AutoNNUnet"
)

MSD_TASKS: tuple[SegTask, ...] = (
    SegTask(
        name="Task01_BrainTumour",
        description="Gliomas segmentation tumour and oedema in on brain images",
        modalities=("FLAIR", "T1w", "t1gd", "T2w"),
        labels=("background", "edema", "non-enhancing tumor", "enhancing tumour"),
        num_training=484,
        num_test=266,
        median_shape=(138, 169, 138),
        median_spacing_mm=(1.0, 1.0, 1.0),
        tolerance_mm=5.0,
        sources=(DATASET, TOLERANCE, SPACING, SHAPE),
    ),
    SegTask(
        name="Task02_Heart",
        description="Left Atrium segmentation",
        modalities=("MRI",),
        labels=("background", "left atrium"),
        num_training=20,
        num_test=10,
        median_shape=(232, 320, 115),
        median_spacing_mm=(1.25, 1.25, 1.37),
        tolerance_mm=4.0,
        sources=(DATASET, TOLERANCE, SPACING, SHAPE),
    ),
    SegTask(
        name="Task03_Liver",
        description="Liver and cancer segmentation",
        modalities=("CT",),
        labels=("background", "liver", "cancer"),
        num_training=131,
        num_test=70,
        median_shape=(512, 512, 482),
        median_spacing_mm=(0.77, 0.77, 1.0),
        tolerance_mm=7.0,
        sources=(DATASET, TOLERANCE_QUOTED, SPACING, SHAPE),
    ),
    SegTask(
        name="Task04_Hippocampus",
        description="Anterior and posterior hippocampus segmentation, mono-modal MRI",
        modalities=("MRI",),
        labels=("background", "Anterior", "Posterior"),
        num_training=260,
        num_test=130,
        median_shape=(35, 50, 36),
        median_spacing_mm=(1.0, 1.0, 1.0),
        tolerance_mm=1.0,
        sources=(DATASET, TOLERANCE, SPACING, SHAPE),
    ),
    SegTask(
        name="Task05_Prostate",
        description="Prostate transitional zone and peripheral zone segmentation",
        modalities=("T2", "ADC"),
        labels=("background", "PZ", "TZ"),
        num_training=32,
        num_test=16,
        median_shape=(319, 320, 20),
        median_spacing_mm=(0.62, 0.62, 3.6),
        tolerance_mm=4.0,
        sources=(DATASET, TOLERANCE, SPACING, SHAPE),
    ),
    SegTask(
        name="Task06_Lung",
        description="Lung and cancer segmentation",
        modalities=("CT",),
        labels=("background", "cancer"),
        num_training=63,
        num_test=32,
        median_shape=(512, 512, 252),
        median_spacing_mm=(0.79, 0.79, 1.24),
        tolerance_mm=2.0,
        sources=(DATASET + "; http://medicaldecathlon.com counts 64 training cases", TOLERANCE, SPACING, SHAPE),
    ),
    SegTask(
        name="Task07_Pancreas",
        description="Pancreas and cancer segmentation",
        modalities=("CT",),
        labels=("background", "pancreas", "cancer"),
        num_training=281,
        num_test=139,
        median_shape=(512, 512, 96),
        median_spacing_mm=(0.8, 0.8, 2.5),
        tolerance_mm=5.0,
        sources=(DATASET + "; some texts count 282 training cases", TOLERANCE_QUOTED, SPACING, SHAPE),
    ),
    SegTask(
        name="Task08_HepaticVessel",
        description="Hepatic Vessels and Tumour Segmentation",
        modalities=("CT",),
        labels=("background", "Vessel", "Tumour"),
        num_training=303,
        num_test=140,
        median_shape=(512, 512, 49),
        median_spacing_mm=(0.8, 0.8, 5.0),
        tolerance_mm=3.0,
        sources=(DATASET, TOLERANCE, THICK_SPACING, SHAPE_QUOTED),
    ),
    SegTask(
        name="Task09_Spleen",
        description="Spleen Segmentation",
        modalities=("CT",),
        labels=("background", "spleen"),
        num_training=41,
        num_test=20,
        median_shape=(512, 512, 90),
        median_spacing_mm=(0.79, 0.79, 5.0),
        tolerance_mm=3.0,
        sources=(DATASET, TOLERANCE, THICK_SPACING, SHAPE_QUOTED),
    ),
    SegTask(
        name="Task10_Colon",
        description="Colon Cancer Segmentation",
        modalities=("CT",),
        labels=("background", "colon cancer primaries"),
        num_training=126,
        num_test=64,
        median_shape=(512, 512, 95),
        median_spacing_mm=(0.78, 0.78, 5.0),
        tolerance_mm=4.0,
        sources=(DATASET, TOLERANCE_QUOTED, THICK_SPACING, SHAPE_QUOTED),
    ),
)


def msd_task(name: str) -> SegTask:
    """Return the MSD task of this name, such as "Task04_Hippocampus".

    Raises:
        UserError: when there is none; the nearest name is suggested.
    """
    names = {task.name: task for task in MSD_TASKS}
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1, cutoff=0.0)
        raise UserError(f"--task {name}: no such MSD task: did you mean {near[0]}?")
    return names[name]
