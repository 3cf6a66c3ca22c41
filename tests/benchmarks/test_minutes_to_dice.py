"""Minutes to a Dice: order, continuation and record with trainings that take no time; peers for a few steps."""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from monai_nas.benchmarks import minutes_to_dice as module
from monai_nas.benchmarks import minutes_to_dice_peers as peers
from monai_nas.benchmarks import minutes_to_dice_units as units
from monai_nas.benchmarks.minutes_to_dice import lengths, main
from monai_nas.benchmarks.minutes_to_dice_units import MinutesStudy, minutes_of, score
from monai_nas.benchmarks.speed.contest import plain_compute
from monai_nas.benchmarks.speed.nnunet import Turned, left_out
from monai_nas.files import load_tensors, read_json, write_json
from monai_nas.metrics import CaseScores, ScoreTable
from monai_nas.tasks.splits import make_folds, training_cases
from monai_nas.training import TrainerConfig

ENVIRONMENT = {"device": "cpu"}


class Trainings:
    """Stand for the processes: each takes the minutes asked for and one more, and has a Dice by its name."""

    def __init__(self, dice: dict[str, float]) -> None:
        self.dice = dice
        self.commands: list[list[str]] = []
        self.cut = ""  # name of a training that is interrupted, once

    @property
    def names(self) -> list[str]:
        return [Path(words[words.index("--out") + 1]).parent.name for words in self.commands]

    def run(self, command: Sequence[str], name: str, folder: Path, tick: Any) -> None:
        if (folder / "run" / "run.json").exists():
            return
        self.commands.append(list(command))
        if name == self.cut:
            self.cut = ""
            raise KeyboardInterrupt
        asked = float(command[command.index("--minutes") + 1])
        facts = {"minutes_of_last_part": asked, "steps": 9, "num_parameters": 7, "environment": ENVIRONMENT}
        write_json(folder / "run" / "run.json", facts)
        os.utime(folder / "run" / "run.json", (1e9, 1e9))
        start = {"began": 1e9 - 60 * (asked + 1), "checkpoint_before": None, "peak_memory_bytes": 1}
        write_json(folder / "starts.json", [start])

    def score(self, contender: str, run: Path, study: MinutesStudy) -> ScoreTable:
        value = self.dice[run.parent.name.removesuffix("_minutes")]
        case = CaseScores("one", (value, value), (value, value), 1.0)
        return ScoreTable("Task04_Hippocampus", ("Anterior", "Posterior"), "published", (case,))


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> Trainings:
    fake = Trainings({"ours_6": 0.8, "ours_8": 0.88, "ours_search_6": 0.9, "dynunet_27": 0.6, "nnunet_45": 0.87})
    monkeypatch.setattr(units, "run_to_its_end", fake.run)
    monkeypatch.setattr(units, "score", fake.score)
    monkeypatch.setattr(module, "left_out", dict)
    return fake


def words_for(data: Path, folder: Path, *more: str) -> list[str]:
    architecture = folder / "architecture.json"
    write_json(architecture, {"format": 1, "space": "dynunet", "settings": {}, "choices": {}})
    words = ["--data", str(data), "--runs", str(folder / "runs"), "--out", str(folder / "minutes.json")]
    return [*words, "--architecture", str(architecture), "--first-minutes", "6", "--minutes-limit", "24", *more]


def test_lengths_grow_by_a_quarter_up_to_the_limit() -> None:
    assert lengths(12, 37) == [12, 15, 19, 24, 30]
    assert lengths(12, 38) == [12, 15, 19, 24, 30, 38]
    assert lengths(0.5, 0.5) == [0.5] and lengths(6, 5) == []


def test_each_trains_longer_until_it_has_the_dice(phantoms: Path, tmp_path: Path, trainings: Trainings) -> None:
    main(words_for(phantoms, tmp_path))
    expected = ["ours_6", "ours_8", "ours_search_6", "dynunet_27", "nnunet_45"]
    assert trainings.names == [f"{name}_minutes" for name in expected]
    record = read_json(tmp_path / "minutes.json")
    assert record["target_dice"] == 0.87 and record["asked_minutes"] == [6, 8, 10, 13, 17, 22]
    found = {
        name: (entry["asked_minutes"], entry["dice"], entry["censored"], entry["at_most"], len(entry["trainings"]))
        for name, entry in record["contenders"].items()
    }
    assert found == {
        "ours": (8, 0.88, False, False, 2),
        "ours_search": (6, 0.9, False, False, 1),
        "dynunet": (3 * 9, 0.6, True, False, 1),
        "nnunet": (5 * 9, 0.87, False, True, 1),
    }
    times = {name: entry["times_as_long"] for name, entry in record["contenders"].items()}
    assert times == pytest.approx({"ours": 1, "ours_search": 7 / 9, "dynunet": 28 / 9, "nnunet": 46 / 9})
    assert record["contenders"]["ours"]["trainings"][0]["environment"] == ENVIRONMENT
    assert record["environment"]["versions"]["torch"] and str(tmp_path) not in json.dumps(record)


