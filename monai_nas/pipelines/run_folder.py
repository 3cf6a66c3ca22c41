"""The RUN folder of a search or a training: which files it holds, and whether it may be continued."""

import importlib.metadata
import logging
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute, device_name
from monai_nas.data.check import check_dataset
from monai_nas.errors import UserError
from monai_nas.files import load_tensors, make_folder, read_json, remove_empty, remove_unfinished, write_json
from monai_nas.pipelines.folder_lock import hold_folder
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks.splits import FOLD_SEED, Case, make_folds, training_cases
from monai_nas.tasks.task import SegTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class RunFolder:
    """Files of one run; what fixes its course is written first and compared on resume."""

    path: Path

    def open(self, settings: Mapping[str, Any]) -> None:
        """Create the folder, or make sure that it was started with the same settings; hold it until the process ends.

        Raises:
            UserError: when another process uses it, when it holds a run with other settings or one that has lost files,
                or something else than a run.
        """
        file = self.path / "settings.json"
        leftovers = ".*.tmp" if file.exists() else ".settings.json.*.tmp"  # what a kill left of write_atomic
        if not file.exists() and self.path.is_dir() and set(self.path.iterdir()) - set(self.path.glob(leftovers)):
            raise UserError(f"{self.path}: not empty and not a run: choose another --out")
        made = make_folder(self.path)
        hold_folder(self.path)
        remove_unfinished(self.path)
        if not file.exists():
            try:
                write_json(file, dict(settings))
            except UserError:
                remove_empty(made)
                raise
            return
        before = read_json(file)
        if not isinstance(before, Mapping):
            raise UserError(f"{file}: not the settings of a run: restore it, or choose another --out")
        changed = [key for key in settings if before.get(key) != settings[key]]
        if changed:
            raise UserError(
                f"{file}: this run was started with {changed[0]} {before.get(changed[0])!r}, now "
                f"{settings[changed[0]]!r}: repeat the first command to continue it, or choose another --out"
            )
        needed = ["model.pt"] if self.finished else []
        if (self.path / "checkpoint.pt").exists():
            needed += ["plan.json", "folds.json", "schedule.json"]
        for name in needed:
            if not (self.path / name).exists():
                raise UserError(f"{self.path / name}: lost by a run that had it: restore it, or choose another --out")
        if self.finished:
            (self.path / "checkpoint.pt").unlink(missing_ok=True)  # where a kill came between the two

    def choose_plan(
        self, plan: Plan | None, cases: Sequence[Case], task: SegTask, adapt: Callable[[Plan], Plan]
    ) -> Plan:
        """Return the run's plan; before its start the given one, or the one the rules derive, adapted by the preset.

        Raises:
            UserError: when the given plan is another than the run's, or for other modalities or labels than the data.
        """
        file = self.path / "plan.json"
        if not file.exists():
            return adapt(plan_for(None, cases, task)) if plan is None else plan_for(plan, cases, task)
        kept = Plan.load(file)
        if plan is not None and plan != kept:
            raise UserError(f"{file}: differs from the plan given now: leave --plan out, or choose another --out")
        return kept

    def keep(self, plan: Plan, folds: Mapping[str, Any]) -> None:
        """Write the folds and the plan down, where that has not been done.

        Raises:
            UserError: when the folds written down are others: the data have changed since the run began.
        """
        file = self.path / "folds.json"
        if not (self.path / "plan.json").exists():
            write_json(file, dict(folds))
            plan.save(self.path / "plan.json")
        elif read_json(file) != folds:
            raise UserError(
                f"{file}: lists other cases or folds than dataset.json gives now: restore the data that this run began "
                "with, or choose another --out"
            )

    @property
    def finished(self) -> bool:
        """Whether the run is over: run.json is written last."""
        return (self.path / "run.json").exists()

    def checkpoint(self) -> dict[str, Any] | None:
        """Return the last checkpoint, None where there is none yet."""
        file = self.path / "checkpoint.pt"
        if not file.exists():
            return None
        record = load_tensors(file)
        if (
            not isinstance(record, dict)
            or set(record) != {"epoch", "step", "rows", "sums", "state"}
            or not all(type(record[key]) is int and record[key] >= 0 for key in ("epoch", "step"))
            or not (isinstance(record["rows"], list) and len(record["rows"]) == record["epoch"])
            or not all(isinstance(row, dict) for row in record["rows"])
            or not (isinstance(record["sums"], dict) and isinstance(record["state"], dict))
        ):
            raise UserError(f"{file}: not a checkpoint of this program: delete it to start the run again")
        return record

    def write_network(self, architecture: Architecture, plan: Plan) -> dict[str, Any]:
        """Write architecture.json and network.json; return the arguments of ``build_network``."""
        arguments = network_arguments(plan)
        architecture.save(self.path / "architecture.json")
        definition = {
            "_target_": "monai_nas.networks.build_network",
            "architecture": architecture.to_record(),
            **arguments,
        }
        write_json(self.path / "network.json", definition)
        return arguments

    def finish(self, facts: Mapping[str, Any], compute: Compute) -> None:
        """Write run.json, which closes the run, and drop the checkpoint that is of no more use."""
        write_json(self.path / "run.json", {**facts, "environment": environment(compute)})
        (self.path / "checkpoint.pt").unlink(missing_ok=True)


