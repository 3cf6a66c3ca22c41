"""The draw of candidates: what a cut of it loses, with costs that take no time."""

from pathlib import Path

import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_atomic
from monai_nas.pipelines.budget_costs import RememberedCosts
from monai_nas.pipelines.budget_search import draw_candidates
from monai_nas.spaces import TopologySpace
from monai_nas.strategies.budget import Budget

SPACE = TopologySpace(num_blocks=3, num_levels=2)


class CountedCosts:
    """Counts what it is asked; the question of this number, from 1 on, is cut."""

    def __init__(self, cut_at: int = 0) -> None:
        self.cut_at = cut_at
        self.asked: list[Architecture] = []

    def __call__(self, architecture: Architecture) -> float:
        if len(self.asked) + 1 == self.cut_at:
            raise KeyboardInterrupt
        self.asked.append(architecture)
        return SPACE.alive(architecture) ** 1.1  # many digits, which the file has to keep


def draw(folder: Path, costs: CountedCosts) -> None:
    draw_candidates(folder, Budget("parameters", 10.0, 0.5), SPACE, costs, "", count=8, seed=3)


def test_a_cut_draw_asks_for_no_cost_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "0")
    whole = CountedCosts()
    draw(tmp_path / "whole", whole)
    distinct = len(set(whole.asked))
    assert len(whole.asked) == distinct > 40
    first, second, third = CountedCosts(cut_at=20), CountedCosts(cut_at=distinct - 20), CountedCosts()
    for costs in (first, second):
        with pytest.raises(KeyboardInterrupt):
            draw(tmp_path / "cut", costs)
    (tmp_path / "cut" / ".costs.json.x.tmp").touch()  # as a kill leaves it
    draw(tmp_path / "cut", third)
    assert first.asked + second.asked + third.asked == whole.asked
    assert [path.name for path in (tmp_path / "cut").iterdir()] == ["candidates.json"]
    written = [(tmp_path / name / "candidates.json").read_bytes() for name in ("whole", "cut")]
    assert written[0] == written[1]
    draw(tmp_path / "cut", CountedCosts(cut_at=1))  # all is there


def test_costs_are_written_once_a_while(tmp_path: Path) -> None:
    costs, file = CountedCosts(), tmp_path / "costs.json"
    often, seldom = (RememberedCosts(costs, file, seconds) for seconds in (0.0, 60.0))
    straight = [SPACE.create({decision.name: name for decision in SPACE.decisions}) for name in SPACE.operations]
    assert seldom(straight[0]) == seldom(straight[0]) and len(costs.asked) == 1 and not file.exists()
    often(straight[1])
    assert list(read_json(file).values()) == [SPACE.alive(straight[1]) ** 1.1]


def test_a_damaged_file_of_costs_is_named(tmp_path: Path) -> None:
    write_atomic(tmp_path / "costs.json", "{")
    with pytest.raises(UserError, match=r"costs\.json: not readable"):
        RememberedCosts(CountedCosts(), tmp_path / "costs.json", 60.0)
