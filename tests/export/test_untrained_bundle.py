"""A bundle without weights: what it says of itself, where it stops, and that its own training completes it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import monai.bundle
import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.export import FinishedRun, load_run, write_untrained_bundle
from monai_nas.export.model_card import model_card
from monai_nas.export.train_config import cache_rate
from monai_nas.files import read_json
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import committed_architecture, committed_plan
from monai_nas.tasks import msd_task

# MONAI warns, rightly, that a config is code whenever one is run
pytestmark = pytest.mark.filterwarnings(
    "ignore:parsing config_file:UserWarning",
    "ignore:No hash value provided:UserWarning",
)


@pytest.fixture
def untrained(finished_run: Path, tmp_path: Path) -> Path:
    """A bundle for the phantoms, with a narrow network."""
    out = tmp_path / "msd_task04_hippocampus"
    plan = replace(Plan.load(finished_run / "plan.json"), width=4)
    architecture = Architecture.load(finished_run / "architecture.json")
    write_untrained_bundle(task=plan.task, plan=plan, architecture=architecture, out=out)
    return out


def run(root: Path, data: Path, *stems: str, **overrides: Any) -> None:
    """Do what ``python -m monai.bundle run`` does."""
    files = [f"{root}/configs/{stem}.json" for stem in stems]
    arguments = {"config_file": files, "logging_file": False, "bundle_root": str(root), "dataset_dir": str(data)}
    monai.bundle.run(**arguments, **overrides)


def test_it_has_all_but_models_and_figures(untrained: Path, bundle: Path) -> None:
    files = {path.relative_to(untrained) for path in untrained.rglob("*") if path.is_file()}
    trained = {path.relative_to(bundle) for path in bundle.rglob("*") if path.is_file()}
    assert files == {path for path in trained if path.parts[0] != "models"}
    metadata = read_json(untrained / "configs" / "metadata.json")
    assert metadata["eval_metrics"] == {}
    assert "not trained" in metadata["description"] and "not trained" in metadata["changelog"]["0.1.0"]


def test_its_network_takes_and_gives_what_the_metadata_say(untrained: Path) -> None:
    configs = untrained / "configs"
    arguments = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    monai.bundle.verify_net_in_out(net_id="network_def", **arguments)


@pytest.mark.parametrize("stems", [("inference",), ("train", "evaluate")], ids=str)
def test_without_weights_it_stops_in_one_line(stems: tuple[str, ...], untrained: Path, phantoms: Path) -> None:
    with pytest.raises(SystemExit) as stop:
        run(untrained, phantoms, *stems)
    message = str(stop.value.code)
    assert "python -m monai.bundle run --config_file configs/train.json --dataset_dir DIR --ckpt_dir models" in message
    assert len(message.splitlines()) == 1
    assert not (untrained / "eval").exists()


def test_its_own_training_completes_it(untrained: Path, phantoms: Path) -> None:
    command = {"ckpt_dir": str(untrained / "models"), "max_epochs": 1, "val_interval": 1, "cache_rate": 0.1}
    run(untrained, phantoms, "train", **command)
    run(untrained, phantoms, "inference")
    images = {path.name for path in (phantoms / "imagesTs").iterdir()}
    assert {path.name for path in (untrained / "eval").glob("*.nii.gz")} == images


@pytest.mark.parametrize("stem", ["train", "search"])
@pytest.mark.parametrize("num_cases", [0, 10])
def test_what_rests_on_published_figures_says_so_before_it_works(
    stem: str, num_cases: int, untrained: Path, phantoms: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ids = {"train": "planned_cases", "search": "plan::fingerprint::num_cases"}
    steps = read_json(untrained / "configs" / f"{stem}.json")["run"]
    run(untrained, phantoms, stem, **{ids[stem]: num_cases, "run": steps[:1]})
    told = [record.levelname for record in caplog.records if "rests on published figures" in record.getMessage()]
    assert told == ["WARNING"] * (num_cases == 0)


@pytest.mark.parametrize("results", ["models", "runs"])
def test_what_was_trained_in_it_is_not_overwritten(results: str, untrained: Path) -> None:
    (untrained / results).mkdir()
    plan = committed_plan("Task03_Liver")
    with pytest.raises(UserError, match=rf"{results}: would be lost"):
        write_untrained_bundle(task=plan.task, plan=plan, architecture=committed_architecture(), out=untrained)


def test_a_plan_of_another_task_is_refused(tmp_path: Path) -> None:
    architecture, plan = committed_architecture(), committed_plan("Task06_Lung")
    for task in (msd_task("Task09_Spleen"), replace(plan.task, labels=("background", "cyst"))):
        with pytest.raises(UserError, match="the plan is of Task06_Lung, channels CT, labels background, cancer"):
            write_untrained_bundle(task=task, plan=plan, architecture=architecture, out=tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_architecture_and_strides_must_go_together(finished_run: Path) -> None:
    plan = Plan.load(finished_run / "plan.json")
    with pytest.raises(UserError, match="architecture and plan: describes no network"):
        FinishedRun.from_parts(plan.task, plan, Architecture.create("cell_unet", {"num_nodes": 1}, {}))


def test_the_network_is_the_one_that_training_and_search_build(finished_run: Path) -> None:
    plan = committed_plan("Task05_Prostate")
    made = FinishedRun.from_parts(plan.task, plan, committed_architecture()).network_def
    assert {key: made[key] for key in network_arguments(plan)} == network_arguments(plan)
    assert set(made) == set(load_run(finished_run).network_def)


def test_the_card_tells_that_it_is_not_trained_and_how_to() -> None:
    plan = committed_plan("Task05_Prostate")
    card = model_card(FinishedRun.from_parts(plan.task, plan, committed_architecture()), "msd_task05_prostate")
    assert "**Not trained.**" in card and "transferred from Task04_Hippocampus" in card
    assert "32 labelled cases" in card and "8 GB" in card and "GPU is not required" in card
    assert "no case was measured, the plan rests on published figures" in card
    assert "monai-nas plan --data DIR --out plan.json" in card
    assert "monai-nas bundle --task Task05_Prostate --plan plan.json --architecture" in card
    assert "--config_file configs/train.json --dataset_dir DIR --ckpt_dir models" in card
    assert "None" in card.partition("## Performance")[2].partition("##")[0]
    assert "model.ts" not in card


def test_the_card_of_a_measured_plan_asks_for_no_new_one(untrained: Path) -> None:
    card = (untrained / "docs" / "README.md").read_text()
    assert "**Not trained.**" in card and "monai-nas plan" not in card
    assert "10 labelled cases measured" in card and "transferred from" not in card


def test_the_cache_takes_a_quarter_of_the_memory() -> None:
    spleen = committed_plan("Task09_Spleen")  # 512 x 512 x 90 voxels of 5 mm, at 1.6 mm, in 41 cases
    case_bytes = 512 * 512 * 90 * 5.0 / 1.6 * (4 + 1)
    assert cache_rate(spleen) == pytest.approx(0.25 * 8 * 1024**3 / (41 * case_bytes), abs=0.01)
    assert cache_rate(spleen) * 41 * case_bytes <= 0.25 * 8 * 1024**3
    assert cache_rate(committed_plan("Task04_Hippocampus")) == 1.0
