"""Kills at random moments: their draw, what is compared, and what is found with programs that do and do not resume."""

import os
import sys
import time
from pathlib import Path

import pytest

from monai_nas.benchmarks.kills import main
from monai_nas.benchmarks.kills_moments import STAGES, Moment, Timeline, Watch, draw_moments, stage_of
from monai_nas.benchmarks.kills_runs import Kill, differing, digests, disturb, find_kill, losses, start
from monai_nas.errors import UserError
from monai_nas.files import read_json, save_tensors, write_json
from monai_nas.training import Schedule

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
STAGED = """
import os, sys, time
out = sys.argv[sys.argv.index("--out") + 1]
os.makedirs(out, exist_ok=True)
def write(name, content):
    if not os.path.exists(os.path.join(out, name)):
        time.sleep(0.4)
        open(os.path.join(out, name), "w").write(content)
time.sleep(0.3)
write("settings.json", "{}")
write("candidates.json", "{}")
write("supernet.pt", "")
if not os.path.exists(os.path.join(out, "finalists")):
    time.sleep(0.4)
    os.mkdir(os.path.join(out, "finalists"))
    open(os.path.join(out, "ranking.json"), "w").write("{}")
write("pareto.csv", "latency\\n" + str(time.time()))
"""
LOST = (("search", None, 1.0), ("search", None, 3.0), ("hypersegnas", "ranking", 2.0))


def never() -> bool:
    return False


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
    moments = draw_moments("search", 2001, seed=3)
    assert moments == draw_moments("search", 2001, seed=3) != draw_moments("search", 2001, seed=4)
    assert moments != draw_moments("train", 2001, seed=3)
    shares = [moment.share for moment in moments]
    assert {moment.stage for moment in moments} == {None}
    assert 0 <= min(shares) < 0.01 and 0.99 < max(shares) < 1 and 0.47 < sum(shares) / len(shares) < 0.53


def test_each_stage_has_its_moments() -> None:
    stages = [moment.stage for moment in draw_moments("hypersegnas", 10, seed=0)]
    assert stages == 2 * ["drawing", "supernet", "annealing", "ranking", "fine_tuning"]


def test_durations_and_the_machine_may_differ(run: Path) -> None:
    other = copy_of(run)
    write_json(other / "run.json", FACTS | {"minutes_of_last_part": 0.9, "environment": {"commit": "b"}})
    assert differing(run, other) == () and set(digests(run)) == {"model.pt", "history.csv", "run.json"}


def test_latencies_may_differ_and_other_costs_not(run: Path) -> None:
    other = copy_of(run)
    for folder, latency in ((run, 0.5), (other, 0.75)):
        write_json(folder / "run.json", FACTS | {"costs": {"latency": latency, "flops": 8}})
        (folder / "pareto.csv").write_text(f"flops,latency\n8,{latency}\n")
    assert differing(run, other) == ()
    write_json(other / "run.json", FACTS | {"costs": {"latency": 0.75, "flops": 9}})
    (other / "pareto.csv").write_text("flops,latency\n9,0.75\n")
    assert differing(run, other) == ("pareto.csv", "run.json")


def test_folders_within_are_compared(run: Path) -> None:
    other = copy_of(run)
    for folder, weights in ((run, b"one"), (other, b"two")):
        (folder / "finalists" / "0003" / "tensorboard").mkdir(parents=True)
        (folder / "finalists" / "0003" / "model.pt").write_bytes(weights)
        (folder / "finalists" / "0003" / "tensorboard" / "events").write_bytes(weights)
    assert differing(run, other) == ("finalists/0003/model.pt",)


def test_what_differs_is_named(run: Path) -> None:
    other = copy_of(run)
    (other / "model.pt").write_bytes(b"weighty")
    (other / "history.csv").unlink()
    write_json(other / "run.json", FACTS | {"steps": 13})
    (other / ".plan.json.x1.tmp").write_text("{")
    assert differing(run, other) == (".plan.json.x1.tmp", "history.csv", "model.pt", "run.json")


