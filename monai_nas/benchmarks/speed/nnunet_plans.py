"""A plan of ours as nnU-Net's planner would write it, for its trainer and predictor. Needs no nnU-Net."""

import operator
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from monai_nas.plans.plan import Plan

CONFIGURATION = "3d_fullres"
DATASET = "Dataset001_Benchmark"  # nnU-Net names folders after it
STEM_FEATURES, MOST_FEATURES = 32, 320  # of nnU-Net's planner, in 3D
CONVOLUTIONS = 2  # a level, both down and up, of nnU-Net's planner

Axes = Sequence[int]  # the plan's axes, in an order
OUR_AXES: Axes = (0, 1, 2)


def nnunet_plans(plan: Plan, axes: Axes = OUR_AXES) -> dict[str, Any]:
    """Return nnU-Net's plans with one configuration, for our patch, batch and levels.

    The network is nnU-Net's plain U-Net by its rules: two convolutions a level, with 32 channels at first and twice as
    many at each further level up to 320; see also :func:`kernel_sizes`.

    Args:
        plan: gives channels, classes, patch, batch, strides and spacing.
        axes: in which order nnU-Net has the plan's axes.
    """
    strides = [(1, 1, 1), *(turned(stride, axes) for stride in plan.strides)]  # the first level has the input's size
    network = {
        "n_stages": len(strides),
        "features_per_stage": [min(STEM_FEATURES * 2**level, MOST_FEATURES) for level in range(len(strides))],
        "conv_op": "torch.nn.Conv3d",
        "kernel_sizes": kernel_sizes(turned(plan.spacing_mm, axes), strides[1:]),
        "strides": strides,
        "n_conv_per_stage": [CONVOLUTIONS] * len(strides),
        "n_conv_per_stage_decoder": [CONVOLUTIONS] * (len(strides) - 1),
        "conv_bias": True,
        "norm_op": "torch.nn.InstanceNorm3d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
        "nonlin_kwargs": {"inplace": True},
    }
    configuration = {
        "data_identifier": CONFIGURATION,
        "batch_size": plan.batch_size,
        "patch_size": list(turned(plan.patch_size, axes)),
        "use_mask_for_norm": [False] * plan.task.in_channels,
        "batch_dice": False,  # as in a plan without a configuration of low resolution
        "architecture": {
            "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
            "arch_kwargs": network,
            "_kw_requires_import": ["conv_op", "norm_op", "nonlin"],
        },
    }
    return {
        "dataset_name": DATASET,
        "plans_name": "nnUNetPlans",
        "label_manager": "LabelManager",
        "configurations": {CONFIGURATION: configuration},
        "continue_training": False,  # the trainer looks for it here
    }


def nnunet_dataset(plan: Plan) -> dict[str, Any]:
    """Return nnU-Net's dataset.json. The classes have numbers, as some names would mean something to it."""
    return {
        "channel_names": {str(channel): name for channel, name in enumerate(plan.task.modalities)},
        "labels": {"background": 0} | {f"class {value}": value for value in range(1, plan.task.num_classes)},
    }


def kernel_sizes(spacing_mm: Sequence[float], strides: Sequence[Sequence[int]]) -> list[tuple[int, ...]]:
    """Return the kernels of all levels by nnU-Net's rule.

    They are 1 along an axis whose voxels are at least twice as long as the shortest edge on this level and on those
    before, else 3; on the last level 3.

    Args:
        spacing_mm: of the first level.
        strides: one per down-sampling, finest first.
    """
    spacings = accumulate([tuple(spacing_mm), *strides[:-1]], products)
    kernels = [tuple(3 if length < 2 * min(spacing) else 1 for length in spacing) for spacing in spacings]
    return [*accumulate(kernels, lambda before, here: tuple(map(max, before, here))), (3, 3, 3)]


def coarsest_first(plan: Plan) -> Axes:
    """Return the axes in nnU-Net's order: that of the longest voxels, then the others."""
    first = plan.spacing_mm.index(max(plan.spacing_mm))
    return sorted(OUR_AXES, key=lambda axis: axis != first)


def turned(values: Sequence[Any], axes: Axes) -> tuple[Any, ...]:
    """Return one value per axis in another order."""
    return tuple(values[axis] for axis in axes)


def products(one: Sequence[Any], other: Sequence[Any]) -> tuple[Any, ...]:
    """Return the product of two values per axis."""
    return tuple(map(operator.mul, one, other))
