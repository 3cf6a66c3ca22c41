"""Training of a given network, and what searches share with it: schedule, loss, handlers."""

from monai_nas.training.evaluator import mean_dice
from monai_nas.training.handlers import attach_loggers, attach_progress, attach_record
from monai_nas.training.losses import segmentation_loss
from monai_nas.training.schedule import Schedule, seconds_per_step
from monai_nas.training.trainer import Learners, TrainerConfig, make_trainer

__all__ = [
    "Learners",
    "Schedule",
    "TrainerConfig",
    "attach_loggers",
    "attach_progress",
    "attach_record",
    "make_trainer",
    "mean_dice",
    "seconds_per_step",
    "segmentation_loss",
]
