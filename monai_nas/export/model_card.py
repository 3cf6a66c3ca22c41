"""docs/README.md of a bundle: the model card, every figure of it taken from the run's own files."""

import math
from collections.abc import Iterable

from monai_nas.export.finished_run import FinishedRun
from monai_nas.export.metadata import describe_run, origin, references
from monai_nas.metrics.table import METRICS
from monai_nas.tasks.msd import MSD_TASKS
from monai_nas.tasks.task import SegTask

MSD_LICENSE = """\
The weights in this bundle were trained on {task} of the Medical Segmentation Decathlon
(http://medicaldecathlon.com), which its authors publish under the Creative Commons licence
CC-BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/). The data are not part of this
bundle. Whoever uses them must cite

    Antonelli et al. The Medical Segmentation Decathlon. Nature Communications 13, 4128 (2022).
    Simpson et al. A large annotated medical image dataset for the development and evaluation of
    segmentation algorithms. arXiv:1902.09063 (2019).
"""
OWN_LICENSE = """\
The weights in this bundle were trained on the dataset {task}. The data are not part of this
bundle; their owner states the terms of their use, and whoever passes the bundle on writes them here.
"""
CARD = """\
# Model Overview

{description} The network was {origin}; its architecture is readable JSON under
`network_def` in `configs/inference.json`.

## Authors

The monai_nas developers.

## Tags

{tags}

## Model Description

Made by `monai_nas` ({run}). The network has {parameters:,} parameters, {width} channels in its stem and
{levels} down-samplings with strides {strides}; it reads patches of {patch} voxels and returns one tensor of
{classes} logits per voxel.

{provenance}

## Data

{source}: {cases} labelled cases measured. Channels: {channels}. Labels: {labels}.
Terms of use: `docs/data_license.txt`.

### Preprocessing

Every scan is turned to RAS, resampled to {spacing} mm (linear; labels nearest) and normalised: {intensity}.
The rules behind these numbers stand under `plan` in `configs/search.json`.

## Performance

{performance}

## Additional Usage Steps

In the bundle's folder, DIR being a folder with dataset.json in the form of the decathlon:

```
python -m monai.bundle run --config_file configs/inference.json --dataset_dir DIR
python -m monai.bundle run --config_file "['configs/train.json','configs/evaluate.json']" --dataset_dir DIR
python -m monai.bundle run --config_file configs/train.json --dataset_dir DIR
python -m monai.bundle run --config_file configs/search.json --dataset_dir DIR --minutes 30
torchrun --standalone --nproc_per_node=2 -m monai.bundle run \\
    --config_file "['configs/train.json','configs/multi_gpu_train.json']" --dataset_dir DIR
```

From another folder, name the configuration's path and add `--bundle_root BUNDLE`. Inference reads
`DIR/imagesTs/*.nii.gz` and writes to `eval/`; another list is given by `--datalist "['a.nii.gz']"`. Training writes
to `runs/train/model.pt` and a search to `runs/search`, never over the weights shipped here. With `monai_nas` alone:
`monai-nas predict --bundle BUNDLE --images DIR --out OUT`, which also averages over mirrored copies.

## System Configuration

CPU or one GPU; the plan was made for {memory:.1f} GB of memory in training. {hardware}

## Limitations

For research only, not for clinical decisions. The network knows scans like those it was trained on; other scanners,
protocols, ages or diseases may mislead it. `models/model.ts` is TorchScript; TensorRT is not supported. The bundle has
no path for several DICOM series as channels: MONAI Deploy then needs an operator of its own.

## Citation

{citation}

## References

{references}

# License

The code and the weights: Apache License 2.0, see `LICENSE`. The data: see `docs/data_license.txt`.
"""


