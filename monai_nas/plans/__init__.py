"""How a task will be read and trained: a fingerprint is measured, a plan follows from it by rules. Imports no torch."""

from monai_nas.plans.fingerprint import Fingerprint, measure_fingerprint
from monai_nas.plans.plan import IntensityRule, Plan, make_plan

__all__ = ["Fingerprint", "IntensityRule", "Plan", "make_plan", "measure_fingerprint"]
