"""What the checks of a bundle require, and how they say that it is not so."""

import csv
import math
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai.bundle import load
from torch import nn

from monai_nas.benchmarks.bundle_copy import BundleCopy
from monai_nas.files import read_json
from monai_nas.tasks.splits import unlabelled_cases

TOLERANCE = 1e-4  # of logits, between a network and its TorchScript


class CheckFailed(Exception):
    """What a bundle lacks, in one line."""


class Skipped(Exception):
    """Why a check does not apply here, in one line."""


def require(condition: bool, fault: str) -> None:
    """Raise CheckFailed with ``fault`` unless the condition holds."""
    if not condition:
        raise CheckFailed(fault)


def require_weights(bundle: BundleCopy) -> None:
    """Skip a check that needs what the training was to write."""
    if not bundle.weights.is_file():
        raise Skipped("no weights: train them first")


def check_properties(bundle: BundleCopy, kind: str, stems: list[str]) -> None:
    """Raise unless MONAI finds all ids that a workflow of this kind has to have."""
    wrong = bundle.workflow(kind, stems).check_properties()
    require(wrong == [], f"missing or misnamed: {wrong}")


def check_predictions(bundle: BundleCopy) -> None:
    """Raise unless eval/ holds a uint8 label map on the grid of each test image, and take them away."""
    for case in unlabelled_cases(bundle.data):
        path = bundle.root / "eval" / case.image.name
        require(path.is_file(), f"eval/{path.name} has not been written")
        scan, labels = (nibabel.nifti1.Nifti1Image.from_filename(file) for file in (case.image, path))
        require(labels.shape == scan.shape[:3], f"{path.name}: shape {labels.shape}, the scan's is {scan.shape[:3]}")
        dtype = labels.get_data_dtype()
        require(dtype == np.uint8, f"{path.name}: {dtype} instead of uint8")
        require(np.allclose(labels.affine, scan.affine, atol=1e-4), f"{path.name}: the affine is not the scan's")
        highest = int(np.asarray(labels.dataobj).max())
        require(highest < bundle.plan.task.num_classes, f"{path.name}: label {highest}")
        path.unlink()


def check_scores(bundle: BundleCopy) -> None:
    """Raise unless eval/metrics.csv holds a finite mean Dice, and take it away."""
    path = bundle.root / "eval" / "metrics.csv"
    require(path.is_file(), "eval/metrics.csv has not been written")
    scores = dict(csv.reader(path.read_text().splitlines()))
    require(math.isfinite(float(scores.get("val_mean_dice", "nan"))), f"eval/metrics.csv: no mean Dice in {scores}")
    path.unlink()


def load_bundle(root: Path, workflow: str) -> nn.Module:
    """Return the network that MONAI loads from a bundle by its name."""
    network = load(root.name, bundle_dir=root.parent, workflow_type=workflow)
    if not isinstance(network, nn.Module):
        raise CheckFailed(f"load() gives a {type(network).__name__} for {workflow}.json")
    return network


def load_torchscript(root: Path) -> nn.Module:
    """Return the network in models/model.ts, which must carry the bundle's configurations."""
    arguments: dict[str, Any] = {"load_ts_module": True, "config_files": ["inference.json"]}
    parts: Any = load(root.name, bundle_dir=root.parent, **arguments)
    network, metadata, extra = parts
    require(metadata == read_json(root / "configs" / "metadata.json"), "models/model.ts carries other metadata")
    require(bool(extra["inference.json"]), "models/model.ts carries no inference.json")
    result: nn.Module = network
    return result


def require_same_function(network: nn.Module, other: nn.Module, bundle: BundleCopy) -> None:
    """Raise unless two networks compute the same of random numbers."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, bundle.plan.task.in_channels, *bundle.patch, generator=generator)
    with torch.inference_mode():
        difference = float((network.cpu().eval()(image) - other.cpu().eval()(image)).abs().max())
    require(difference <= TOLERANCE, f"logits differ by {difference:.2g}")
