"""A bundle as its users meet it: MONAI's own checks, and its workflows run from inside and from another folder."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai.bundle
import nibabel
import numpy as np
import pytest
import torch
from monai.bundle import ConfigParser

from monai_nas.data.synthetic import write_phantoms
from monai_nas.errors import UserError
from monai_nas.export import write_bundle
from monai_nas.export.bundle import license_text
from monai_nas.files import load_tensors, read_json
from monai_nas.metrics import dice
from monai_nas.tasks import msd_task

# MONAI warns, rightly, that a config is code whenever one is run
pytestmark = pytest.mark.filterwarnings(
    "ignore:parsing config_file:UserWarning",
    "ignore:No hash value provided:UserWarning",
)
CONFIGS = ("metadata", "search", "train", "inference", "evaluate", "multi_gpu_train")


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A copy of the bundle that a test may write to."""
    return shutil.copytree(bundle, tmp_path / bundle.name)


@pytest.fixture(params=["inside", "elsewhere"])
def root(request: pytest.FixtureRequest, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The bundle's path as seen from its own folder ("."), and from another one; it is the working folder."""
    if request.param == "inside":
        monkeypatch.chdir(own)
        return "."
    monkeypatch.chdir(tmp_path)
    return own.name


def run(root: str, data: Path, *stems: str, **overrides: Any) -> None:
    """Do what ``python -m monai.bundle run`` does."""
    files = [f"{root}/configs/{stem}.json" for stem in stems]
    elsewhere = {} if root == "." else {"bundle_root": root}
    monai.bundle.run(config_file=files, logging_file=False, dataset_dir=str(data), **elsewhere, **overrides)


def test_layout(bundle: Path) -> None:
    files = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()}
    expected = {"LICENSE", "docs/README.md", "docs/data_license.txt", "models/model.pt", "models/model.ts"}
    expected |= {"configs/logging.conf"} | {f"configs/{stem}.json" for stem in CONFIGS}
    assert files == expected
    assert sorted(path.name for path in bundle.parent.iterdir()) == [bundle.name], "no temporary folder is left"


def test_metadata_satisfies_the_zoos_schema(bundle: Path) -> None:
    near = Path(__file__).parents[3] / "shared" / "schema"
    schema = Path(os.environ.get("MONAI_NAS_SCHEMA", near)) / "meta_schema_20240725.json"
    if not schema.is_file():
        pytest.skip("MONAI_NAS_SCHEMA does not name the folder of meta_schema_20240725.json")
    # an existing file is taken in place of a download
    monai.bundle.verify_metadata(meta_file=str(bundle / "configs" / "metadata.json"), filepath=str(schema))


def test_metadata_rules_of_the_zoo_beyond_the_schema(bundle: Path) -> None:
    metadata = read_json(bundle / "configs" / "metadata.json")
    assert metadata["version"] in metadata["changelog"]
    assert "monai_nas" in metadata["required_packages_version"]
    formats = metadata["network_data_format"]
    assert list(formats["inputs"]) == ["image"]
    assert formats["outputs"]["pred"]["channel_def"] == {"0": "background", "1": "Anterior", "2": "Posterior"}
    assert "+" not in metadata["pytorch_version"]


def test_verify_net_in_out(bundle: Path) -> None:
    configs = bundle / "configs"
    arguments = {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}
    monai.bundle.verify_net_in_out(net_id="network_def", **arguments)


@pytest.mark.parametrize(
    ("kind", "stems"), [("train", ["train"]), ("train", ["train", "evaluate"]), ("infer", ["inference"])], ids=str
)
def test_properties(kind: str, stems: list[str], own: Path, phantoms: Path) -> None:
    workflow = monai.bundle.ConfigWorkflow(
        workflow_type=kind,
        config_file=[str(own / "configs" / f"{stem}.json") for stem in stems],
        logging_file=False,
        bundle_root=str(own),
        dataset_dir=str(phantoms),
    )
    workflow.initialize()
    assert workflow.check_properties() == []


