"""What is to be segmented: tasks as values, their cases, and how cases are split. Imports no torch."""

from monai_nas.tasks.images import Image, read_image
from monai_nas.tasks.msd import MSD_TASKS, msd_task
from monai_nas.tasks.splits import Case, make_folds, search_halves, training_cases, unlabelled_cases
from monai_nas.tasks.task import SegTask, load_task

__all__ = [
    "MSD_TASKS",
    "Case",
    "Image",
    "SegTask",
    "load_task",
    "make_folds",
    "msd_task",
    "read_image",
    "search_halves",
    "training_cases",
    "unlabelled_cases",
]
