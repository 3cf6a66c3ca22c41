"""The summary of the evidence on grids against scipy and numbers worked by hand, and the page at every state."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from monai_nas.benchmarks.grid_evidence_study import VARIANTS, GridSettings
from monai_nas.benchmarks.grid_evidence_tables import gain, kendall, ranks, spearman, summarize
from monai_nas.benchmarks.grid_evidence_units import repeated
from monai_nas.export.tables import BLOCK, fill_tables
from monai_nas.files import read_json, write_json

PAGE = Path(__file__).parents[2] / "docs" / "hypersegnas.md"
MIB = 1024**2


def test_rank_correlations_are_scipys_with_and_without_ties() -> None:
    rng = np.random.default_rng(0)
    samples = np.concatenate([rng.random((5, 2, 24)), rng.integers(5, size=(5, 2, 24))])
    assert kendall(samples) == pytest.approx([stats.kendalltau(*sample).statistic for sample in samples])
    assert spearman(samples) == pytest.approx([stats.spearmanr(*sample).statistic for sample in samples])


def test_ranks_by_hand() -> None:
    found = ranks([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])  # five of six pairs agree; squared differences: 2
    assert found is not None and found["architectures"] == 4
    assert found["kendall"] == pytest.approx((5 - 1) / 6) and found["spearman"] == pytest.approx(1 - 6 * 2 / (4 * 15))
    assert -1 <= found["kendall_95"][0] < found["kendall"] < found["kendall_95"][1] <= 1
    assert found == ranks([1.0, 2.0, 3.0, 4.0], [1.0, 3.0, 2.0, 4.0])
    assert ranks([1.0, 2.0, 3.0], [1.0, 2.0, 3.0]) is None and ranks([1.0] * 5, [1.0, 2.0, 3.0, 4.0, 5.0]) is None


def test_the_gain_of_one_score_over_another_by_hand() -> None:
    truth = [1.0, 2.0, 3.0, 4.0]
    found = gain([1.0, 3.0, 2.0, 4.0], truth[::-1], truth)  # as above, against the opposite of the truth
    assert found is not None and found["architectures"] == 4
    assert found["kendall"] == pytest.approx(4 / 6 + 1) and found["spearman"] == pytest.approx(0.8 + 1)
    assert found["kendall_95"][0] < found["kendall"] < found["kendall_95"][1] == 2
    nothing = gain(truth, truth, truth)
    assert nothing is not None and nothing["kendall_95"] == nothing["spearman_95"] == [0.0, 0.0]


def test_the_interval_is_narrower_for_more_architectures() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for count in (8, 48):
        scores = rng.random(count)
        found = ranks(scores, scores + rng.normal(0, 0.3, count))  # type: ignore[arg-type]
        assert found is not None and found["kendall_95"][0] <= found["kendall"] <= found["kendall_95"][1]
        widths.append(found["kendall_95"][1] - found["kendall_95"][0])
    assert widths[1] < widths[0] / 1.5


def write_all(out: Path, settings: GridSettings, parts: tuple[str, ...]) -> None:
    """Write made-up results of these parts."""

    def training(name: str, dice: float) -> None:
        facts = {"steps": 600, "num_parameters": 2_000_000, "train_memory_bytes": 80 * MIB, "dice_of_fold": dice}
        write_json(out / f"{name}.json", facts)

    drawn: Any = {
        part: {"train_memory_bytes": [(50 + index) * MIB for index in range(count)]}
        for part, count in (("table1", settings.scored), ("correlation", settings.correlated))
    }
    if "table1" in parts:
        write_json(out / "table1" / "architectures.json", drawn["table1"])
        for place, variant in enumerate(VARIANTS):
            write_json(out / "supernets" / f"{variant}.json", {"steps": 100 + place})
            dice = [0.5 + 0.125 * place + index / 1024 for index in range(settings.scored)]
            seconds = [0.25] * settings.scored
            write_json(out / "table1" / f"{variant}.json", {"dice": dice, "seconds_per_volume": seconds})
        (out / "supernets" / "removed.json").unlink()
    if "correlation" in parts:
        write_json(out / "correlation" / "architectures.json", drawn["correlation"])
        scores = [index / 64 for index in range(settings.correlated)]
        write_json(out / "correlation" / "estimates.json", {"inherited": scores[::-1], "fine_tuned": scores})
        for index, score in enumerate(scores):
            training(f"correlation/trained_{index:02d}", score)
        for index in repeated(settings.repeated, settings.correlated):
            training(f"correlation/again_{index:02d}", scores[index])
    if "race" in parts:
        counts = {"candidates": 100, "cases": 2, "parts": 3, "finalists": 5, "orders": 200, "seconds_a_candidate": 1.5}
        shares = {"judgements": 0.5, "finalists_kept": 0.984375, "best_kept": 1.0, "kendall_first_part": 0.75}
        write_json(out / "race" / "candidates.json", counts | shares | {"scores": [[0.5, None], [0.75, 0.75]]})
    for part, other in (("chosen", "random"), ("published", "dints")):
        if part in parts:
            for seed in range(settings.pairs):
                training(f"{part}/chosen_{seed}", 0.75 + seed / 64)
                training(f"{part}/{other}_{seed}", 0.5)
    if "budgets" in parts:
        for place, name in enumerate(("largest", "middle", "smallest")):
            asked, promised = (300 - 100 * place) * MIB, (288 - 96 * place) * MIB
            search = {"budget": f"train_memory={asked // MIB}MB", "limit_bytes": asked, "candidates": 500}
            write_json(out / "budgets" / f"search_{name}.json", search | {"minutes": 8.5})
            costs = {"train_memory_bytes": promised, "flops": 3e9}
            write_json(out / "budgets" / f"memory_{name}.json", costs | {"measured_bytes": promised * 1.015625})
            for seed in range(settings.retrained):
                training(f"budgets/{name}_{seed}", 0.75 - place / 64 + seed * place / 128)
        training("budgets/shipped", 0.875)
        shipped = read_json(out / "budgets" / "shipped.json")
        write_json(out / "budgets" / "shipped.json", shipped | {"flops": 32e9, "train_memory_bytes": 640 * MIB})
        for seed in range(settings.retrained):
            training(f"budgets/shipped_{seed}", 0.5)
    if "maps" in parts:
        facts: dict[str, Any] = {
            "mean_with_foreground": 2.0,
            "mean_without_foreground": 1.0,
            "spearman_with_share": 0.5,
        }
        facts["spearman_interval_95"] = [0.25, 0.75]
        write_json(out / "maps" / "maps.json", {"equation_6": facts, "equation_7": facts})


ALL = ("table1", "correlation", "race", "chosen", "published", "budgets", "maps")


def test_budgets_before_all_is_done(tmp_path: Path) -> None:
    """Two seeds of the smallest and one of the largest, no shipped network, a budget of another kind."""
    settings = GridSettings()
    write_all(tmp_path, settings, ("budgets",))
    for file in ("largest_1", "largest_2", "smallest_2", "memory_middle", "shipped", "shipped_0", "shipped_1"):
        (tmp_path / "budgets" / f"{file}.json").unlink()
    write_json(
        tmp_path / "budgets" / "search_largest.json",
        {"budget": "flops=3G", "limit_bytes": None, "candidates": 9, "minutes": None},
    )
    summary = summarize(tmp_path, settings)
    assert summary["promises"]["middle"] is None and summary["networks"]["middle"] is None
    assert summary["promises"]["largest"]["measured_minus_budget_percent"] is None
    assert summary["networks"]["shipped"] is None and summary["networks"]["smallest"]["trainings"] == 2
    differences = summary["network_differences"]
    assert differences["smallest_minus_largest"]["by_pair"] == [-3.125]
    assert differences["smallest_minus_largest"]["dice_percent"]["interval_95"] is None
    assert differences["largest_minus_shipped"] is None and differences["largest_minus_as_shipped"] is None
    assert differences["middle_minus_shipped"]["pairs"] == 1


@pytest.mark.parametrize("parts", [(), ALL[:1], ALL[1:4], ALL], ids=["none", "table1", "some", "all"])
def test_the_page_shows_what_there_is(parts: tuple[str, ...], tmp_path: Path) -> None:
    settings, out = GridSettings(), tmp_path / "results" / "hypersegnas"
    write_all(out, settings, parts)
    write_json(out / "summary.json", summarize(out, settings))
    blocks = [block["body"].splitlines() for block in BLOCK.finditer(fill_tables(PAGE.read_text(), tmp_path))]
    start, table1, figure3, tau, figure4, race, chosen, apart, published, *rest = blocks
    _, promises, networks, differences, picture, maps = rest
    assert start == ["*Not there yet: `results/supernet_start.json`.*"]
    tables = (table1, figure3, tau, figure4, race, chosen, apart, published, promises, networks, differences)
    assert [len(block) - 2 for block in tables] == [5, 12, 6, 24, 1, 2, 1, 2, 3, 5, 8]
    assert picture == ["*Not there yet: `results/hypersegnas/maps/maps.png`.*"]
    if "race" in parts:
        assert (
            race[2].startswith("| race | 100 | 2 | 3 | 5 | 200 | 62.5 |")
            and "| 1.5 | 50 | 98.44 | 100 | 0.75 |" in race[2]
        )
    if "table1" in parts:
        assert table1[2].startswith("| no MAN | 50.54 | 0.3521 | - | - | 0.25 | 100 |")
        assert table1[3].startswith("| image only | 63.04 | 0.3521 | 12.5 | 12.5, 12.5 | 0.25 | 101 |")
        assert table1[5].endswith("| 0.25 | 102 |")  # removed has the supernet of kept
        assert figure3[13] == "| 12 | 61 | 51.07 | 63.57 | 76.07 | 88.57 | 101.1 |"
    else:
        assert table1[2] == "| no MAN | - | - | - | - | - | - |" and figure3[2] == "| 1 | - | - | - | - | - | - |"
    if "correlation" in parts:
        assert tau[2].startswith("| inherited - from scratch | 24 | -1 | -1, -1 | -1 | -1, -1 |")
        assert tau[4].startswith("| gain by fine-tuning | 24 | 2 | 2, 2 | 2 | 2, 2 |")
        assert tau[5].startswith("| memory - from scratch | 24 | 1 | 1, 1 | 1 | 1, 1 |")
        assert tau[7].split("|")[2:4] == [" 8 ", " 1 "]
        assert figure4[3] == "| 2 | 51 | 34.38 | 1.562 | 1.562 | 1.562 |" and figure4[2].endswith("| 0 | - |")
    else:
        assert tau[2].endswith("| - | - | - | - | - |")
    if "chosen" in parts:
        assert chosen[2].startswith("| chosen | 4 | 77.34 | 2.017 | ") and chosen[2].endswith("| 600 | 80 | 2 |")
        assert apart[2].startswith("| chosen - random | 4 | 27.34 | 2.017 | ")
        assert apart[2].endswith("| 25, 26.56, 28.12, 29.69 |")
    else:
        assert apart[2] == "| chosen - random | - | - | - | - | - |"
    if "budgets" in parts:
        assert promises[2] == "| largest | train_memory=300MB | 288 | 292.5 | 1.562 | -2.5 | 500 | 8.5 |"
        assert promises[4] == "| a third | train_memory=100MB | 96 | 97.5 | 1.562 | -2.5 | 500 | 8.5 |"
        assert networks[2] == "| largest | 3 | 75 | 0 | 75, 75 | 600 | 288 | 2 | 3 |"
        assert networks[5] == "| shipped, equal minutes | 3 | 50 | 0 | 50, 50 | 600 | 640 | 2 | 32 |"
        assert networks[6] == "| as shipped | 1 | 87.5 | - | - | 600 | 640 | 2 | 32 |"
        assert differences[2].startswith("| two thirds - largest | 3 | -0.7812 | 0.7812 | -2.722, 1.159 |")
        assert differences[3].endswith("| -3.125, -1.562, 0 |")
        assert differences[4] == "| largest - shipped, equal minutes | 3 | 25 | 0 | 25, 25 | 25, 25, 25 |"
        assert differences[9].endswith("| -15.62, -14.06, -12.5 |")
    else:
        assert promises[2] == "| largest | - | - | - | - | - | - | - |" and networks[6].startswith("| as shipped | - |")
    assert (
        (maps[2] == "| equation 6 | 2 | 1 | 0.5 | 0.25, 0.75 |")
        if "maps" in parts
        else maps[0].startswith("*Not there yet")
    )
