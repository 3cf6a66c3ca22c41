"""What a bundle is made of: a finished run, read back from its folder and checked, or a network to be trained."""

from collections.abc import Mapping
from dataclasses import dataclass
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


def load_run(run: Path) -> FinishedRun:
    """Return what a RUN folder holds, with the weights tried on the network.

    Raises:
        UserError: when the run is not finished, a file is not what it should be, or the weights are another network's.
    """
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
