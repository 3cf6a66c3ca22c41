"""docs/drop_in.md does what it says: its blocks run on a RUN and a bundle, and its ten lines import no search code."""

import ast
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from monai_nas.architecture import Architecture
from monai_nas.files import save_tensors, write_json
from monai_nas.networks import build_ensemble, build_network
from monai_nas.spaces import CellUNetSpace, TopologySpace

PAGE = (Path(__file__).parents[1] / "docs" / "drop_in.md").read_text()
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
ARGUMENTS = {"in_channels": 1, "out_channels": 3, "width": 4}
SEARCH_CODE = {"supernets", "strategies", "pipelines", "training", "data", "plans", "tasks", "export", "cli"}

# torch.onnx.export copies a deprecated part of torch itself
pytestmark = [
    pytest.mark.filterwarnings(r"ignore:`isinstance\(treespec, LeafSpec\)` is deprecated:FutureWarning"),
    pytest.mark.filterwarnings("ignore:parsing config_file:UserWarning"),  # that a configuration is code
]


def every_operation() -> Architecture:
    """An architecture of one-node cells, two edges in each of the four, that holds all eight operations."""
    space = CellUNetSpace(num_nodes=1)
    return space.create({decision.name: op for decision, op in zip(space.decisions, space.operations, strict=True)})


def blocks(section: str, language: str = "python") -> list[str]:
    """Return the code of one section of the page."""
    (text,) = re.findall(rf"^## {re.escape(section)}\n(.*?)(?=^## |\Z)", PAGE, re.DOTALL | re.MULTILINE)
    return [code for kind, code in FENCE.findall(text) if kind == language]


TEN_LINES, *MORE = blocks("Ten lines")
COMMANDS = [shlex.split(line)[1:] for line in "".join(blocks("MONAI's own commands", "sh")).splitlines()]


