"""The image files of a folder by case name, which is how predictions and labels find each other."""

from pathlib import Path

from monai_nas.errors import UserError
from monai_nas.tasks.splits import IMAGE_ENDINGS, case_name, is_hidden


def images_by_case(folder: Path) -> dict[str, Path]:
    """Return the image files of a folder by their names without ending, in the order of the names.

    Raises:
        UserError: when the folder is missing or has no image, or two of its images are named alike.
    """
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder: check the path")
    images: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if is_hidden(path) or not path.name.lower().endswith(IMAGE_ENDINGS):
            continue
        name = case_name(path)
        if name in images:
            raise UserError(f"{path}: same case name as {images[name].name}: keep one of the two")
        images[name] = path
    if not images:
        raise UserError(f"{folder}: no images ({', '.join(IMAGE_ENDINGS)}): check the path")
    return images
