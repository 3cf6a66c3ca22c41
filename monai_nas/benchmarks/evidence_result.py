"""The result file of one run: its scores beside what it cost, and everything needed to make it again."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from monai_nas.benchmarks.evidence_runs import PACED, Job, Study, check_minutes, commands, length_of, read_starts
from monai_nas.benchmarks.evidence_table import Results
from monai_nas.benchmarks.paper_cost import SIZE
from monai_nas.cost import Cost, architecture_cost
from monai_nas.errors import UserError
from monai_nas.export.history import read_history
from monai_nas.files import read_json, write_atomic, write_json
from monai_nas.metrics import ScoreTable
from monai_nas.pipelines.run_folder import processor
from monai_nas.plans.plan import Plan
from monai_nas.tasks.task import load_task


def is_done(job: Job, study: Study) -> bool:
    """Whether there is a result of the job; raises UserError as :func:`check_result`."""
    file = job.result_file(study)
    if not file.exists():
        return False
    check_result(file, job, load_task(None, study.data).name)
    return True


def check_result(file: Path, job: Job, task: str) -> None:
    """Make sure that a result may be compared with those of a job.

    Raises:
        UserError: when it is of another task, or of a run of other length.
    """
    record = read_json(file)
    if record["task"] != task:
        raise UserError(f"{file}: of {record['task']}, not of {task}: choose the results of that task")
    check_minutes(record, file, "search", job.search_minutes)
    check_minutes(record, file, "train", job.train_minutes)


def check_pair(job: Job, study: Study) -> None:
    """Make sure that what a job is to be compared with was made on this processor.

    What takes the steps of another run, not minutes, may be made anywhere.

    Raises:
        UserError: when the job's pair has results of another processor.
    """
    if job.paced_by is None:
        for file in sorted(job.result_file(study).parent.glob("*.json")):
            if not file.stem.endswith(PACED):
                check_processor(file)


def check_processor(file: Path) -> None:
    """Make sure that a result was made on this processor: on another a minute is another work.

    Raises:
        UserError: when it was made on another.
    """
    if (other := read_json(file)["environment"]["processor"]) != processor():
        raise UserError(
            f"{file}: made on {other}, this is {processor()}, where minutes are worth more or less: go on there, or "
            "begin anew with another --out and no results of that processor"
        )


def write_result(job: Job, study: Study) -> dict[str, Any]:
    """Write and return the result of a finished job, and beside it the history of a search."""
    record = result(job, study)
    file = job.result_file(study)
    if job.architecture is None:
        history = job.folder(study) / "run" / "history.csv"
        write_atomic(file.with_name(f"{job.method}_history.csv"), history.read_text())
    write_json(file, record)
    return record


def result(job: Job, study: Study) -> dict[str, Any]:
    """Return what a finished job did, cost and reached, as JSON values."""
    folder = job.folder(study)
    run = folder / "run"
    facts, plan, starts = read_json(run / "run.json"), Plan.load(run / "plan.json"), read_starts(folder)
    schedule, definition = read_json(run / "schedule.json"), read_json(run / "network.json")
    length = length_of(job, study)
    dtype = getattr(torch, facts["environment"]["dtype"])
    step = cost_of(definition, plan.patch_size, plan.batch_size, dtype.itemsize)
    peaks = [start["peak_memory_bytes"] for start in starts if start["peak_memory_bytes"]]
    # paths say where this machine keeps things, and names are enough to repeat it
    shown = replace(
        study, data=Path(study.data.resolve().name), runs=Path("runs"), plan=study.plan and Path(study.plan.name)
    )
    return {
        "method": job.method,
        "task": facts["task"],
        "fold": job.fold,
        "seed": job.seed,
        "commands": [" ".join(["monai-nas", *words]) for words in commands(job, shown, length)],
        "minutes": _minutes(job, facts, starts),
        "starts": len(starts),
        "steps": {
            "sampling": schedule["search_epochs"] * schedule["epoch_length"],
            "all": facts["steps"],
        },
        "patch_size": plan.patch_size,
        "batch_size": plan.batch_size,
        "width": plan.width,
        "strides": plan.strides,
        "num_parameters": facts["num_parameters"],
        "gflops": {
            "patch": step.flops / plan.batch_size / 1e9,
            "128x128x128": cost_of(definition, SIZE, 1, 4).flops / 1e9,
        },
        "training_memory_bytes": {
            "estimated": step.memory_bytes,  # of a step of the network, without what a search has beside it
            "peak_of_process": max(peaks, default=None),
        },
        "scores": ScoreTable.load(folder / "scores.json").to_record(),
        "search": _search_facts(run, facts) if job.architecture is None else None,
        "architecture": definition["architecture"],
        "environment": facts["environment"] | {"threads": torch.get_num_threads()},
    }


def estimated_anew(results: Results, in_channels: int) -> Results:
    """Return results whose memory of a step is as this version estimates it: each run has it from the version it had.

    Args:
        results: of one task, by method and pair.
        in_channels: modalities of the task.
    """

    def renew(record: Mapping[str, Any]) -> dict[str, Any]:
        definition = {
            "in_channels": in_channels,
            "out_channels": 1 + len(record["scores"]["classes"]),
            **{name: record[name] for name in ("architecture", "width", "strides")},
        }
        dtype = getattr(torch, record["environment"]["dtype"])
        step = cost_of(definition, record["patch_size"], record["batch_size"], dtype.itemsize)
        memory = record["training_memory_bytes"] | {"estimated": step.memory_bytes}
        return {**record, "training_memory_bytes": memory}

    return {method: {pair: renew(record) for pair, record in found.items()} for method, found in results.items()}


def cost_of(definition: Mapping[str, Any], size: Sequence[int], batch_size: int, bytes_per_value: int) -> Cost:
    """Return what the network of a definition, as in RUN/network.json, takes; see :func:`architecture_cost`."""
    names = ("in_channels", "out_channels", "width", "strides")
    return architecture_cost(
        definition["architecture"],
        **{name: definition[name] for name in names},
        size=size,
        batch_size=batch_size,
        bytes_per_value=bytes_per_value,
    )


def _minutes(job: Job, facts: Mapping[str, Any], starts: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Return the minutes asked for and taken; of starts that were cut, those up to the checkpoint that was kept."""
    kept = [(later["checkpoint_before"] or 0.0) - start["began"] for start, later in pairwise(starts)]
    own = facts["minutes_of_last_part"] + sum(max(0.0, seconds) for seconds in kept) / 60
    searched = 0.0
    if isinstance(job.architecture, Path):
        searched = read_json(job.architecture)["minutes"]["search"]["taken"]
    is_search = job.architecture is None
    return {
        "search": {"asked": job.search_minutes, "taken": own if is_search else searched},
        "train": {"asked": job.train_minutes, "taken": 0.0 if is_search else own},
    }


def _search_facts(run: Path, facts: Mapping[str, Any]) -> dict[str, float]:
    """Return Dice of the extracted network and of random draws minus that, before and after the last phase.

    Both are on patches of the preprocessed fold. The entropy of an edge is in nats: ln 8 where nothing is chosen.
    """
    entropies = [values[-1] for values in read_history(run / "history.csv").under("entropy").values()]
    before = facts["before_last_phase"]
    return {
        "dice_before_last_phase": before["dice_extracted"],
        "dice_gap_before_last_phase": before["dice_gap"],
        "dice_after_last_phase": facts["dice_extracted"],
        "dice_gap_after_last_phase": facts["dice_gap"],
        "mean_edge_entropy_nats": float(sum(entropies) / len(entropies)),
    }
