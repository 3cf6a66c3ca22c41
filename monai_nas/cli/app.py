"""The command ``monai-nas``: registers the verbs and guards them all with one handler of errors."""

import logging
import sys
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from monai_nas import __version__
from monai_nas.cli.benchmark import benchmark
from monai_nas.cli.bundle import bundle
from monai_nas.cli.check import check
from monai_nas.cli.crossval import crossval
from monai_nas.cli.demo import demo
from monai_nas.cli.draw import draw
from monai_nas.cli.errors import one_line_errors
from monai_nas.cli.evaluate import evaluate
from monai_nas.cli.plan import plan
from monai_nas.cli.predict import predict
from monai_nas.cli.report import report
from monai_nas.cli.search import search
from monai_nas.cli.submit import submit
from monai_nas.cli.tasks import tasks
from monai_nas.cli.train import train


class GuardedGroup(TyperGroup):
    """A group of commands whose faults reach the user as one line."""

    def invoke(self, ctx: Any) -> Any:
        """Run the chosen verb; see :func:`one_line_errors`."""
        with one_line_errors():
            return super().invoke(ctx)


app = typer.Typer(
    cls=GuardedGroup,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)


def show_version(wanted: bool) -> None:
    """Print the version and leave, when asked for."""
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def options(
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Show warnings only, no progress.")] = False,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=show_version, is_eager=True)
    ] = False,
) -> None:
    """Search a segmentation network for your 3D scans, train it, and ship it as a MONAI bundle.

    Start with `monai-nas demo`; then, on your own data: check, plan, search, bundle, predict, evaluate.
    """
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    logging.getLogger("ignite").setLevel(logging.CRITICAL)  # it logs what it raises, and that is told in one line
    logging.getLogger("monai_nas").setLevel(logging.WARNING if quiet else logging.INFO)


for verb in (
    tasks,
    check,
    plan,
    search,
    train,
    crossval,
    bundle,
    predict,
    evaluate,
    submit,
    report,
    draw,
    benchmark,
    demo,
):
    app.command()(verb)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and leave with its exit status: 0, 2 for a user's fault, 130 for Ctrl-C."""
    app(args=arguments, prog_name="monai-nas")
