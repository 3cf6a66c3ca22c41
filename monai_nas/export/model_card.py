"""docs/README.md of a bundle: the model card, every figure of it taken from the run's own files."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from monai_nas.export.finished_run import FinishedRun
from monai_nas.export.first_use import first_use
from monai_nas.export.metadata import data_source, describe_run, is_decathlon, is_transferred, origin, references
from monai_nas.export.train_config import cache_rate
from monai_nas.metrics.table import METRICS
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import ARCHITECTURE_TASK
from monai_nas.tasks.splits import IMAGE_ENDINGS
from monai_nas.tasks.task import SegTask

MSD_LICENSE = """\
{task} belongs to the Medical Segmentation Decathlon (http://medicaldecathlon.com), which its
authors publish under the Creative Commons licence CC-BY-SA 4.0
(https://creativecommons.org/licenses/by-sa/4.0/). The data are not part of this bundle; weights
that were trained on them are made from them. Whoever uses the data must cite

    Antonelli et al. The Medical Segmentation Decathlon. Nature Communications 13, 4128 (2022).
    Simpson et al. A large annotated medical image dataset for the development and evaluation of
    segmentation algorithms. arXiv:1902.09063 (2019).
"""
OWN_LICENSE = """\
The dataset of this bundle is {task}. The data are not part of it; their owner states the terms of
their use, also for weights that were trained on them, and whoever passes the bundle on writes them here.
"""
CARD = """\
# Model Overview

{description}
The network was {origin}; its architecture is readable JSON under
`network_def` in `configs/inference.json`.

## Authors

The monai_nas developers.

## Tags

{tags}

## Model Description

Made by `monai_nas` ({run}).
{subject} has {parameters:,} parameters, {width} channels in its stem and
{levels} down-samplings with strides {strides}; it reads patches of {patch} voxels and returns one tensor of
{classes} logits per voxel.

{provenance}

## Data

{source}:
{cases}. Channels: {channels}. Labels: {labels}.
Terms of use: `docs/data_license.txt`.

### Preprocessing

Every scan is turned to RAS, {crop}resampled to {spacing} mm ({interpolation}; labels nearest) and normalised:
{intensity}.{largest}
The rules behind these numbers stand under `plan` in `configs/search.json`.

## Performance

{performance}

## Additional Usage Steps

{first_use}In the bundle's folder, DIR being a folder with dataset.json in the form of the decathlon:

```
python -m monai.bundle run --config_file configs/inference.json --dataset_dir DIR
python -m monai.bundle run --config_file "['configs/train.json','configs/evaluate.json']" --dataset_dir DIR
python -m monai.bundle run --config_file configs/train.json --dataset_dir DIR
python -m monai.bundle run --config_file configs/search.json --dataset_dir DIR --minutes 30
torchrun --standalone --nproc_per_node=2 -m monai.bundle run \\
    --config_file "['configs/train.json','configs/multi_gpu_train.json']" --dataset_dir DIR
```

From another folder, name the configuration's path and add `--bundle_root BUNDLE`. Inference takes
{formats} files in `DIR/imagesTs` and writes `.nii.gz` label maps to `eval/`; another list is given by
`--datalist "['a.nii.gz']"`. Training writes to `runs/train/model.pt` and a search to `runs/search`, never over the
weights in `models/`.

`configs/inference.json` holds a whole volume for each class in memory. For large scans take
`monai-nas predict --bundle BUNDLE --images DIR --out OUT`: it streams them in bounded memory, and also averages over
mirrored copies.

## System Configuration

CPU or one GPU; the plan was made for {memory:.1f} GB of memory in training{together}.
Preprocessed cases may take a quarter of it: {cached:.0%} of them are kept (`cache_rate` in `configs/train.json`).
{hardware}
## Limitations

For research only, not for clinical decisions. The network knows scans like those it was trained on; other scanners,
protocols, ages or diseases may mislead it. The bundle has no path for several DICOM series as channels: MONAI Deploy
then needs an operator of its own. {torchscript}; TensorRT is not supported.

## Citation

{citation}

## References

{references}

# License

The code{and_weights}: Apache License 2.0, see `LICENSE`. The data: see `docs/data_license.txt`.
"""


def model_card(run: FinishedRun, name: str) -> str:
    """Return the model card of the bundle called ``name``."""
    task, plan = run.plan.task, run.plan
    is_trained = run.weights is not None
    environment = run.facts.get("environment", {})
    return CARD.format(
        description=_description(run, name),
        origin=origin(run),
        tags=_join(["Segmentation", *task.modalities, *(["neural architecture search"] if run.is_searched else [])]),
        run=describe_run(run),
        subject="The network" if run.num_members == 1 else f"Each of the {run.num_members} networks",
        parameters=run.num_parameters // run.num_members,
        width=run.member_def.get("width", plan.width),
        levels=len(plan.strides),
        strides=_join(_times(stride) for stride in plan.strides),
        patch=_times(plan.patch_size),
        classes=task.num_classes,
        provenance=_provenance(run),
        source=data_source(task),
        cases=f"{plan.fingerprint.num_cases} labelled cases measured"
        if plan.fingerprint.num_cases
        else "no case was measured, the plan rests on published figures",
        channels=_join(task.modalities),
        labels=_join(f"{index} {label}" for index, label in enumerate(task.labels)),
        spacing=" x ".join(f"{spacing:.4g}" for spacing in plan.spacing_mm),
        crop="cropped to its non-zero voxels, " if plan.crop_to_nonzero else "",
        interpolation="linear"
        if plan.resample_separately is None
        else f"linear, along axis {'RAS'[plan.resample_separately]} the nearest slice",
        intensity=_intensity(plan),
        largest=f"\nOf {_join(task.labels[index] for index in plan.keep_largest)} only the largest component is kept."
        if plan.keep_largest
        else "",
        performance=_performance(run),
        formats=_join(f"`{ending}`" for ending in IMAGE_ENDINGS),
        first_use=first_use(run, name),
        memory=plan.memory_bytes / 1024**3,
        cached=cache_rate(plan),
        together=""
        if run.num_members == 1
        else " of one network, and `configs/train.json` trains all of them together",
        hardware=f"This run: {environment['processor']}, {environment['dtype']}.\n" if environment else "",
        torchscript="`models/model.ts` is TorchScript"
        if is_trained
        else "`ckpt_export` makes TorchScript of trained weights",
        citation="Cite the papers below that apply, and the data's.",
        references="\n".join(f"[{number}] {text}" for number, text in enumerate(references(run), 1)),
        and_weights=" and the weights" if is_trained else "",
    )


def data_license(task: SegTask) -> str:
    """Return docs/data_license.txt: the decathlon's terms, or whose the terms of other data are."""
    return (MSD_LICENSE if is_decathlon(task) else OWN_LICENSE).format(task=task.name)


def _description(run: FinishedRun, name: str) -> str:
    task = run.plan.task
    purpose = f"{', '.join(task.labels[1:])} in {', '.join(task.modalities)} volumes"
    if run.weights is None:
        return f"**Not trained.** `{name}` is for {purpose}; it has no weights until it is trained (*First use*)."
    if run.num_members > 1:
        return f"`{name}` segments {purpose}, by the mean probability of {run.num_members} networks."
    return f"`{name}` segments {purpose}."


def _provenance(run: FinishedRun) -> str:
    """Return the run's own record of data, code and versions, one line each."""
    if run.weights is None:
        source = (
            f"transferred from {ARCHITECTURE_TASK}" if is_transferred(run) else "given, not searched on these data,"
        )
        return f"The architecture was {source} and not trained here; width, strides and patch follow from the plan."
    kept_out = (
        "none, so that configs/evaluate.json scores cases the weights were trained on"
        if run.facts.get("fold") is None
        else f"{run.facts['fold']} of seed {run.fold_seed}"
    )
    lines = [f"- fold kept out: {kept_out}"]
    if run.facts.get("init"):
        lines.append(f"- training began with the weights of SHA-256 {run.facts['init']}")
    lines += [f"- learnt the probabilities of {_teacher(record)}" for record in run.facts.get("teachers") or ()]
    facts = {**run.facts, **run.facts.get("environment", {})}
    lines += [f"- {key}: {_flat(facts[key])}" for key in ("strategy", "commit", "versions") if key in facts]
    return "\n".join(lines)


def _teacher(record: Mapping[str, Any]) -> str:
    """Return one line of a teacher, from what the run has written down of it."""
    kept_out = "no case kept out" if record["fold"] is None else f"fold {record['fold']} kept out"
    return (
        f"{record['network']} ({record['verb']}, {record['epochs']} epochs, {record['steps']} steps, seed "
        f"{record['seed']}, {kept_out}), whose weights have SHA-256 {record['weights']}"
    )


def _performance(run: FinishedRun) -> str:
    """Return the scores as a table, or that there are none."""
    scored = run.estimate or run
    scores = scored.scores
    if run.weights is None:
        return "None: the network is not trained."
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
    by_one = " Each case was segmented by the one network that had not seen it, not by all." * (scored.num_members > 1)
    estimated = (
        f" An estimate: these are the scores of another training of the network ({describe_run(scored)}), which had "
        "not learnt from these cases. The weights of this bundle have learnt from all cases, from these, too."
    ) * (run.estimate is not None)
    return (
        f"On {len(scores.cases)} cases, those of the run's scores.json, in percent; surface Dice at a tolerance of "
        f"{_join(f'{tolerance:g}' for tolerance in tolerances)} mm ({scores.tolerance_source}).{by_one}{estimated}\n\n"
        + "\n".join(lines)
    )


def _row(name: str, values: list[float]) -> str:
    """Return a row of the table of scores, in percent."""
    cells = ["-" if math.isnan(value) else f"{100 * value:.1f}" for value in values]
    return f"| {' | '.join([name, *cells])} |"


def _intensity(plan: Plan) -> str:
    voxels = "'s non-zero voxels" if plan.crop_to_nonzero else ""
    return _join(
        f"{name} clipped to {rule.lower:g} to {rule.upper:g}, minus {rule.mean:.4g}, divided by {rule.std:.4g}"
        if rule.kind == "ct"
        else f"{name} to zero mean and unit deviation of each scan{voxels}"
        for name, rule in zip(plan.task.modalities, plan.intensity, strict=True)
    )


def _flat(value: object) -> str:
    """Return a fact of run.json in one line."""
    if isinstance(value, dict):
        return _join(f"{key} {_flat(item)}" for key, item in value.items())
    return str(value)


def _times(sizes: Iterable[int]) -> str:
    return "x".join(map(str, sizes))


def _join(words: Iterable[str]) -> str:
    return ", ".join(words)
