"""From a bundle and a folder of scans to a folder of label maps."""

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from rich.progress import track

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.inference import BundlePredictor, write_labels
from monai_nas.pipelines.image_folder import images_by_case


def predict_folder(bundle: Path, images: Path, out: Path, *, mirror: bool, compute: Compute) -> list[Path]:
    """Segment every scan of a folder; each label map is written while the next scan is segmented.

    Args:
        bundle: folder of a bundle with its weights.
        images: folder of .nii.gz, .nii, .nrrd or .mha files; hidden ones are ignored.
        out: folder for the label maps, CASE.nii.gz in uint8 on each scan's own grid.
        mirror: average over mirrored copies.
        compute: where and in which number format to run.

    Returns:
        The files written, in the order of their names.

    Raises:
        UserError: when the bundle is incomplete, there are no images, one cannot be read, or ``out`` is their folder,
            before the first is segmented; or when one cannot be segmented or written.
    """
    cases = images_by_case(images)
    if out.resolve() == images.resolve():
        raise UserError(f"{out}: holds the scans, which their label maps would replace: choose another --out")
    predictor = BundlePredictor(bundle, compute=compute)
    for image in track(cases.values(), "reading", transient=True):
        predictor.check(image)
    written: list[Path] = []
    writing: Future[None] | None = None  # the label map of the scan before, packed while the next one is segmented
    with ThreadPoolExecutor(max_workers=1) as writer:
        for name, image in track(cases.items(), "predicting", transient=True):
            labels = predictor.predict(image, mirror=mirror)
            if writing is not None:
                writing.result()
            written.append(out / f"{name}.nii.gz")
            writing = writer.submit(write_labels, labels, image, written[-1])
    if writing is not None:
        writing.result()
    return written
