"""Processes of the evidence: their memory, their log, and that none is left behind or doubled."""

import os
import sys
import time
from pathlib import Path

import pytest

from monai_nas.benchmarks import evidence_runs
from monai_nas.benchmarks.evidence_runs import Ended, check, run_command
from monai_nas.errors import UserError

MIB = 2**20


@pytest.fixture(autouse=True)
def quick_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_runs, "POLL_SECONDS", 0.02)


def test_a_process_has_a_peak_and_a_log(tmp_path: Path) -> None:
    log, ticks = tmp_path / "folder" / "log.txt", list[int]()
    own = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024
    size = own + 64 * MIB  # more than this process ever took, as that counts in the other's peak
    code = f"block = bytearray({size}); block[::4096] = bytes(len(block[::4096])); print('did it')"
    ended = run_command([sys.executable, "-c", code], log, lambda: ticks.append(1))
    assert (ended.status, ended.interrupted) == (0, False)
    assert size < ended.peak_memory_bytes < size + 64 * MIB
    assert ticks
    run_command([sys.executable, "-c", "import sys; sys.exit('in vain')"], log, lambda: None)
    lines = log.read_text().splitlines()
    assert lines[0].startswith(f"$ {sys.executable}") and "did it" in lines and lines[-1] == "in vain"


def test_ctrl_c_ends_the_process(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"

    def interrupt() -> None:
        if log.read_text().endswith("\n") and len(log.read_text().splitlines()) == 2:
            raise KeyboardInterrupt

    began = time.monotonic()
    ended = run_command([sys.executable, "-c", code], log, interrupt)
    assert ended.interrupted and ended.status != 0 and time.monotonic() - began < 30
    with pytest.raises(ProcessLookupError):
        os.kill(int(log.read_text().splitlines()[1]), 0)
    with pytest.raises(KeyboardInterrupt):
        check(ended, ["train"], log)


def test_a_run_is_not_made_twice_at_a_time(tmp_path: Path) -> None:
    log, refused = tmp_path / "log.txt", list[str]()

    def try_another() -> None:
        try:
            run_command([sys.executable, "-c", ""], log, lambda: None)
        except UserError as error:
            refused.append(str(error))

    run_command([sys.executable, "-c", "import time; time.sleep(0.2)"], log, try_another)
    assert refused and "log.txt: in use by another process" in refused[0]
    assert run_command([sys.executable, "-c", ""], log, lambda: None).status == 0


def test_a_failure_shows_the_last_line(tmp_path: Path) -> None:
    (tmp_path / "log.txt").write_text("a\nb\n")
    check(Ended(0, 1, False), "monai-nas train", tmp_path / "log.txt")
    with pytest.raises(UserError, match=r"`monai-nas train` ended with status 3: b$"):
        check(Ended(3, 1, False), "monai-nas train", tmp_path / "log.txt")