def test_the_state_at_a_kill(tmp_path: Path) -> None:
    assert find_kill("search", 1, 7.0, 7.5, tmp_path / "none") == Kill("search", 1, None, 0.5, 0.5, 0, (), ())
    save_tensors(tmp_path / "checkpoint.pt", {"epoch": 7, "rows": [], "state": {}})
    save_tensors(tmp_path / "model.pt", {})
    (tmp_path / "plan.json").write_text('{"format": ')
    for name in ("checkpoint.pt", "model.pt", "plan.json"):
        os.utime(tmp_path / name, (1000.0, 1000.0))
    kill = find_kill("train", 2, 990.0, 1001.23456, tmp_path)
    assert (kill.second, kill.seconds_lost, kill.epoch, kill.unreadable) == (11.235, 1.235, 7, ("plan.json",))
    assert kill.files == ("checkpoint.pt", "model.pt", "plan.json")
    assert find_kill("train", 2, 1001.0, 1001.5, tmp_path).seconds_lost == 0.5  # of this start, which wrote nothing


def test_a_half_written_checkpoint_is_found(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.pt").write_bytes(b"PK\x03\x04half")
    assert find_kill("search", 1, 0.0, 0.1, tmp_path).unreadable == ("checkpoint.pt",)


def test_the_most_that_was_lost_by_stage() -> None:
    kills = [Kill(verb, 1, stage, 9.0, lost, 0, (), ()) for verb, stage, lost in LOST]
    assert losses(kills) == {
        "search": {"kills": 2, "most_seconds": 3.0},
        "ranking": {"kills": 1, "most_seconds": 2.0},
    }


def test_the_whole_group_is_killed(tmp_path: Path) -> None:
    script = f"sleep 60 & echo $! > {tmp_path / 'pid'}; wait"
    while not (tmp_path / "pid").exists():  # a busy machine may not even start the shell in that time
        assert not start(["sh", "-c", script], tmp_path / "log", Watch(tmp_path, None, 0.5), 0.0)
    status = Path("/proc") / (tmp_path / "pid").read_text().strip() / "status"
    for _ in range(100):
        if not status.exists() or "State:\tZ" in status.read_text():
            return
        time.sleep(0.05)
    pytest.fail("the child of the killed process lives on")


def test_a_program_that_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"ended with status 3: no such folder"):
        start(["sh", "-c", "echo no such folder; exit 3"], tmp_path / "log", never, 0.0)


def test_checkpoints_come_as_asked_for(tmp_path: Path) -> None:
    assert start(["sh", "-c", "echo $MONAI_NAS_CHECKPOINT_SECONDS"], tmp_path / "log", never, 2.5)
    assert (tmp_path / "log").read_text() == "2.5\n" and "MONAI_NAS_CHECKPOINT_SECONDS" not in os.environ


