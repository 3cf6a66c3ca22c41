"""Summary of the evidence against numbers worked by hand, and the page that shows it at every state."""

from pathlib import Path
from typing import Any

import pytest

from monai_nas.benchmarks import transfer
from monai_nas.benchmarks.evidence import DIFFERENCES, METHODS
from monai_nas.benchmarks.evidence_table import interval_95, read_results, summarize
from monai_nas.export.tables import BLOCK, fill_tables
from monai_nas.files import write_json
from monai_nas.metrics import CaseScores, ScoreTable

PAGE = Path(__file__).parents[2] / "docs" / "scnas.md"
CLASSES = ("Anterior", "Posterior")


def result(dice: list[tuple[float, float]], peak: int | None = 2**31) -> dict[str, Any]:
    """Return the result file of a run with these scores of its cases."""
    cases = tuple(CaseScores(f"case_{index}", values, values, 1.0) for index, values in enumerate(dice))
    return {
        "minutes": {"search": {"asked": 20.0, "taken": 21.0}, "train": {"asked": 10.0, "taken": 11.0}},
        "steps": {"sampling": 6, "all": 12},
        "num_parameters": 3_000_000,
        "gflops": {"patch": 4.0, "128x128x128": 90.0},
        "training_memory_bytes": {"estimated": 2**30, "peak_of_process": peak},
        "architecture": {"choices": {"reduction/0-2": "identity", "expansion/0-2": "zero"}},
        "scores": ScoreTable("Task04_Hippocampus", CLASSES, "published", cases).to_record(),
        "search": {
            "dice_before_last_phase": 0.1,
            "dice_gap_before_last_phase": 0.2,
            "dice_after_last_phase": 0.8,
            "dice_gap_after_last_phase": -0.1,
            "mean_edge_entropy_nats": 2.0,
        },
    }


def test_the_interval_is_students() -> None:
    # mean 2, sd 1, t(0.975, 2 degrees of freedom) = 4.302653: 2 -+ 4.302653 / sqrt(3)
    assert interval_95([1.0, 2.0, 3.0]) == pytest.approx([-0.484138, 4.484138], abs=1e-6)
    # mean 0.5, sd 1 / sqrt(2), t(0.975, 1) = 12.706205: 0.5 -+ 12.706205 / 2
    assert interval_95([0.0, 1.0]) == pytest.approx([-5.853102, 6.853102], abs=1e-6)
    assert interval_95([1.0]) is None


def test_a_summary_of_two_pairs() -> None:
    results = {
        "scnas": {
            "fold0_seed0": result([(0.90, 0.80), (0.70, 0.60)]),  # mean 0.75
            "fold1_seed1": result([(0.80, 0.80)], peak=None),  # mean 0.80
        },
        "random": {
            "fold1_seed1": result([(0.90, 0.60)]),  # mean 0.75
            "fold0_seed0": result([(0.70, 0.80), (0.80, 0.70)]),  # mean 0.75
        },
        "dynunet": {},
    }
    summary = summarize(results, [("scnas", "random"), ("scnas", "dynunet")])
    assert summary["pairs"] == ["fold0_seed0", "fold1_seed1"] and summary["num_pairs"] == 2
    scnas = summary["methods"]["scnas"]
    assert scnas["pairs"] == 2
    assert scnas["dice_percent"]["mean"] == pytest.approx(77.5)
    assert scnas["dice_percent"]["sd"] == pytest.approx(5 / 2**0.5)  # of 75 and 80
    assert scnas["dice_percent"]["classes"]["Posterior"]["mean"] == pytest.approx(75)  # of 70 and 80
    assert scnas["nsd_percent"]["mean"] == pytest.approx(77.5)
    assert scnas["memory_gib_peak_of_process"] == {"mean": 2.0, "sd": None, "max": 2.0}  # one was not measured
    assert scnas["million_parameters"] == {"mean": 3.0, "sd": 0.0, "max": 3.0}
    assert scnas["search_minutes_asked"]["mean"] == 20 and scnas["train_minutes_taken"]["mean"] == 11
    assert summary["methods"]["dynunet"] is None
    assert summary["searches"]["same_operation"] == {"mean": 1.0, "by_pair": {"fold0_seed0, fold1_seed1": 1.0}}
    difference = summary["differences"]["scnas_minus_random"]
    dice = difference["dice_percent"]
    assert difference["pairs"] == 2
    assert dice["by_pair"] == pytest.approx({"fold0_seed0": 0.0, "fold1_seed1": 5.0})
    assert dice["mean"] == pytest.approx(2.5) and dice["sd"] == pytest.approx(5 / 2**0.5)
    assert dice["interval_95"] == pytest.approx([2.5 - 31.765512, 2.5 + 31.765512], abs=1e-5)
    assert dice["cases"] == 3  # 0.85 > 0.75, 0.65 < 0.75, 0.80 > 0.75
    assert dice["share_of_cases_better"] == pytest.approx(2 / 3)
    assert summary["differences"]["scnas_minus_dynunet"] is None


