"""Cross-validation: every fold trained, predicted and scored; at the end one ensemble of all the networks."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.files import file_sha256, load_weights, read_json, remove_unfinished, save_tensors, write_json
from monai_nas.metrics import ScoreTable
from monai_nas.networks import build_ensemble, build_network
from monai_nas.pipelines.fold_run import FoldRun, refuse_other
from monai_nas.pipelines.folder_lock import hold_folder
from monai_nas.pipelines.largest_component import choose_components, load_keep_largest, save_choices
from monai_nas.pipelines.preset import preset_named
from monai_nas.pipelines.run_folder import RunFolder, fold_cases, network_arguments, sound_cases
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import Case
from monai_nas.tasks.task import SegTask

SEEDS_APART = 5  # the most folds there are: fold k of seed s draws from seed 5 s + k, as no fold of another seed does
# What may lie in RUN before settings.json does: folds copied from elsewhere, and what a kill left.
_BEFORE_SETTINGS = re.compile(r"fold_\d|\.settings\.json\..*\.tmp")
_ENSEMBLE_FILES = ("scores.json", "postprocessing.json", "architecture.json", "network.json", "model.pt", "run.json")


@dataclass(frozen=True)
class CrossValidated:
    """How far a cross-validation has come."""

    folds: Mapping[int, ScoreTable]  # of the finished folds, each on its own cases
    left: tuple[int, ...]  # the other folds
    scores: ScoreTable | None  # of all cases, once no fold is left


def cross_validate(
    data: Path,
    out: Path,
    *,
    task: SegTask,
    architecture: Architecture,
    plan: Plan | None,
    fold: int | None,
    seed: int,
    minutes: float | None,
    epochs: int | None,
    compute: Compute,
    preset: str = "cpu",
) -> CrossValidated:
    """Train, predict and score one fold or all; where none is left, put the ensemble together.

    A fold's network never sees the fold's cases: they are predicted and scored when its training is over. Only the
    plan, which all folds must share as members of one ensemble, is made from all cases when none is given: from their
    shapes, spacings and foreground intensities, as nnU-Net does. Scores are those of the predictions without the
    largest-component rule, which is chosen on the same cases and would look better on them than it is.

    Several processes may run folds at the same time, on machines that share ``out`` or whose fold folders are copied
    into it. What is finished is not done again.

    Args:
        data: folder with dataset.json.
        out: RUN folder; fold K goes to its fold_K.
        task: what is to be segmented.
        architecture: what is to be trained, once for each fold.
        plan: how; None derives it from the data. Its ``keep_largest`` is chosen anew.
        fold: the one to run; None runs all.
        seed: of weights, order and augmentation; each fold draws from a seed of its own that follows from it.
        minutes: length of each fold's training in time, instead of ``epochs``; where both are None, the preset's.
        epochs: length in passes over the cases.
        compute: where and in which number format.
        preset: name of the values that are not asked for here.

    Raises:
        UserError: for unsound data, a fold that does not exist, folders begun with other settings or other data, an
            unknown preset, or a loss that is not finite.
    """
    values = preset_named(preset)
    if minutes is None and epochs is None:
        minutes, epochs = values.minutes, values.epochs
    cases = sound_cases(data, task)
    folds = {**fold_cases(cases, fold)[2], "kept_out": None}
    plan = _shared_plan(out, plan, cases, task, values.adapt)
    build_network(architecture, **network_arguments(plan))  # one that does not fit shows before anything is written
    settings = {
        "preset": preset,
        "architecture": architecture.to_record(),
        "minutes": minutes,
        "epochs": epochs,
    }
    _open(out, {"verb": "crossval", **settings, "seed": seed})
    RunFolder(out).keep(plan, folds)
    runs = [
        FoldRun(
            path=out / f"fold_{number}",
            fold=number,
            task=task,
            cases=tuple(case for case in cases if case.name in names),
            settings={
                **settings,
                "verb": "train",
                "init": None,
                "teachers": None,
                "fold": number,
                "seed": SEEDS_APART * seed + number,
            },
            plan=plan,
            folds={**folds, "kept_out": number},
        )
        for number, names in enumerate(folds["folds"])
    ]
    for run in runs:  # before hours are spent beside one that does not belong
        run.check()
    for run in runs if fold is None else [runs[fold]]:
        run.run(data, architecture, compute)
    left = tuple(run.fold for run in runs if not run.finished)
    if not left:
        facts = {"verb": "crossval", "preset": preset, "task": task.name, "seed": seed}
        _assemble(out, runs, architecture, {**facts, "minutes": minutes, "epochs": epochs, "fold": None}, compute)
    return CrossValidated(
        folds={run.fold: ScoreTable.load(run.path / "scores.json") for run in runs if run.finished},
        left=left,
        scores=None if left else ScoreTable.load(out / "scores.json"),
    )


def _shared_plan(
    out: Path, plan: Plan | None, cases: Sequence[Case], task: SegTask, adapt: Callable[[Plan], Plan]
) -> Plan:
    """Return the plan that all folds follow: without the largest-component rule, which is chosen at the end."""
    file = out / "plan.json"
    if not file.exists():
        return replace(RunFolder(out).choose_plan(plan, cases, task, adapt), keep_largest=())
    kept = replace(Plan.load(file), keep_largest=())
    if plan is not None and replace(plan, keep_largest=()) != kept:
        raise UserError(f"{file}: differs from the plan given now: leave --plan out, or choose another --out")
    return kept


def _open(out: Path, settings: Mapping[str, Any]) -> None:
    """Write down what all folds have in common, or make sure that it is the same; no process holds the folder for it.

    Processes that begin at the same moment write the same; where they do not, the settings of the folds tell.
    """
    file = out / "settings.json"
    if file.exists():
        refuse_other(file, settings)
        return
    if out.is_dir() and not all(_BEFORE_SETTINGS.fullmatch(entry.name) for entry in out.iterdir()):
        raise UserError(f"{out}: not empty and not a cross-validation: choose another --out")
    write_json(file, dict(settings))


def _assemble(
    out: Path, runs: Sequence[FoldRun], architecture: Architecture, facts: Mapping[str, Any], compute: Compute
) -> None:
    """Write what a run of one network has, but of the ensemble of all folds' networks; run.json last.

    Nothing is done where that is there already, of these very networks.
    """
    weights = [file_sha256(run.path / "model.pt") for run in runs]
    stale = (out / "run.json").exists() and read_json(out / "run.json").get("weights_sha256") != weights
    if not stale and all((out / name).exists() for name in _ENSEMBLE_FILES):
        return
    hold_folder(out)
    remove_unfinished(out)
    if stale:  # a fold was done anew
        (out / "postprocessing.json").unlink(missing_ok=True)
        (out / "run.json").unlink()
    tables = [ScoreTable.load(run.path / "scores.json") for run in runs]
    all_cases = sorted((scores for table in tables for scores in table.cases), key=lambda scores: scores.case)
    replace(tables[0], cases=tuple(all_cases)).save(out / "scores.json")

    plan, choices = runs[0].plan, out / "postprocessing.json"
    if not choices.exists():
        pairs = [(run.prediction(case), case.label) for run in runs for case in run.cases if case.label is not None]
        save_choices(choose_components(pairs, plan), len(pairs), choices)
    replace(plan, keep_largest=load_keep_largest(choices)).save(out / "plan.json")

    network = {"architecture": architecture.to_record(), **network_arguments(plan)}
    ensemble = build_ensemble(network, len(runs))
    for member, run in zip(ensemble.members, runs, strict=True):
        load_weights(member, run.path / "model.pt")
    architecture.save(out / "architecture.json")
    definition = {"_target_": "monai_nas.networks.build_ensemble", "network": network, "members": len(runs)}
    write_json(out / "network.json", definition)
    save_tensors(out / "model.pt", ensemble.state_dict())
    num_parameters = sum(parameter.numel() for parameter in ensemble.parameters())
    members = {"members": len(runs), "weights_sha256": weights, "num_parameters": num_parameters}
    RunFolder(out).finish({**facts, **members}, compute)
