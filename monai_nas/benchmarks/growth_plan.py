"""What a search under a budget would take on more machines: arithmetic on what was measured on one, nothing runs."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

import numpy as np
from scipy import stats

from monai_nas.pipelines.one_shot_preset import ONE_SHOT_PRESETS

BLOCKS = "12"  # of the grid that a search takes
GRADIENT_BYTES, CHECKPOINT_BYTES = 4, 4  # a parameter: its gradient, and itself; Adafactor keeps next to nothing
PRESET = ONE_SHOT_PRESETS["cpu"]


@dataclass(frozen=True)
class Assumptions:
    """Of machines that were not at hand; bytes a second are those that a large message gets, not those of the label."""

    gpus_of_a_node: int = 8
    nodes: int = 100
    gigabytes_per_second_in_a_node: float = 300.0  # each way and GPU: NVLink of an H100, a third below its label
    gigabytes_per_second_between_nodes: float = 22.5  # each way and node: one port of 200 Gbit/s, a tenth below
    gigabytes_per_second_to_files: float = 1.0  # that one process gets of a file system that all share


ASSUMED = Assumptions()


def plan_for_more(series: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the arithmetic for one process, two, the GPUs of a node, and those of all nodes.

    Args:
        series: the record's, with "drawing", "processes" and "layers" of :data:`BLOCKS` blocks; None is returned where
            one of them is missing.

    Returns:
        "assumptions"; "supernet", with what its gradients and checkpoints take; "search", with candidates and the
        seconds of drawing and judging them; "machines", by name: see :func:`machine`.
    """
    if not {"drawing", "processes", "layers"} <= set(series) or BLOCKS not in series["layers"]["points"]:
        return None
    supernet = series["layers"]["points"][BLOCKS]
    judged = series["processes"]["candidate_seconds"]
    drawn = [(point["amount"], point["median_seconds"]) for point in series["drawing"]["points"].values()]
    line = stats.linregress(*zip(*drawn, strict=True))
    drawing = float(line.intercept + line.slope * PRESET.num_candidates)
    checkpoint = CHECKPOINT_BYTES * supernet["parameters"]
    gpus = ASSUMED.gpus_of_a_node
    sizes = {"one": (1, 1), "two": (2, 1), "node": (gpus, 1), "nodes": (gpus, ASSUMED.nodes)}
    return {
        "assumptions": asdict(ASSUMED),
        "supernet": {
            "blocks": int(BLOCKS),
            "parameters": supernet["parameters"],
            "sampled_parameters": supernet["sampled_parameters"],
            "gradient_mib": GRADIENT_BYTES * supernet["sampled_parameters"] / 2**20,
            "checkpoint_mib": checkpoint / 2**20,
            "checkpoint_seconds": checkpoint / (1e9 * ASSUMED.gigabytes_per_second_to_files),
        },
        "search": {
            "candidates": PRESET.num_candidates,
            "finalists": PRESET.num_finalists,
            "drawing_seconds": drawing,
            "seconds_a_candidate": statistics.fmean(judged),
        },
        "machines": {
            name: machine(*size, supernet["sampled_parameters"], judged, drawing) for name, size in sizes.items()
        },
    }


def machine(
    gpus: int, nodes: int, sampled_parameters: float, judged: Sequence[float], drawing: float
) -> dict[str, float]:
    """Return what a number of processes sends and waits for, one on each GPU.

    Args:
        gpus: of a node.
        nodes: of the machine.
        sampled_parameters: of a step of the supernet, whose gradients would be summed over all processes: by a ring in
            each node, then by one of the nodes.
        judged: seconds of candidates in one process.
        drawing: seconds until the candidates are drawn, which is not shared.

    Returns:
        "sent_mib" of each GPU in a step within its node, "sent_mib_node" of each node to the others, and "sending_ms"
        of both; "rounds" of the ranking; "ranking_efficiency", the share of all processes' time that is work, as each
        round waits for its longest candidate; "times_as_fast" of drawing and ranking together, beside one process;
        "busy_with_finalists", the share of processes that fine-tune.
    """
    processes, gradients = gpus * nodes, GRADIENT_BYTES * sampled_parameters
    inside, outside = all_reduce_bytes(gradients, gpus), all_reduce_bytes(gradients, nodes)
    sending = inside / ASSUMED.gigabytes_per_second_in_a_node + outside / ASSUMED.gigabytes_per_second_between_nodes
    rounds, work = ceil(PRESET.num_candidates / processes), PRESET.num_candidates * statistics.fmean(judged)
    ranking = rounds * longest_of(judged, min(processes, PRESET.num_candidates))
    return {
        "processes": processes,
        "sent_mib": inside / 2**20,
        "sent_mib_node": outside / 2**20,
        "sending_ms": 1e3 * sending / 1e9,
        "rounds": rounds,
        "ranking_efficiency": work / (processes * ranking),
        "times_as_fast": (drawing + work) / (drawing + ranking),
        "busy_with_finalists": min(1.0, PRESET.num_finalists / processes),
    }


def all_reduce_bytes(size: float, members: int) -> float:
    """Return what each member of a ring sends while ``size`` bytes are summed over all: 2 (n - 1) / n of them."""
    return 2 * (members - 1) / members * size


def longest_of(seconds: Sequence[float], count: int) -> float:
    """Return the expected longest of ``count`` draws, with replacement, from what was measured."""
    ordered = np.sort(np.asarray(seconds, dtype=np.float64))
    reached = (np.arange(len(ordered) + 1) / len(ordered)) ** count  # probability that all are among the shortest
    return float(ordered @ np.diff(reached))