@pytest.fixture
def project(finished_run: Path, bundle: Path, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of the user's own with a RUN, a bundle and a scan, where the code runs."""
    (tmp_path / "RUN").symlink_to(finished_run)
    shutil.copytree(bundle, tmp_path / "bundles" / bundle.name)
    (tmp_path / "scan.nii.gz").symlink_to(sorted((phantoms / "imagesTs").glob("*.nii.gz"))[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(*codes: str) -> dict[str, Any]:
    """Run blocks of code, one after the other, and return the names that they leave."""
    names: dict[str, Any] = {}
    for code in codes:
        exec(compile(code, "drop_in.md", "exec"), names)
    return names


def run_alone(folder: Path, *codes: str) -> str:
    """Run blocks of code in a fresh interpreter, and return what it printed."""
    command = [sys.executable, "-c", "\n".join(codes)]
    result = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout


def test_the_ten_lines_are_ten() -> None:
    assert len([line for line in TEN_LINES.splitlines() if line]) == 10


def test_the_ten_lines_need_torch_monai_and_the_networks_alone(project: Path) -> None:
    modules = {
        name
        for node in ast.walk(ast.parse(TEN_LINES))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([node.module] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert modules == {"json", "pathlib", "torch", "monai.inferers", "monai_nas.networks"}
    loaded = run_alone(project, TEN_LINES, "import sys\nprint(*sys.modules)").split()
    parts = {name.split(".")[1] for name in loaded if name.startswith("monai_nas.")}
    assert "networks" in parts
    assert not parts & SEARCH_CODE


def test_the_network_predicts_a_scan_and_takes_other_classes(project: Path) -> None:
    names = run(TEN_LINES, *MORE)
    assert names["labels"].shape == (1, 45, 61, 50)
    trained, other = names["network"].state_dict(), names["other"].state_dict()
    shapes = {name: tensor.shape for name, tensor in other.items() if tensor.shape != trained[name].shape}
    assert [shape[0] for shape in shapes.values()] == [7] * len(shapes)
    assert 1 <= len(shapes) <= 2  # weight and bias of the last convolution
    assert all(tensor.equal(trained[name]) for name, tensor in other.items() if name not in shapes)


def test_monai_builds_the_same_network_from_its_definition_and_from_a_bundle(project: Path) -> None:
    weights = run(TEN_LINES)["network"].state_dict()
    for section in ("In a MONAI configuration", "From a bundle"):
        network = run(TEN_LINES, blocks(section)[0])["network"]
        assert network.state_dict().keys() == weights.keys()
        assert all(tensor.equal(weights[name]) for name, tensor in network.state_dict().items())


def test_monai_builds_the_ensemble_of_a_cross_validation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = {"architecture": every_operation().to_record(), **ARGUMENTS, "strides": [[2, 2, 2]]}
    ensemble = build_ensemble(record, 2)
    target = {"_target_": "monai_nas.networks.build_ensemble", "network": record, "members": 2}
    write_json(tmp_path / "RUN" / "network.json", target)
    save_tensors(tmp_path / "RUN" / "model.pt", ensemble.state_dict())
    monkeypatch.chdir(tmp_path)
    network = run("import torch", *blocks("In a MONAI configuration"))["network"]
    image = torch.randn(1, 1, 8, 8, 8)
    assert torch.equal(network.eval()(image), ensemble.eval()(image))


def test_a_bundle_reads_and_writes_scans_by_monai_alone(project: Path) -> None:
    import nibabel

    run(TEN_LINES, *blocks("From a bundle"))
    scan, labels = (nibabel.load(project / name) for name in ("scan.nii.gz", "predictions/scan.nii.gz"))
    assert labels.shape == scan.shape
    assert labels.get_data_dtype() == "uint8"
    assert (labels.affine == scan.affine).all()


def test_torchscript_computes_the_same(project: Path) -> None:
    names = run(TEN_LINES, "eager = network\n", *blocks("TorchScript"))
    image = torch.randn(1, 1, 16, 24, 16)
    assert names["network"].original_name == type(names["eager"]).__name__
    assert torch.allclose(names["network"](image), names["eager"](image), atol=1e-5)


NETWORKS = {
    "cell_unet": lambda: build_network(every_operation(), **ARGUMENTS, strides=[[2, 2, 2]]),
    "topology": lambda: build_network(
        TopologySpace(num_blocks=2, num_levels=2).sample(np.random.default_rng(0)),
        **ARGUMENTS,
        strides=[[1, 1, 1], [2, 2, 2]],
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_onnxruntime_agrees_with_tiny_networks(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    torch.manual_seed(0)
    network, image = NETWORKS[name]().eval(), torch.randn(1, 1, 8, 8, 8)
    torch.onnx.export(network, (image,), tmp_path / "network.onnx", input_names=["image"], verbose=False)
    expected = network(image).detach()
    (logits,) = onnxruntime.InferenceSession(tmp_path / "network.onnx").run(None, {"image": image.numpy()})
    assert expected.std() > 0.1
    assert np.abs(logits - expected.numpy()).max() < 1e-4


@pytest.mark.parametrize("name", NETWORKS)
def test_torch_traces_tiny_networks_in_one_graph(name: str) -> None:
    """What torch.compile does before it compiles, for prediction and for training; it needs no compiler."""
    torch.manual_seed(0)
    network, image = NETWORKS[name]().eval(), torch.randn(1, 1, 8, 8, 8)
    traced = torch.compile(network, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.allclose(traced(image), network(image), atol=1e-5)
    assert torch.allclose(traced(image), network(image), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("code", blocks("ONNX"), ids=["patch", "any size"])
def test_onnxruntime_agrees(project: Path, code: str) -> None:
    pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    run_alone(project, TEN_LINES, code, "assert logits.std() > 0.01")  # the block compares


@pytest.mark.slow
def test_torch_compiles_the_network(project: Path) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler on this machine: torch.compile needs one")
    compare = "torch.testing.assert_close(logits, network(patch).detach(), atol=1e-4, rtol=1e-4)"
    run_alone(project, TEN_LINES, *blocks("torch.compile"), compare)


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=lambda words: words[2])
def test_monais_commands_write_what_they_say(project: Path, command: list[str]) -> None:
    if "onnx_export" in command:
        pytest.importorskip("onnxruntime", reason="the extra `export` is not installed")
    folder = project / "bundles" / "msd_task04_hippocampus"
    result = subprocess.run([sys.executable, *command], capture_output=True, text=True, check=False, cwd=folder)
    assert result.returncode == 0, result.stderr
    written = folder / command[command.index("--filepath") + 1]
    assert written.stat().st_size > (folder / "models" / "model.pt").stat().st_size / 2
