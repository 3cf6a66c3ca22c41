"""A bundle of a network that was searched on the grid, by a search under a budget."""

import shutil
from pathlib import Path

import monai.bundle
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_nas.export import write_bundle
from monai_nas.files import read_json, save_tensors, write_json
from monai_nas.networks import build_network
from monai_nas.spaces import TopologySpace

pytestmark = pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning")


@pytest.fixture(scope="module")
def grid_bundle(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of a run that differs from :func:`finished_run` in its architecture and its facts."""
    folder = tmp_path_factory.mktemp("grid")
    run = shutil.copytree(finished_run, folder / "run")
    definition = read_json(run / "network.json")
    strides = [*definition["strides"], *definition["strides"][-1:] * 4][:4]
    architecture = TopologySpace(num_blocks=2).sample(np.random.default_rng(0))
    definition |= {"architecture": architecture.to_record(), "strides": strides}
    arguments = {key: value for key, value in definition.items() if key != "_target_"}
    write_json(run / "network.json", definition)
    architecture.save(run / "architecture.json")
    save_tensors(run / "model.pt", build_network(**arguments).state_dict())
    unit = np.prod(strides, axis=0)
    plan = read_json(run / "plan.json")
    patch = [int(-(-length // step) * step) for length, step in zip(plan["patch_size"], unit, strict=True)]
    write_json(run / "plan.json", plan | {"strides": strides, "patch_size": patch})
    facts = {"strategy": "hypersegnas", "budget": "train_memory=2GB", "tolerance": 0.1}
    write_json(run / "run.json", read_json(run / "run.json") | facts)
    out = folder / "msd_task04_hippocampus"
    write_bundle(run, out)
    return out


def test_torchscript_is_the_same_function(grid_bundle: Path) -> None:
    network = monai.bundle.load(grid_bundle.name, bundle_dir=grid_bundle.parent, workflow_type="inference").eval()
    script, metadata, _ = monai.bundle.load(grid_bundle.name, bundle_dir=grid_bundle.parent, load_ts_module=True)
    image = torch.rand(1, 1, *metadata["network_data_format"]["inputs"]["image"]["spatial_shape"])
    with torch.no_grad():
        assert torch.allclose(script.eval()(image), network(image), atol=1e-5)


def test_net_in_out(grid_bundle: Path) -> None:
    configs = grid_bundle / "configs"
    arguments = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    monai.bundle.verify_net_in_out(net_id="network_def", **arguments)


def test_the_search_asks_for_the_same_budget_and_the_card_cites_the_paper(grid_bundle: Path) -> None:
    config = ConfigParser(read_json(grid_bundle / "configs" / "search.json"))
    found = [config.get_parsed_content(name) for name in ("strategy", "budgets", "tolerance")]
    assert found == ["hypersegnas", ["train_memory=2GB"], 0.1]
    assert "HyperSegNAS" in (grid_bundle / "docs" / "README.md").read_text()