@pytest.mark.parametrize(
    ("model", "found"),
    [pytest.param('"weights"', (), id="resumes"), pytest.param("open(starts).read()", ("model.pt",), id="does not")],
)
def test_all_kills_are_spent_and_differences_found(model: str, found: tuple[str, ...], tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", PROGRAM.format(model=model)]
    undisturbed = tmp_path / "search"
    began = time.perf_counter()
    assert start([*command, "--out", str(undisturbed)], tmp_path / "log", never, 0.0)
    seconds, told = time.perf_counter() - began, list[int]()
    moments = [Moment(None, share) for share in (0.9, 0.95, 0.9)]
    kills, outcomes = disturb(
        "search", command, moments, undisturbed, {None: seconds}, lambda: told.append(1), checkpoint_seconds=0.0
    )
    assert len(kills) == len(told) == 3 == sum(outcome.kills for outcome in outcomes)
    assert {kill.run for kill in kills} <= {outcome.run for outcome in outcomes}
    assert any("starts" in kill.files for kill in kills)
    assert {outcome.differing for outcome in outcomes if outcome.kills} == {found}


def test_a_moment_beyond_the_end_is_drawn_in(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-c", PROGRAM.format(model='"weights"')]
    assert start([*command, "--out", str(tmp_path / "train")], tmp_path / "log", never, 0.0)
    moments, seconds = [Moment(None, 0.5)], {None: 100.0}
    kills, outcomes = disturb("train", command, moments, tmp_path / "train", seconds, lambda: None, 0.0)
    assert len(kills) == 1 and [outcome.kills for outcome in outcomes][-1] == 1 and outcomes[0].kills == 0


def test_kills_fall_into_the_stages_they_are_meant_for(tmp_path: Path) -> None:
    command, undisturbed = [sys.executable, "-S", "-c", STAGED], tmp_path / "hypersegnas"
    assert start([*command, "--out", str(undisturbed)], tmp_path / "log", never, 0.0)
    stages = ["drawing", "supernet", "ranking", "fine_tuning"]
    moments, seconds = [Moment(stage, 0.5) for stage in stages], dict.fromkeys(stages, 0.4)
    kills, outcomes = disturb("hypersegnas", command, moments, undisturbed, {None: 2.0, **seconds}, lambda: None, 0.0)
    assert set(stages) <= {kill.stage for kill in kills}
    assert all(0 < kill.seconds_lost <= kill.second for kill in kills)
    assert {outcome.differing for outcome in outcomes} == {()}


def test_the_timeline_adds_up_to_the_whole(tmp_path: Path) -> None:
    began = time.time()
    timeline = Timeline(tmp_path)
    for name in ("settings.json", "candidates.json", "supernet.pt"):
        assert not timeline()
        write_json(tmp_path / name, {})
    assert not timeline() and list(timeline.seconds) == [None, "drawing", "supernet", "ranking"]
    assert 0 < sum(timeline.seconds.values()) <= time.time() - began


def test_a_stage_counts_from_the_first_state_of_this_start(tmp_path: Path) -> None:
    for name in ("settings.json", "candidates.json"):
        write_json(tmp_path / name, {})
    watch = Watch(tmp_path, "supernet", 0.0, began=time.time() + 60)
    assert not watch() and watch.lasted is None, "what another start wrote"
    watch = Watch(tmp_path, "supernet", 0.0, began=0.0)
    assert watch() and watch.lasted is not None
    assert not Watch(tmp_path, "supernet", 3600.0, began=0.0)()
    (tmp_path / "supernet.pt").touch()
    assert not watch(), "another stage"


def test_the_stage_is_that_of_the_folder(tmp_path: Path) -> None:
    """The last ninth of 18 steps anneals."""
    seen: list[str | None] = [stage_of(tmp_path)]
    for name in ("settings.json", "candidates.json"):
        write_json(tmp_path / name, {})
        seen.append(stage_of(tmp_path))
    Schedule(6, 3, 0).save(tmp_path / "schedule.json")
    for epoch, step in ((2, 3), (2, 4)):
        save_tensors(tmp_path / "checkpoint.pt", {"epoch": epoch, "step": step})
        seen.append(stage_of(tmp_path))
    (tmp_path / "supernet.pt").touch()
    seen.append(stage_of(tmp_path))
    (tmp_path / "checkpoint.pt").unlink()
    (tmp_path / "finalists").mkdir()
    seen.append(stage_of(tmp_path))
    (tmp_path / "pareto.csv").touch()
    assert seen == [None, "drawing", "supernet", "supernet", "annealing", "ranking", "fine_tuning"]
    assert stage_of(tmp_path) is None and set(STAGES) == {*seen} - {None}


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["search", "train", "hypersegnas"])
def test_killed_runs_end_in_the_same_bytes(verb: str, tmp_path: Path) -> None:
    kills = 5 if verb == "hypersegnas" else 1
    main(["--out", str(tmp_path / "kills.json"), "--verbs", verb, "--kills", str(kills), "--epochs", "6"])
    record = read_json(tmp_path / "kills.json")
    assert record["equal"] and {kill["verb"] for kill in record["kills"]} == {verb}
    assert {"model.pt", "architecture.json", "network.json", "history.csv"} <= set(record["compared"][verb])
    assert {"plan.json", "folds.json", "schedule.json", "run.json"} <= set(record["compared"][verb])
    if verb == "hypersegnas":
        assert {"pareto.csv", "supernet.pt", "ranking.json", "candidates.json"} <= set(record["compared"][verb])
        assert set(record["lost"]) >= set(STAGES)
