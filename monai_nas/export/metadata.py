"""configs/metadata.json: what the bundle is, needs and expects, in the model zoo's schema of 2024-07-25."""

import importlib.metadata
import math
from collections.abc import Mapping
from typing import Any

from monai_nas import __version__
from monai_nas.export.finished_run import FinishedRun
from monai_nas.metrics.table import METRICS
from monai_nas.plans.plan import IntensityRule
from monai_nas.plans.published import ARCHITECTURE_TASK, committed_architecture
from monai_nas.tasks.msd import MSD_TASKS
from monai_nas.tasks.task import SegTask

SCHEMA = "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json"
VERSION = "0.1.0"
Z_SCORES = [-5.0, 5.0]  # most of a z-scored image lies within; the network takes any value
SCNAS = "Kim et al. Scalable Neural Architecture Search for 3D Medical Image Segmentation. MICCAI 2019."
HYPERSEGNAS = (
    "Peng et al. HyperSegNAS: Bridging One-Shot Neural Architecture Search with 3D Medical Image Segmentation using "
    "HyperNet. CVPR 2022."
)
DINTS = "He et al. DiNTS: Differentiable Neural Network Topology Search for 3D Medical Image Segmentation. CVPR 2021."
DECATHLON = "Antonelli et al. The Medical Segmentation Decathlon. Nature Communications 13, 4128 (2022)."
NETWORK_PAPERS: Mapping[str, tuple[str, ...]] = {
    "cell_unet": (SCNAS,),
    "topology": (HYPERSEGNAS, DINTS),
    "dints": (DINTS,),
    "res_unet": (
        SCNAS,
        "Oktay et al. Attention U-Net: Learning Where to Look for the Pancreas. MIDL 2018.",
        "Kayalibay et al. CNN-based Segmentation of Medical Imaging Data. arXiv:1701.03056 (2017).",
    ),
    "dynunet": (
        "Isensee et al. nnU-Net: a self-configuring method for deep learning-based biomedical image segmentation. "
        "Nature Methods 18, 203-211 (2021).",
    ),
}


def bundle_metadata(run: FinishedRun) -> dict[str, Any]:
    """Return the metadata; package versions are those that wrote and exported the bundle."""
    task, plan = run.plan.task, run.plan
    structures = ", ".join(task.labels[1:])
    values = ", ".join(f"{index}: {label}" for index, label in enumerate(task.labels))
    modalities = "+".join(task.modalities)
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "changelog": {VERSION: f"{describe_run(run)}, exported by monai_nas {_installed('monai-nas')}"},
        "monai_version": _installed("monai"),
        "pytorch_version": _installed("torch"),
        "numpy_version": _installed("numpy"),
        "required_packages_version": {
            "monai_nas": _installed("monai-nas"),
            "nibabel": _installed("nibabel"),
            "itk": _installed("itk"),
            "pytorch-ignite": _installed("pytorch-ignite"),
            "tensorboard": _installed("tensorboard"),
            **({"scikit-image": _installed("scikit-image")} if plan.keep_largest else {}),  # of the largest component
        },
        "supported_apps": {},
        "name": f"{task.short_name} segmentation ({modalities})",
        "task": f"Segmentation of {structures} in {modalities} volumes",
        "description": f"{_subject(run)} for {task.name} ({structures}), {origin(run)}"
        + ("." if run.weights is not None else "; not trained, without weights.")
        + (" The scores are those of another training of it, that kept cases out." if run.estimate else ""),
        "authors": "The monai_nas developers",
        "copyright": "Copyright (c) the monai_nas developers",
        "data_source": data_source(task),
        "data_type": "nibabel",
        "image_classes": f"{task.in_channels} channel(s): {', '.join(task.modalities)}, normalised as in the plan",
        "label_classes": f"single channel, {values}",
        "pred_classes": f"{task.num_classes} channels of logits before post-processing, {values}",
        "eval_metrics": eval_metrics(run),
        "intended_use": "Research. Not for clinical decisions.",
        "references": references(run),
        "network_data_format": {
            "inputs": {"image": _image_format(run)},
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": task.num_classes,
                    "spatial_shape": list(plan.patch_size),
                    "dtype": "float32",
                    "value_range": [],
                    "is_patch_data": True,
                    "channel_def": dict(_numbered(task.labels)),
                }
            },
        },
    }


