"""What searches under budgets share; modules that need another plan define their own."""

import dataclasses
from pathlib import Path

import pytest

from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    """A plan so small that a step takes a fraction of a second: a grid of two levels."""
    task = load_task(None, phantoms)
    measured = make_plan(task, measure_fingerprint(training_cases(phantoms), task))
    return dataclasses.replace(measured, width=4, patch_size=(16, 16, 16), strides=((2, 2, 2), (2, 2, 2)))
