"""Trained networks as the teacher of another one: finished runs, whose mean probabilities it learns."""

from collections.abc import Sequence
from pathlib import Path

from torch import nn

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.export.finished_run import build_from, load_run
from monai_nas.networks import EnsembleNetwork
from monai_nas.plans.plan import Plan


def load_teacher(runs: Sequence[Path], plan: Plan, fold: int | None, compute: Compute) -> nn.Module:
    """Return the networks of finished runs as one, whose softmax is the mean of theirs; it learns nothing.

    Args:
        runs: RUN folders of searches, trainings or cross-validations.
        plan: of the network that is to learn, whose patches the teacher must be able to read.
        fold: that is kept out of the training: of the teacher's, too, or its cases would be learnt all the same.
        compute: where.

    Raises:
        UserError: when a run is not finished or damaged, has learnt from the fold, or its network takes other images or
            gives other classes.
    """
    members = []
    for run in runs:
        finished = load_run(run)
        if fold is not None and finished.facts.get("fold") != fold:
            raise UserError(
                f"--teacher {run}: it has learnt from cases of fold {fold}, which this run keeps out to be scored on: "
                f"train it with --fold {fold}, or this run without"
            )
        _check_images(run, finished.plan, plan)
        member = build_from(finished.network_def, run / "network.json")
        assert finished.weights is not None, "a RUN folder has weights"
        member.load_state_dict(finished.weights)
        members.append(member)
    return compute.place(EnsembleNetwork(members), len(plan.patch_size)).eval().requires_grad_(False)


def _check_images(run: Path, taught: Plan, plan: Plan) -> None:
    for name, theirs, ours in (
        ("modalities", taught.task.modalities, plan.task.modalities),
        ("labels", taught.task.labels, plan.task.labels),
        ("spacing_mm", taught.spacing_mm, plan.spacing_mm),
        ("intensity", taught.intensity, plan.intensity),
        ("strides", taught.strides, plan.strides),
    ):
        if theirs != ours:
            raise UserError(
                f"--teacher {run}: its plan's {name} is {theirs}, that of this run {ours}: give both trainings the "
                f"same --plan, such as {run / 'plan.json'}"
            )
