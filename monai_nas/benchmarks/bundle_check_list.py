"""The checks of a bundle, each a function that raises: what the MONAI ecosystem asks of bundles and runs offline.

After MONAI's model zoo (github.com/Project-MONAI/model-zoo, ci/verify_bundle.py and ci/unit_tests), MONAI's bundle
specification, and what a user of the bundle types.
"""

from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from monai.bundle import ckpt_export, verify_metadata, verify_net_in_out

from monai_nas.benchmarks.bundle_copy import BundleCopy, inside, write_small_phantoms
from monai_nas.benchmarks.bundle_requirements import (
    CheckFailed,
    Skipped,
    check_predictions,
    check_properties,
    check_scores,
    load_bundle,
    load_torchscript,
    require,
    require_same_function,
    require_weights,
)
from monai_nas.export.finished_run import load_run
from monai_nas.files import load_tensors, load_weights, read_json

CONFIGS = ("metadata", "search", "train", "inference", "evaluate", "multi_gpu_train")
FILES = ("LICENSE", "docs/README.md", "docs/data_license.txt", "configs/logging.conf")
CASES_OF_TWO_PROCESSES = 6  # a fold of two: each process validates on one


def layout(bundle: BundleCopy) -> None:
    """All files are there, and MONAI's listings, which cut names at "_v" and search in them, can tell the name."""
    wanted = [*FILES, *(f"configs/{stem}.json" for stem in CONFIGS)]
    require(not (missing := [name for name in wanted if not (bundle.root / name).is_file()]), f"lacks {missing}")
    name = bundle.root.name
    require("_v" not in name, f"'_v' in the name {name}")
    others = [path.parents[1].name for path in bundle.original.parent.glob("*/configs/metadata.json")]
    alike = [other for other in others if other != name and name in other]
    require(not alike, f"the name {name} lies within {alike}")


def metadata(bundle: BundleCopy) -> None:
    """What the zoo and MONAI Label ask of metadata.json beyond its schema."""
    record, task = read_json(bundle.root / "configs" / "metadata.json"), bundle.plan.task
    require(record["version"] in record["changelog"], f"version {record['version']} is not in the changelog")
    require("monai_nas" in record["required_packages_version"], "required_packages_version lacks monai_nas")
    inputs, outputs = (record["network_data_format"][key] for key in ("inputs", "outputs"))
    require(list(inputs) == ["image"], f"inputs are {list(inputs)}, must be image")
    require(list(outputs) == ["pred"], f"outputs are {list(outputs)}, must be pred")
    channels = inputs["image"]["num_channels"], outputs["pred"]["num_channels"]
    facts = task.in_channels, task.num_classes
    require(channels == facts, f"channels in and out are {channels}, {task.name} has {facts}")


def schema(bundle: BundleCopy, file: Path) -> None:
    """metadata.json satisfies the zoo's schema, of which ``file`` is a copy."""
    url = read_json(bundle.root / "configs" / "metadata.json")["schema"]
    if not file.is_file():
        raise Skipped(f"{file.name} is not there: load {url} and name it with --schema")
    require(str(url).endswith(file.name), f"metadata.json names another schema: {url}")
    verify_metadata(meta_file=bundle.files["meta_file"], filepath=str(file))


def shipped_weights(bundle: BundleCopy) -> None:
    """The weights that a bundle comes with are those of its network, also as TorchScript."""
    models = bundle.original / "models"
    if not models.is_dir():
        raise Skipped("comes without models/, to be trained")
    network = bundle.network()
    load_weights(network, models / "model.pt")
    if (models / "model.ts").is_file():
        require_same_function(network, load_torchscript(bundle.original), bundle)


def missing_weights(bundle: BundleCopy) -> None:
    """Inference without weights stops with one line that names the command to train them."""
    try:
        bundle.run(["inference"])
    except SystemExit as stop:
        line = str(stop.code)
    else:
        raise CheckFailed("ends as if it had weights")
    require(len(line.splitlines()) == 1, f"says {len(line.splitlines())} lines")
    require("configs/train.json" in line and "models/model.pt" in line, f"does not name the training: {line}")


