"""A plan and an architecture small enough to be timed in a moment."""

from dataclasses import replace

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import committed_plan
from monai_nas.spaces import CellUNetSpace


@pytest.fixture(scope="session")
def tiny_plan() -> Plan:
    plan = committed_plan("Task04_Hippocampus")
    return replace(plan, patch_size=(16, 16, 16), batch_size=1, strides=((2, 2, 2),) * 2, width=8)


@pytest.fixture(scope="session")
def architecture() -> Architecture:
    return CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0))
