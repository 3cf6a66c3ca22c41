"""A dataset without one of its folds, for comparisons whose contenders must not have seen the fold in any way."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from monai_nas.files import read_json, write_json
from monai_nas.pipelines.demo import link_cases
from monai_nas.pipelines.run_folder import fold_cases
from monai_nas.tasks.splits import Case, training_cases


@dataclass(frozen=True)
class WithheldFold:
    """The fold's cases and the others, linked into a folder."""

    data: Path  # folder that holds dataset.json
    fold: int  # kept out
    folder: Path

    @cached_property
    def _split(self) -> tuple[list[Case], list[Case], dict[str, Any]]:
        return fold_cases(training_cases(self.data), self.fold)

    @property
    def cases(self) -> list[Case]:
        """The cases of the fold."""
        return self._split[1]

    @property
    def folds(self) -> list[list[str]]:
        """The names of each fold's cases."""
        return list(self._split[2]["folds"])

    @property
    def images(self) -> Path:
        """Folder of the fold's images."""
        return self.folder / "withheld" / "images"

    @property
    def labels(self) -> Path:
        """Folder of the fold's label maps."""
        return self.folder / "withheld" / "labels"

    @property
    def training(self) -> Path:
        """A dataset of the other cases; its folder has the name of ``data``, by which the task is known."""
        return self.folder / "training" / self.data.resolve().name

    def link(self) -> None:
        """Link the cases where that has not been done.

        Raises:
            UserError: when there is no such fold.
        """
        learn, withheld, _ = self._split
        if (self.training / "dataset.json").exists():  # written last
            return
        link_cases(withheld, self.folder / "withheld")
        link_cases(learn, self.training)
        entries = [
            {"image": f"./images/{case.image.name}", "label": f"./labels/{case.label.name}"}
            for case in learn
            if case.label is not None
        ]
        listed = {"numTraining": len(entries), "training": entries, "numTest": 0, "test": []}
        write_json(self.training / "dataset.json", read_json(self.data / "dataset.json") | listed)
