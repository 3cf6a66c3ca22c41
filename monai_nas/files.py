"""Reading and writing of run files: whole or not at all, and never code from a checkpoint."""

import io
import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_nas.errors import UserError

if TYPE_CHECKING:
    from torch import nn


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` to a temporary name beside ``path``, then rename, so that no reader sees half a file.

    Raises:
        UserError: when the folder cannot be written to or the disk is full; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    temporary = ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise UserError(
            f"{path}: cannot be written ({error.strerror}): free some space or choose another folder"
        ) from error


def write_json(path: Path, record: Any) -> None:
    """Write ``record`` as indented JSON with a final newline; see :func:`write_atomic`."""
    write_atomic(path, json.dumps(record, indent=4) + "\n")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        UserError: when the file is missing, unreadable or not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}): repair or replace the file") from error


def save_tensors(path: Path, state: Any) -> None:
    """Save tensors and plain values as a torch file whose bytes depend on ``state`` alone, not on the file's name."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_tensors(path: Path) -> Any:
    """Return what :func:`save_tensors` wrote, on the CPU, with ``weights_only=True``.

    Raises:
        UserError: when the file is missing or holds anything but tensors and plain values.
    """
    import torch

    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except Exception as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{path}: not a file of weights ({reason}): replace it with an intact one") from error


def load_weights(network: "nn.Module", path: Path) -> None:
    """Load a file of weights into a network: all of its tensors, and no others.

    Raises:
        UserError: when the file is missing, no file of weights, or holds those of another network.
    """
    from torch import Tensor

    weights, own = load_tensors(path), network.state_dict()
    if not isinstance(weights, dict) or not all(isinstance(value, Tensor) for value in weights.values()):
        raise UserError(f"{path}: not a plain table of weights: use the model.pt that a run wrote")
    wrong = [key for key in own if key not in weights or weights[key].shape != own[key].shape]
    wrong += [key for key in weights if key not in own]
    if wrong:
        raise UserError(
            f"{path}: weights of another network ({len(wrong)} tensors differ, first {wrong[0]}): "
            "use the model.pt that was written with this architecture, and its plan.json"
        )
    network.load_state_dict(weights)
