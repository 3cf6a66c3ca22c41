"""``monai-nas predict``: segment a folder of scans with a bundle."""

from pathlib import Path
from typing import Annotated

import typer

from monai_nas.cli.options import Device, Float32, compute_of, existing_folder


def predict(
    bundle: Annotated[Path, typer.Option("--bundle", help="Bundle folder.", show_default=False)],
    images: Annotated[Path, typer.Option("--images", help="Folder of scans.", show_default=False)],
    out: Annotated[Path, typer.Option("--out", help="Folder for CASE.nii.gz label maps.", show_default=False)],
    mirror: Annotated[
        bool, typer.Option("--mirror/--no-mirror", help="Average over mirrored copies: better, eight times the work.")
    ] = True,
    float32: Float32 = False,
    device: Device = None,
) -> None:
    """Segment every scan of a folder; labels are written on each scan's own grid.

    Example: `monai-nas predict --bundle bundles/msd_task04_hippocampus --images imagesTs --out predictions`
    """
    existing_folder(bundle, "configs/inference.json and models/model.pt, as `monai-nas bundle` writes them")
    existing_folder(images, "the scans")

    from monai_nas.pipelines.predict import predict_folder

    written = predict_folder(bundle, images, out, mirror=mirror, compute=compute_of(float32, device))
    typer.echo(f"{out}: {len(written)} label maps")
