"""The model card says what the run's files say, and claims nothing else."""

import dataclasses
import re
import shutil
from pathlib import Path

import pytest

from monai_nas.errors import UserError
from monai_nas.export import load_run
from monai_nas.export.metadata import bundle_metadata, eval_metrics
from monai_nas.export.model_card import data_license, model_card
from monai_nas.files import read_json, write_json
from monai_nas.metrics import CaseScores, ScoreTable
from monai_nas.tasks import SegTask, msd_task
from monai_nas.tasks.splits import IMAGE_ENDINGS

SECTIONS = (
    "Model Overview, Authors, Tags, Model Description, Data, Preprocessing, Performance, Additional Usage Steps, "
    "System Configuration, Limitations, Citation, References, License"
)


def test_sections_of_the_zoos_template(finished_run: Path) -> None:
    card = model_card(load_run(finished_run), "msd_task04_hippocampus")
    assert re.findall(r"^#+ (.*)$", card, re.MULTILINE) == SECTIONS.split(", ")


def test_an_unscored_run_claims_no_scores(finished_run: Path) -> None:
    card = model_card(load_run(finished_run), "msd_task04_hippocampus")
    performance = card.partition("## Performance")[2].partition("##")[0]
    assert "not been scored" in performance
    assert not re.search(r"\d", performance)


def test_scores_are_those_of_the_run(finished_run: Path, tmp_path: Path) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    cases = (CaseScores("a", (0.9, 0.8), (0.99, 0.97), 1.0), CaseScores("b", (0.7, float("nan")), (0.95, 0.93), 1.0))
    ScoreTable("Task04", ("Anterior", "Posterior"), "published", cases).save(run / "scores.json")
    card = model_card(load_run(run), "msd_task04_hippocampus")
    assert "| Anterior | 80.0 | 97.0 |" in card
    assert "| mean | 80.0 | 96.0 |" in card
    assert "On 2 cases" in card
    assert "tolerance of 1 mm" in card


def test_scores_of_a_fold_stand_for_a_training_on_all_cases(finished_run: Path, tmp_path: Path) -> None:
    everything, fold = (Path(shutil.copytree(finished_run, tmp_path / name)) for name in ("all", "fold"))
    for run, kept_out in ((everything, None), (fold, 1)):
        write_json(run / "run.json", read_json(run / "run.json") | {"fold": kept_out})
    with pytest.raises(UserError, match=r"fold/scores\.json: no such file"):
        load_run(everything, fold)
    table = ScoreTable(
        "Task04", ("Anterior", "Posterior"), "published", (CaseScores("a", (0.9, 0.8), (0.9, 0.7), 1.0),)
    )
    table.save(fold / "scores.json")
    run = load_run(everything, fold)
    card = model_card(run, "name")
    assert "| mean | 85.0 | 80.0 |" in card and "An estimate" in card and "have learnt from all cases" in card
    assert eval_metrics(run) == {"mean_dice": 0.85, "mean_surface_dice": 0.8}
    assert "scores are those of another training" in bundle_metadata(run)["description"]
    assert "another training" not in bundle_metadata(load_run(fold))["description"]
    with pytest.raises(UserError, match="fold: keeps cases out of its own training"):
        load_run(fold, fold)
    table.save(everything / "scores.json")
    with pytest.raises(UserError, match="all: has kept no case out either"):
        load_run(everything, everything)
    write_json(fold / "network.json", read_json(fold / "network.json") | {"dropout": 0.5})
    with pytest.raises(UserError, match=r"fold: is of another task or network than .*all"):
        load_run(everything, fold)


def test_weights_that_a_training_began_with_are_named(finished_run: Path) -> None:
    run = load_run(finished_run)
    assert "began with" not in model_card(run, "name")
    begun = dataclasses.replace(run, facts={**run.facts, "init": "9742c7bb"})
    assert "- training began with the weights of SHA-256 9742c7bb\n" in model_card(begun, "name")
    teacher = {"network": "res_unet", "verb": "train", "minutes": None, "epochs": 9, "steps": 27, "seed": 4}
    records = [teacher | {"fold": 1, "weights": "588d41be"}, teacher | {"fold": None, "weights": "0aa3"}]
    taught = model_card(dataclasses.replace(begun, facts={**begun.facts, "teachers": records}), "name")
    line = (
        "\n- learnt the probabilities of res_unet (train, 9 epochs, 27 steps, seed 4, %s), whose weights have SHA-256 "
    )
    assert line % "fold 1 kept out" + "588d41be\n" in taught and line % "no case kept out" + "0aa3\n" in taught


def test_parameters_are_counted(finished_run: Path) -> None:
    run = load_run(finished_run)
    expected = sum(weight.numel() for weight in run.weights.values() if weight.is_floating_point())
    assert f"{expected:,} parameters" in model_card(run, "name")


def test_large_scans_are_sent_to_what_streams_them(finished_run: Path) -> None:
    usage = model_card(load_run(finished_run), "name").partition("## Additional Usage Steps")[2]
    large = next(part for part in usage.split("\n\n") if "large scans" in part)
    assert "`monai-nas predict --bundle BUNDLE" in large and "bounded memory" in large
    assert all(f"`{ending}`" in usage for ending in IMAGE_ENDINGS)


def test_data_license_claims_the_decathlons_terms_for_its_own_tasks_only() -> None:
    assert "CC-BY-SA 4.0" in data_license(msd_task("Task09_Spleen"))
    own = SegTask(
        name="Mine", description="", modalities=("CT",), labels=("background", "x"), num_training=1, num_test=0
    )
    assert "CC-BY-SA" not in data_license(own)
