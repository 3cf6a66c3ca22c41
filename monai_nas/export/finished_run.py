"""What a bundle is made of: a finished run, read back from its folder and checked, or a network to be trained."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.files import load_weights, read_json
from monai_nas.metrics import ScoreTable
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import FOLD_SEED
from monai_nas.tasks.task import SegTask

NETWORK = "monai_nas.networks.build_network"
ENSEMBLE = "monai_nas.networks.build_ensemble"


@dataclass(frozen=True)
class FinishedRun:
    """The values of a RUN folder that travel into a bundle; or, without weights, what a bundle to be trained needs."""

    network_def: Mapping[str, Any]  # the whole call of build_network or build_ensemble, architecture inline
    plan: Plan
    weights: Mapping[str, Tensor] | None  # a plain state_dict that fits network_def; None: not trained
    facts: Mapping[str, Any]  # run.json: verb, seed, minutes or epochs, fold kept out, environment
    fold_seed: int  # of the folds, as in folds.json
    scores: ScoreTable | None  # scores.json, where withheld cases have been scored
    estimate: "FinishedRun | None" = None  # the same network trained without some cases, whose scores stand for its own

    @classmethod
    def from_parts(cls, task: SegTask, plan: Plan, architecture: Architecture) -> "FinishedRun":
        """Return the beginning of a run: an architecture built for a task, as its plan says, and no weights.

        Raises:
            UserError: when the plan is another task's, or when no network can be built from architecture and plan.
        """
        wanted, planned = ((one.name, one.modalities, one.labels) for one in (task, plan.task))
        if wanted != planned:
            raise UserError(
                f"--task {task.name}: the plan is of {plan.task.name}, channels {', '.join(plan.task.modalities)}, "
                f"labels {', '.join(plan.task.labels)}: give the plan of the task"
            )
        network_def = {
            "_target_": NETWORK,
            "architecture": architecture.to_record(),
            "spatial_dims": len(plan.patch_size),
            "in_channels": task.in_channels,
            "out_channels": task.num_classes,
            "width": plan.width,
            "strides": [list(stride) for stride in plan.strides],
            "dropout": 0.0,
        }
        run = cls(network_def=network_def, plan=plan, weights=None, facts={}, fold_seed=FOLD_SEED, scores=None)
        _ = run.num_parameters  # fails where architecture and strides do not go together
        return run

    @property
    def member_def(self) -> Mapping[str, Any]:
        """The arguments of ``build_network``: of the network itself, or of each member of an ensemble."""
        member: Mapping[str, Any] = self.network_def.get("network", self.network_def)
        return member

    @property
    def num_members(self) -> int:
        """Number of networks: 1, or the members of an ensemble."""
        return int(self.network_def.get("members", 1))

    @property
    def architecture(self) -> Architecture:
        """The architecture of the network, or of each member of an ensemble."""
        return Architecture.from_record(self.member_def["architecture"])

    @property
    def network_name(self) -> str:
        """The registered name of the network, "cell_unet"."""
        return self.architecture.space

    @property
    def is_searched(self) -> bool:
        """Whether the network was found by a search; one made by hand has nothing to choose."""
        return bool(self.architecture.choices)

    @property
    def num_parameters(self) -> int:
        """Number of trainable values, of all members of an ensemble together."""
        network = build_from(self.network_def, "architecture and plan")
        return sum(parameter.numel() for parameter in network.parameters())


def load_run(run: Path, estimate: Path | None = None) -> FinishedRun:
    """Return what a RUN folder holds, with the weights tried on the network.

    Args:
        run: RUN folder.
        estimate: RUN folder of the same network, trained with cases kept out, where ``run`` has learnt from all.

    Raises:
        UserError: when a run is not finished, a file is not what it should be, the weights are another network's, or
            the scores of ``estimate`` cannot stand for those of ``run``.
    """
    if estimate is not None:
        return _estimated(load_run(run), run, load_run(estimate), estimate)
    for name in ("network.json", "plan.json", "folds.json", "model.pt", "run.json"):
        if not (run / name).is_file():
            raise UserError(
                f"{run / name}: no such file: finish the run, the same search or train command continues it"
            )
    facts, folds = read_json(run / "run.json"), read_json(run / "folds.json")
    for name, record in (("run.json", facts), ("folds.json", folds)):
        if not isinstance(record, Mapping):
            raise UserError(f"{run / name}: {type(record).__name__} instead of an object: make the run again")
    if type(folds.get("seed")) is not int:
        raise UserError(f"{run / 'folds.json'}: seed is {folds.get('seed')!r}, must be a number: make the run again")
    network_def = read_json(run / "network.json")
    network = build_from(network_def, run / "network.json")
    load_weights(network, run / "model.pt")
    return FinishedRun(
        network_def=network_def,
        plan=Plan.load(run / "plan.json"),
        weights=network.state_dict(),
        facts=facts,
        fold_seed=folds["seed"],
        scores=ScoreTable.load(run / "scores.json") if (run / "scores.json").is_file() else None,
    )


def _estimated(finished: FinishedRun, run: Path, other: FinishedRun, estimate: Path) -> FinishedRun:
    if finished.facts.get("fold") is not None or finished.num_members > 1:
        raise UserError(f"{run}: keeps cases out of its own training: score those, and leave out --estimate")
    if other.scores is None:
        raise UserError(f"{estimate / 'scores.json'}: no such file: score the cases that this run kept out")
    if other.facts.get("fold") is None and other.num_members == 1:
        raise UserError(f"{estimate}: has kept no case out either: train it with --fold, or give a cross-validation")
    if (other.plan.task.name, other.member_def) != (finished.plan.task.name, finished.member_def):
        raise UserError(f"{estimate}: is of another task or network than {run}: give a training of the same")
    return replace(finished, estimate=other)


def build_from(network_def: Any, source: Path | str) -> nn.Module:
    """Return the network that a definition describes; raises UserError naming ``source`` when it describes none."""
    if not isinstance(network_def, Mapping) or network_def.get("_target_") not in (NETWORK, ENSEMBLE):
        raise UserError(f"{source}: not a network of monai_nas: use the network.json that the run wrote")
    try:
        network = ConfigParser({"network_def": dict(network_def)}).get_parsed_content("network_def")
    except RuntimeError as error:
        reason = error.__cause__ or error
        raise UserError(f"{source}: describes no network ({reason}): use the one that the run wrote") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{source}: describes a {type(network).__name__}, not a network: use the one the run wrote")
    return network
