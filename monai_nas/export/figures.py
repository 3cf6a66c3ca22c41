"""What all drawings share: their look, short names and colours of operations, and files of reproducible bytes."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_nas.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DOTS_PER_INCH = 300
ENDINGS = ("png", "svg")
STYLE: Any = {
    "font.family": "DejaVu Sans",  # comes with matplotlib, so a drawing is the same on every machine
    "font.size": 7.0,
    "mathtext.fontset": "dejavusans",
    "svg.fonttype": "path",  # the letters' outlines are in the file: no reader needs the font
    "svg.hashsalt": "monai_nas",  # the same names of parts in each run
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 7.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "lines.linewidth": 1.2,
    "legend.frameon": False,
    "legend.fontsize": 7.0,
}
ZERO = "zero"  # the operation that stands for no connection


@dataclass(frozen=True)
class Kind:
    """A kind of operations: what the names of its members begin with, its words in a legend, and its colour."""

    prefix: str
    title: str
    colour: str


KINDS = (  # Okabe-Ito colours: safe for all eyes
    Kind("conv", "convolution", "#0072B2"),
    Kind("dilated_separable_conv", "dilated separable convolution, rate r", "#009E73"),
    Kind("max_pool", "max pooling", "#D55E00"),
    Kind("avg_pool", "average pooling", "#E69F00"),
    Kind("identity", "identity", "#555555"),
    Kind(ZERO, "zero", "#808080"),
    Kind("", "other", "#CC79A7"),  # what a user's own space may hold
)
SHORTER = (("dilated_separable_conv", "dil. conv"), (r"_rate_(\d+)", r" r=\1"), ("_3x3x3", ""), ("_", " "))


def kind_of(operation: str) -> Kind:
    """Return the first kind whose prefix the name of an operation has."""
    return next(kind for kind in KINDS if operation.startswith(kind.prefix))


def short_name(operation: str) -> str:
    """Return the few letters that stand for an operation; a kernel of 3x3x3 goes without saying.

    "dilated_separable_conv_3x3x3_rate_2" becomes "dil. conv r=2", "conv_3x3x1" becomes "conv 3x3x1".
    """
    for long, short in SHORTER:
        operation = re.sub(long, short, operation)
    return operation


def tint(colour: str, share: float = 0.14) -> tuple[float, float, float]:
    """Return ``share`` of a colour "#RRGGBB" on white, each part in [0, 1]."""
    red, green, blue = (1 - share * (1 - int(colour[start : start + 2], 16) / 255) for start in (1, 3, 5))
    return red, green, blue


@contextmanager
def drawing_style(source: Path) -> Iterator[None]:
    """Draw in :data:`STYLE`, whatever the user's settings of matplotlib are.

    Args:
        source: what is to be drawn, named in the error.

    Raises:
        UserError: when matplotlib is missing.
    """
    try:
        from matplotlib import rc_context, rcdefaults, rcParams
    except ModuleNotFoundError as error:
        raise UserError(f"{source}: drawing needs matplotlib ({error}): pip install monai-nas[reports]") from error
    with rc_context():
        rcdefaults()
        rcParams.update(STYLE)
        yield


def picture_bytes(figure: "Figure", ending: str, dots_per_inch: int = DOTS_PER_INCH) -> bytes:
    """Return a figure as the content of a file, the same for the same figure: no date and no version is in it."""
    metadata = {
        "png": {"Software": None},
        "svg": {"Date": None, "Creator": None},
        "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    }.get(ending)
    content = io.BytesIO()
    figure.savefig(content, format=ending, dpi=dots_per_inch, facecolor="white", metadata=metadata)
    return content.getvalue()


def picture_files(figure: "Figure", name: str) -> dict[str, bytes]:
    """Return a figure as the contents of ``name.png`` and ``name.svg``."""
    return {f"{name}.{ending}": picture_bytes(figure, ending) for ending in ENDINGS}
