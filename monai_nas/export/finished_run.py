"""A finished run, read back from its folder and checked: what a bundle is made of."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser
from torch import Tensor, nn

from monai_nas.errors import UserError
from monai_nas.files import load_weights, read_json
from monai_nas.metrics import ScoreTable
from monai_nas.plans.plan import Plan


@dataclass(frozen=True)
class FinishedRun:
    """The values of a RUN folder that travel into a bundle."""

    network_def: Mapping[str, Any]  # the whole call of build_network, architecture inline
    plan: Plan
    weights: Mapping[str, Tensor]  # a plain state_dict that fits network_def
    facts: Mapping[str, Any]  # run.json: verb, seed, minutes or epochs, fold kept out, environment
    fold_seed: int  # of the folds, as in folds.json
    scores: ScoreTable | None  # scores.json, where withheld cases have been scored

    @property
    def network_name(self) -> str:
        """The registered name of the network, "cell_unet"."""
        return str(self.network_def["architecture"]["space"])

    @property
    def is_searched(self) -> bool:
        """Whether the network was found by a search; one made by hand has nothing to choose."""
        return bool(self.network_def["architecture"]["choices"])


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


def build_from(network_def: Any, source: Path) -> nn.Module:
    """Return the network that a definition describes; raises UserError naming ``source`` when it describes none."""
    if not isinstance(network_def, Mapping) or network_def.get("_target_") != "monai_nas.networks.build_network":
        raise UserError(f"{source}: not a network of monai_nas: use the network.json that the run wrote")
    try:
        network = ConfigParser({"network_def": dict(network_def)}).get_parsed_content("network_def")
    except RuntimeError as error:
        reason = error.__cause__ or error
        raise UserError(f"{source}: describes no network ({reason}): use the one that the run wrote") from error
    if not isinstance(network, nn.Module):
        raise UserError(f"{source}: describes a {type(network).__name__}, not a network: use the one the run wrote")
    return network
