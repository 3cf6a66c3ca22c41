"""Growth: exponents, what is measured again and what is not, what two processes bring, and the plan for more."""

import re
import statistics
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_nas.benchmarks import growth as module
from monai_nas.benchmarks.growth import exponent, grow, main
from monai_nas.benchmarks.growth_plan import ASSUMED, PRESET, all_reduce_bytes, longest_of, machine, plan_for_more
from monai_nas.benchmarks.growth_processes import WAYS, measure, sharing, spread
from monai_nas.benchmarks.growth_series import SERIES
from monai_nas.files import read_json, write_json

DOCUMENT = Path(__file__).parents[2] / "docs" / "scaling.md"


def test_a_power_law_is_found() -> None:
    amounts = [8.0, 64.0, 512.0]
    found = exponent(amounts, [3 * amount**0.75 for amount in amounts])
    assert found is not None
    assert (found["exponent"], found["between_last"]) == pytest.approx((0.75, 0.75))
    assert (found["factor"], found["r_squared"]) == pytest.approx((3.0, 1.0))
    assert found["standard_error"] == pytest.approx(0.0, abs=1e-6)


def test_a_fixed_part_is_felt_less_at_the_end() -> None:
    found = exponent([1, 2, 4, 8], [11.0, 12.0, 14.0, 18.0])
    assert found is not None
    assert 0 < found["exponent"] < found["between_last"] < 1
    assert found["standard_error"] > 0.01


def test_two_points_and_values_that_are_not_positive_have_no_exponent() -> None:
    assert exponent([1, 2], [1.0, 2.0]) is None
    assert exponent([1, 2, 4], [1.0, 0.0, 2.0]) is None


