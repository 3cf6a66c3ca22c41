"""Trained networks as the teacher of another one: finished runs, whose mean probabilities it learns."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.export.finished_run import build_from, load_run
from monai_nas.files import file_sha256, read_json
from monai_nas.networks import EnsembleNetwork
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import Case


def load_teacher(runs: Sequence[Path], plan: Plan, held: Sequence[Case], compute: Compute) -> nn.Module:
    """Return the networks of finished runs as one, whose softmax is the mean of theirs; it learns nothing.

    Args:
        runs: RUN folders of searches, trainings or cross-validations.
        plan: of the network that is to learn, whose patches the teacher must be able to read.
        held: cases kept out of the training: of the teacher's, too, or they would be learnt all the same.
        compute: where.

    Raises:
        UserError: when a run is not finished or damaged, has learnt from a case kept out, or its network takes other
            images or gives other classes.
    """
    members = []
    for run in runs:
        finished = load_run(run)
        _check_cases(run, held)
        _check_images(run, finished.plan, plan)
        member = build_from(finished.network_def, run / "network.json")
        assert finished.weights is not None, "a RUN folder has weights"
        member.load_state_dict(finished.weights)
        members.append(member)
    return compute.place(EnsembleNetwork(members), len(plan.patch_size)).eval().requires_grad_(False)


def teacher_record(run: Path) -> dict[str, Any]:
    """Return what is written down of a teacher: its network, how it was trained, and the SHA-256 of its weights."""
    finished = load_run(run)
    told = {name: finished.facts.get(name) for name in ("verb", "minutes", "epochs", "steps", "seed", "fold")}
    return {"network": finished.network_name, **told, "weights": file_sha256(run / "model.pt")}


def _check_cases(run: Path, held: Sequence[Case]) -> None:
    record = read_json(run / "folds.json")
    learnt = {name for number, fold in enumerate(record["folds"]) if number != record["kept_out"] for name in fold}
    seen = [case.name for case in held if case.name in learnt]
    if seen:
        raise UserError(
            f"--teacher {run}: has learnt from {seen[0]} and {len(seen) - 1} more of the {len(held)} cases that this "
            "run keeps out to be scored on: train the teacher on the same data with the same --fold"
        )


def _check_images(run: Path, taught: Plan, plan: Plan) -> None:
    theirs, ours = _reading(taught), _reading(plan)
    for name in ours:
        if theirs[name] != ours[name]:
            raise UserError(
                f"--teacher {run}: its plan has {name} {theirs[name]}, that of this run {ours[name]}: give this run "
                f"--plan {run / 'plan.json'}"
            )


def _reading(plan: Plan) -> dict[str, Any]:
    """Return what decides which images a network of the plan can read, and what its classes are, by name."""
    intensity = [rule if rule.kind == "ct" else rule.kind for rule in plan.intensity]  # MRI: by each image alone
    return {
        "modalities": plan.task.modalities,
        "labels": plan.task.labels,
        "spacing_mm": plan.spacing_mm,
        "resample_separately": plan.resample_separately,
        "crop_to_nonzero": plan.crop_to_nonzero,
        "intensity": intensity,
        "strides": plan.strides,
    }
