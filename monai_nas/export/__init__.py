"""What leaves the project: a run as a MONAI bundle, with its configurations and its model card."""

from monai_nas.export.bundle import write_bundle
from monai_nas.export.finished_run import FinishedRun, load_run

__all__ = ["FinishedRun", "load_run", "write_bundle"]
