"""Work in a process of its own, and by how many bytes it makes that process grow, on Linux."""

import ctypes
import gc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from types import TracebackType
from typing import ParamSpec, TypeVar

import torch

P = ParamSpec("P")
T = TypeVar("T")


def in_fresh_process(work: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T:
    """Return what ``work`` returns in a new process, as memory once freed is kept by the old one.

    The process begins with the module of ``work`` imported, and shares nothing else with this one.

    Args:
        work: a function of a module.
        arguments: of ``work``, as are the options.
    """
    context = get_context("forkserver")
    context.set_forkserver_preload([work.__module__])
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        return pool.submit(work, *arguments, **options).result()


class Growth:
    """Measures, while it is entered, how much more the process holds at most than at the beginning.

    Do the same work at a tiny size before, which loads what is loaded once. ``bytes`` is there after the block.

    Args:
        device_type: on "cuda", what torch allocates there; else main memory.
    """

    def __init__(self, device_type: str = "cpu") -> None:
        self.on_cuda = device_type == "cuda"
        self.bytes = 0

    def __enter__(self) -> "Growth":
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # what was freed would else be used again and not be seen as growth
        if self.on_cuda:
            torch.cuda.reset_peak_memory_stats()
        else:
            Path("/proc/self/clear_refs").write_text("5")  # the most held so far, as by imports, is forgotten
        self.before = torch.cuda.memory_allocated() if self.on_cuda else _held("VmRSS")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        peak = torch.cuda.max_memory_allocated() if self.on_cuda else _held("VmHWM")
        self.bytes = peak - self.before


def _held(field: str) -> int:
    """Return a figure of this process in bytes: VmRSS is what it holds now, VmHWM the most it has held."""
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = (line.split()[1] for line in lines if line.startswith(f"{field}:"))
    return 1024 * int(kilobytes)