def network_arguments(plan: Plan) -> dict[str, Any]:
    """Return what ``build_network`` needs beside the architecture, as JSON values."""
    return {
        "spatial_dims": len(plan.patch_size),
        "in_channels": plan.task.in_channels,
        "out_channels": plan.task.num_classes,
        "width": plan.width,
        "strides": [list(stride) for stride in plan.strides],
        "dropout": 0.0,
    }


def sound_cases(data: Path, task: SegTask) -> list[Case]:
    """Return the labelled cases of a dataset after checking it.

    Raises:
        UserError: naming the first error and the count, when the checker finds any.
    """
    findings = check_dataset(data, task)
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        count = f"{len(errors)} errors in all" if len(errors) > 1 else "the only error"
        raise UserError(f"{data / errors[0].file}: {errors[0].message} ({count}; see `monai-nas check {data}`)")
    if findings:
        first = f"{findings[0].file}: {findings[0].message}"
        logger.warning("%s: %d warnings, the first: %s; see `monai-nas check`", data, len(findings), first)
    return training_cases(data)


def plan_for(plan: Plan | None, cases: Sequence[Case], task: SegTask) -> Plan:
    """Return the given plan, or the one that the rules derive from the cases.

    Raises:
        UserError: when the given plan is for other modalities or labels.
    """
    if plan is None:
        return make_plan(task, measure_fingerprint(cases, task))
    if (plan.task.modalities, plan.task.labels) != (task.modalities, task.labels):
        raise UserError(
            f"plan for {plan.task.name} ({plan.task.in_channels} modalities, labels {', '.join(plan.task.labels)}), "
            f"data of {task.name}: make one with `monai-nas plan`"
        )
    return plan


def fold_cases(cases: Sequence[Case], fold: int | None) -> tuple[list[Case], list[Case], dict[str, Any]]:
    """Split cases into those to learn from and those of the fold kept out, and return the folds as a JSON record.

    Raises:
        UserError: when there is no such fold.
    """
    folds = make_folds([case.name for case in cases], FOLD_SEED)
    if fold is not None and not 0 <= fold < len(folds):
        raise UserError(f"fold {fold} does not exist: choose 0 to {len(folds) - 1}")
    kept_out = set() if fold is None else set(folds[fold])
    learn = [case for case in cases if case.name not in kept_out]
    held = [case for case in cases if case.name in kept_out]
    return learn, held, {"seed": FOLD_SEED, "kept_out": fold, "folds": [list(names) for names in folds]}


def environment(compute: Compute) -> dict[str, Any]:
    """Return versions, hardware and commit: what a figure has to be read with."""
    packages = ("monai-nas", "torch", "monai", "pytorch-ignite", "numpy")
    return {
        "versions": {name: _version(name) for name in packages} | {"python": platform.python_version()},
        "device": device_name(compute.device),
        "dtype": str(compute.dtype).removeprefix("torch."),
        "processor": processor(),
        "commit": _commit(),
    }


def _version(name: str) -> str:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def processor() -> str:
    """Return the name of this machine's processor and how many of its cores are seen."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {os.cpu_count()} cores"


def _commit() -> str:
    """Return the commit of the source tree that runs, "unknown" where it is no git checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return "unknown"
