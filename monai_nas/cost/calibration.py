"""From the live tensors of a step to what it takes of a machine: one measured term, and the words for both."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from monai_nas.compute import Compute, device_name
from monai_nas.errors import UserError
from monai_nas.files import read_json

COMMAND = "python -m monai_nas.benchmarks.training_memory"
UNMEASURED = f"not measured on such a device: run `{COMMAND}` there"


@dataclass(frozen=True)
class Calibration:
    """How much more than its live tensors a training takes of a device, in scratch memory and in gaps.

    Measured on random architectures by ``python -m monai_nas.benchmarks.training_memory``.
    """

    device: str  # of monai_nas.compute.device_name
    dtype: str  # "bfloat16"
    scratch_share: float  # of the live bytes

    @classmethod
    def load(cls, path: Path) -> "Calibration":
        """Return the calibration in a file that the benchmark wrote.

        Raises:
            UserError: when the file is missing or damaged or holds none.
        """
        record = read_json(path)
        try:
            found = record["calibration"]
            return cls(str(found["device"]), str(found["dtype"]), float(found["scratch_share"]))
        except (KeyError, TypeError, ValueError) as error:
            raise UserError(f"{path}: holds no calibration: write it with `{COMMAND}`") from error

    def check(self, compute: Compute) -> None:
        """Raise UserError when this is the calibration of another device or number format."""
        device, dtype = device_name(compute.device), _name(compute.dtype)
        if (self.device, self.dtype) != (device, dtype):
            raise UserError(
                f"calibration of {self.device} in {self.dtype}, needed is {device} in {dtype}: run `{COMMAND}` on it"
            )

    def taken(self, live_bytes: float) -> int:
        """Return how much memory of the device a step takes whose tensors take ``live_bytes`` at most."""
        return round(live_bytes * (1.0 + self.scratch_share))


def memory_text(
    live_bytes: int,
    *,
    size: Sequence[int],
    batch_size: int,
    compute: Compute,
    calibration: Calibration | None = None,
) -> str:
    """Return a predicted peak in words: with patch, batch and precision, and as an estimate where nobody measured.

    Args:
        live_bytes: as :func:`~monai_nas.cost.training_memory` or :func:`~monai_nas.cost.inference_memory` predict.
        size: of the patch, voxels.
        batch_size: patches at once.
        compute: what it was predicted for.
        calibration: of that device and precision; without one a figure for a GPU is called an estimate.

    Raises:
        UserError: when the calibration is of another device or precision.
    """
    text = f"{_gigabytes(live_bytes)} of tensors {basis_text(size, batch_size, compute)}"
    if calibration is None:
        return text if compute.device.type == "cpu" else f"estimate: {text}; {UNMEASURED}"
    calibration.check(compute)
    return f"{text}, about {_gigabytes(calibration.taken(live_bytes))} with scratch memory"


def basis_text(size: Sequence[int], batch_size: int, compute: Compute) -> str:
    """Return what a cost is counted for, "(patch 96x64x32, batch 2, bfloat16, cpu)".

    Args:
        size: of the patch, voxels.
        batch_size: patches at once.
        compute: device and number format.
    """
    return f"(patch {'x'.join(map(str, size))}, batch {batch_size}, {_name(compute.dtype)}, {compute.device.type})"


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


def _gigabytes(value: float) -> str:
    return f"{value / 2**30:.3g} GB"
