"""What `--preset` stands for: every value that a search or a training takes from its name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from torch import nn

from monai_nas.data.transforms import augmentation, random_crop
from monai_nas.errors import UserError
from monai_nas.losses import multi_class_dice_loss, segmentation_loss
from monai_nas.plans.plan import Plan
from monai_nas.plans.rules import ANISOTROPIC_RATIO, WIDTH
from monai_nas.strategies import BilevelConfig
from monai_nas.tasks.task import SegTask
from monai_nas.training import TrainerConfig

PAPER_PATCH, PAPER_SLICES = 128, 24  # scnas.txt, section 4
PAPER_PLATEAU_EPOCHS, PAPER_PLATEAU_FACTOR = 20, 0.1


@dataclass(frozen=True)
class Preset:
    """The values of one name."""

    strategies: Mapping[str, Any]  # search strategy -> its configuration
    training: TrainerConfig
    loss: Callable[[], nn.Module]
    patches: Callable[[SegTask, Plan], Sequence[dict[str, Any]]]  # transforms from a preprocessed case to a patch
    adapt: Callable[[Plan], Plan]  # from the plan of the rules to the preset's; a plan given by hand is kept
    minutes: float | None  # the length, where none is asked for: either minutes
    epochs: int | None  # or epochs
    settle: bool  # whether a search ends with a phase that trains the chosen operations alone
    sampling_patch_share: float  # of each axis of the patch, while operations are sampled


def paper_plan(plan: Plan) -> Plan:
    """Return a plan with the values of scnas.txt, section 4.

    Batches of one patch of 128x128x128, or 24 slices where they are thick; 32 channels; three reductions by 2 on every
    axis; z-scores of each channel.
    """
    finest = min(plan.spacing_mm)
    x, y, z = (PAPER_SLICES if mm >= ANISOTROPIC_RATIO * finest else PAPER_PATCH for mm in plan.spacing_mm)
    return replace(
        plan,
        batch_size=1,
        patch_size=(x, y, z),
        strides=((2, 2, 2),) * 3,
        width=WIDTH,
        intensity=tuple(replace(rule, kind="mri") for rule in plan.intensity),
        reasons=(("all", "the values of the SCNAS paper, section 4: --preset paper"),),
    )


def as_it_is(plan: Plan) -> Plan:
    """Return the plan."""
    return plan


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "cpu": Preset(
            strategies={"scnas": BilevelConfig()},
            training=TrainerConfig(),
            loss=segmentation_loss,
            patches=augmentation,
            adapt=as_it_is,
            minutes=30.0,
            epochs=None,
            settle=True,
            sampling_patch_share=0.6,  # a fifth of the voxels
        ),
        "paper": Preset(
            strategies={
                "scnas": BilevelConfig(
                    weight_rate=0.025,
                    weight_betas=(0.9, 0.999),  # printed as (0.1, 0.001), most likely 1 - beta: docs/methods.md
                    alpha_rate=0.003,
                    alpha_betas=(0.5, 0.999),
                    warmup_share=0.0,
                    plateau_epochs=PAPER_PLATEAU_EPOCHS,
                    plateau_factor=PAPER_PLATEAU_FACTOR,
                )
            },
            training=TrainerConfig(
                rate=0.025,
                betas=(0.9, 0.999),
                warmup_steps=0,
                falls_on_cosine=False,
                plateau_epochs=PAPER_PLATEAU_EPOCHS,
                plateau_factor=PAPER_PLATEAU_FACTOR,
                max_gradient_norm=float("inf"),
            ),
            loss=multi_class_dice_loss,
            patches=random_crop,
            adapt=paper_plan,
            minutes=None,
            epochs=400,
            settle=False,
            sampling_patch_share=1.0,
        ),
    }
)


def preset_named(name: str) -> Preset:
    """Return the preset of a name; raises UserError with the known names for another."""
    if name not in PRESETS:
        raise UserError(f"--preset {name}: unknown, choose one of {', '.join(PRESETS)}")
    return PRESETS[name]