@pytest.mark.parametrize("workflow", ["train", "inference"])
def test_load_gives_the_network_with_its_weights(
    workflow: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    network = monai.bundle.load(bundle.name, bundle_dir=bundle.parent, workflow_type=workflow)
    expected = load_tensors(bundle / "models" / "model.pt")
    state = network.state_dict()
    assert set(state) == set(expected)
    assert all(torch.equal(state[key], expected[key]) for key in expected)


def test_torchscript_is_the_same_function_with_its_configs(bundle: Path) -> None:
    script, metadata, extra = monai.bundle.load(
        bundle.name, bundle_dir=bundle.parent, load_ts_module=True, config_files=["inference.json"]
    )
    network = monai.bundle.load(bundle.name, bundle_dir=bundle.parent, workflow_type="inference").eval()
    shape = metadata["network_data_format"]["inputs"]["image"]["spatial_shape"]
    image = torch.rand(1, 1, *shape)
    with torch.no_grad():
        assert torch.allclose(script.eval()(image), network(image), atol=1e-5)
    assert json.loads(extra["inference.json"])["network_def"]["architecture"]["space"] == "cell_unet"


def test_inference_uses_monai_classes_only_but_for_the_network(bundle: Path) -> None:
    config = read_json(bundle / "configs" / "inference.json")
    foreign = [target for target in targets(config) if not target.startswith("monai.")]
    assert foreign == [config["network_def"]["_target_"]] == ["monai_nas.networks.build_network"]
    config.pop("network_def")
    assert "monai_nas" not in json.dumps(config)


def targets(config: Any) -> list[str]:
    """Return every ``_target_`` within a configuration."""
    if isinstance(config, dict):
        own = [config["_target_"]] if "_target_" in config else []
        return own + [target for value in config.values() for target in targets(value)]
    return [target for value in config for target in targets(value)] if isinstance(config, list) else []


def test_inference_writes_labels_on_the_scans_grid(root: str, phantoms: Path) -> None:
    run(root, phantoms, "inference")
    images = sorted((phantoms / "imagesTs").iterdir())
    assert [path.name for path in images] == sorted(path.name for path in Path(root, "eval").iterdir())
    for path in images:
        scan, labels = nibabel.load(path), nibabel.load(Path(root, "eval", path.name))
        assert labels.shape == scan.shape
        assert labels.get_data_dtype() == np.uint8
        np.testing.assert_allclose(labels.affine, scan.affine, atol=1e-4)


@pytest.mark.parametrize("name", ["Task01_BrainTumour", "Task05_Prostate", "Task06_Lung"])
def test_other_modalities_and_shapes(
    name: str, run_maker: Callable[[Path, Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = write_phantoms(msd_task(name), tmp_path / name, num_training=2, num_test=1, seed=0, scale=0.5)
    run_maker(data, tmp_path / "run")
    out = tmp_path / f"msd_{name.lower()}"
    write_bundle(tmp_path / "run", out)
    arguments = {
        "meta_file": str(out / "configs" / "metadata.json"),
        "config_file": str(out / "configs/inference.json"),
    }
    monai.bundle.verify_net_in_out(net_id="network_def", **arguments)
    low, high = read_json(out / "configs" / "metadata.json")["network_data_format"]["inputs"]["image"]["value_range"]
    assert low < 0 < high
    monkeypatch.chdir(out)
    run(".", data, "inference")
    run(".", data, "train", max_epochs=1, val_interval=1)
    assert len(list((out / "eval").glob("*.nii.gz"))) == 1


def test_training_leaves_the_shipped_weights_alone(root: str, phantoms: Path) -> None:
    shipped = Path(root, "models", "model.pt").read_bytes()
    run(root, phantoms, "train", max_epochs=1, val_interval=1)
    trained = load_tensors(Path(root, "runs", "train", "model.pt"))
    assert Path(root, "models", "model.pt").read_bytes() == shipped
    assert set(trained) == set(load_tensors(Path(root, "models", "model.pt")))


def test_evaluation_compares_with_the_labels_own_grid(root: str, phantoms: Path) -> None:
    run(root, phantoms, "train", "evaluate")
    rows = Path(root, "eval", "val_mean_dice_raw.csv").read_text().splitlines()[1:]
    assert len(rows) == 2, "the withheld fold of ten cases"
    for row in rows:
        name, *scores = row.replace("\t", ",").split(",")
        case = Path(name).name
        prediction, reference = (
            np.asarray(nibabel.load(folder / case).dataobj).astype(int)
            for folder in (Path(root, "eval"), phantoms / "labelsTr")
        )
        np.testing.assert_allclose([float(score) for score in scores[:2]], dice(prediction, reference, 3), atol=1e-4)


@pytest.mark.parametrize("stems", [("inference",), ("train", "evaluate")], ids=str)
def test_missing_weights_stop_in_one_line(stems: tuple[str, ...], root: str, phantoms: Path) -> None:
    Path(root, "models", "model.pt").unlink()
    with pytest.raises(SystemExit) as stop:
        run(root, phantoms, *stems)
    message = str(stop.value.code)
    assert "configs/train.json" in message
    assert len(message.splitlines()) == 1
    assert not Path(root, "eval").exists() or not list(Path(root, "eval").glob("*.nii.gz"))


def test_missing_weights_stop_an_evaluator_that_is_run_directly(own: Path, phantoms: Path) -> None:
    (own / "models" / "model.pt").unlink()
    workflow = monai.bundle.ConfigWorkflow(
        workflow_type="infer",
        config_file=str(own / "configs" / "inference.json"),
        logging_file=False,
        bundle_root=str(own),
        dataset_dir=str(phantoms),
    )
    workflow.initialize()
    with pytest.raises(FileNotFoundError):
        workflow.evaluator.run()


def test_processes_augment_differently_and_share_the_memory(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one of torchrun's four processes is told; the second draws other augmentation than the first."""
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    parser = ConfigParser()
    parser.read_config([str(own / "configs" / f"{name}.json") for name in ("train", "multi_gpu_train")])
    parser["cache_rate"] = 0.6
    rates = [parser.get_parsed_content(f"{section}::dataset::cache_rate") for section in ("train", "validate")]
    assert rates == pytest.approx([0.15, 0.15])
    draws = []
    for rank in (0, 1):
        monkeypatch.setattr(torch.distributed, "get_rank", lambda rank=rank: rank)
        parser.get_parsed_content("initialize::2", instantiate=True)
        parser.parse(reset=True)
        draws.append(parser.get_parsed_content("train::preprocessing").R.uniform())
    monai.utils.set_determinism(None)
    assert draws[0] != draws[1]


def test_search_workflow_writes_a_run(root: str, phantoms: Path) -> None:
    pytest.importorskip("monai_nas.pipelines.search")
    run(root, phantoms, "search", epochs=1)
    assert Path(root, "runs", "search", "architecture.json").is_file()


def test_an_earlier_bundle_is_replaced_and_nothing_else_is(finished_run: Path, own: Path, tmp_path: Path) -> None:
    (own / "stale").touch()
    write_bundle(finished_run, own)
    assert not (own / "stale").exists()
    precious = tmp_path / "thesis"
    precious.mkdir()
    (precious / "chapter").touch()
    with pytest.raises(UserError, match="not a bundle"):
        write_bundle(finished_run, precious)
    assert (precious / "chapter").exists()


def test_a_failure_leaves_the_earlier_bundle(
    finished_run: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("monai_nas.export.bundle.export_torchscript", fail)
    before = (own / "models" / "model.ts").read_bytes()
    with pytest.raises(UserError, match="No space left on device"):
        write_bundle(finished_run, own)
    assert (own / "models" / "model.ts").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == [own.name], "no temporary folder is left"


def test_the_same_run_gives_the_same_configs_and_weights(finished_run: Path, bundle: Path, tmp_path: Path) -> None:
    again = tmp_path / bundle.name
    write_bundle(finished_run, again)
    for path in [*(f"configs/{stem}.json" for stem in CONFIGS), "docs/README.md", "models/model.pt"]:
        assert (again / path).read_bytes() == (bundle / path).read_bytes(), path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("run.json", "[]", "list instead of an object"),
        ("folds.json", "3", "int instead of an object"),
        ("folds.json", '{"seed": "x"}', "seed is 'x', must be a number"),
    ],
)
def test_a_damaged_run_is_named(finished_run: Path, tmp_path: Path, name: str, content: str, message: str) -> None:
    run = shutil.copytree(finished_run, tmp_path / "run")
    (run / name).write_text(content)
    with pytest.raises(UserError, match=rf"{name}: {message}"):
        write_bundle(run, tmp_path / "new" / "bundle")
    assert not (tmp_path / "new").exists()


def test_licence_is_apache() -> None:
    assert "Apache License" in license_text()
    assert "END OF TERMS AND CONDITIONS" in license_text()