def test_contenders_see_the_cases_outside_the_fold_and_a_fresh_cache(
    phantoms: Path, tmp_path: Path, trainings: Trainings
) -> None:
    main(words_for(phantoms, tmp_path, "--contender", "ours", "dynunet", "--fold", "1"))
    ours, stock = (next(words for words in trainings.commands if key in words) for key in ("train", "dynunet"))
    for words in (ours, stock):
        seen = {case.name for case in training_cases(Path(words[words.index("--data") + 1]))}
        every = [case.name for case in training_cases(phantoms)]
        assert seen == set(every) - set(make_folds(every, 0)[1])
        assert all(
            path.is_file() for case in training_cases(tmp_path / "runs/training" / phantoms.name) for path in case.files
        )
    caches = [words[1] for words in trainings.commands]
    assert all(cache.startswith("MONAI_NAS_CACHE=") for cache in caches) and len(set(caches)) == len(caches)


def test_what_was_cut_goes_on_and_what_is_done_stays(
    phantoms: Path, tmp_path: Path, trainings: Trainings, capsys: pytest.CaptureFixture[str]
) -> None:
    trainings.cut = "ours_8_minutes"
    with pytest.raises(SystemExit) as left:
        main(words_for(phantoms, tmp_path))
    assert left.value.code == 130
    record = read_json(tmp_path / "minutes.json")
    assert record["contenders"]["dynunet"] is None and record["contenders"]["ours"]["censored"]
    assert record["contenders"]["ours"]["times_as_long"] is None
    main(words_for(phantoms, tmp_path))
    assert [trainings.names.count(f"ours_{length}_minutes") for length in (6, 8)] == [1, 2]
    count = len(trainings.commands)
    capsys.readouterr()
    main(words_for(phantoms, tmp_path))
    assert len(trainings.commands) == count and capsys.readouterr().out == ""
    main(
        words_for(phantoms, tmp_path, "--target", "80", "--contender", "ours")
    )  # the same trainings tell of another target, too
    ours = read_json(tmp_path / "minutes.json")["contenders"]["ours"]
    assert (ours["asked_minutes"], ours["censored"], ours["times_as_long"]) == (6, False, 1.0)


