"""Training runs on tiny phantoms: what they write, that a break leaves no trace, and what they refuse."""

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute, choose_compute
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.pipelines.teacher import load_teacher
from monai_nas.pipelines.train import train
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import IntensityRule, Plan, make_plan
from monai_nas.spaces import CellUNetSpace
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task

COMPUTE: Compute = choose_compute(low_precision=False, device="cpu")


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    """A plan so small that a step takes milliseconds."""
    task = load_task(None, phantoms)
    measured = make_plan(task, measure_fingerprint(training_cases(phantoms), task))
    return dataclasses.replace(measured, width=4, patch_size=(12, 12, 12), strides=((2, 2, 2), (1, 2, 2)))


def run_training(data: Path, out: Path, plan: Plan, **changes: Any) -> None:
    """Train for three epochs; arguments by name change what is asked for."""
    arguments: dict[str, Any] = {
        "task": plan.task,
        "architecture": CellUNetSpace(num_nodes=2).sample(np.random.default_rng(1)),
        "plan": plan,
        "init": None,
        "fold": 0,
        "seed": 3,
        "minutes": None,
        "epochs": 3,
        "compute": COMPUTE,
    }
    train(data, out, **(arguments | changes))


@pytest.fixture(scope="module")
def finished(phantoms: Path, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that went through without a break."""
    out = tmp_path_factory.mktemp("training") / "run"
    run_training(phantoms, out, plan)
    return out


def test_a_run_holds_what_a_bundle_needs(finished: Path, plan: Plan) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"architecture.json", "network.json", "plan.json", "model.pt", "history.csv", "schedule.json"} <= names
    assert {"folds.json", "run.json", "settings.json"} <= names and "checkpoint.pt" not in names
    assert Plan.load(finished / "plan.json") == plan
    facts = read_json(finished / "run.json")
    assert (facts["verb"], facts["seed"], facts["fold"], facts["steps"]) == ("train", 3, 0, 3 * 4)
    assert 0.0 <= facts["dice_of_fold"] <= 1.0
    assert len((finished / "history.csv").read_text().splitlines()) == 1 + 3


def test_a_break_leaves_no_trace(
    finished: Path, phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr("monai_nas.training.handlers.write_history", die_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run_training(phantoms, tmp_path / "run", plan)
    monkeypatch.undo()
    assert not (tmp_path / "run" / "model.pt").exists()
    run_training(phantoms, tmp_path / "run", plan)
    for name in ("model.pt", "history.csv", "schedule.json", "network.json"):
        assert (tmp_path / "run" / name).read_bytes() == (finished / name).read_bytes(), name


def test_cached_cases_train_to_the_same_bytes(
    finished: Path, phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monai_nas.data.loaders._preprocess", None)  # every case comes from the cache
    run_training(phantoms, tmp_path / "cached", plan)
    monkeypatch.undo()
    monkeypatch.setenv("MONAI_NAS_CACHE", "")
    run_training(phantoms, tmp_path / "afresh", plan)
    for name in ("model.pt", "history.csv", "schedule.json", "network.json"):
        first, second, third = (
            (run / name).read_bytes() for run in (finished, tmp_path / "cached", tmp_path / "afresh")
        )
        assert first == second == third, name


def die_in_the_second_epoch(path: Path, rows: list[dict[str, float]]) -> None:
    """Stand in for the writing of the history; the checkpoint of the first epoch is on the disk by then."""
    if len(rows) == 2:
        raise KeyboardInterrupt


def test_a_finished_run_is_left_alone(finished: Path, phantoms: Path, plan: Plan) -> None:
    before = (finished / "run.json").stat().st_mtime_ns
    run_training(phantoms, finished, plan)
    assert (finished / "run.json").stat().st_mtime_ns == before


def test_the_cases_tell_whether_the_data_are_the_same(
    finished: Path, phantoms: Path, plan: Plan, tmp_path: Path
) -> None:
    elsewhere = Path(shutil.copytree(phantoms, tmp_path / "hippocampus_data"))
    before = (finished / "run.json").stat().st_mtime_ns
    run_training(elsewhere, finished, plan)
    assert (finished / "run.json").stat().st_mtime_ns == before
    record = read_json(elsewhere / "dataset.json")
    write_json(elsewhere / "dataset.json", {**record, "training": record["training"][1:]})
    with pytest.raises(UserError, match=r"folds\.json: lists other cases or folds"):
        run_training(elsewhere, finished, plan)


def test_other_settings_are_not_continued(finished: Path, phantoms: Path, plan: Plan) -> None:
    with pytest.raises(UserError, match=r"settings\.json: this run was started with seed 3, now 4"):
        run_training(phantoms, finished, plan, seed=4)


def test_weights_are_inherited(finished: Path, phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    first = read_csv(finished)["loss"]
    run_training(phantoms, tmp_path / "run", plan, init=finished / "model.pt")
    assert read_csv(tmp_path / "run")["loss"][0] < first[0]
    assert read_json(finished / "run.json")["init"] is None
    expected = hashlib.sha256((finished / "model.pt").read_bytes()).hexdigest()
    assert read_json(tmp_path / "run" / "run.json")["init"] == expected


def read_csv(run: Path) -> dict[str, list[float]]:
    """Return the columns of a run's history."""
    header, *lines = (line.split(",") for line in (run / "history.csv").read_text().splitlines())
    return {name: [float(line[index]) for line in lines] for index, name in enumerate(header)}


def test_weights_of_another_network_are_refused(finished: Path, phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    other = CellUNetSpace(num_nodes=2).sample(np.random.default_rng(2))
    with pytest.raises(UserError, match=r"model\.pt: weights of another network"):
        run_training(phantoms, tmp_path / "run", plan, architecture=other, init=finished / "model.pt")
    assert not (tmp_path / "run").exists()


def test_another_plan_is_not_continued(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    run_training(phantoms, tmp_path / "run", plan, epochs=1)
    (tmp_path / "run" / "run.json").unlink()
    with pytest.raises(UserError, match=r"plan\.json: differs from the plan given now"):
        run_training(phantoms, tmp_path / "run", dataclasses.replace(plan, batch_size=3), epochs=1)


def test_nodes_must_divide_the_width(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    three = CellUNetSpace(num_nodes=3).sample(np.random.default_rng(0))
    with pytest.raises(UserError, match="width 4 is no multiple of the 3 nodes"):
        run_training(phantoms, tmp_path / "run", plan, architecture=three)
    assert not (tmp_path / "run").exists()


def test_a_foreign_folder_is_refused(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="not empty and not a run"):
        run_training(phantoms, tmp_path, plan)


def test_minutes_fix_the_schedule(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    run_training(phantoms, tmp_path / "run", plan, minutes=0.02, epochs=None)
    schedule = read_json(tmp_path / "run" / "schedule.json")
    assert schedule["fixed_epochs"] >= 1 and schedule["search_epochs"] == 0
    assert read_json(tmp_path / "run" / "run.json")["epochs"] == schedule["fixed_epochs"]


def test_unlabelled_scans_and_names_of_labels_do_not_matter(
    finished: Path, phantoms: Path, plan: Plan, tmp_path: Path
) -> None:
    data = Path(shutil.copytree(phantoms, tmp_path / phantoms.name))
    shutil.rmtree(data / "imagesTs")
    for label in sorted((data / "labelsTr").iterdir()):
        label.rename(label.with_name(label.name.replace(".nii.gz", "_seg.nii.gz")))
    record = read_json(data / "dataset.json")
    for entry in record["training"]:
        entry["label"] = entry["label"].replace(".nii.gz", "_seg.nii.gz")
    write_json(data / "dataset.json", record)
    run_training(data, tmp_path / "run", plan)
    assert (tmp_path / "run" / "model.pt").read_bytes() == (finished / "model.pt").read_bytes()


def test_the_architecture_is_written_down(finished: Path) -> None:
    record = read_json(finished / "network.json")["architecture"]
    assert Architecture.load(finished / "architecture.json") == Architecture.from_record(record)


def test_a_teacher_is_learnt_from_and_written_down(
    finished: Path, phantoms: Path, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lesson: dict[str, Any] = {"architecture": Architecture.create("res_unet", {}, {}), "teachers": [finished]}
    run_training(phantoms, tmp_path / "taught", plan, **lesson)
    (record,) = read_json(tmp_path / "taught" / "run.json")["teachers"]
    facts, network = read_json(finished / "run.json"), read_json(finished / "network.json")
    assert record == {
        "network": network["architecture"]["space"],
        **{name: facts[name] for name in ("verb", "minutes", "epochs", "steps", "seed", "fold")},
        "weights": hashlib.sha256((finished / "model.pt").read_bytes()).hexdigest(),
    }
    assert read_json(finished / "run.json")["teachers"] is None
    run_training(phantoms, tmp_path / "untaught", plan, architecture=lesson["architecture"])
    assert read_csv(tmp_path / "taught")["loss"] != read_csv(tmp_path / "untaught")["loss"]

    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr("monai_nas.training.handlers.write_history", die_in_the_second_epoch)
    with pytest.raises(KeyboardInterrupt):
        run_training(phantoms, tmp_path / "cut", plan, **lesson)
    monkeypatch.undo()
    with pytest.raises(UserError, match=r"settings\.json: this run was started with teachers"):
        run_training(phantoms, tmp_path / "cut", plan, **lesson | {"teachers": ()})
    run_training(phantoms, tmp_path / "cut", plan, **lesson)
    assert (tmp_path / "cut" / "model.pt").read_bytes() == (tmp_path / "taught" / "model.pt").read_bytes()


def test_several_teachers_are_one_ensemble(finished: Path, phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    run_training(phantoms, tmp_path / "other", plan, seed=4, architecture=Architecture.create("dynunet", {}, {}))
    runs, image = [finished, tmp_path / "other"], torch.randn(1, 1, 12, 12, 12)
    alone = [load_teacher([run], plan, [], COMPUTE)(image).softmax(1) for run in runs]
    together = load_teacher(runs, plan, [], COMPUTE)
    torch.testing.assert_close(together(image).softmax(1), (alone[0] + alone[1]) / 2)
    assert not together.training and not any(weights.requires_grad for weights in together.parameters())


CT = IntensityRule("ct", lower=0.0, upper=1.0, mean=0.5, std=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"spacing_mm": (2.0, 1.0, 1.0)},
        {"resample_separately": 0},
        {"crop_to_nonzero": True},
        {"intensity": (CT,)},
        {"strides": ((1, 2, 2), (2, 2, 2))},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_a_teacher_of_other_images_is_refused(
    changes: dict[str, Any], finished: Path, phantoms: Path, plan: Plan, tmp_path: Path
) -> None:
    name = next(iter(changes))
    with pytest.raises(
        UserError, match=rf"--teacher .*: its plan has {name} .*, that of this run .*: give this run --"
    ):
        run_training(phantoms, tmp_path / "run", dataclasses.replace(plan, **changes), teachers=[finished])
    assert not (tmp_path / "run").exists()


def test_numbers_of_the_foreground_are_of_no_importance_for_mri(finished: Path, plan: Plan) -> None:
    measured = tuple(dataclasses.replace(rule, mean=rule.mean + 1.0) for rule in plan.intensity)
    load_teacher([finished], dataclasses.replace(plan, intensity=measured), [], COMPUTE)


def test_a_teacher_that_knows_a_case_kept_out_is_refused(
    finished: Path, phantoms: Path, plan: Plan, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=r"--teacher .*: has learnt from hippo\S+ and 1 more of the 2 cases"):
        run_training(phantoms, tmp_path / "run", plan, fold=1, teachers=[finished])
    for record in ({"kept_out": None}, {"folds": [[], *(read_json(finished / "folds.json")["folds"])]}):
        teacher = Path(shutil.copytree(finished, tmp_path / next(iter(record))))
        write_json(teacher / "folds.json", read_json(finished / "folds.json") | record)  # all cases; other folds
        with pytest.raises(UserError, match="cases that this run keeps out"):
            run_training(phantoms, tmp_path / "run", plan, teachers=[teacher])
    with pytest.raises(UserError, match=r"network\.json: no such file: finish the run"):
        run_training(phantoms, tmp_path / "run", plan, teachers=[tmp_path / "nowhere"])
    assert not (tmp_path / "run").exists()
