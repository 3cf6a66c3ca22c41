"""``monai-nas plan``: how a dataset will be read and trained, with the reason for each number."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import Data, Task, existing_folder, memory_bytes


def plan(
    data: Data,
    out: Annotated[Path, typer.Option("--out", help="File to write, such as plan.json.", show_default=False)],
    memory: Annotated[str, typer.Option("--memory", help="Memory that a training may take; 1 GB is 1024 MB.")] = "8GB",
    task: Task = None,
) -> None:
    """Measure a dataset and derive its plan: spacing, patch, batch, strides, width, intensities.

    Example: `monai-nas plan --data Task04_Hippocampus --out plan.json --memory 8GB`
    """
    budget = memory_bytes(memory)
    existing_folder(data, "dataset.json")

    from monai_nas.plans.fingerprint import measure_fingerprint
    from monai_nas.plans.plan import make_plan
    from monai_nas.tasks.splits import training_cases
    from monai_nas.tasks.task import load_task

    facts = load_task(task, data)
    made = make_plan(facts, measure_fingerprint(training_cases(data), facts), budget)
    made.save(out)
    for field, reason in made.reasons:
        value = [rule.kind for rule in made.intensity] if field == "intensity" else getattr(made, field)
        typer.echo(f"{field}: {value}\n    {reason}")
    typer.echo(f"{out}: written")
