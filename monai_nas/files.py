"""Reading and writing of run files: whole or not at all, and never code from a checkpoint."""

import hashlib
import io
import json
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from monai_nas.errors import UserError, remedy

if TYPE_CHECKING:
    from torch import nn

_BLOCK_BYTES = 1 << 20  # of a file that is read only to be hashed


def make_folder(folder: Path) -> list[Path]:
    """Create a folder with its parents; return those that were missing, the innermost first.

    Raises:
        UserError: when it cannot be created; nothing is left behind.
    """
    missing: list[Path] = []
    try:
        missing += [place for place in (folder, *folder.parents) if not place.exists()]
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        remove_empty(missing)
        raise UserError(f"{folder}: cannot be created ({error.strerror}): {remedy(error)}") from error
    return missing


def remove_empty(folders: Sequence[Path]) -> None:
    """Remove folders, the innermost first, as far as they are empty: what :func:`make_folder` made in vain."""
    for folder in folders:
        try:
            folder.rmdir()
        except OSError:  # not empty, not ours, or never made
            continue


def remove_unfinished(folder: Path) -> None:
    """Remove from a folder what a kill left of :func:`write_atomic`; call it where no other process writes there."""
    for unfinished in folder.glob(".*.tmp"):
        unfinished.unlink()


def write_atomic(path: Path, content: bytes | str) -> None:
    """Write ``content`` to a temporary name beside ``path``, then rename, so that no reader sees half a file.

    Raises:
        UserError: when the folder cannot be written to or the disk is full; nothing is left behind.
    """
    data = content.encode() if isinstance(content, str) else content
    made = make_folder(path.parent)
    try:
        _replace(path, data)
    except OSError as error:
        remove_empty(made)
        raise UserError(f"{path}: cannot be written ({error.strerror}): {remedy(error)}") from error


def _replace(path: Path, data: bytes) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    finally:  # also on Ctrl-C; no longer there where all went well
        Path(temporary).unlink(missing_ok=True)


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
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): {remedy(error)}") from error
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}: not readable as JSON ({error}): repair or replace the file") from error


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, read block by block; raises OSError when it cannot be read."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def save_tensors(path: Path, state: Any) -> None:
    """Save tensors and plain values as a torch file whose bytes depend on ``state`` alone, not on the file's name."""
    import torch

    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomic(path, buffer.getvalue())


def load_tensors(path: Path) -> Any:
    """Return what :func:`save_tensors` wrote, on the CPU, with ``weights_only=True``.

    Raises:
        UserError: when the file is missing or damaged, or holds anything but tensors and plain values.
    """
    import torch

    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such file: check the path") from error
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}): {remedy(error)}") from error
    try:
        with warnings.catch_warnings():  # of TorchScript files, which are refused below
            warnings.simplefilter("ignore")
            return torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    except Exception as error:  # a dozen types, whose messages advise to let the file run code
        raise UserError(
            f"{path}: not a file of weights, or a damaged one: use one that search, train or bundle wrote"
        ) from error


def load_weights(network: "nn.Module", path: Path) -> None:
    """Load a file of weights into a network: all of its tensors, and no others.

    Raises:
        UserError: when the file is missing, no file of weights, or holds those of another network or NaN or Inf.
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
    broken = [key for key, value in weights.items() if not value.isfinite().all()]
    if broken:
        raise UserError(f"{path}: NaN or Inf in {len(broken)} tensors, first {broken[0]}: use weights of another run")
    network.load_state_dict(weights)