def train(bundle: BundleCopy) -> None:
    """Two steps on phantoms, a validation, and the weights in models/model.pt."""
    workflow = bundle.run(["train"], ckpt_dir="models", **bundle.small_training())
    steps = workflow.parser.get_parsed_content("train::trainer").state.iteration
    require(steps == 2, f"{steps} steps instead of 2")
    load_weights(bundle.network(), bundle.weights)


def net_in_out(bundle: BundleCopy) -> None:
    """The network takes and returns what metadata.json says."""
    verify_net_in_out(net_id="network_def", **bundle.files)


def torchscript(bundle: BundleCopy) -> None:
    """``ckpt_export`` gives a TorchScript network that computes the same, with the configurations inside."""
    require_weights(bundle)
    file = bundle.weights.with_suffix(".ts")
    ckpt_export(net_id="network_def", filepath=str(file), ckpt_file=str(bundle.weights), **bundle.files)
    network = bundle.network()
    load_weights(network, bundle.weights)
    require_same_function(network, load_torchscript(bundle.root), bundle)


def properties_train(bundle: BundleCopy) -> None:
    """train.json has all properties of a training, under their names."""
    check_properties(bundle, "train", ["train"])


def properties_evaluate(bundle: BundleCopy) -> None:
    """So has train.json with evaluate.json laid over it."""
    check_properties(bundle, "train", ["train", "evaluate"])


def properties_inference(bundle: BundleCopy) -> None:
    """inference.json has all properties of an inference, under their names."""
    check_properties(bundle, "infer", ["inference"])


def load_by_name(bundle: BundleCopy) -> None:
    """``monai.bundle.load`` gives the network with its weights, from another working folder."""
    require_weights(bundle)
    expected = load_tensors(bundle.weights)
    with inside(bundle.root.parent):
        for workflow in ("train", "inference"):
            state = load_bundle(bundle.root, workflow).state_dict()
            same = set(state) == set(expected) and all(torch.equal(state[key], expected[key]) for key in expected)
            require(same, f"{workflow}.json gives other weights than those of models/model.pt")


def inference(bundle: BundleCopy) -> None:
    """Each image gets a label map on its own grid."""
    require_weights(bundle)
    bundle.run(["inference"], **bundle.small_inference())
    check_predictions(bundle)


def evaluate(bundle: BundleCopy) -> None:
    """The weights are scored on the withheld fold."""
    require_weights(bundle)
    bundle.run(["train", "evaluate"], **bundle.small_training())
    check_scores(bundle)


def search(bundle: BundleCopy) -> None:
    """The search writes a finished run."""
    bundle.run(["search"], **bundle.small_search())
    run = load_run(bundle.root / "runs" / "search")
    require(run.plan.task == bundle.plan.task, f"the run is of {run.plan.task.name}")


def elsewhere(bundle: BundleCopy) -> None:
    """Inference and evaluation as commands, from another working folder."""
    require_weights(bundle)
    folder, root = bundle.root.parent, str(bundle.root)
    bundle.process(folder, ["inference"], bundle_root=root, **bundle.small_inference())
    check_predictions(bundle)
    bundle.process(folder, ["train", "evaluate"], bundle_root=root, **bundle.small_training())
    check_scores(bundle)


def torchrun(bundle: BundleCopy) -> None:
    """Two processes train one network with multi_gpu_train.json, whose weights fit the plain network."""
    data = bundle.root.parent / "two_processes" / bundle.plan.task.name
    write_small_phantoms(bundle.plan.task, data, CASES_OF_TWO_PROCESSES)
    overrides = bundle.small_training() | {"dataset_dir": str(data)}
    bundle.process(bundle.root, ["train", "multi_gpu_train"], processes=2, **overrides)
    load_weights(bundle.network(), bundle.root / "runs" / "train" / "model.pt")


# In the order in which they are done: what needs weights comes after `train`.
CHECKS: Mapping[str, Callable[[BundleCopy], None]] = {
    "layout": layout,
    "metadata": metadata,
    "shipped_weights": shipped_weights,
    "missing_weights": missing_weights,
    "train": train,
    "verify_net_in_out": net_in_out,
    "ckpt_export": torchscript,
    "properties_train": properties_train,
    "properties_evaluate": properties_evaluate,
    "properties_inference": properties_inference,
    "load": load_by_name,
    "inference": inference,
    "evaluate": evaluate,
    "search": search,
    "elsewhere": elsewhere,
    "torchrun": torchrun,
}
