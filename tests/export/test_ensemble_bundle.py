"""The bundle of a cross-validation: an ensemble in one file of weights."""

import shutil
from pathlib import Path

import monai.bundle
import pytest
import torch

from monai_nas.export import load_run, write_bundle
from monai_nas.files import load_tensors, read_json, save_tensors, write_json
from monai_nas.metrics import CaseScores, ScoreTable

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")
MEMBERS = 2


@pytest.fixture(scope="module")
def ensemble_run(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN folder as a cross-validation leaves it, of twice the same weights but for one tensor."""
    run = shutil.copytree(finished_run, tmp_path_factory.mktemp("crossval") / "run")
    network = read_json(run / "network.json")
    del network["_target_"]
    definition = {"_target_": "monai_nas.networks.build_ensemble", "network": network, "members": MEMBERS}
    write_json(run / "network.json", definition)
    weights = load_tensors(run / "model.pt")
    members = {f"members.{index}.{name}": value.clone() for index in range(MEMBERS) for name, value in weights.items()}
    last = list(members)[-1]
    members[last] = members[last] + 1.0
    save_tensors(run / "model.pt", members)
    write_json(run / "run.json", read_json(run / "run.json") | {"verb": "crossval", "fold": None})
    case = CaseScores("a", (0.9, 0.8), (0.99, 0.97), 1.0)
    ScoreTable("Task04", ("Anterior", "Posterior"), "published", (case,)).save(run / "scores.json")
    return run


@pytest.fixture(scope="module")
def ensemble_bundle(ensemble_run: Path) -> Path:
    out = ensemble_run.parent / "msd_task04_hippocampus"
    write_bundle(ensemble_run, out)
    return out


def test_the_run_knows_its_members(ensemble_run: Path, finished_run: Path) -> None:
    ensemble, single = load_run(ensemble_run), load_run(finished_run)
    assert (ensemble.network_name, ensemble.is_searched, ensemble.num_members) == ("cell_unet", True, MEMBERS)
    assert ensemble.architecture == single.architecture
    assert ensemble.num_parameters == MEMBERS * single.num_parameters


def test_torchscript_and_network_agree(ensemble_bundle: Path) -> None:
    folder = {"bundle_dir": ensemble_bundle.parent}
    network = monai.bundle.load(ensemble_bundle.name, **folder, workflow_type="inference").eval()
    script, metadata, _ = monai.bundle.load(ensemble_bundle.name, **folder, load_ts_module=True)
    image = torch.rand(1, 1, *metadata["network_data_format"]["inputs"]["image"]["spatial_shape"])
    with torch.no_grad():
        assert torch.allclose(script.eval()(image), network(image), atol=1e-5)


def test_metadata_and_card_speak_of_all(ensemble_bundle: Path) -> None:
    metadata = read_json(ensemble_bundle / "configs" / "metadata.json")
    assert metadata["description"].startswith(f"The mean of {MEMBERS} 3D networks")
    assert metadata["network_data_format"]["outputs"]["pred"]["num_channels"] == 3
    card = (ensemble_bundle / "docs" / "README.md").read_text()
    assert f"the mean probability of {MEMBERS} networks" in card
    assert f"Each of the {MEMBERS} networks has" in card
    assert "by the one network that had not seen it" in card
    assert "| mean | 85.0 | 98.0 |" in card
