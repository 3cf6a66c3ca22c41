"""Faults that a user can mend become one line on stderr and exit status 2; anything else is a bug and shows itself."""

from collections.abc import Iterator
from contextlib import contextmanager

import typer

from monai_nas.errors import REMEDIES, UserError

USER_FAULT = 2
INTERRUPTED = 130  # 128 + SIGINT, as shells report it
OUT_OF_MEMORY = ("OutOfMemoryError", "can't allocate memory")  # torch's, on a GPU and on a processor


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Leave with one line on stderr on a user's fault, and quietly on Ctrl-C."""
    try:
        yield
    except KeyboardInterrupt:
        typer.echo("interrupted: give the same command again to go on", err=True)
        raise typer.Exit(INTERRUPTED) from None
    except Exception as error:
        message = user_message(error)
        if message is None:
            raise
        typer.echo(f"error: {message}", err=True)
        raise typer.Exit(USER_FAULT) from None


def user_message(error: BaseException) -> str | None:
    """Return the one line that explains an error to the user, or None for a bug.

    The chain of causes is searched, since MONAI wraps what a transform raises in a RuntimeError of its own.
    """
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, UserError):
            return " ".join(str(seen).split())
        if isinstance(seen, OSError) and seen.errno in REMEDIES:
            place = f"{seen.filename}: " if seen.filename else ""
            return f"{place}{seen.strerror}: {REMEDIES[seen.errno]}"
        if isinstance(seen, MemoryError) or any(sign in repr(seen) for sign in OUT_OF_MEMORY):
            return "out of memory: make a plan with a smaller --memory, and start the run again with it"
        seen = seen.__cause__
    return None
