"""The shipped bundles: ten, complete, small, as their command writes them, and of one network in all their files."""

import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

from monai_nas.architecture import Architecture
from monai_nas.cli.app import app
from monai_nas.compute import choose_compute
from monai_nas.export.msd_bundles import bundle_name, write_msd_bundles, write_published_plans
from monai_nas.files import load_tensors, read_json
from monai_nas.inference import BundlePredictor
from monai_nas.metrics.table import METRICS, ScoreTable
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import committed_architecture, committed_plan
from monai_nas.tasks import MSD_TASKS, SegTask, msd_task

ROOT = Path(__file__).parents[1]
PLANS = ROOT / "monai_nas" / "plans" / "msd"
BUNDLES = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/metadata.json"))
TRAINED = ROOT / "bundles" / "msd_task04_hippocampus"
CONFIGS = ("inference", "train", "evaluate", "search", "multi_gpu_train", "metadata")
DOCUMENTS = [f"configs/{name}.json" for name in CONFIGS]
DOCUMENTS += ["configs/logging.conf", "docs/README.md", "docs/data_license.txt", "LICENSE"]
INSTALLED = ("monai_version", "pytorch_version", "numpy_version", "required_packages_version")  # differ by machine
REMEDY = "run python -m monai_nas.export.msd_bundles --out bundles"


@pytest.fixture(scope="session")
def again(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ten bundles, written anew."""
    folder = tmp_path_factory.mktemp("msd")
    write_msd_bundles(folder / "bundles", TRAINED / "models")
    return folder / "bundles"


def content(path: Path) -> Any:
    """Return a file's content, without the versions of the packages that wrote it."""
    if path.name != "metadata.json":
        return path.read_text()
    return {key: value for key, value in read_json(path).items() if key not in INSTALLED}


def test_there_are_ten_with_names_that_listings_keep_apart() -> None:
    names = [bundle.name for bundle in BUNDLES]
    assert names == sorted(bundle_name(task) for task in MSD_TASKS)
    assert not [name for name in names if "_v" in name]
    assert not [(one, other) for one in names for other in names if one != other and one in other]


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_files(bundle: Path) -> None:
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    assert files == {*DOCUMENTS, *(("models/model.pt", "models/model.ts") if bundle == TRAINED else ())}
    assert max(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < 20e6


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_bundles_are_written_again(bundle: Path, again: Path) -> None:
    for name in DOCUMENTS:
        assert content(bundle / name) == content(again / bundle.name / name), f"{name}: {REMEDY}"


@pytest.mark.parametrize("name", ["Task05_Prostate", "Task09_Spleen"])  # two MR channels and thick slices; CT
def test_the_command_line_writes_the_same(name: str, tmp_path: Path) -> None:
    out = tmp_path / bundle_name(msd_task(name))
    parts = {"--task": name, "--plan": PLANS / f"{name}.json"}
    parts |= {"--architecture": PLANS / "architecture.json", "--out": out}
    result = CliRunner().invoke(app, ["bundle", *(str(word) for pair in parts.items() for word in pair)])
    assert result.exit_code == 0, result.output
    for name in DOCUMENTS:
        assert content(out / name) == content(ROOT / "bundles" / out.name / name), name


def test_plans_are_written_again(tmp_path: Path) -> None:
    write_published_plans(tmp_path)
    assert len(list(tmp_path.iterdir())) == 9
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (PLANS / path.name).read_bytes(), f"{path.name}: {REMEDY}"


@pytest.mark.parametrize("task", MSD_TASKS, ids=lambda task: task.name)
def test_network_and_plan_are_the_tasks_own(task: SegTask) -> None:
    configs = ROOT / "bundles" / bundle_name(task) / "configs"
    definition, plan = read_json(configs / "inference.json")["network_def"], committed_plan(task.name)
    assert (definition["in_channels"], definition["out_channels"]) == (len(task.modalities), len(task.labels))
    assert (definition["width"], definition["strides"]) == (plan.width, [list(stride) for stride in plan.strides])
    assert Architecture.from_record(definition["architecture"]) == committed_architecture()
    assert read_json(configs / "train.json")["network_def"] == definition
    assert Plan.from_record(read_json(configs / "search.json")["plan"]) == plan


@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.\w+` is (deprecated|not supported):DeprecationWarning")
def test_weights_and_torchscript_are_one_network() -> None:
    compute = choose_compute(low_precision=False, device="cpu")
    network = BundlePredictor(TRAINED, compute=compute).network
    definition = json.loads((TRAINED / "configs" / "inference.json").read_text())["network_def"]
    size = [32] * definition["spatial_dims"]  # divisible by five halvings
    image = torch.randn(1, definition["in_channels"], *size, generator=torch.Generator().manual_seed(0))
    scripted = torch.jit.load(TRAINED / "models" / "model.ts", map_location="cpu").eval()
    with torch.inference_mode():
        torch.testing.assert_close(scripted(image), network(image), rtol=1e-4, atol=1e-4)


def test_torchscript_carries_the_inference_configuration() -> None:
    with zipfile.ZipFile(TRAINED / "models" / "model.ts") as archive:
        carried = json.loads(archive.read("model/extra/inference.json"))
    remedy = "export it again: python -m monai.bundle ckpt_export, or monai-nas bundle --run RUN"
    assert carried == read_json(TRAINED / "configs" / "inference.json"), remedy


def test_weights_are_finite() -> None:
    assert all(value.isfinite().all() for value in load_tensors(TRAINED / "models" / "model.pt").values())


def test_the_card_has_the_scores_of_the_result_file() -> None:
    card = (TRAINED / "docs" / "README.md").read_text()
    scores = ScoreTable.load(ROOT / "docs" / "results" / "task04_train_scores.json")
    means = [f"{100 * scores.mean(metric):.1f}" for metric in METRICS]
    assert f"| mean | {means[0]} | {means[1]} |" in card