def test_nnunet_waits_for_ours_and_is_asked_for_where_it_is_not_installed(
    phantoms: Path,
    tmp_path: Path,
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = words_for(phantoms, tmp_path, "--contender", "nnunet")
    main(arguments)
    assert capsys.readouterr().out == "nnunet waits until ours has a Dice of 87\n" and not trainings.commands
    monkeypatch.setattr(module, "left_out", lambda: {"nnunet": "not installed: pip install monai-nas[peers]"})
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2
    fault = "error: nnunet: not installed: pip install monai-nas[peers]; or name the others by --contender\n"
    assert capsys.readouterr().err == fault
    main(words_for(phantoms, tmp_path, "--contender", "dynunet"))
    assert capsys.readouterr().out == "dynunet waits until ours has a Dice of 87\n"


def test_another_processor_does_not_go_on(
    phantoms: Path,
    tmp_path: Path,
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = words_for(phantoms, tmp_path, "--contender", "ours")
    main(arguments)
    monkeypatch.setattr(units, "processor", lambda: "an abacus, 2 cores")
    with pytest.raises(SystemExit) as left:
        main(arguments)
    assert left.value.code == 2 and "made with another processor" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "fault"),
    [
        (("--seed", "1"), "made with another seed"),
        (("--fold", "1"), "made with another fold:"),
        (("--first-minutes", "30"), "--minutes-limit 24: less than --first-minutes"),
    ],
)
def test_runs_of_something_else_are_refused(
    more: tuple[str, ...],
    fault: str,
    phantoms: Path,
    tmp_path: Path,
    trainings: Trainings,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(words_for(phantoms, tmp_path, "--contender", "ours_search"))
    with pytest.raises(SystemExit) as left:
        main(words_for(phantoms, tmp_path, "--contender", "ours_search", *more))
    assert left.value.code == 2 and fault in capsys.readouterr().err


def test_minutes_count_from_nothing_but_for_restarts() -> None:
    def start(began: float, kept: float | None) -> dict[str, float | None]:
        return {"began": 60 * began, "checkpoint_before": None if kept is None else 60 * kept}

    assert minutes_of([start(100, None)], 60 * 107, 6) == pytest.approx((7, 0))
    # cut 5 minutes after the first start began, and once more before another checkpoint; the last one read for 2
    cut = [start(100, None), start(200, 105), start(300, 105)]
    assert minutes_of(cut, 60 * 308, 6) == pytest.approx((5 + 6, 2))
    # without any checkpoint the first start was as if it had not been, and reading is part of the second
    assert minutes_of([start(100, None), start(200, None)], 60 * 208, 6) == pytest.approx((8, 0))
    assert minutes_of([start(100, None), start(200, 105), start(300, 204)], 60 * 308, 6) == pytest.approx((13, 4))


def steps_then(count: int, interrupt: bool) -> Any:
    """Return what stands for `shares` and ends after some steps."""

    def shares(seconds: float, before: float) -> Iterator[float]:
        for step in range(count):
            yield step / count
        if interrupt:
            raise KeyboardInterrupt

    return shares


@pytest.mark.parametrize(
    "name", ["dynunet", pytest.param("nnunet", marks=pytest.mark.skipif(bool(left_out()), reason="not installed"))]
)
def test_a_peer_trains_goes_on_and_is_scored(
    name: str, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_json(tmp_path / "architecture.json", {})
    study = MinutesStudy(phantoms, tmp_path / "runs", tmp_path / "architecture.json", 0, 0)
    study.prepare()
    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "0")
    run, fixed = tmp_path / "runs" / "unit" / "run", {"minutes": 1.0, "seed": 0, "compute": plain_compute("cpu")}
    monkeypatch.setattr(peers, "shares", steps_then(2, interrupt=True))
    with pytest.raises(KeyboardInterrupt):
        peers.train_peer(name, study.withheld.training, run, **fixed)
    before = load_tensors(run / "checkpoint.pt")
    assert before["steps"] == 2 and before["seconds"] > 0 and not (run / "run.json").exists()
    monkeypatch.setattr(peers, "shares", steps_then(1, interrupt=False))
    peers.train_peer(name, study.withheld.training, run, **fixed)
    facts, weights = read_json(run / "run.json"), load_tensors(run / "model.pt")
    assert facts["steps"] == 3 and facts["environment"]["dtype"] == "float32" and facts["num_parameters"] > 0
    assert ("peer" in facts["environment"]) == (name == "nnunet")
    assert not (run / "checkpoint.pt").exists() and weights.keys() == before["network"].keys()
    assert any(not torch.equal(weights[key], before["network"][key]) for key in weights)
    table = score(name, run, study)
    assert sorted(case.case for case in table.cases) == sorted(case.name for case in study.withheld.cases)


def test_the_clock_of_a_peer_ends_and_counts_what_passed_before() -> None:
    found = list(peers.shares(0.05, 0.04))
    assert found and found[0] >= 0.8 and found == sorted(found) and found[-1] < 1
    assert not list(peers.shares(0.05, 0.05))


def test_the_rate_of_the_stock_network_warms_up_and_falls() -> None:
    config = TrainerConfig()
    assert peers.rate_after(0, 0.0, config) == pytest.approx(config.rate / config.warmup_steps)
    assert peers.rate_after(100, 0.5, config) == pytest.approx(config.rate / 2)
    assert peers.rate_after(100, 1.0, config) == pytest.approx(0)


def test_a_network_of_other_axes_is_turned() -> None:
    image, weight = torch.randn(2, 1, 3, 4, 5), torch.randn(1, 1, 5, 3, 4)  # its axes: ours 2, 0, 1
    turned = Turned(torch.nn.Identity(), (2, 0, 1))
    assert torch.equal(turned(image), image)

    class Weighted(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            return image * weight

    assert torch.equal(Turned(Weighted(), (2, 0, 1))(image), image * weight.permute(0, 1, 3, 4, 2))


@pytest.mark.slow
def test_the_real_commands(phantoms: Path, tmp_path: Path) -> None:
    names = ["ours", "ours_search", "dynunet"]
    words = ["--first-minutes", "0.02", "--minutes-limit", "0.02", "--target", "0.001"]
    main([*words_for(phantoms, tmp_path, "--contender", *names), *words])
    contenders = read_json(tmp_path / "minutes.json")["contenders"]
    for name in names:
        (training,) = contenders[name]["trainings"]
        assert training["steps"] >= 1 and training["minutes"] > 0.02 and training["starts"] == 1
    assert not list((tmp_path / "runs").glob("*/cache"))
