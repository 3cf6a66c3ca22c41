"""Cross-validation on tiny phantoms: what a RUN holds, that nothing is done twice, and what is refused."""

import dataclasses
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute, choose_compute
from monai_nas.errors import UserError
from monai_nas.export import write_bundle
from monai_nas.files import load_tensors, read_json, save_tensors, write_json
from monai_nas.inference import BundlePredictor, write_labels
from monai_nas.metrics import ScoreTable
from monai_nas.networks import EnsembleNetwork, build_network
from monai_nas.pipelines.cross_validate import CrossValidated, cross_validate
from monai_nas.pipelines.predict import predict_folder
from monai_nas.pipelines.run_folder import RunFolder, fold_cases, network_arguments
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.spaces import CellUNetSpace
from monai_nas.tasks import read_image
from monai_nas.tasks.splits import case_name, training_cases
from monai_nas.tasks.task import load_task

COMPUTE: Compute = choose_compute(low_precision=False, device="cpu")
ARCHITECTURE = CellUNetSpace(num_nodes=2).sample(np.random.default_rng(1))
WRITTEN_LAST = ("scores.json", "postprocessing.json", "architecture.json", "network.json", "model.pt", "run.json")


@pytest.fixture(scope="module")
def plan(phantoms: Path) -> Plan:
    """A plan so small that a step takes milliseconds."""
    task = load_task(None, phantoms)
    measured = make_plan(task, measure_fingerprint(training_cases(phantoms), task))
    return dataclasses.replace(measured, width=4, patch_size=(12, 12, 12), strides=((2, 2, 2), (1, 2, 2)))


class Stages:
    """Stand-ins for training and prediction that leave the same files in no time, and count."""

    def __init__(self) -> None:
        self.trained: list[int] = []
        self.predicted: list[str] = []
        self.dies_after: int | None = None  # so many predictions

    def train(self, data: Path, out: Path, **values: Any) -> None:
        """Write what a training leaves, with fresh weights of its seed."""
        plan, fold = values["plan"], values["fold"]
        settings = {key: values[key] for key in ("preset", "seed", "minutes", "epochs", "fold", "init")}
        run = RunFolder(out)
        run.open(settings | {"verb": "train", "architecture": values["architecture"].to_record(), "data": data.name})
        run.keep(plan, fold_cases(training_cases(data), fold)[2])
        run.write_network(values["architecture"], plan)
        torch.manual_seed(values["seed"])
        save_tensors(out / "model.pt", build_network(values["architecture"], **network_arguments(plan)).state_dict())
        run.finish({"verb": "train", "fold": fold}, values["compute"])
        self.trained.append(fold)

    def predict(self, bundle: Path, images: Path, out: Path, *, mirror: bool, compute: Compute) -> list[Path]:
        """Write the true labels of each image with an island of class 1 in a corner, and class 2 cut in two."""
        assert mirror and (bundle / "models" / "model.pt").is_file()
        assert "KeepLargest" not in (bundle / "configs" / "inference.json").read_text()
        for image in sorted(images.iterdir()):
            if self.dies_after == len(self.predicted):
                raise KeyboardInterrupt
            source = image.resolve()
            labels = read_image(source.parents[1] / "labelsTr" / source.name).array[..., 0].astype(np.uint8)
            labels[:1, :1, :1] = 1
            places = np.argwhere(labels == 2)[:, 0]
            middle = int(np.median(places))
            labels[middle][labels[middle] == 2] = 0
            write_labels(labels, image, out / f"{case_name(image)}.nii.gz")
            self.predicted.append(case_name(image))
        return []


@pytest.fixture()
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    stand_ins = Stages()
    monkeypatch.setattr("monai_nas.pipelines.fold_run.train", stand_ins.train)
    monkeypatch.setattr("monai_nas.pipelines.fold_run.predict_folder", stand_ins.predict)
    return stand_ins


def validate(data: Path, out: Path, plan: Plan | None, **changes: Any) -> CrossValidated:
    """Cross-validate for an epoch a fold; arguments by name change what is asked for."""
    arguments: dict[str, Any] = {
        "task": load_task(None, data),
        "architecture": ARCHITECTURE,
        "plan": plan,
        "fold": None,
        "seed": 3,
        "minutes": None,
        "epochs": 1,
        "compute": COMPUTE,
    }
    return cross_validate(data, out, **(arguments | changes))


