"""The evidence on grids, whole, on tiny phantoms: trainings from scratch take no time, all else is the real thing."""

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import grid_evidence_budgets as budgets
from monai_nas.benchmarks import grid_evidence_maps as maps
from monai_nas.benchmarks import grid_evidence_race as race
from monai_nas.benchmarks import grid_evidence_runs as runs
from monai_nas.benchmarks import grid_evidence_study
from monai_nas.benchmarks.grid_evidence import main
from monai_nas.benchmarks.grid_evidence_study import VARIANTS, GridSettings, GridStudy
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_atomic, write_json
from monai_nas.pipelines import supernet_run
from monai_nas.pipelines.budget_costs import cost_of_kind
from monai_nas.pipelines.one_shot_preset import ONE_SHOT_PRESETS
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.skeletons import topology_parts
from monai_nas.spaces import CellUNetSpace, DintsSpace, TopologySpace, to_dints_code
from monai_nas.strategies import mean_score
from monai_nas.tasks.splits import make_folds, training_cases
from monai_nas.tasks.task import load_task

MIB = 1024**2
COUNTS = GridSettings(
    width=4,
    supernet_minutes=1e-4,
    train_minutes=3.0,
    scored=3,
    correlated=4,
    repeated=2,
    raced=4,
    pairs=2,
    candidates=3,
    budget="parameters=6K",
    largest="parameters=9K",
    retrain_minutes=4.0,
    retrained=2,
)
STEPS = 12  # of a fake training whose length is asked for as 3 minutes


@dataclass
class FakeTrain:
    """Stands for `train`: writes run.json; Dice grows with the paths that are kept, a little with the seed."""

    calls: list[dict[str, Any]] = field(default_factory=list)
    interrupted_at: int | None = None  # the number of a call

    def __call__(self, data: Path, out: Path, **asked: Any) -> None:
        if len(self.calls) == self.interrupted_at:
            self.interrupted_at = None
            raise KeyboardInterrupt
        self.calls.append({"name": "/".join(out.parts[-2:]), **asked})
        steps = round(STEPS * asked["minutes"] / 3) if asked["epochs"] is None else 4 * asked["epochs"]
        kept = sum(choice != "zero" for _, choice in asked["architecture"].choices)
        facts = {"minutes_of_last_part": 3.0, "num_parameters": 1000 * kept, "steps": steps}
        facts |= {"dice_of_fold": kept / 64 + asked["seed"] / 256}
        write_json(out / "run.json", facts | {key: asked[key] for key in ("seed", "minutes")})


@pytest.fixture(scope="module")
def patched() -> Iterator[FakeTrain]:
    """A grid of three blocks and two levels, little to try, six timed steps, and the fake training."""
    values = ONE_SHOT_PRESETS["cpu"]

    def adapt(plan: Plan) -> Plan:
        return dataclasses.replace(plan, patch_size=(24, 16, 16), strides=((2, 2, 2), (2, 2, 2)))

    def here(work: Callable[..., int], *arguments: Any, **options: Any) -> int:
        return work(*arguments, **options)

    tiny = dataclasses.replace(values, adapt=adapt, num_finalists=1, fine_tuning_steps=2)
    fake = FakeTrain()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(grid_evidence_study, "one_shot_preset_named", lambda name: tiny)
        patch.setattr(budgets, "in_fresh_process", here)
        for module in (supernet_run, race, runs, budgets):
            patch.setattr(
                module, "space_of", lambda plan, values: TopologySpace(num_blocks=3, num_levels=len(plan.strides))
            )
        patch.setattr(supernet_run, "TIMED_STEPS", 6)
        patch.setattr(topology_parts, "FIRST_FOREGROUND", 1.0)  # few steps would leave all background, and all scores 0
        patch.setattr(runs, "train", fake)
        yield fake


def words_for(data: Path, folder: Path, *more: str) -> list[str]:
    options = dataclasses.asdict(COUNTS)
    words = [word for name, value in options.items() for word in (f"--{name.replace('_', '-')}", str(value))]
    return ["--data", str(data), "--runs", str(folder / "runs"), "--out", str(folder / "out"), *words, *more]


