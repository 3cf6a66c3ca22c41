"""``monai-nas benchmark``: how fast this machine does each part of the work, beside others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from monai_nas.cli.options import Device, PlanFile, Seed
from monai_nas.errors import UserError


def benchmark(
    out: Annotated[Path, typer.Option("--out", help="JSON file to write.", show_default=False)],
    part: Annotated[
        list[str] | None,
        typer.Option("--part", help="Only this part; may be given several times. By default all.", show_default=False),
    ] = None,
    architecture: Annotated[
        Path | None, typer.Option("--architecture", help="architecture.json; by default the shipped one.")
    ] = None,
    plan: PlanFile = None,
    repetitions: Annotated[int, typer.Option("--repetitions", min=1, help="How often each works; medians.")] = 5,
    size: Annotated[
        tuple[int, int, int] | None,
        typer.Option(
            "--size",
            min=1,
            metavar="X Y Z",
            help="Voxels of the volumes of inference and metrics; by default the plan's median shape and 256 256 128.",
        ),
    ] = None,
    mirror: Annotated[
        bool, typer.Option("--mirror/--no-mirror", help="Whether inference averages over mirrored copies.")
    ] = True,
    weights: Annotated[
        Path | None,
        typer.Option("--weights", help="model.pt of that architecture and plan, for inference; by default fresh."),
    ] = None,
    image: Annotated[
        Path | None, typer.Option("--image", help="Scan that inference segments; by default a phantom.")
    ] = None,
    seed: Seed = 0,
    device: Device = None,
) -> None:
    """Time training, search, inference, batches, metrics and costs beside MONAI's, in turn, in one run.

    Nothing else should run meanwhile. Without `--plan` it is that of the hippocampus. nnU-Net takes part where the
    extra [peers] is installed.

    Example: `monai-nas benchmark --out speed.json`

    One part, on a plan of yours: `monai-nas benchmark --part training_step --plan RUN/plan.json --out speed.json`

    A scan and weights of yours: `monai-nas benchmark --part inference --plan RUN/plan.json --architecture
    RUN/architecture.json --weights RUN/model.pt --image SCAN.nii.gz --out speed.json`

    On a large CT: `monai-nas benchmark --part metrics --size 512 512 400 --repetitions 1 --out large.json`
    """
    from monai_nas.benchmarks.speed.suite import CONTESTS, Settings, run_contests
    from monai_nas.networks import load_architecture
    from monai_nas.plans.plan import Plan
    from monai_nas.plans.published import ARCHITECTURE_TASK, committed_architecture, committed_plan

    names = part or list(CONTESTS)
    unknown = sorted(set(names) - set(CONTESTS))
    if unknown:
        raise UserError(f"--part {unknown[0]}: no such part: use one of {', '.join(CONTESTS)}")
    if not out.parent.is_dir():
        raise UserError(f"{out.parent}: no such folder for --out: make it, or give another")
    settings = Settings(
        architecture=load_architecture(str(architecture)) if architecture else committed_architecture(),
        plan=Plan.load(plan) if plan else committed_plan(ARCHITECTURE_TASK),
        repetitions=repetitions,
        seed=seed,
        device=device,
        size=size,
        mirror=mirror,
        weights=weights,
        scan=image,
    )

    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True), transient=True) as progress:
        bars = {name: progress.add_task(name, total=1.0) for name in names}
        record = run_contests(settings, names, out, lambda name, share: progress.update(bars[name], completed=share))
    Console().print(_table(record))
    for name, reason in sorted(_left_out(record)):
        typer.echo(f"{name}: {reason}")
    typer.echo(f"{out}: written")


def _table(record: dict[str, Any]) -> Any:
    from rich.table import Table

    table = Table(title=f"Speed on {record['environment']['processor']}, {record['environment']['device']}")
    for heading in ("part", "contender", "settings"):
        table.add_column(heading, overflow="fold")
    for heading in ("seconds", "times as long as ours"):
        table.add_column(heading, justify="right")
    for name, result in record["contests"].items():
        for contender, values in result["contenders"].items():
            seconds, ratio = values["median_seconds"], values["times_as_long"]
            table.add_row(name, contender, values["about"], f"{seconds:.3g}", f"{ratio:.2f}")
        table.add_section()
    return table


def _left_out(record: dict[str, Any]) -> set[tuple[str, str]]:
    """Return who took no part in a contest, and why."""
    return {peer for result in record["contests"].values() for peer in result.get("left_out", {}).items()}
