"""Where and in which number format to run: device, autocast dtype, memory layout, workers. One place decides."""

import ctypes
import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from monai_nas.errors import UserError

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3  # of mallopt(3)
LARGEST_KEPT = 2**28  # bytes of a block of memory that is kept when freed: feature maps, not whole volumes

Placed = TypeVar("Placed", Tensor, nn.Module)


@dataclass(frozen=True)
class Compute:
    """A device with the number format and the memory layout that are fast on it."""

    device: torch.device
    dtype: torch.dtype  # of convolutions under autocast; float32 turns autocast off
    channels_last: bool
    workers: int  # processes that prepare batches; 0 prepares them in the training process

    @property
    def low_precision(self) -> bool:
        """Whether convolutions run in 16 bits."""
        return self.dtype != torch.float32

    @property
    def needs_loss_scaling(self) -> bool:
        """Whether gradients may underflow: only in float16, which has 5 bits of exponent."""
        return self.dtype == torch.float16

    def autocast(self) -> AbstractContextManager[object]:
        """Return the context in which forward passes run."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.low_precision)

    def layout(self, spatial_dims: int) -> torch.memory_format:
        """Return the memory format of feature maps with ``spatial_dims`` spatial dimensions."""
        if not self.channels_last:
            return torch.contiguous_format
        return torch.channels_last_3d if spatial_dims == 3 else torch.channels_last

    def place(self, item: Placed, spatial_dims: int = 3) -> Placed:
        """Move a network of ``spatial_dims``, or a batch (B, C, H, W[, D]), to the device, in its layout."""
        if isinstance(item, Tensor):
            spatial_dims = item.ndim - 2
        return item.to(device=self.device, memory_format=self.layout(spatial_dims))  # type: ignore[call-overload]

    def place_patches(self, patches: Tensor) -> Tensor:
        """Move patches (B, C, H, W[, D]), in the layout, to the device.

        A GPU copies them from pinned memory, while it still works on what is before and the next ones are cut.
        """
        if self.device.type == "cuda" and patches.device.type == "cpu":
            patches = patches.pin_memory()
        layout = self.layout(patches.ndim - 2)
        return patches.to(device=self.device, memory_format=layout, non_blocking=True)

    def place_batch(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Move "image" (B, C, *S), in the layout, and "label" (B, 1, *S) of a batch to the device.

        From pinned memory, as loaders give it to a GPU, they are copied while the GPU still works on what is before.
        """
        image, label = batch["image"], batch["label"]
        layout = self.layout(image.ndim - 2)
        return (
            image.to(device=self.device, memory_format=layout, non_blocking=True),
            label.to(device=self.device, non_blocking=True),
        )


def device_name(device: torch.device) -> str:
    """Return "cpu", or the name of a GPU; "cuda" where there is none to ask."""
    if device.type == "cuda" and torch.cuda.is_available():
        return torch.cuda.get_device_name(device)
    return device.type


def choose_compute(low_precision: bool = True, device: str | None = None) -> Compute:
    """Decide how to compute on this machine.

    Args:
        low_precision: False forces float32, the one switch for exactness or debugging.
        device: "cpu", "cuda", "cuda:1"; by default CUDA where there is one, of torchrun's processes each its own.

    Returns:
        bfloat16 where the processor multiplies it in hardware (AMX or AVX-512 BF16) or the GPU does (compute
        capability 8 and later), float16 on older GPUs, float32 elsewhere; always channels-last, where the
        convolutions want it (on this project's CPUs 1.3-3 times faster than contiguous; see docs/decisions/0004).

    Raises:
        UserError: when torchrun started more processes on this machine than it has GPUs.
    """
    rank, num_gpus = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.device_count()
    if 0 < num_gpus <= rank:  # also where the device is the CPU: ignite gives each process a GPU of its own
        raise UserError(
            f"torchrun started process {rank + 1} on a machine of {num_gpus} GPUs: start at most one for each"
            f" (--nproc_per_node={num_gpus}), or set CUDA_VISIBLE_DEVICES= to compute on the CPU"
        )
    if device is None:
        gpu = f"cuda:{os.environ['LOCAL_RANK']}" if "LOCAL_RANK" in os.environ else "cuda"
        device = gpu if torch.cuda.is_available() else "cpu"
    chosen = torch.device(device)
    dtype = torch.float32
    if low_precision and chosen.type == "cuda":
        dtype = torch.bfloat16 if torch.cuda.get_device_capability(chosen)[0] >= 8 else torch.float16
    elif low_precision and chosen.type == "cpu" and _cpu_multiplies_bfloat16():
        dtype = torch.bfloat16
    if chosen.index is not None and chosen.type == "cuda":
        torch.cuda.set_device(chosen)  # what names no GPU, as synchronize(), means this one
    if chosen.type == "cuda":  # TF32 rounds to 10 bits; what repeats exactly is chosen over what a benchmark finds
        torch.backends.cudnn.allow_tf32 = low_precision
        torch.backends.cudnn.deterministic = True
    if chosen.type == "cpu":
        keep_freed_memory()
    workers = min(8, (os.cpu_count() or 1) - 1) if chosen.type == "cuda" else 0
    return Compute(device=chosen, dtype=dtype, channels_last=True, workers=workers)


def keep_freed_memory() -> None:
    """Let this process keep memory that it frees, for its next use; only glibc can be told so.

    Each step of a training takes and frees the same feature maps. By default glibc returns them to the system, which
    then hands out every 4 KiB anew, as zeros: tens of thousands of times a step, of which that is a part to be felt.
    What the process holds at its peak hardly changes; afterwards it shrinks less.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is not None:
        for parameter, value in ((M_MMAP_THRESHOLD, LARGEST_KEPT), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(parameter, value)


def _cpu_multiplies_bfloat16() -> bool:
    """Whether the kernel reports bfloat16 instructions; emulated bfloat16 is slower than float32."""
    cpuinfo = Path("/proc/cpuinfo")
    flags = cpuinfo.read_text() if cpuinfo.exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags
