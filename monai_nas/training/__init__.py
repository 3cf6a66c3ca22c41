"""Training of a given network, and what searches share with it: schedule, handlers."""

from monai_nas.training.evaluator import mean_dice
from monai_nas.training.handlers import attach_loggers, attach_progress, attach_record
from monai_nas.training.schedule import TIMED_STEPS, Schedule, epochs_in, longest_epoch, step_seconds, typical_seconds
from monai_nas.training.trainer import Learners, TrainerConfig, make_trainer

__all__ = [
    "TIMED_STEPS",
    "Learners",
    "Schedule",
    "TrainerConfig",
    "attach_loggers",
    "attach_progress",
    "attach_record",
    "epochs_in",
    "longest_epoch",
    "make_trainer",
    "mean_dice",
    "step_seconds",
    "typical_seconds",
]
