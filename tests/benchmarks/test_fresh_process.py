"""Processes of their own, and what they hold."""

import os
import subprocess
import sys

import pytest

from monai_nas.benchmarks.fresh_process import in_fresh_process

MIB = 2**20
GROW = """
import numpy as np
from monai_nas.benchmarks.fresh_process import Growth
np.ones(600 * 2**20, dtype=np.uint8).sum()  # and let go of, before anything is measured
with Growth() as growth:
    np.ones({} * 2**20, dtype=np.uint8).sum()
print(growth.bytes)
"""


@pytest.mark.slow
def test_growth_is_the_most_that_was_held_in_between() -> None:
    small, large = (int(subprocess.check_output([sys.executable, "-c", GROW.format(size)])) for size in (100, 400))
    assert abs(large - small - 300 * MIB) < 8 * MIB
    assert abs(small - 100 * MIB) < 32 * MIB


@pytest.mark.slow
def test_each_call_has_a_process() -> None:
    assert len({os.getpid(), in_fresh_process(os.getpid), in_fresh_process(os.getpid)}) == 3


@pytest.mark.slow
def test_a_fault_there_is_a_fault_here() -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        in_fresh_process(os.stat, "/nowhere", follow_symlinks=False)
