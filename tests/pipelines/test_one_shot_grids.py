"""Supernets of other grids: they are trained, searched and searched again by their names."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from monai_nas.architecture import Architecture
from monai_nas.compute import choose_compute
from monai_nas.errors import UserError
from monai_nas.export import load_run
from monai_nas.export.search_config import search_config
from monai_nas.files import file_sha256, load_tensors, read_json, save_tensors
from monai_nas.pipelines import one_shot
from monai_nas.pipelines.one_shot import search_within_budgets
from monai_nas.pipelines.one_shot_preset import GRIDS, ONE_SHOT_PRESETS
from monai_nas.pipelines.search_by_name import search_by_name
from monai_nas.pipelines.supernet_run import space_of
from monai_nas.plans.plan import Plan
from monai_nas.skeletons import PATH_OPERATIONS
from monai_nas.spaces import DintsSpace
from monai_nas.strategies.budget import parse_budget
from monai_nas.tasks.task import load_task

CPU = ONE_SHOT_PRESETS["cpu"]
BUDGET = "parameters=60K"


@pytest.fixture(autouse=True)
def little_to_try(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = dataclasses.replace(CPU, num_judging_parts=1, num_finalists=1, fine_tuning_steps=1)
    monkeypatch.setattr(one_shot, "one_shot_preset_named", lambda name: tiny)


def run(data: Path, out: Path, plan: Plan | None, **changes: Any) -> None:
    arguments: dict[str, Any] = {
        "task": load_task(None, data),
        "budgets": [parse_budget(BUDGET, 0.9)],
        "supernet": None,
        "plan": plan,
        "seed": 0,
        "minutes": None,
        "epochs": 1,
        "fold": None,
        "compute": choose_compute(low_precision=False, device="cpu"),
        "num_candidates": 2,
    }
    search_within_budgets(data, out, **(arguments | changes))


def test_presets_take_the_grid_of_the_paper(plan: Plan) -> None:
    for values in ONE_SHOT_PRESETS.values():
        space = space_of(plan, values)
        assert (space.name, space.operations, space.num_blocks) == ("topology", ("identity", "conv_3x3x3"), 12)
    thick = space_of(plan, dataclasses.replace(CPU, grid="topology_pseudo_3d"))
    assert (thick.name, set(thick.operations)) == ("topology", set(PATH_OPERATIONS))
    assert space_of(plan, dataclasses.replace(CPU, grid="dints")) == DintsSpace(num_levels=2)


@pytest.mark.parametrize("grid", [name for name in GRIDS if name != "topology"])
def test_another_grid_is_searched_and_searched_again(grid: str, phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    run(phantoms, tmp_path / "run", plan, grid=grid, num_blocks=3)
    facts = read_json(tmp_path / "run" / "run.json")
    assert (facts["grid"], facts["blocks"]) == (grid, 3)
    architecture = Architecture.load(tmp_path / "run" / "architecture.json")
    assert (architecture.space == "dints") == (grid == "dints") and dict(architecture.settings)["num_blocks"] == 3
    again = {"supernet": tmp_path / "run", "epochs": None}
    run(phantoms, tmp_path / "again", None, **again)
    assert read_json(tmp_path / "again" / "run.json")["grid"] == grid
    for name, value in (("grid", "topology"), ("num_blocks", 4)):
        with pytest.raises(UserError, match=rf"--\w+ {value}: the supernet of .* has (3|{grid}): leave it out"):
            run(phantoms, tmp_path / "other", None, **again, **{name: value})
    config = search_config(load_run(tmp_path / "run"))
    assert config["grid"] == f"${grid!r} if @strategy == 'hypersegnas' else None"
    assert config["num_blocks"] == "$3 if @strategy == 'hypersegnas' else None"


def test_thick_slices_are_searched_with_pseudo_3d_convolutions(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    thick = dataclasses.replace(plan, strides=((2, 2, 1), (2, 2, 2)))
    run(phantoms, tmp_path / "run", thick, grid="topology_pseudo_3d", num_blocks=3)
    assert Plan.load(tmp_path / "run" / "plan.json").strides == thick.strides
    with pytest.raises(UserError, match="stride"):
        run(phantoms, tmp_path / "dints", thick, grid="dints", num_blocks=3)
    assert not (tmp_path / "dints").exists()


def test_a_search_goes_on_with_its_own_supernet_alone(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    run(phantoms, tmp_path / "run", plan, num_blocks=2)
    again = {"supernet": tmp_path / "run", "epochs": None}
    run(phantoms, tmp_path / "again", None, **again)
    facts = read_json(tmp_path / "again" / "run.json")
    assert facts["supernet"] == file_sha256(tmp_path / "run" / "supernet.pt")
    state = load_tensors(tmp_path / "run" / "supernet.pt")
    save_tensors(tmp_path / "run" / "supernet.pt", {name: value + 1 for name, value in state.items()})
    with pytest.raises(UserError, match="started with supernet"):
        run(phantoms, tmp_path / "again", None, **again)
    with pytest.raises(UserError, match=r"--preset paper: the supernet of .* has cpu: give that one"):
        run(phantoms, tmp_path / "other", None, preset="paper", **again)
    with pytest.raises(UserError, match="--blocks 0: a grid has at least one"):
        run(phantoms, tmp_path / "other", plan, num_blocks=0)


def test_other_grids_are_refused_where_there_are_none(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="--grid lattice: unknown, choose one of topology, topology_pseudo_3d, dints"):
        run(phantoms, tmp_path / "run", plan, grid="lattice")
    common: dict[str, Any] = {"task": load_task(None, phantoms), "plan": plan, "seed": 0, "minutes": None, "epochs": 1}
    compute = choose_compute(low_precision=False, device="cpu")
    for options in ({"grid": "dints"}, {"num_blocks": 3}):
        with pytest.raises(UserError, match="--strategy scnas searches cells: leave it out"):
            search_by_name(
                phantoms, tmp_path / "run", strategy="scnas", fold=None, compute=compute, **common, **options
            )
    assert not any(tmp_path.iterdir())