def write_shipped(data: Path, folder: Path, fold: int = 0) -> str:
    """Write what a shipped network leaves in docs/results; return the prefix of its files."""
    task = load_task(None, data)
    plan = make_plan(task, measure_fingerprint(training_cases(data), task))
    plan = dataclasses.replace(plan, width=8, patch_size=(16, 16, 16), strides=((2, 2, 2), (2, 2, 2)))
    plan.save(folder / "task04_plan.json")
    CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0)).save(folder / "task04_train_architecture.json")
    facts = {"seed": 7, "fold": fold, "steps": 5000, "num_parameters": 12_000, "dice_of_fold": 0.75}
    write_json(folder / "task04_train_run.json", facts | {"minutes_of_last_part": 120.0})
    return str(folder / "task04")


@dataclass
class Finished:
    """All parts, cut once."""

    folder: Path
    arguments: list[str]
    calls: list[dict[str, Any]]
    code: Architecture
    shipped: budgets.Shipped

    def result(self, name: str) -> dict[str, Any]:
        record: dict[str, Any] = read_json(self.folder / "out" / f"{name}.json")
        return record


@pytest.fixture(scope="module")
def finished(phantoms: Path, patched: FakeTrain, tmp_path_factory: pytest.TempPathFactory) -> Finished:
    folder = tmp_path_factory.mktemp("grid_evidence")
    code = DintsSpace(num_blocks=3, num_levels=2).sample(np.random.default_rng(0))
    write_json(folder / "code.json", to_dints_code(code))
    prefix = write_shipped(phantoms, folder)
    arguments = words_for(phantoms, folder, "--dints-code", str(folder / "code.json"), "--shipped", prefix)
    patched.interrupted_at = 3
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 130
    main(arguments)
    return Finished(folder, arguments, list(patched.calls), code, budgets.Shipped.load(prefix))


