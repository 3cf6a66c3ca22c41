"""What `--preset` stands for where a supernet is trained once and searched under budgets."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from torch import nn

from monai_nas.data.transforms import augmentation, rotated_and_flipped_crop
from monai_nas.errors import UserError
from monai_nas.losses import segmentation_loss
from monai_nas.plans.plan import Plan
from monai_nas.plans.rules import BROKEN_FIRST_EXTENT, stride_product
from monai_nas.skeletons import PSEUDO_3D
from monai_nas.spaces import DintsSpace, TopologySpace
from monai_nas.strategies import OneShotConfig
from monai_nas.tasks.task import SegTask

NUM_LEVELS, NUM_BLOCKS = 4, 12  # hypersegnas.txt, 3.1

GRIDS: Mapping[str, Callable[..., TopologySpace]] = MappingProxyType(
    {
        "topology": TopologySpace,
        "topology_pseudo_3d": partial(TopologySpace, operations=(*TopologySpace.operations, *PSEUDO_3D)),
        "dints": DintsSpace,
    }
)


@dataclass(frozen=True)
class OneShotPreset:
    """The values of one name."""

    grid: str  # one of GRIDS
    num_blocks: int  # of the grid
    supernet: OneShotConfig
    recompute: bool  # the supernet's blocks, in the backward pass: less memory, more time
    loss: Callable[[], nn.Module]
    patches: Callable[[SegTask, Plan], Sequence[dict[str, Any]]]  # transforms from a preprocessed case to a patch
    adapt: Callable[[Plan], Plan]  # from the plan of the rules to that of a grid; a plan given by hand is kept
    minutes: float | None  # of the supernet's training, where no length is asked for: either minutes
    steps: int | None  # or steps
    num_candidates: int  # of each budget, ranked with the supernet's weights
    num_judging_parts: int  # of the cases that candidates are judged by; after each part the hopeless are dropped
    num_finalists: int  # the best of those, fine-tuned
    fine_tuning_steps: int
    fine_tuning_rate: float  # of Adam


def grid_plan(plan: Plan) -> Plan:
    """Return the plan with one stride for each level of a grid, the first of them the stem's.

    The plan's strides come first; where they are fewer than the levels, the last one is repeated. The patch grows to
    multiples of their product: it still holds what it held, and scans that are smaller are padded. Its first axis keeps
    three voxels at the coarsest level, as two, there or above, would be more than 16 bits can take (decision 0004).
    """
    strides = (*plan.strides, *[plan.strides[-1]] * (NUM_LEVELS - len(plan.strides)))[:NUM_LEVELS]
    unit = stride_product(strides)
    x, y, z = (-(-length // step) * step for length, step in zip(plan.patch_size, unit, strict=True))
    x = max(x, (BROKEN_FIRST_EXTENT + 1) * unit[0])
    reasons = dict(plan.reasons) | {
        "strides": f"those of the rules, the last repeated: {NUM_LEVELS} levels of a grid, the first behind a stem.",
        "patch_size": f"{x}x{y}x{z} voxels: that of the rules, in multiples of the strides' product {unit}.",
    }
    return replace(plan, strides=strides, patch_size=(x, y, z), reasons=tuple(reasons.items()))


def paper_grid_plan(plan: Plan) -> Plan:
    """Return the plan with the values of hypersegnas.txt, section 4: eight patches of 96x96x96."""
    return replace(
        plan,
        patch_size=(96, 96, 96),
        batch_size=8,
        strides=((2, 2, 2),) * NUM_LEVELS,
        width=32,
        reasons=(("all", "the values of the HyperSegNAS paper, section 4: --preset paper"),),
    )


ONE_SHOT_PRESETS: Mapping[str, OneShotPreset] = MappingProxyType(
    {
        "cpu": OneShotPreset(
            grid="topology",
            num_blocks=NUM_BLOCKS,
            supernet=OneShotConfig(),
            recompute=False,
            loss=segmentation_loss,
            patches=augmentation,
            adapt=grid_plan,
            minutes=60.0,
            steps=None,
            num_candidates=500,
            num_judging_parts=3,
            num_finalists=5,
            fine_tuning_steps=100,
            fine_tuning_rate=2.5e-3,
        ),
        "paper": OneShotPreset(
            grid="topology",
            num_blocks=NUM_BLOCKS,
            supernet=OneShotConfig(law="coin", rate=2e-3),  # the paper names none, and this one is not tried
            recompute=True,  # eight patches of 96x96x96
            loss=segmentation_loss,
            patches=rotated_and_flipped_crop,
            adapt=paper_grid_plan,
            minutes=None,
            steps=180_000,  # 160,000, then 20,000 of annealing
            num_candidates=2000,
            num_judging_parts=1,  # the paper judges all candidates on all cases
            num_finalists=10,
            fine_tuning_steps=5000,
            fine_tuning_rate=1e-3,  # the paper names none
        ),
    }
)


def grid_named(name: str) -> Callable[..., TopologySpace]:
    """Return what makes the spaces of a name; raises UserError with the known names for another."""
    if name not in GRIDS:
        raise UserError(f"--grid {name}: unknown, choose one of {', '.join(GRIDS)}")
    return GRIDS[name]


def one_shot_preset_named(name: str) -> OneShotPreset:
    """Return the preset of a name; raises UserError with the known names for another."""
    if name not in ONE_SHOT_PRESETS:
        raise UserError(f"--preset {name}: unknown, choose one of {', '.join(ONE_SHOT_PRESETS)}")
    return ONE_SHOT_PRESETS[name]
