"""Prediction with a bundle: everything but mirror averaging is read from its configs/inference.json and models/."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from monai.bundle.config_parser import ConfigParser
from monai.inferers.inferer import SlidingWindowInferer
from monai.transforms.compose import Compose
from torch import nn

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.files import load_weights, read_json, write_atomic
from monai_nas.inference.volume import check_scan, labels_on_file, read_volume, segment
from monai_nas.tasks.images import label_file

# post-transforms that we do ourselves: slab by slab, and the last one atomically
_OURS = ("Activationsd", "Invertd", "AsDiscreted", "SaveImaged")


class BundlePredictor:
    """A bundle's network with its weights, its pre- and post-transforms and its sliding window."""

    def __init__(self, bundle: Path, *, compute: Compute) -> None:
        """Read the bundle.

        Raises:
            UserError: when a file is missing, a configuration is incomplete, or the weights are another network's.
        """
        self.bundle = bundle
        self.compute = compute
        self._config = bundle / "configs" / "inference.json"
        config = read_json(self._config)
        if not isinstance(config, Mapping):
            raise UserError(f"{self._config}: not a bundle's configuration: write it again with `monai-nas bundle`")
        parser = ConfigParser(dict(config))
        parser["bundle_root"] = str(bundle)
        parser["device"] = f"$torch.device('{compute.device}')"
        network = self._part(parser, "network_def", nn.Module)
        self._load_weights(network)
        self.network: nn.Module = compute.place(network).eval()
        definition = parser["network_def"]
        self.in_channels = int(definition.get("network", definition)["in_channels"])  # an ensemble's are its members'
        self.preprocessing: Compose = self._part(parser, "preprocessing", Compose)
        self.inferer: SlidingWindowInferer = self._part(parser, "inferer", SlidingWindowInferer)
        transforms = self._part(parser, "postprocessing", Compose).transforms
        self.finishing = [step for step in transforms if type(step).__name__ not in _OURS]

    def check(self, image: Path) -> None:
        """Refuse an image file that :meth:`predict` could make nothing of; see :func:`check_scan`."""
        check_scan(image, self.in_channels)

    def predict(self, image: Path, *, mirror: bool = True) -> npt.NDArray[np.uint8]:
        """Return the label map of an image file on the file's own grid (H, W, D).

        Its memory is bounded whatever the number of classes: docs of ``inference/memory.py``.

        Raises:
            UserError: when the file cannot be read, or has another number of channels than the network.
        """
        try:
            volume = read_volume(image, self.preprocessing)
        except Exception as error:  # readers raise anything; the file is what the user needs to know
            raise UserError(f"{image}: cannot be preprocessed ({_reason(error)}): run `monai-nas check`") from error
        if volume.image.ndim != 4 or volume.image.shape[0] != self.in_channels:
            raise UserError(
                f"{image}: has {volume.image.shape[0]} channels in {volume.image.ndim - 1} dimensions, the network "
                f"takes {self.in_channels} in 3: give images of the bundle's task"
            )
        turned = volume.turned
        labels = segment(volume, self.network, self.inferer, compute=self.compute, mirror=mirror)
        del volume  # its voxels, before the label map is copied
        return labels_on_file(labels, turned, self.preprocessing, self.finishing)

    def _part(self, parser: ConfigParser, name: str, kind: type[Any]) -> Any:
        """Return what the configuration's id ``name`` builds."""
        try:
            part = parser.get_parsed_content(name)
        except UserError:
            raise
        except Exception as error:  # a configuration builds any class, which raises anything
            raise UserError(
                f"{self._config}: {name!r} cannot be built ({_reason(error)}): write it again with `monai-nas bundle`"
            ) from error
        if not isinstance(part, kind):
            raise UserError(
                f"{self._config}: {name!r} is a {type(part).__name__}, not a {kind.__name__}: write the "
                "bundle again with `monai-nas bundle`"
            )
        return part

    def _load_weights(self, network: nn.Module) -> None:
        path = self.bundle / "models" / "model.pt"
        if not path.is_file():
            raise UserError(
                f"{path}: no such file: train with `monai-nas train --data DIR --architecture FILE --out RUN`, "
                f"then `monai-nas bundle --run RUN --out {self.bundle}`"
            )
        load_weights(network, path)


def write_labels(labels: npt.NDArray[np.uint8], image: Path, path: Path) -> None:
    """Write a label map (H, W, D) as .nii.gz on the grid of the image file that it belongs to.

    Raises:
        UserError: when the file cannot be written; nothing is left behind.
    """
    write_atomic(path, label_file(labels, image))


def _reason(error: BaseException) -> str:
    """Return the first line of what first went wrong."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error).splitlines()[0] if str(error) else type(error).__name__