class Measured:
    """Stands for processes of their own, and for torchrun."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.visits: list[tuple[str, int, int]] = []
        self.seconds = {"volume": 1e-7, "ranking": 6.0}
        monkeypatch.setattr(module, "in_fresh_process", self.visit)
        monkeypatch.setattr(module, "spread", self.spread)

    def visit(self, work: object, name: str, size: int, seed: int) -> dict[str, Any]:
        assert work is measure
        self.visits.append((name, size, seed))
        seconds = self.seconds.get(name, 0.25) * size ** SERIES[name].power * (1 + seed)
        facts = {"parameters": 100.0 * size, "sampled_parameters": 10.0 * size + seed} if name == "layers" else {}
        return {"seconds": [seconds] * 2, "growth_bytes": 2**20 * size, "facts": facts}

    def spread(self, way: str, candidates: int, seed: int) -> list[dict[str, Any]]:
        self.visits.append((way, candidates, seed))
        seconds = {"one": 8.0, "two": 5.0, "two_apart": 9.6}[way]
        process = {"seconds": seconds, "growth_bytes": 2**20, "candidate_seconds": [1.0, 3.0]}
        return [process] * WAYS[way][0]


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> Measured:
    return Measured(monkeypatch)


def test_sizes_are_visited_in_turn_each_with_other_seeds(measured: Measured) -> None:
    shares: list[float] = []
    record = grow("volume", [24, 48, 72], repetitions=2, seed=5, tick=shares.append)
    assert measured.visits == [("volume", size, seed) for seed in (5, 6) for size in (24, 48, 72)]
    assert shares == pytest.approx([share / 6 for share in range(1, 7)])
    assert list(record["points"]) == ["24", "48", "72"]
    point = record["points"]["48"]
    assert (point["amount"], len(point["seconds"]), point["median_growth_mib"]) == (48**3, 4, 48.0)
    assert point["median_seconds"] == statistics.median(point["seconds"])
    assert record["seconds"]["exponent"] == pytest.approx(1.0)
    assert record["memory"]["exponent"] == pytest.approx(1 / 3)


def test_what_has_taken_long_is_not_visited_again(measured: Measured) -> None:
    record = grow("ranking", [1, 2], repetitions=3, seed=0, tick=lambda share: None)
    assert [visit[1:] for visit in measured.visits] == [(1, 0), (2, 0), (1, 1)]  # 12 s, 24 s; 36 s
    assert [len(point["seconds"]) for point in record["points"].values()] == [4, 2]


def test_two_processes_are_compared_with_one_and_with_two_apart() -> None:
    def told(*seconds: float) -> list[dict[str, Any]]:
        return [{"seconds": value, "growth_bytes": 2**20, "candidate_seconds": [value, 1.0]} for value in seconds]

    ways = {"one": [told(8.0), told(10.0), told(9.0)], "two": [told(5.0, 6.0)] * 3, "two_apart": [told(11.0, 12.0)] * 3}
    record = sharing(ways)
    assert record["one"]["median_seconds"] == 9.0 and record["two"]["seconds"] == [6.0] * 3
    assert record["efficiency"] == pytest.approx(9 / 12)
    assert record["efficiency_beside_another"] == pytest.approx(12 / 12)
    assert record["candidate_seconds"] == [8.0, 1.0, 10.0, 1.0, 9.0, 1.0]
    assert {way: record[way]["processes"] for way in ways} == {"one": 1, "two": 2, "two_apart": 2}


WORDS = "--volume 24 48 72 --patch 24 32 --batch 1 2 --layers 6 12 24 --drawing 1 3 --ranking 1 2 --processes 2"


def test_what_is_there_is_not_measured_again(tmp_path: Path, measured: Measured) -> None:
    out = tmp_path / "growth.json"
    words = ["--out", str(out), "--repetitions", "1", *WORDS.split()]
    main([*words, "--series", "volume", "layers"])
    record = read_json(out)
    assert list(record["series"]) == ["volume", "layers"] and record["plan"] is None
    before = list(measured.visits)
    main(words)
    record = read_json(out)
    assert list(record["series"]) == ["volume", "layers", "patch", "batch", "drawing", "ranking", "processes"]
    again = measured.visits[len(before) :]
    assert not {name for name, *_ in again} & {"volume", "layers"}
    assert [visit for visit in again if visit[0] in WAYS] == [(way, 2, 0) for way in WAYS]
    assert record["plan"]["supernet"]["parameters"] == 1200.0
    measured.visits.clear()
    main([*words, "--batch", "1", "4"])
    assert measured.visits == [("batch", 1, 0), ("batch", 4, 0)]


def test_another_commit_is_measured_again(tmp_path: Path, measured: Measured) -> None:
    out = tmp_path / "growth.json"
    words = ["--out", str(out), "--repetitions", "1", "--series", "batch", "--batch", "1", "2"]
    main(words)
    record = read_json(out)
    record["series"]["batch"]["settings"]["environment"]["commit"] = "0123456789ab"
    write_json(out, record)
    main(words)
    assert len(measured.visits) == 4
    assert read_json(out)["series"]["batch"]["settings"]["environment"]["commit"] != "0123456789ab"


def test_the_file_is_drawn(tmp_path: Path, measured: Measured) -> None:
    pytest.importorskip("matplotlib", reason="drawings need monai-nas[reports]")
    picture = tmp_path / "growth.svg"
    main(["--out", str(tmp_path / "growth.json"), "--repetitions", "1", "--picture", str(picture), *WORDS.split()])
    text = picture.read_text()
    for series in SERIES.values():
        assert f"<!-- {series.title} -->" in text


def test_a_file_of_something_else_is_kept(
    tmp_path: Path, measured: Measured, capsys: pytest.CaptureFixture[str]
) -> None:
    write_json(tmp_path / "other.json", {"a": 1})
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "other.json"), "--series", "batch"])
    assert "give another --out" in capsys.readouterr().err
    assert read_json(tmp_path / "other.json") == {"a": 1} and not measured.visits


@pytest.mark.parametrize(
    "words", ["--patch 24 36", "--patch 16 24", "--batch 2 1", "--layers 0 1", "--repetitions 0", "--processes 0"]
)
def test_sizes_that_cannot_be_made_are_refused(tmp_path: Path, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--out", str(tmp_path / "growth.json"), *words.split()])
    assert words.split()[0] in capsys.readouterr().err.splitlines()[-1]


def test_a_ring_sends_nearly_twice_what_is_summed() -> None:
    assert [all_reduce_bytes(800.0, members) for members in (1, 2, 8)] == [0.0, 800.0, 1400.0]


def test_the_longest_of_some_draws_agrees_with_enumeration() -> None:
    seconds = [3.0, 1.0, 2.0]
    pairs = [max(first, second) for first in seconds for second in seconds]
    assert longest_of(seconds, 2) == pytest.approx(statistics.fmean(pairs))
    assert longest_of(seconds, 1) == pytest.approx(2.0)
    assert longest_of(seconds, 800) == pytest.approx(3.0)


def test_one_process_sends_nothing_and_waits_for_nobody() -> None:
    alone = machine(1, 1, 1e6, [1.0, 3.0], 50.0)
    assert alone == {
        "processes": 1,
        "sent_mib": 0.0,
        "sent_mib_node": 0.0,
        "sending_ms": 0.0,
        "rounds": PRESET.num_candidates,
        "ranking_efficiency": pytest.approx(1.0),
        "times_as_fast": pytest.approx(1.0),
        "busy_with_finalists": 1.0,
    }


def test_more_processes_wait_for_the_longest_and_for_what_is_not_shared() -> None:
    node = machine(8, 1, 2**20, [1.0, 1.0], drawing=float(PRESET.num_candidates))
    assert node["sent_mib"] == pytest.approx(4 * 2 * 7 / 8) and node["sent_mib_node"] == 0.0
    assert node["sending_ms"] == pytest.approx(7 * 2**20 / (1e6 * ASSUMED.gigabytes_per_second_in_a_node))
    rounds = -(-PRESET.num_candidates // 8)
    assert node["rounds"] == rounds
    assert node["ranking_efficiency"] == pytest.approx(PRESET.num_candidates / (8 * rounds))
    assert node["times_as_fast"] == pytest.approx(2 * PRESET.num_candidates / (PRESET.num_candidates + rounds))
    many = machine(8, 10**4, 2**20, [1.0, 3.0], 0.0)
    assert many["rounds"] == 1 and many["times_as_fast"] == pytest.approx(PRESET.num_candidates * 2 / 3)
    assert many["busy_with_finalists"] == PRESET.num_finalists / 80_000


def test_the_plan_needs_all_that_it_is_made_of() -> None:
    points = {str(n): {"amount": n, "median_seconds": 30.0 + 0.5 * n} for n in (8, 16, 64)}
    series: dict[str, Any] = {
        "drawing": {"points": points},
        "processes": {"candidate_seconds": [1.0, 2.0]},
        "layers": {"points": {"12": {"parameters": 2.0**20, "sampled_parameters": 2.0**19}}},
    }
    for name in series:
        assert plan_for_more({key: value for key, value in series.items() if key != name}) is None
    plan = plan_for_more(series)
    assert plan is not None
    assert plan["search"]["drawing_seconds"] == pytest.approx(30 + 0.5 * PRESET.num_candidates)
    assert plan["supernet"]["gradient_mib"] == 2.0 and plan["supernet"]["checkpoint_mib"] == 4.0
    assert {name: values["processes"] for name, values in plan["machines"].items()} == {
        "one": 1,
        "two": 2,
        "node": ASSUMED.gpus_of_a_node,
        "nodes": ASSUMED.gpus_of_a_node * ASSUMED.nodes,
    }
    assert np.isfinite([value for row in plan["machines"].values() for value in row.values()]).all()


def test_the_document_names_what_is_assumed() -> None:
    shown = re.findall(r"\| ([\d.]+) \|$", DOCUMENT.read_text().partition("| assumption |")[2], re.MULTILINE)
    assert [float(value) for value in shown[: len(asdict(ASSUMED))]] == list(asdict(ASSUMED).values())


def test_the_document_shows_all_sizes() -> None:
    text = DOCUMENT.read_text()
    for name, series in SERIES.items():
        for size in series.sizes:
            assert f"series.{name}.points.{size} as " in text, (name, size)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["volume", "patch", "layers", "ranking"])
def test_a_piece_of_work_is_measured(name: str) -> None:
    told = measure(name, SERIES[name].least, 0)
    assert len(told["seconds"]) == SERIES[name].timed and min(told["seconds"]) > 0
    if name == "layers":
        assert 0 < told["facts"]["sampled_parameters"] < told["facts"]["parameters"]


@pytest.mark.slow
def test_torchrun_s_processes_share_the_candidates_or_do_not() -> None:
    for way, shares in (("one", [3]), ("two", [2, 1]), ("two_apart", [3, 3])):
        told = spread(way, 3, 0)
        assert [len(process["candidate_seconds"]) for process in told] == shares
        assert all(process["seconds"] >= sum(process["candidate_seconds"]) for process in told)
