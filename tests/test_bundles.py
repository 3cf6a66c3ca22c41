"""The shipped bundles: complete, small, of one network in all their files, with figures from result files."""

import json
from pathlib import Path

import pytest
import torch

from monai_nas.compute import choose_compute
from monai_nas.files import load_tensors
from monai_nas.inference import BundlePredictor
from monai_nas.metrics.table import METRICS, ScoreTable
from monai_nas.plans.plan import Plan

ROOT = Path(__file__).parents[1]
BUNDLES = sorted(path.parents[1] for path in ROOT.glob("bundles/*/configs/metadata.json"))
CONFIGS = ("inference", "train", "evaluate", "search", "multi_gpu_train", "metadata")


def test_the_hippocampus_is_shipped() -> None:
    assert "msd_task04_hippocampus" in {bundle.name for bundle in BUNDLES}


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
def test_files(bundle: Path) -> None:
    files = [f"configs/{name}.json" for name in CONFIGS] + [
        "configs/logging.conf",
        "models/model.pt",
        "models/model.ts",
    ]
    for name in [*files, "LICENSE", "docs/README.md", "docs/data_license.txt"]:
        assert (bundle / name).is_file(), name
    assert max(path.stat().st_size for path in bundle.rglob("*") if path.is_file()) < 20e6


@pytest.mark.parametrize("bundle", BUNDLES, ids=lambda path: path.name)
@pytest.mark.filterwarnings(r"ignore:`torch\.jit\.\w+` is (deprecated|not supported):DeprecationWarning")
def test_weights_and_torchscript_are_one_network(bundle: Path) -> None:
    compute = choose_compute(low_precision=False, device="cpu")
    network = BundlePredictor(bundle, compute=compute).network
    definition = json.loads((bundle / "configs" / "inference.json").read_text())["network_def"]
    size = [32] * definition["spatial_dims"]  # divisible by five halvings
    image = torch.randn(1, definition["in_channels"], *size, generator=torch.Generator().manual_seed(0))
    scripted = torch.jit.load(bundle / "models" / "model.ts", map_location="cpu").eval()
    with torch.inference_mode():
        torch.testing.assert_close(scripted(image), network(image), rtol=1e-4, atol=1e-4)


def test_the_card_has_the_scores_of_the_result_file() -> None:
    card = (ROOT / "bundles" / "msd_task04_hippocampus" / "docs" / "README.md").read_text()
    scores = ScoreTable.load(ROOT / "docs" / "results" / "task04_train_scores.json")
    means = [f"{100 * scores.mean(metric):.1f}" for metric in METRICS]
    assert f"| mean | {means[0]} | {means[1]} |" in card


def test_the_plan_in_the_bundle_is_the_one_of_the_result_file() -> None:
    search = json.loads((ROOT / "bundles" / "msd_task04_hippocampus" / "configs" / "search.json").read_text())
    assert Plan.from_record(search["plan"]) == Plan.load(ROOT / "docs" / "results" / "task04_plan.json")
    weights = load_tensors(ROOT / "bundles" / "msd_task04_hippocampus" / "models" / "model.pt")
    assert all(value.isfinite().all() for value in weights.values())