def origin(run: FinishedRun) -> str:
    """Return where the network comes from: "found by neural architecture search", "made by hand (res_unet)"."""
    words = "found by neural architecture search" if run.is_searched else f"made by hand ({run.network_name})"
    return f"{words} on {ARCHITECTURE_TASK}" if is_transferred(run) else words


def is_transferred(run: FinishedRun) -> bool:
    """Whether the run takes over the architecture that all shipped bundles share."""
    return run.weights is None and run.architecture == committed_architecture()


def is_decathlon(task: SegTask) -> bool:
    """Whether this is a task of the MSD; what is known of it may have grown since its plan was made."""
    return any((task.name, task.labels) == (known.name, known.labels) for known in MSD_TASKS)


def data_source(task: SegTask) -> str:
    """Return where the data come from."""
    return (
        f"{task.name} of the Medical Segmentation Decathlon (http://medicaldecathlon.com)"
        if is_decathlon(task)
        else task.name
    )


def references(run: FinishedRun) -> list[str]:
    """Return the papers of the network and of the data."""
    return [*NETWORK_PAPERS.get(run.network_name, ()), DECATHLON]


def eval_metrics(run: FinishedRun) -> dict[str, float]:
    """Return the mean scores, of the run or of its estimate, as fractions; empty where there are none."""
    scores = (run.estimate or run).scores
    if scores is None:
        return {}
    means = {f"mean_{metric}": scores.mean(metric) for metric in METRICS}
    return {name: round(value, 4) for name, value in means.items() if not math.isnan(value)}


def describe_run(run: FinishedRun) -> str:
    """Return what the run was in a few words: "search, 30 minutes, seed 0"; or that there was none."""
    if run.weights is None:
        return "architecture transferred, not trained"
    words = [str(run.facts.get("verb", "run"))]
    for key in ("minutes", "epochs"):
        if run.facts.get(key) is not None:
            words.append(f"{run.facts[key]:g} {key}")
    words.append(f"seed {run.facts.get('seed', 0)}")
    return ", ".join(words)


def _subject(run: FinishedRun) -> str:
    return "A 3D network" if run.num_members == 1 else f"The mean of {run.num_members} 3D networks"


def _image_format(run: FinishedRun) -> dict[str, Any]:
    plan = run.plan
    is_ct = all(rule.kind == "ct" for rule in plan.intensity)
    return {
        "type": "image",
        "format": "hounsfield" if is_ct else "magnitude",
        "modality": "CT" if is_ct else "MR",
        "num_channels": plan.task.in_channels,
        "spatial_shape": list(plan.patch_size),
        "dtype": "float32",
        "value_range": _value_range(plan.intensity),
        "is_patch_data": True,
        "channel_def": dict(_numbered(plan.task.modalities)),
    }


def _value_range(rules: tuple[IntensityRule, ...]) -> list[float]:
    """Return the lowest and the highest value after normalisation: the clipping bounds for CT."""
    bounds = [
        [(bound - rule.mean) / rule.std for bound in (rule.lower, rule.upper)] if rule.kind == "ct" else Z_SCORES
        for rule in rules
    ]
    lowest, highest = min(low for low, _ in bounds), max(high for _, high in bounds)
    return [math.floor(lowest * 100) / 100, math.ceil(highest * 100) / 100]


def _numbered(names: tuple[str, ...]) -> list[tuple[str, str]]:
    """Return (position, name) pairs; a name that came before gets its position added, for names must differ."""
    return [(str(index), name if names.index(name) == index else f"{name} {index}") for index, name in enumerate(names)]


def _installed(package: str) -> str:
    """Return the version of an installed package without its local part ("2.13.0" of "2.13.0+cpu")."""
    if package == "monai-nas":
        return __version__
    return importlib.metadata.version(package).partition("+")[0]
