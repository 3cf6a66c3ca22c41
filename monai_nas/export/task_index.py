"""The pages of all tasks and their index.

    python -m monai_nas.export.task_index docs/tasks

writes them from the package's tasks and plans and from docs/tasks/estimates.json, in a second;
`python -m monai_nas.benchmarks.task_pages docs/tasks` makes the estimates anew, then the pages.
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from monai_nas.errors import UserError
from monai_nas.export.task_page import COMMAND, about, markdown_table, page_name, planned, task_page, times
from monai_nas.files import read_json, write_atomic
from monai_nas.plans.published import ARCHITECTURE_TASK, committed_plan
from monai_nas.tasks.msd import MSD_TASKS

ESTIMATES = "estimates.json"
INDEX = """\
<!-- Written by `{command} docs/tasks`; do not edit. -->
# The ten tasks of the Medical Segmentation Decathlon

One page a task: its facts with their sources, the plan and the rule behind each number, the commands, an estimate of
what a training takes, and published scores to compare with.

{table}

Trained weights are shipped for {architecture_task}; its architecture is the one transferred to the others.

## What the estimates assume

Nothing on these pages was run on a GPU; hours and GPU memory are computed.

- **GPU**: {gpu}, in {dtype}.
- **Length**: {steps:,} steps with the plan's batch, nnU-Net's 1,000 epochs of 250 (nnUNetTrainer.py in
  github.com/MIC-DKFZ/nnUNet), which its scores rest on. The commands give them as passes over the labelled cases.
- **Memory**: the tensors alive at the peak of a training step, by `monai_nas.cost.training_memory`, with the plan's
  patch and batch. What the libraries and the convolutions' scratch memory take comes on top.
- **Arithmetic**: the convolutions of a forward pass by `monai_nas.cost.count_flops`, three times for a training step,
  as the backward pass computes two products where the forward pass computes one.
- **Rate**: {rate:.2f} TFLOP/s, from two facts. A U-Net of nnU-Net's size, {unet_gflops:.0f} GFLOP for a patch of
  {unet_patch}, trains at {unet_patches_per_second} patches a second on this GPU, which is {unet_rate:.1f} TFLOP/s [1].
  And of a U-Net's rate the searched cells reach {share:.0%} on a processor, with the same patch and batch [2]: their
  layers are narrow, and a separable convolution is computed as a dense one but counted as what it is. That a GPU treats
  the two alike is an assumption.

So the hours are those of the arithmetic, the least to expect: where patches are small, starting a step's many kernels
and augmenting its batch on the processors may take longer.

[1] {source}. [2] {evidence}.
"""


def write_pages(folder: Path) -> None:
    """Write the pages and their index into ``folder``, which holds the estimates.

    Raises:
        UserError: when the estimates are missing, damaged, or those of other plans.
    """
    record = read_json(folder / ESTIMATES)
    remedy = f"make them again with `{COMMAND} {folder}`"
    try:
        for task in MSD_TASKS:
            plan, estimate = committed_plan(task.name), record["tasks"][task.name]
            if estimate["plan"] != planned(plan):
                raise UserError(f"{folder / ESTIMATES}: {task.name} has another plan now: {remedy}")
            write_atomic(folder / page_name(task), task_page(task, plan, estimate, record))
        write_atomic(folder / "README.md", index_page(record))
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / ESTIMATES}: damaged or incomplete ({error}): {remedy}") from error


def index_page(record: Mapping[str, Any]) -> str:
    """Return the index: a table of all tasks, and what the estimates assume."""
    rows = []
    for task in MSD_TASKS:
        plan, estimate = committed_plan(task.name), record["tasks"][task.name]
        cells = [
            f"[{task.name}]({page_name(task)})",
            ", ".join(task.modalities),
            str(task.num_classes - 1),
            f"{task.num_training} + {task.num_test}",
            f"{times(plan.spacing_mm)} mm",
            f"{times(plan.patch_size)}, {plan.batch_size}",
            f"{about(estimate['memory_bytes'] / 2**30)} GB",
            about(estimate["hours"]),
        ]
        rows.append(cells)
    head = ["task", "channels", "structures", "cases, labelled + test", "spacing", "patch, batch"]
    head += [f"memory of tensors, {record['gpu']['dtype']}, not run", f"hours for {record['steps']:,} steps, not run"]
    return INDEX.format(
        command=COMMAND,
        table=markdown_table(head, rows),
        architecture_task=ARCHITECTURE_TASK,
        steps=record["steps"],
        **record["gpu"],
    )


def main(arguments: Sequence[str]) -> None:
    """Write the pages.

    Raises:
        SystemExit: with one line, where they cannot be made.
    """
    if len(arguments) != 1:
        raise SystemExit("give the folder of the pages: python -m monai_nas.export.task_index docs/tasks")
    try:
        write_pages(Path(arguments[0]))
    except UserError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main(sys.argv[1:])
