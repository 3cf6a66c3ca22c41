"""Kills at random moments: their draw, what is compared, and what is found with programs that do and do not resume."""

import os
import sys
import time
from pathlib import Path

import pytest

from monai_nas.benchmarks import kills as module
from monai_nas.benchmarks.kills import differing, digests, disturb, draw_moments, find_kill, main, start
from monai_nas.errors import UserError
from monai_nas.files import read_json, save_tensors, write_json

FACTS = {"verb": "search", "steps": 12, "minutes_of_last_part": 0.5, "environment": {"commit": "a"}}
PROGRAM = """
import os, sys, time
out = sys.argv[sys.argv.index("--out") + 1]
os.makedirs(out, exist_ok=True)
starts = os.path.join(out, "starts")
open(starts, "a").write("x")
for step in range(10):
    time.sleep(0.05)
open(os.path.join(out, "model.pt"), "w").write({model})
os.remove(starts)
"""


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A RUN folder with three files."""
    folder = tmp_path / "run"
    (folder / "tensorboard").mkdir(parents=True)
    (folder / "model.pt").write_bytes(b"weights")
    (folder / "history.csv").write_text("epoch,loss\n1,0.5\n")
    write_json(folder / "run.json", FACTS)
    return folder


def copy_of(run: Path) -> Path:
    """Return another folder of the same content, in another order of making."""
    other = run.with_name("other")
    other.mkdir()
    for path in sorted(run.iterdir(), reverse=True):
        if path.is_file():
            (other / path.name).write_bytes(path.read_bytes())
    return other


def test_moments_are_uniform_and_repeat() -> None:
    moments = draw_moments(2001, seed=3)
    assert [len(shares) for shares in moments.values()] == [1001, 1000] and list(moments) == ["search", "train"]
    assert moments == draw_moments(2001, seed=3) != draw_moments(2001, seed=4)
    for shares in moments.values():
        assert 0 <= min(shares) < 0.01 and 0.99 < max(shares) < 1 and 0.47 < sum(shares) / len(shares) < 0.53


def test_durations_and_the_machine_may_differ(run: Path) -> None:
    other = copy_of(run)
    write_json(other / "run.json", FACTS | {"minutes_of_last_part": 0.9, "environment": {"commit": "b"}})
    assert differing(run, other) == () and set(digests(run)) == {"model.pt", "history.csv", "run.json"}


def test_what_differs_is_named(run: Path) -> None:
    other = copy_of(run)
    (other / "model.pt").write_bytes(b"weighty")
    (other / "history.csv").unlink()
    write_json(other / "run.json", FACTS | {"steps": 13})
    (other / ".plan.json.x1.tmp").write_text("{")
    assert differing(run, other) == (".plan.json.x1.tmp", "history.csv", "model.pt", "run.json")


def test_the_state_at_a_kill(tmp_path: Path) -> None:
    assert find_kill("search", 1, 0.5, tmp_path / "none") == module.Kill("search", 1, 0.5, 0, (), ())
    save_tensors(tmp_path / "checkpoint.pt", {"epoch": 7, "rows": [], "state": {}})
    save_tensors(tmp_path / "model.pt", {})
    (tmp_path / "plan.json").write_text('{"format": ')
    kill = find_kill("train", 2, 1.23456, tmp_path)
    assert (kill.second, kill.epoch, kill.unreadable) == (1.235, 7, ("plan.json",))
    assert kill.files == ("checkpoint.pt", "model.pt", "plan.json")


def test_a_half_written_checkpoint_is_found(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04half")
    assert find_kill("search", 1, 0.1, tmp_path).unreadable == ("checkpoint.pt",)


def test_the_whole_group_is_killed(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    while not (tmp_path / "pid").exists():  # a busy machine may not even start the shell in that time
        assert not start(["sh", "-c", script], tmp_path / "log", 0.5)
    status = Path("/proc") / (tmp_path / "pid").read_text().strip() / "status"
    for _ in range(100):
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child of the killed process lives on")


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ended with status 3: no such folder"):
        start(["sh", "-c", "echo no such folder; exit 3"], tmp_path / "log", None)


def test_checkpoints_come_each_epoch(tmp_path: Path) -> None:
    assert start(["sh", "-c", "echo $MONAI_NAS_CHECKPOINT_SECONDS"], tmp_path / "log", None)
    assert (tmp_path / "log").read_text() == "0\n" and "MONAI_NAS_CHECKPOINT_SECONDS" not in os.environ


@pytest.mark.parametrize(
    ("model", "found"),
    [pytest.param('"weights"', (), id="resumes"), pytest.param("open(starts).read()", ("model.pt",), id="does not")],
)
def test_all_kills_are_spent_and_differences_found(model: str, found: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", PROGRAM.format(model=model)]
    undisturbed = tmp_path / "search"
    began = time.perf_counter()
    assert start([*command, "--out", str(undisturbed)], tmp_path / "log", None)
    seconds, told = time.perf_counter() - began, list[int]()
    kills, outcomes = disturb("search", command, [0.9, 0.95, 0.9], undisturbed, seconds, lambda: told.append(1))
    assert len(kills) == len(told) == 3 == sum(outcome.kills for outcome in outcomes)
    assert {kill.run for kill in kills} <= {outcome.run for outcome in outcomes}
    assert any("starts" in kill.files for kill in kills)
    assert {outcome.differing for outcome in outcomes if outcome.kills} == {found}


def test_a_moment_beyond_the_end_is_drawn_in(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", PROGRAM.format(model='"weights"')]
    assert start([*command, "--out", str(tmp_path / "train")], tmp_path / "log", None)
    kills, outcomes = disturb("train", command, [0.5], tmp_path / "train", 100.0, lambda: None)
    assert len(kills) == 1 and [outcome.kills for outcome in outcomes][-1] == 1 and outcomes[0].kills == 0


@pytest.mark.slow
def test_killed_runs_end_in_the_same_bytes(tmp_path: Path) -> None:
    main(["--out", str(tmp_path / "kills.json"), "--kills", "2", "--epochs", "3"])
    record = read_json(tmp_path / "kills.json")
    assert record["equal"] and [kill["verb"] for kill in record["kills"]] == ["search", "train"]
    for verb in ("search", "train"):
        assert {"model.pt", "architecture.json", "network.json", "history.csv"} <= set(record["compared"][verb])
        assert {"plan.json", "folds.json", "schedule.json", "run.json"} <= set(record["compared"][verb])
