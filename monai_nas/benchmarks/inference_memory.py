"""Memory of a prediction, measured against its formula: a large scan, and a network that takes nothing itself.

`python -m monai_nas.benchmarks.inference_memory --out FILE` on Linux; by default a CT of 512 x 512 x 1000 voxels.
"""

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from torch import nn

from monai_nas.benchmarks.fresh_process import Growth, in_fresh_process
from monai_nas.compute import choose_compute
from monai_nas.data.transforms import postprocessing, preprocessing
from monai_nas.files import save_tensors, write_json
from monai_nas.inference.memory import prediction_bytes
from monai_nas.pipelines.predict import predict_folder
from monai_nas.pipelines.run_folder import environment
from monai_nas.plans.plan import FingerprintSummary, IntensityRule, Plan
from monai_nas.tasks import SegTask

CT = IntensityRule("ct", lower=-100.0, upper=250.0, mean=80.0, std=40.0)
LIMIT_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class Setting:
    """What is predicted."""

    shape: tuple[int, int, int]  # voxels of the file
    spacing_mm: tuple[float, float, float]  # of the file
    plan_spacing_mm: tuple[float, float, float]
    patch: tuple[int, int, int]
    classes: int
    mirror: bool
    slope: float  # of the voxels in the file: 1 keeps them integers

    @property
    def plan(self) -> Plan:
        """A plan for one channel of CT."""
        labels = ("background", *(f"organ {index}" for index in range(1, self.classes)))
        task = SegTask("Large", "a large CT", ("CT",), labels, num_training=0, num_test=1)
        return Plan(
            task=task,
            fingerprint=FingerprintSummary(0, self.shape, self.spacing_mm, ()),
            spacing_mm=self.plan_spacing_mm,
            patch_size=self.patch,
            batch_size=2,
            strides=((2, 2, 2),),
            width=4,
            intensity=(CT,),
            memory_bytes=LIMIT_BYTES,
            reasons=(),
        )


def write_scan(path: Path, setting: Setting) -> None:
    """Write a CT of boxes, in 16-bit integers, turned to the left and to the back as scanners write it."""
    place = np.indices([-(-length // 16) for length in setting.shape]).sum(axis=0) % 7  # a pattern of 16 voxels
    voxels = (200 * place - 400).astype(np.int16)
    for axis in range(3):
        voxels = np.repeat(voxels, 16, axis=axis).take(range(setting.shape[axis]), axis=axis)
    affine = np.diag([*setting.spacing_mm, 1.0]) * [-1, -1, 1, 1]
    image = nibabel.nifti1.Nifti1Image(voxels, affine)
    image.header.set_slope_inter(setting.slope, 0.0)
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.loadsave.save(image, path)


def write_bundle(folder: Path, setting: Setting) -> None:
    """Write the configuration and the weights of a bundle whose network is one pointwise convolution."""
    task, plan = setting.plan.task, setting.plan
    compose = "monai.transforms.Compose"
    network = {"in_channels": 1, "out_channels": setting.classes, "kernel_size": 1}
    window = {"roi_size": list(setting.patch), "sw_batch_size": 1, "overlap": 0.5, "mode": "gaussian"}
    config = {
        "network_def": {"_target_": "torch.nn.Conv3d", **network},
        "preprocessing": {"_target_": compose, "transforms": preprocessing(task, plan, ("image",))},
        "postprocessing": {"_target_": compose, "transforms": postprocessing(task, plan, "out")},
        "inferer": {"_target_": "monai.inferers.SlidingWindowInferer", **window},
    }
    write_json(folder / "configs" / "inference.json", config)
    torch.manual_seed(0)
    save_tensors(folder / "models" / "model.pt", nn.Conv3d(1, setting.classes, 1).state_dict())


def predict_and_measure(folder: Path, setting: Setting) -> dict[str, Any]:
    """Predict the scan of a folder in this process; return by how many bytes it grew, and the seconds."""
    compute = choose_compute(low_precision=False, device="cpu")

    def predict(scans: str) -> None:
        predict_folder(folder / "bundle", folder / scans, folder / "out", mirror=setting.mirror, compute=compute)

    predict("small")  # what is imported and set up on first use
    start = time.perf_counter()
    with Growth() as growth:
        predict("large")
    return {"growth_bytes": growth.bytes, "seconds": round(time.perf_counter() - start, 1)}


def measure(setting: Setting) -> dict[str, Any]:
    """Return the measured and the stated memory of one prediction, in a process of its own."""
    grid = [
        round((length - 1) * here / there) + 1
        for length, here, there in zip(setting.shape, setting.spacing_mm, setting.plan_spacing_mm, strict=True)
    ]
    stated = prediction_bytes(setting.shape, grid, channels=1, classes=setting.classes, patch_size=setting.patch)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for kind, shape in (("small", (16, 16, 16)), ("large", setting.shape)):
            write_scan(folder / kind / f"{kind}.nii.gz", replace(setting, shape=shape))
        write_bundle(folder / "bundle", setting)
        measured = in_fresh_process(predict_and_measure, folder, setting)
    return {"grid": grid, "stated_bytes": stated, **measured}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 1000), help="voxels of the scan %(default)s")
    parser.add_argument("--patch", type=int, nargs=3, default=(128, 128, 128), help="voxels of the window %(default)s")
    parser.add_argument("--classes", type=int, default=4, help="with the background (%(default)s)")
    parser.add_argument("--slope", type=float, default=1.0, help="of the file's integers (%(default)s)")
    parser.add_argument("--no-mirror", action="store_true", help="an eighth of the time, the same memory")
    options = parser.parse_args(arguments)
    setting = Setting(
        shape=tuple(options.shape),
        spacing_mm=(0.8, 0.8, 0.8),
        plan_spacing_mm=(0.77, 0.77, 0.8),
        patch=tuple(options.patch),
        classes=options.classes,
        mirror=not options.no_mirror,
        slope=options.slope,
    )
    figures = measure(setting)
    write_json(
        options.out,
        {
            **asdict(setting),
            **figures,
            "limit_bytes": LIMIT_BYTES,
            "within_stated": figures["growth_bytes"] <= figures["stated_bytes"],
            "within_limit": max(figures["growth_bytes"], figures["stated_bytes"]) <= LIMIT_BYTES,
            "environment": environment(choose_compute(low_precision=False, device="cpu")),
        },
    )


if __name__ == "__main__":
    main()