def test_absent_classes_are_left_out() -> None:
    nan = float("nan")
    one, other = result([(nan, 0.8), (nan, nan)]), result([(nan, 0.6), (nan, 0.5)])
    summary = summarize({"a": {"p": one}, "b": {"p": other}}, [("a", "b")])
    classes = summary["methods"]["a"]["dice_percent"]["classes"]
    assert classes["Anterior"] == {"mean": None, "sd": None, "max": None}
    assert classes["Posterior"]["mean"] == pytest.approx(80)
    dice = summary["differences"]["a_minus_b"]["dice_percent"]
    assert dice["cases"] == 1 and dice["share_of_cases_better"] == 1.0 and dice["interval_95"] is None


def test_results_are_found_by_method_and_pair(tmp_path: Path) -> None:
    write_json(tmp_path / "fold1_seed1" / "random.json", {"a": 1})
    write_json(tmp_path / "fold0_seed0" / "random.json", {"a": 2})
    write_json(tmp_path / "fold0_seed0" / "other.json", {"a": 3})
    write_json(tmp_path / "summary.json", {"a": 4})
    assert read_results(tmp_path, ["scnas", "random"]) == {
        "scnas": {},
        "random": {"fold0_seed0": {"a": 2}, "fold1_seed1": {"a": 1}},
    }


@pytest.mark.parametrize("methods", [METHODS[:1], METHODS[:4], METHODS], ids=["one", "some", "all"])
def test_the_page_shows_what_there_is(methods: tuple[str, ...], tmp_path: Path) -> None:
    one = result([(0.5, 0.25)])
    results = {method: {"fold0_seed0": one} if method in methods else {} for method in METHODS}
    for folder in ("scnas", "scnas_60"):
        write_json(tmp_path / "results" / folder / "summary.json", summarize(results, DIFFERENCES))
    write_json(tmp_path / "results" / "scnas" / "fold0_seed0" / "scnas.json", one)
    moved = {method: {"fold0_seed0": one} if method in methods else {} for method in transfer.METHODS}
    summaries = dict.fromkeys(transfer.OTHER, summarize(moved, transfer.DIFFERENCES))
    write_json(tmp_path / "results" / "transfer" / "summary.json", summaries)
    blocks = [block["body"] for block in BLOCK.finditer(fill_tables(PAGE.read_text(), tmp_path))]
    tables = [block.splitlines()[2:] for block in blocks]
    scores, cost, differences, hour, less, _, _, _, search, *_, transferred, _ = tables
    assert len(scores) == len(cost) == len(METHODS) and len(differences) == len(DIFFERENCES)
    assert scores[0] == "| scnas | 1 | 37.5 | - | 37.5 | - | 50 | 25 | 50 | 25 |"
    assert cost[0] == "| scnas | 21 | 21 | 11 | 11 | 12 | 3 | 3 | 4 | 90 | 1 | 2 |"
    assert search[0] == "| Dice before the last phase | 0.1 |"
    assert hour[0] == "| scnas | 1 | 37.5 | 37.5 | 21 | 11 | 12 | 3 | 90 |" and len(hour) == 2 and len(less) == 1
    shown = [row.split("|")[1].strip() for row in scores if "| - | - | - |" not in row]
    assert shown == list(methods)
    first, second = DIFFERENCES[0]
    assert differences[0].startswith(f"| {first} - {second} | " + ("1 | 0 | - | - | 0 |" if len(methods) > 1 else "-"))
    assert len(transferred) == 2 * len(transfer.METHODS)
