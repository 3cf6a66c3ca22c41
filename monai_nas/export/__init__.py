"""What leaves the project: a MONAI bundle of a run or to be trained, with its configurations and its model card."""

from monai_nas.export.bundle import write_bundle, write_untrained_bundle
from monai_nas.export.finished_run import FinishedRun, load_run

__all__ = ["FinishedRun", "load_run", "write_bundle", "write_untrained_bundle"]