def model_card(run: FinishedRun, name: str) -> str:
    """Return the model card of the bundle called ``name``."""
    task, plan = run.plan.task, run.plan
    structures = ", ".join(task.labels[1:])
    environment = run.facts.get("environment", {})
    return CARD.format(
        description=f"`{name}` segments {structures} in {', '.join(task.modalities)} volumes.",
        origin=origin(run),
        tags=_join(["Segmentation", *task.modalities, *(["neural architecture search"] if run.is_searched else [])]),
        run=describe_run(run),
        parameters=sum(weight.numel() for weight in run.weights.values() if weight.is_floating_point()),
        width=run.network_def.get("width", plan.width),
        levels=len(plan.strides),
        strides=_join(_times(stride) for stride in plan.strides),
        patch=_times(plan.patch_size),
        classes=task.num_classes,
        provenance=_provenance(run),
        source=_source(task),
        cases=plan.fingerprint.num_cases,
        channels=_join(task.modalities),
        labels=_join(f"{index} {label}" for index, label in enumerate(task.labels)),
        spacing=" x ".join(f"{spacing:.4g}" for spacing in plan.spacing_mm),
        intensity=_intensity(run),
        performance=_performance(run),
        memory=plan.memory_bytes / 1024**3,
        hardware=f"This run: {environment['processor']}, {environment['dtype']}." if environment else "",
        citation="Cite the papers below that apply, and the data's.",
        references="\n".join(f"[{number}] {text}" for number, text in enumerate(references(run), 1)),
    )


def data_license(task: SegTask) -> str:
    """Return docs/data_license.txt: the decathlon's terms, or whose the terms of other data are."""
    return (MSD_LICENSE if task in MSD_TASKS else OWN_LICENSE).format(task=task.name)


def _provenance(run: FinishedRun) -> str:
    """Return the run's own record of data, code and versions, one line each."""
    kept_out = (
        "none, so that configs/evaluate.json scores cases the weights were trained on"
        if run.facts.get("fold") is None
        else f"{run.facts['fold']} of seed {run.fold_seed}"
    )
    lines = [f"- fold kept out: {kept_out}"]
    facts = {**run.facts, **run.facts.get("environment", {})}
    lines += [f"- {key}: {_flat(facts[key])}" for key in ("strategy", "commit", "versions") if key in facts]
    return "\n".join(lines)


def _performance(run: FinishedRun) -> str:
    """Return the scores as a table, or that there are none."""
    scores = run.scores
    if scores is None:
        return (
            "This run has not been scored: no scores.json lies beside its weights. Score it with "
            "`monai-nas predict` and `monai-nas evaluate` on cases that it has not seen."
        )
    means = [scores.class_means(metric) for metric in METRICS]
    lines = ["| | Dice | surface Dice (NSD) |", "|---|---|---|"]
    lines += [_row(name, [values[index] for values in means]) for index, name in enumerate(scores.classes)]
    lines.append(_row("mean", [scores.mean(metric) for metric in METRICS]))
    tolerances = sorted({case.tolerance_mm for case in scores.cases})
    return (
        f"On {len(scores.cases)} cases, those of the run's scores.json, in percent; surface Dice at a tolerance of "
        f"{_join(f'{tolerance:g}' for tolerance in tolerances)} mm ({scores.tolerance_source}).\n\n" + "\n".join(lines)
    )


def _row(name: str, values: list[float]) -> str:
    """Return a row of the table of scores, in percent."""
    cells = ["-" if math.isnan(value) else f"{100 * value:.1f}" for value in values]
    return f"| {' | '.join([name, *cells])} |"


def _intensity(run: FinishedRun) -> str:
    rules = zip(run.plan.task.modalities, run.plan.intensity, strict=True)
    return _join(
        f"{name} clipped to {rule.lower:g} to {rule.upper:g}, minus {rule.mean:.4g}, divided by {rule.std:.4g}"
        if rule.kind == "ct"
        else f"{name} to zero mean and unit deviation of each scan"
        for name, rule in rules
    )


def _source(task: SegTask) -> str:
    if task in MSD_TASKS:
        return f"{task.name} of the Medical Segmentation Decathlon (http://medicaldecathlon.com)"
    return task.name


def _flat(value: object) -> str:
    """Return a fact of run.json in one line."""
    if isinstance(value, dict):
        return _join(f"{key} {_flat(item)}" for key, item in value.items())
    return str(value)


def _times(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _join(words: Iterable[str]) -> str:
    return ", ".join(words)
