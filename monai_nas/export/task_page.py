"""A page a task: facts with their sources, plan, commands, estimates, published scores."""

from collections.abc import Iterable, Mapping, Sequence
from math import prod
from statistics import fmean
from typing import Any

from monai_nas.export.published_scores import PUBLISHED_SCORES, PublishedScores
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import ARCHITECTURE_TASK
from monai_nas.plans.rules import shape_at_spacing
from monai_nas.tasks.task import SegTask

COMMAND = "python -m monai_nas.benchmarks.task_pages"
PLANNED = ("spacing_mm", "patch_size", "batch_size", "strides", "width", "memory_bytes")  # what estimates rest on
BYTES_PER_VALUE = 4  # of a channel; a label takes one

PAGE = """\
<!-- Written by `{command} docs/tasks`; do not edit. -->
# {name}

{description}.

## Facts

{facts}

Axes x, y, z as in the NIfTI header. Sources:

{sources}

## Plan

The plan in [{plan_file}](../../{plan_file}), and the rule behind each number. {measured}

{plan}

## Commands

{commands}

{trained}

`--minutes M` in place of `--epochs` makes a run as long as there is time; the search has the {search_epochs} epochs of
the SCNAS paper. `crossval` replaces `train` where an ensemble is wanted: its five networks are trained like that one,
each without a fifth of the cases.

## Estimate: not run

No such run was made; the figures are computed, from the plan and [assumptions](README.md#what-the-estimates-assume).

{estimate}

Reading, preprocessing and predicting the cases come on top. The plan's budget of {budget} is counted in float32 on a
processor; where a GPU has more room than the step takes, a larger `--memory` makes a plan with larger patches.

## Published scores

{scores}
"""


def planned(plan: Plan) -> dict[str, Any]:
    """Return those values of a plan that an estimate rests on, as JSON holds them."""
    record = plan.to_record()
    return {key: record[key] for key in PLANNED}


def page_name(task: SegTask) -> str:
    """Return "task03_liver.md" for Task03_Liver."""
    return f"{task.name.lower()}.md"


def task_page(task: SegTask, plan: Plan, estimate: Mapping[str, Any], assumed: Mapping[str, Any]) -> str:
    """Return the page of a task.

    Args:
        task: its facts.
        plan: the shipped one.
        estimate: the task's part of the estimates.
        assumed: the estimates' other parts.
    """
    measured = f"It was measured on {plan.fingerprint.num_cases} labelled cases."
    if not plan.fingerprint.num_cases:
        measured = "It stands in until the data are there: `monai-nas plan` makes it anew from them."
    trained = f"The bundle [bundles/{_bundle(task)}](../../bundles/{_bundle(task)}/docs/README.md) "
    trained += "has trained weights." if task.name == ARCHITECTURE_TASK else "is this network without weights."
    return PAGE.format(
        command=COMMAND,
        name=task.name,
        description=task.description.rstrip("."),
        facts=_facts(task),
        sources="\n".join(f"- {'**unverified:** ' * ('unverified' in source)}{source}" for source in task.sources),
        plan_file=f"monai_nas/plans/msd/{task.name}.json",
        measured=measured,
        search_epochs=assumed["search_epochs"],
        plan=_plan_table(plan),
        commands=_commands(task, plan, search_epochs=assumed["search_epochs"], epochs=estimate["epochs"]),
        trained=trained,
        budget=f"{plan.memory_bytes / 2**30:g} GB",
        estimate=_estimate(task, plan, estimate, assumed),
        scores=_scores(task),
    )


def _facts(task: SegTask) -> str:
    labels = ", ".join(f"{value} {name}" for value, name in enumerate(task.labels))
    rows = [
        ["channels", ", ".join(f"{index} {name}" for index, name in enumerate(task.modalities))],
        ["labels", labels],
        ["cases", f"{task.num_training} labelled, {task.num_test} for the leaderboard"],
        ["median shape", f"{times(task.median_shape or ())} voxels"],
        ["median spacing", f"{times(task.median_spacing_mm or ())} mm"],
        ["NSD tolerance", f"{task.tolerance_mm:g} mm"],
    ]
    return markdown_table(["", ""], rows)


def _plan_table(plan: Plan) -> str:
    """Return the plan's values with their reasons."""
    shown = {
        "fingerprint": f"{plan.fingerprint.num_cases} cases measured",
        "spacing_mm": times(plan.spacing_mm),
        "patch_size": times(plan.patch_size),
        "strides": ", ".join(map(times, plan.strides)),
        "intensity": ", ".join(rule.kind for rule in plan.intensity),
    }
    rows = [[name, shown.get(name) or _plain(getattr(plan, name)), reason] for name, reason in plan.reasons]
    return markdown_table(["", "value", "rule"], rows)


