"""The options that several verbs share, each described once, and the reading of their values."""

import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from monai_nas.errors import UserError

if TYPE_CHECKING:
    from monai_nas.compute import Compute

UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}

Data = Annotated[Path, typer.Option("--data", help="Folder that holds dataset.json.", show_default=False)]
Task = Annotated[
    str | None,
    typer.Option("--task", help="MSD folder name or a JSON file of dataset.json's form; by default DIR/dataset.json."),
]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="Plan to follow; by default made from the data.")]
ArchitectureOption = Annotated[
    str,
    typer.Option(
        "--architecture",
        help="An architecture.json, as a search writes it; or a network made by hand: dynunet, res_unet.",
        show_default=False,
    ),
]
RunOut = Annotated[Path, typer.Option("--out", help="RUN folder to write or to continue.", show_default=False)]
Seed = Annotated[int, typer.Option("--seed", min=0, help="Seed of every draw; folds are the same for all.")]
Minutes = Annotated[
    float | None, typer.Option("--minutes", help="Time to take; by default 30, with --preset paper 400 epochs.")
]
Epochs = Annotated[int | None, typer.Option("--epochs", help="Passes over the cases, instead of --minutes.")]
Preset = Annotated[
    str,
    typer.Option(
        "--preset",
        help="cpu: minutes or hours on what you have; paper: the values of the SCNAS paper, with --plan all but its "
        "plan's: patch, batch, strides, width, intensities.",
    ),
]
Float32 = Annotated[bool, typer.Option("--float32", help="Compute in 32 bits, also where 16 are faster.")]
Device = Annotated[str | None, typer.Option("--device", help="cpu, cuda, cuda:1; by default CUDA where there is one.")]


def existing_folder(path: Path, holds: str) -> Path:
    """Return the folder; raises UserError, saying what it should hold, when there is none."""
    if not path.is_dir():
        fault = "is a file" if path.exists() else "no such folder"
        raise UserError(f"{path}: {fault}: give the folder that holds {holds}")
    return path


def check_length(minutes: float | None, epochs: int | None) -> None:
    """Refuse an impossible length of a run; where neither is given, the preset decides.

    Raises:
        UserError: when both are given, or one that is not positive.
    """
    if minutes is not None and epochs is not None:
        raise UserError(f"--minutes {minutes:g} and --epochs {epochs}: give one of the two")
    if minutes is not None and not 0 < minutes < math.inf:
        raise UserError(f"--minutes {minutes:g}: must be more than 0 and finite")
    if epochs is not None and epochs < 1:
        raise UserError(f"--epochs {epochs}: must be 1 or more")


def memory_bytes(text: str) -> int:
    """Return the bytes of "8GB", "512 MiB" or "8000000000"; K, M, G and T count 1024 each, as memory is sold.

    Raises:
        UserError: when the text is no positive amount of memory.
    """
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([KMGT]?)(?:i?B)?\s*", text, re.IGNORECASE)
    amount = int(float(match[1]) * UNITS[match[2].upper()]) if match else 0
    if amount < 1:
        raise UserError(f"--memory {text}: not an amount of memory: write it like 8GB or 512MB")
    return amount


def tolerance_of(text: str) -> float:
    """Return the share that "5%" or "0.05" means; raises UserError when the text is neither."""
    match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(%?)\s*", text)
    if not match:
        raise UserError(f"--tolerance {text}: not a share: write it like 5% or 0.05")
    return float(match[1]) / (100.0 if match[2] else 1.0)


def compute_of(float32: bool, device: str | None) -> "Compute":
    """Return where and how to compute; raises UserError for a device that this machine lacks."""
    import torch

    from monai_nas.compute import choose_compute

    try:
        chosen = torch.device(device) if device is not None else None
    except RuntimeError as error:
        raise UserError(f"--device {device}: no such device: use cpu, cuda or cuda:1") from error
    if chosen is not None and chosen.type not in ("cpu", "cuda"):
        raise UserError(f"--device {device}: not supported: use cpu, cuda or cuda:1")
    if chosen is not None and chosen.type == "cuda" and (chosen.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {device}: this machine has {torch.cuda.device_count()} CUDA devices: use cpu")
    return choose_compute(low_precision=not float32, device=device)