@pytest.fixture(scope="module")
def finished(phantoms: Path, plan: Plan, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN folder that went through all folds without a break; copy it before changing anything."""
    out, stand_ins = tmp_path_factory.mktemp("crossval") / "run", Stages()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("monai_nas.pipelines.fold_run.train", stand_ins.train)
        patch.setattr("monai_nas.pipelines.fold_run.predict_folder", stand_ins.predict)
        result = validate(phantoms, out, plan)
    assert result.left == () and set(result.folds) == set(range(5)) and stand_ins.trained == list(range(5))
    assert result.scores == ScoreTable.load(out / "scores.json")
    assert len(stand_ins.predicted) == 10
    return out


def same_files(one: Path, other: Path) -> bool:
    """Whether the ensembles of two RUN folders are the same bytes; run.json tells where they were made."""
    names = ("plan.json", "folds.json", "settings.json", *WRITTEN_LAST[:-1])
    return all((one / name).read_bytes() == (other / name).read_bytes() for name in names)


def test_a_run_is_one_of_an_ensemble_with_a_run_for_each_fold(finished: Path, phantoms: Path, plan: Plan) -> None:
    names = sorted(case.name for case in training_cases(phantoms))
    assert [scores.case for scores in ScoreTable.load(finished / "scores.json").cases] == names
    folds = read_json(finished / "folds.json")
    weights = load_tensors(finished / "model.pt")
    seeds = set()
    for fold, names in enumerate(folds["folds"]):
        folder = finished / f"fold_{fold}"
        assert read_json(folder / "folds.json") == {**folds, "kept_out": fold}
        assert sorted(path.name for path in (folder / "predictions").iterdir()) == [f"{name}.nii.gz" for name in names]
        assert [scores.case for scores in ScoreTable.load(folder / "scores.json").cases] == names
        for name, value in load_tensors(folder / "model.pt").items():
            assert torch.equal(weights.pop(f"members.{fold}.{name}"), value)
        seeds.add(read_json(folder / "settings.json")["seed"])
        assert Plan.load(folder / "plan.json") == plan
    assert not weights and len(seeds) == 5
    assert folds["kept_out"] is None

    network = read_json(finished / "network.json")
    assert network["_target_"] == "monai_nas.networks.build_ensemble" and network["members"] == 5
    assert {**read_json(finished / "fold_0" / "network.json"), "_target_": None} == {
        **network["network"],
        "_target_": None,
    }
    assert Architecture.load(finished / "architecture.json") == ARCHITECTURE
    facts = read_json(finished / "run.json")
    assert (facts["verb"], facts["seed"], facts["epochs"], facts["fold"]) == ("crossval", 3, 1, None)
    assert not list(finished.rglob(".*"))


def test_the_rule_is_chosen_for_the_class_that_gains(finished: Path, plan: Plan) -> None:
    assert Plan.load(finished / "plan.json") == dataclasses.replace(plan, keep_largest=(1,))
    first, second = read_json(finished / "postprocessing.json")["classes"]
    assert first["mean_dice_largest_component"] == 1.0 > first["mean_dice_all_components"]
    assert second["mean_dice_largest_component"] < second["mean_dice_all_components"] < 1.0
    means = [entry["mean_dice_all_components"] for entry in (first, second)]
    assert ScoreTable.load(finished / "scores.json").class_means("dice") == pytest.approx(means), "without the rule"


def test_folds_one_by_one_give_the_same_and_the_last_assembles(
    finished: Path, phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    left = {0, 1, 2, 3, 4}
    for fold in (3, 0, 4, 1):
        result = validate(phantoms, tmp_path, plan, fold=fold)
        left.discard(fold)
        assert set(result.left) == left and result.scores is None and set(result.folds) == set(range(5)) - left
        assert not (tmp_path / "model.pt").exists()
    assert validate(phantoms, tmp_path, plan, fold=2).scores == ScoreTable.load(finished / "scores.json")
    assert same_files(finished, tmp_path)


def test_folds_made_elsewhere_are_copied_together(
    finished: Path, phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    for fold in range(5):
        shutil.copytree(finished / f"fold_{fold}", tmp_path / f"fold_{fold}")
    validate(phantoms, tmp_path, plan, fold=4)
    assert same_files(finished, tmp_path) and not stages.trained and not stages.predicted


def test_the_data_may_lie_in_folders_of_other_names(
    finished: Path, phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    elsewhere = Path(shutil.copytree(phantoms, tmp_path / "hippocampus_data"))
    validate(phantoms, tmp_path / "run", plan, fold=0)
    validate(elsewhere, tmp_path / "run", plan)
    assert same_files(finished, tmp_path / "run") and stages.trained == list(range(5))
    record = read_json(elsewhere / "dataset.json")
    write_json(elsewhere / "dataset.json", {**record, "training": record["training"][1:]})
    with pytest.raises(UserError, match=r"folds\.json: lists other cases or folds than dataset\.json gives now"):
        validate(elsewhere, tmp_path / "run", plan)


def test_what_is_finished_is_not_done_again(phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path) -> None:
    stages.dies_after = 3  # in the middle of the second fold
    with pytest.raises(KeyboardInterrupt):
        validate(phantoms, tmp_path / "run", plan)
    (tmp_path / "run" / "fold_1" / "predictions" / ".x.nii.gz.1.tmp").touch()  # as a kill leaves it
    stages.dies_after = None
    validate(phantoms, tmp_path / "run", plan)
    assert stages.trained == list(range(5)), "each once"
    assert len(stages.predicted) == len(set(stages.predicted)) == 10
    assert not list((tmp_path / "run").rglob(".*"))
    before = (tmp_path / "run" / "run.json").stat().st_mtime_ns
    result = validate(phantoms, tmp_path / "run", None)
    assert result.scores == ScoreTable.load(tmp_path / "run" / "scores.json")
    assert (tmp_path / "run" / "run.json").stat().st_mtime_ns == before and len(stages.trained) == 5


@pytest.mark.parametrize("name", WRITTEN_LAST)
def test_a_kill_while_the_ensemble_is_put_together_costs_nothing(
    name: str, finished: Path, phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    for later in WRITTEN_LAST[WRITTEN_LAST.index(name) :]:
        (run / later).unlink()
    (run / f".{name}.abc.tmp").touch()
    if name in ("scores.json", "postprocessing.json"):
        plan.save(run / "plan.json")  # the rule was not written there yet
    validate(phantoms, run, plan)
    assert same_files(finished, run) and read_json(run / "run.json")["verb"] == "crossval"
    assert not stages.trained and not stages.predicted and not list(run.glob(".*"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, r"run/settings\.json: was made with seed 3, now 4"),
        ({"epochs": 2}, r"run/settings\.json: was made with epochs 1, now 2"),
        ({"minutes": 1.0, "epochs": None}, r"run/settings\.json: was made with minutes None, now 1\.0"),
        ({"preset": "paper"}, r"run/settings\.json: was made with preset 'cpu', now 'paper'"),
        (
            {"architecture": CellUNetSpace(num_nodes=2).sample(np.random.default_rng(2))},
            r"run/settings\.json: was made with architecture another than now",
        ),
        ({"fold": 5}, "fold 5 does not exist: choose 0 to 4"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_other_settings_are_not_continued(
    changes: dict[str, Any], message: str, phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    validate(phantoms, tmp_path / "run", plan, fold=0)
    with pytest.raises(UserError, match=message) as caught:
        validate(phantoms, tmp_path / "run", plan, **changes)
    assert "\n" not in str(caught.value) and stages.trained == [0]


def test_another_plan_is_not_continued(phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path) -> None:
    validate(phantoms, tmp_path / "run", plan, fold=0)
    other = dataclasses.replace(plan, batch_size=3)
    with pytest.raises(UserError, match=r"run/plan\.json: differs from the plan given now"):
        validate(phantoms, tmp_path / "run", other)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 4}, r"fold_1/settings\.json: was made with seed 21, now 16"),
        ({"plan": "other"}, r"fold_1/plan\.json: not this cross-validation's plan: give all folds the same --plan"),
    ],
    ids=["seed", "plan"],
)
def test_a_copied_fold_of_another_cross_validation_is_refused_at_once(
    changes: dict[str, Any], message: str, phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    if "plan" in changes:
        changes = {"plan": dataclasses.replace(plan, batch_size=3)}
    arguments = {"plan": plan} | changes
    validate(phantoms, tmp_path / "other", fold=1, **arguments)
    shutil.copytree(tmp_path / "other" / "fold_1", tmp_path / "run" / "fold_1")
    with pytest.raises(UserError, match=message):
        validate(phantoms, tmp_path / "run", plan, fold=0)
    assert stages.trained == [1]


def test_a_fold_that_had_a_teacher_is_refused_at_once(
    phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    validate(phantoms, tmp_path / "run", plan, fold=1)
    file = tmp_path / "run" / "fold_1" / "settings.json"
    write_json(file, read_json(file) | {"teachers": ["588d41be"]})
    with pytest.raises(UserError, match=r"fold_1/settings\.json: was made with teachers \['588d41be'\], now None"):
        validate(phantoms, tmp_path / "run", plan, fold=0)


def test_nothing_is_written_where_nothing_can_be_trained(
    phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    three = CellUNetSpace(num_nodes=3).sample(np.random.default_rng(0))
    with pytest.raises(UserError, match="width 4 is no multiple of the 3 nodes"):
        validate(phantoms, tmp_path / "run", plan, architecture=three)
    with pytest.raises(UserError, match="fold 7 does not exist"):
        validate(phantoms, tmp_path / "run", plan, fold=7)
    assert not (tmp_path / "run").exists()
    (tmp_path / "thesis.txt").touch()
    with pytest.raises(UserError, match="not empty and not a cross-validation"):
        validate(phantoms, tmp_path, plan)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


@pytest.fixture()
def busy_fold(tmp_path: Path) -> Iterator[Path]:
    """A RUN folder whose fold_0 another process holds."""
    (tmp_path / "run" / "fold_0").mkdir(parents=True)
    handle = os.open(tmp_path / "run" / "fold_0", os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    yield tmp_path / "run"
    os.close(handle)


def test_processes_run_folds_side_by_side_and_never_the_same(
    busy_fold: Path, phantoms: Path, plan: Plan, stages: Stages
) -> None:
    assert validate(phantoms, busy_fold, plan, fold=1).left == (0, 2, 3, 4)
    with pytest.raises(UserError, match="fold_0: is in use by another process"):
        validate(phantoms, busy_fold, plan, fold=0)
    assert stages.trained == [1]


def test_the_plan_is_made_once_from_all_cases(phantoms: Path, stages: Stages, tmp_path: Path) -> None:
    validate(phantoms, tmp_path, None, fold=0)
    task, cases = load_task(None, phantoms), training_cases(phantoms)
    expected = make_plan(task, measure_fingerprint(cases, task))
    assert Plan.load(tmp_path / "plan.json") == Plan.load(tmp_path / "fold_0" / "plan.json") == expected


def test_the_rule_of_a_given_plan_is_chosen_anew(phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path) -> None:
    validate(phantoms, tmp_path, dataclasses.replace(plan, keep_largest=(2,)))
    assert Plan.load(tmp_path / "fold_0" / "plan.json").keep_largest == ()
    assert Plan.load(tmp_path / "plan.json").keep_largest == (1,)
    assert validate(phantoms, tmp_path, plan).left == ()


@pytest.mark.slow
def test_real_folds_are_predicted_as_their_bundles_predict(phantoms: Path, plan: Plan, tmp_path: Path) -> None:
    result = validate(phantoms, tmp_path / "run", plan, epochs=2)
    assert result.scores is not None and 0.0 <= result.scores.mean("dice") <= 1.0
    validate(phantoms, tmp_path / "again", plan, epochs=2, fold=4)
    again, fold = tmp_path / "again" / "fold_4", tmp_path / "run" / "fold_4"
    for name in ("model.pt", "history.csv", "scores.json"):
        assert (again / name).read_bytes() == (fold / name).read_bytes(), name

    write_bundle(fold, tmp_path / "bundle")
    images = tmp_path / "images"
    images.mkdir()
    for name in read_json(tmp_path / "run" / "folds.json")["folds"][4]:
        (images / f"{name}.nii.gz").symlink_to(phantoms / "imagesTr" / f"{name}.nii.gz")
    for path in predict_folder(tmp_path / "bundle", images, tmp_path / "predicted", mirror=True, compute=COMPUTE):
        assert path.read_bytes() == (fold / "predictions" / path.name).read_bytes()


@pytest.mark.slow
def test_the_ensemble_becomes_a_bundle_that_predicts_the_mean(finished: Path, phantoms: Path, tmp_path: Path) -> None:
    write_bundle(finished, tmp_path / "ensemble")
    predictor = BundlePredictor(tmp_path / "ensemble", compute=COMPUTE)
    assert isinstance(predictor.network, EnsembleNetwork)
    image = torch.randn(1, 1, 12, 12, 12)
    members = []
    for fold in range(5):
        write_bundle(finished / f"fold_{fold}", tmp_path / f"fold_{fold}")
        members.append(BundlePredictor(tmp_path / f"fold_{fold}", compute=COMPUTE).network)
    with torch.inference_mode():
        expected = torch.stack([member(image).softmax(dim=1) for member in members]).mean(dim=0)
        torch.testing.assert_close(predictor.network(image).softmax(dim=1), expected)
    (path, *_) = predict_folder(
        tmp_path / "ensemble", phantoms / "imagesTs", tmp_path / "out", mirror=False, compute=COMPUTE
    )
    assert read_image(path).shape == read_image(phantoms / "imagesTs" / path.name).shape


def test_a_fold_that_was_done_anew_is_in_the_ensemble(
    finished: Path, phantoms: Path, plan: Plan, stages: Stages, tmp_path: Path
) -> None:
    run = Path(shutil.copytree(finished, tmp_path / "run"))
    weights = {name: value + 1 for name, value in load_tensors(run / "fold_2" / "model.pt").items()}
    save_tensors(run / "fold_2" / "model.pt", weights)
    write_json(run / "postprocessing.json", {"of": "the fold before"})
    validate(phantoms, run, plan)
    ensemble = load_tensors(run / "model.pt")
    assert all(torch.equal(ensemble[f"members.2.{name}"], value) for name, value in weights.items())
    assert (run / "postprocessing.json").read_bytes() == (finished / "postprocessing.json").read_bytes()
    before = (run / "run.json").stat().st_mtime_ns
    validate(phantoms, run, plan)
    assert (run / "run.json").stat().st_mtime_ns == before and not stages.trained and not stages.predicted