def _plain(value: object) -> str:
    """Return a number as it is, True and False as words, and a dash for what there is not."""
    return {True: "yes", False: "no", None: "-"}[value] if value is None or isinstance(value, bool) else str(value)


def _commands(task: SegTask, plan: Plan, *, search_epochs: int, epochs: int) -> str:
    """Return the way from the data, in the folder that the MSD ships, to the leaderboard's archive."""
    name, runs = task.name, task.name.lower()
    data = f"--data {name} --plan {runs}/plan.json"
    transferred = "--architecture monai_nas/plans/msd/architecture.json"
    bundle, predictions = f"{runs}/{_bundle(task)}", f"{runs}/predictions"
    lines = [
        "# is the dataset sound? then how to read and train it",
        f"monai-nas check {name}",
        f"monai-nas plan --data {name} --out {runs}/plan.json --memory {plan.memory_bytes / 2**30:g}GB",
        "# an architecture of its own, trained on",
        f"monai-nas search {data} --strategy scnas --out {runs}/search --epochs {search_epochs}",
        f"monai-nas train {data} --architecture {runs}/search/architecture.json --init {runs}/search/model.pt "
        f"--out {runs}/searched --epochs {epochs}",
        "# or the transferred one",
        f"monai-nas train {data} {transferred} --out {runs}/train --epochs {epochs}",
        "# five folds and their ensemble, to the leaderboard",
        f"monai-nas crossval {data} {transferred} --out {runs}/crossval --epochs {epochs}",
        f"monai-nas bundle --run {runs}/crossval --out {bundle}",
        f"monai-nas predict --bundle {bundle} --images {name}/imagesTs --out {predictions}",
        f"monai-nas submit --task {name} --data {name} --pred {predictions} --out {runs}.zip",
        f"monai-nas submit --check {runs}.zip --data {name}",
    ]
    return "\n".join(["```sh", *lines, "```"])


def _estimate(task: SegTask, plan: Plan, estimate: Mapping[str, Any], assumed: Mapping[str, Any]) -> str:
    gpu = assumed["gpu"]
    fingerprint = plan.fingerprint
    shape = shape_at_spacing((fingerprint.median_shape,), (fingerprint.median_spacing_mm,), plan.spacing_mm)
    cached = task.num_training * prod(shape) * (BYTES_PER_VALUE * task.in_channels + 1)
    work = f"{estimate['gflops']:.3g} GFLOP for a patch of {times(plan.patch_size)}"
    rows = [
        ["network", f"the transferred architecture: {estimate['num_parameters']:,} parameters, {work}"],
        ["memory of a training step", estimate["memory"]],
        ["cases in main memory", f"{about(cached / 2**30)} GB preprocessed; what is too much goes to temporary files"],
        ["rate", f"{gpu['rate']:.2f} TFLOP/s on {gpu['gpu']}, {gpu['dtype']}, batch {plan.batch_size}"],
        [
            f"training, {estimate['epochs']:,} epochs",
            f"{estimate['steps']:,} steps of {about(1000 * estimate['seconds_per_step'])} ms: "
            f"{about(estimate['hours'])} hours",
        ],
        ["five folds", f"four fifths of that each: {about(4 * estimate['hours'])} hours"],
    ]
    return markdown_table(["", "not run"], rows)


def _scores(task: SegTask) -> str:
    """Return a table for each source that scored the task."""
    sources = dict.fromkeys(scores.source for scores in PUBLISHED_SCORES if scores.task == task.name)
    if not sources:
        return "The papers that this package implements give none for this task."
    return "\n\n".join(
        _score_table(task, [s for s in PUBLISHED_SCORES if (s.task, s.source) == (task.name, source)])
        for source in sources
    )


def _score_table(task: SegTask, rows: Sequence[PublishedScores]) -> str:
    structures = task.labels[1:]
    metrics = ["Dice", "NSD"] if rows[0].nsd else ["Dice"]
    several = ["mean"] if len(structures) > 1 else []
    head = ["%", *(f"{metric} {name}" for metric in metrics for name in (*structures, *several))]
    lines = []
    for row in rows:
        cells = [row.method]
        for values in (row.dice, row.nsd)[: len(metrics)]:
            cells += [f"{value:.2f}" for value in (*values, *([fmean(values)] if several else []))]
        lines.append(cells)
    return f"{rows[0].source}.\n\n{markdown_table(head, lines)}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _bundle(task: SegTask) -> str:
    return f"msd_{task.name.lower()}"


def times(values: Iterable[float]) -> str:
    """Return "64x72x64" for three lengths."""
    return "x".join(f"{value:g}" for value in values)


def about(value: float) -> str:
    """Return a number without digits that an estimate cannot have."""
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"
