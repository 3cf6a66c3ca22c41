"""The network of a bundle as TorchScript, by MONAI's own exporter."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from monai.bundle import ckpt_export

CODE_BYTES = 4 * 1024**2  # generous: the scripted code and the configurations beside the weights


def export_torchscript(bundle: Path) -> None:
    """Write models/model.ts under its final name, which is also the root inside the archive.

    Args:
        bundle: folder with configs/inference.json, configs/metadata.json and models/model.pt.

    Raises:
        OSError: when the disk is too full.
    """
    _ensure_room(bundle / "models")
    with _quiet():
        ckpt_export(
            net_id="network_def",
            filepath=str(bundle / "models" / "model.ts"),
            ckpt_file=str(bundle / "models" / "model.pt"),
            meta_file=str(bundle / "configs" / "metadata.json"),
            config_file=str(bundle / "configs" / "inference.json"),
        )


def _ensure_room(models: Path) -> None:
    """Raise OSError unless the disk has room for model.ts; the exporter would abort the whole process without it."""
    room = models / "room.tmp"
    room.write_bytes(bytes(2 * (models / "model.pt").stat().st_size + CODE_BYTES))
    room.unlink()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the exporter's list of arguments, and the deprecation of what MONAI Deploy still loads, from the user."""
    exporter = logging.getLogger("monai.bundle.scripts")
    level = exporter.level
    exporter.setLevel(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
            yield
    finally:
        exporter.setLevel(level)