def test_a_cut_goes_on_and_each_training_is_made_once(
    finished: Finished, patched: FakeTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    names = [call["name"] for call in finished.calls]
    assert names == [
        "correlation/length",
        *(f"correlation/again_{index:02d}" for index in (1, 3)),
        *(f"correlation/trained_{index:02d}" for index in (1, 3, 0, 2)),
        *("chosen/chosen_0", "chosen/random_0", "chosen/chosen_1", "chosen/random_1"),
        *("published/chosen_0", "published/dints_0", "published/chosen_1", "published/dints_1"),
        *(f"budgets/{name}_0" for name in ("largest", "shipped", "middle", "smallest")),
        *(f"budgets/{name}_1" for name in ("largest", "shipped", "middle", "smallest")),
    ]
    main(finished.arguments)
    assert len(patched.calls) == len(names)
    main([*finished.arguments, "--list"])
    lines = capsys.readouterr().out.splitlines()
    units = [line.split("│") for line in lines if "/" in line and "│" in line]
    assert len(units) == 1 + 4 + 5 + 3 + 2 + 4 + 1 + 2 + 4 + 4 + (1 + 3 + 3 + 1 + 8) + 1
    assert {state.strip() for _, _, state, *_ in units} == {"done"}
    assert lines[-2].split("│")[3].strip() == "0"


def test_trainings_have_equal_steps_or_equal_minutes(finished: Finished, phantoms: Path) -> None:
    drawn = finished.result("correlation/architectures")["architectures"]
    assert finished.result("correlation/length")["epochs"] == 3  # 12 steps of 4 an epoch: 8 cases, batches of 2
    plan = Plan.load(finished.folder / "out" / "plan.json")
    for call in finished.calls:
        part, kind = call["name"].split("/")
        if part == "budgets":
            continue
        by_minutes = call["name"] in ("published/chosen_0", "published/dints_0", "correlation/length")
        assert (call["minutes"], call["epochs"]) == ((3.0, None) if by_minutes else (None, 3))
        assert call["plan"] == plan and call["fold"] == 0 and call["init"] is None
        record, seed = call["architecture"].to_record(), call["seed"]
        if part == "correlation":
            index = 2 if kind == "length" else int(kind[-2:])
            assert record == drawn[index] and seed == kind.startswith("again")
        elif kind.startswith("chosen"):
            assert record == finished.result("chosen/search")["architecture"] and seed == int(kind[-1])
        elif kind.startswith("random"):
            assert record == finished.result("chosen/random")["architectures"][seed] and seed == int(kind[-1])
        else:
            assert call["architecture"] == finished.code and seed == int(kind[-1])


def test_all_variants_are_scored_on_the_same_architectures(finished: Finished, phantoms: Path) -> None:
    drawn = finished.result("table1/architectures")
    assert drawn["train_memory_bytes"] == sorted(drawn["train_memory_bytes"]) and len(drawn["architectures"]) == 3
    scores = {variant: finished.result(f"table1/{variant}")["dice"] for variant in VARIANTS}
    assert all(len(dice) == 3 for dice in scores.values()) and scores["removed"] != scores["kept"]
    supernets = sorted(path.stem for path in (finished.folder / "out" / "supernets").iterdir())
    assert supernets == ["annealed", "image_only", "kept", "none"]
    assert len({finished.result(f"supernets/{name}")["steps"] for name in supernets}) == 1
    timed = [finished.result(f"supernets/{name}")["minutes"]["asked"] for name in supernets]
    assert timed == [COUNTS.supernet_minutes, None, None, None]
    environment = finished.result("supernets/annealed")["environment"]
    assert environment["threads"] >= 1 and "torch" in environment["versions"]

    study = GridStudy(phantoms, finished.folder / "runs", finished.folder / "out", COUNTS)
    kept_out = make_folds([case.name for case in training_cases(phantoms)], 0)[0]
    assert tuple(item["name"] for item in study.held) == kept_out
    kept, removed = (study.supernet(variant) for variant in ("kept", "removed"))  # type: ignore[arg-type]
    architecture = study.architectures("table1/architectures")[1]
    assert study.score(removed.network(architecture))[0] == scores["removed"][1]
    plain = study.compute.place(kept.supernet.extract(architecture).eval())
    assert study.score(plain)[0] == pytest.approx(scores["removed"][1], abs=0.02)


def test_estimates_are_those_of_a_search(finished: Finished) -> None:
    estimates = finished.result("correlation/estimates")
    assert len(estimates["inherited"]) == len(estimates["fine_tuned"]) == 4 and estimates["fine_tuning_steps"] == 2
    ranking = read_json(finished.folder / "runs" / "correlation" / "estimates" / "ranking.json")
    assert estimates["fine_tuned"] == [mean_score(ranking["fine_tuned"][str(index)][0]) for index in range(4)]


def test_candidates_are_raced_by_their_scores_on_the_cases_of_a_search(finished: Finished, phantoms: Path) -> None:
    record, summary = finished.result("race/candidates"), read_json(finished.folder / "out" / "summary.json")["race"]
    study = GridStudy(phantoms, finished.folder / "runs", finished.folder / "out", COUNTS)
    assert record["candidates"] == 4 and {len(own) for own in record["scores"]} == {len(study.regions)}
    assert record["seconds_a_candidate"] > 0 and record["finalists"] == study.values.num_finalists == 1
    assert record["judgements"] == record["best_kept"] == 1.0, "a case a part has no spread: nobody is dropped"
    assert summary["judgements_percent"] == 100.0 and summary["dice_percent"]["mean"] > 0


def test_the_search_and_the_random_ones_keep_to_the_budget(finished: Finished, phantoms: Path) -> None:
    chosen, others = finished.result("chosen/search"), finished.result("chosen/random")
    assert chosen["budget"] == others["budget"] == "parameters=6K"
    assert all(5700 <= cost <= 6000 for cost in (chosen["cost"], *others["costs"]))
    assert chosen["candidates"] == 3 and len(others["architectures"]) == 2


def test_without_a_budget_the_median_memory_is_taken(finished: Finished, phantoms: Path, tmp_path: Path) -> None:
    study = GridStudy(phantoms, tmp_path, tmp_path, dataclasses.replace(COUNTS, budget=None))
    drawn = finished.result("correlation/architectures")
    write_json(tmp_path / "correlation" / "architectures.json", drawn)
    budget = study.budget()
    assert (budget.kind, budget.limit) == ("train_memory", np.median(drawn["train_memory_bytes"]))


def test_the_summary_of_pairs(finished: Finished) -> None:
    chosen = finished.result("summary")["chosen"]
    dice = {
        kind: [finished.result(f"chosen/{kind}_{k}")["dice_of_fold"] for k in (0, 1)] for kind in ("chosen", "random")
    }
    differences = [100 * (one - other) for one, other in zip(dice["chosen"], dice["random"], strict=True)]
    assert chosen["difference"]["by_pair"] == pytest.approx(differences)
    assert chosen["difference"]["dice_percent"]["mean"] == pytest.approx(sum(differences) / 2)
    assert chosen["chosen"]["steps"] == 12 and chosen["random"]["pairs"] == 2
    assert finished.result("summary")["published"]["dints"]["steps"] == STEPS


def test_three_budgets_of_one_supernet(finished: Finished, phantoms: Path) -> None:
    amounts = finished.result("budgets/amounts")
    assert amounts["budgets"] == {"largest": "parameters=9K", "middle": "parameters=6K", "smallest": "parameters=3K"}
    assert amounts["reach"][0] < 3000 and amounts["reach"][1] > 9000
    plan = Plan.load(finished.folder / "out" / "plan.json")
    for name, limit in (("largest", 9000), ("middle", 6000), ("smallest", 3000)):
        search, costs = (finished.result(f"budgets/{kind}_{name}") for kind in ("search", "memory"))
        assert 0.95 * limit <= search["cost"] <= limit and search["minutes"] > 0 and search["limit_bytes"] is None
        architecture = Architecture.from_record(search["architecture"])
        compute = GridStudy(phantoms, finished.folder, finished.folder, COUNTS).compute
        assert costs["train_memory_bytes"] == cost_of_kind("train_memory", plan, compute)(architecture)
        assert costs["measured_bytes"] == pytest.approx(costs["train_memory_bytes"], rel=0.05)
    assert finished.result("summary")["promises"]["smallest"]["budget"] == "parameters=3K"


def test_networks_of_the_budgets_have_equal_steps_and_the_shipped_one_equal_minutes(finished: Finished) -> None:
    plan, calls = Plan.load(finished.folder / "out" / "plan.json"), finished.calls[-8:]
    for number, call in enumerate(calls):
        name, seed = call["name"].removeprefix("budgets/").split("_")
        assert call["seed"] == int(seed) == number // 4
        by_minutes = number < 2  # largest and shipped of the first seed
        assert (call["minutes"], call["epochs"]) == ((4.0, None) if by_minutes else (None, 4))
        if name == "shipped":
            assert (call["architecture"], call["plan"]) == (finished.shipped.architecture, finished.shipped.plan)
        else:
            record = finished.result(f"budgets/search_{name}")["architecture"]
            assert call["architecture"].to_record() == record and call["plan"] == plan
    networks = finished.result("summary")["networks"]
    assert {networks[name]["steps"] for name in ("largest", "middle", "smallest", "shipped")} == {16}
    assert (networks["as_shipped"]["steps"], networks["as_shipped"]["dice_percent"]["mean"]) == (5000, 75)
    dice = [finished.result(f"budgets/largest_{seed}")["dice_of_fold"] for seed in (0, 1)]
    differences = finished.result("summary")["network_differences"]["largest_minus_as_shipped"]["by_pair"]
    assert differences == pytest.approx([100 * (one - 0.75) for one in dice])


def test_less_than_a_pass_over_the_cases_is_refused(
    finished: Finished, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runs, "train", FakeTrain())
    settings = dataclasses.replace(COUNTS, retrain_minutes=0.75)  # three steps, where a pass has four
    out = shutil.copytree(finished.folder / "out", tmp_path / "out")
    (out / "settings.json").unlink()
    study = GridStudy(phantoms, tmp_path / "runs", out, settings)
    with pytest.raises(UserError, match=r"largest_0: 0\.75 minutes are less than a pass over the cases"):
        budgets.retrain(study, budgets.FIRST, "largest", 0)


def test_minutes_of_another_processor_are_not_compared(
    finished: Finished, tmp_path: Path, patched: FakeTrain, capsys: pytest.CaptureFixture[str]
) -> None:
    out, calls = shutil.copytree(finished.folder / "out", tmp_path / "out"), len(patched.calls)
    for seed in (0, 1):
        (out / "published" / f"dints_{seed}.json").unlink()
    beside = read_json(out / "published" / "chosen_0.json")
    beside["environment"]["processor"] = "an abacus, 2 cores"
    write_json(out / "published" / "chosen_0.json", beside)
    arguments = [str(out) if word == str(finished.folder / "out") else word for word in finished.arguments]
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2 and len(patched.calls) == calls
    assert "chosen_0.json: made on an abacus, 2 cores, this is" in capsys.readouterr().err


def test_by_default_the_largest_budget_is_the_dearest_network(
    finished: Finished, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_atomic(tmp_path / "plan.json", (finished.folder / "out" / "plan.json").read_bytes())
    study = GridStudy(phantoms, tmp_path, tmp_path, dataclasses.replace(COUNTS, largest=None))
    monkeypatch.setattr(budgets, "cost_of_kind", lambda kind, plan, compute: lambda architecture: 0.0)
    for low, high in ((20, 62), (20, 59)):
        monkeypatch.setattr("monai_nas.strategies.within_budget.reach", lambda *_, r=(low, high): [MIB * x for x in r])
        monkeypatch.setattr(budgets, "reach", lambda *_, r=(low, high): [MIB * x for x in r])
        if high == 62:  # 60, 40 and 20
            amounts = budgets.set_budgets(study)["budgets"]
            assert list(amounts.values()) == ["train_memory=60MB", "train_memory=40MB", "train_memory=20MB"]
        else:  # 57, 38 and 19
            with pytest.raises(UserError, match=r"train_memory=19MB: out of reach: .* take 20 MB to 59 MB of tensors"):
                budgets.set_budgets(study)


def test_a_shipped_network_of_another_fold_is_refused(phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"task04_train_run\.json: fold 1 was kept out, not 0"):
        budgets.Shipped.load(write_shipped(phantoms, tmp_path, fold=1))


def test_other_settings_are_refused(finished: Finished, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as leaving:
        main([*finished.arguments, "--width", "8"])
    assert leaving.value.code == 2
    assert "settings.json: results with width 4, now 8: ask for the same" in capsys.readouterr().err


def test_folders_of_other_settings_are_refused(finished: Finished, phantoms: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"runs/settings\.json: results with candidates 3, now 4: ask for the same"):
        GridStudy(phantoms, finished.folder / "runs", tmp_path, dataclasses.replace(COUNTS, candidates=4))


def test_results_keep_to_one_supernet(
    finished: Finished, phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = shutil.copytree(finished.folder / "out", tmp_path / "out")
    for runs_folder in (finished.folder / "runs" / "supernets", tmp_path):  # of another kind; lost
        study = GridStudy(phantoms, runs_folder, out, COUNTS)
        with pytest.raises(UserError, match=r"supernet\.pt: is not the supernet of .*annealed\.json: give the --runs"):
            study.supernet("annealed")
    (out / "supernets" / "annealed.json").unlink()
    arguments = [str(out) if word == str(finished.folder / "out") else word for word in finished.arguments]
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    assert leaving.value.code == 2
    assert (
        "table1/annealed.json: rests on " in (said := capsys.readouterr().err)
        and "annealed.json, which is gone" in said
    )


def test_the_maps_of_the_shared_supernet(finished: Finished) -> None:
    record = finished.result("maps/maps")
    assert record["equation_7"]["mean_with_foreground"] > 0 and record["cases"] == 2
    assert (finished.folder / "out" / "maps" / "maps.png").read_bytes().startswith(b"\x89PNG")


def test_changes_are_those_of_the_man_on_the_window(finished: Finished, phantoms: Path) -> None:
    study = GridStudy(phantoms, finished.folder / "runs", finished.folder / "out", COUNTS)
    searcher, pair = study.supernet("kept"), study.architectures("table1/architectures")[:2]
    image = torch.rand(1, 20, 16, 16, generator=torch.Generator().manual_seed(0))
    item = {"image": image, "label": (image > 0.9).to(torch.uint8)}
    found = maps.changes_of(searcher, (pair[0], pair[1]), item, study.compute)
    assert searcher.hypernet is not None and len(found.windows) == 2
    with torch.inference_mode(), study.compute.autocast():
        weights = [
            searcher.hypernet(study.compute.place(image[None, :, 4:20]), searcher.supernet.one_hot(one)["paths"])
            for one in pair
        ]
    assert found.values[1][1] == pytest.approx(float((weights[0] - weights[1]).norm()), rel=0.02)
    assert found.share[1] == pytest.approx(float((image[:, 4:20] > 0.9).float().mean()))
