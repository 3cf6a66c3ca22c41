"""One fold of a cross-validation: its training, then predictions and scores of the cases withheld from it."""

import logging
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.export.finished_run import load_run
from monai_nas.export.inference_config import inference_config
from monai_nas.files import make_folder, read_json, remove_unfinished, write_json
from monai_nas.pipelines.evaluate import evaluate_folder
from monai_nas.pipelines.predict import predict_folder
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.pipelines.train import train
from monai_nas.plans.plan import Plan
from monai_nas.tasks.splits import Case, case_name
from monai_nas.tasks.task import SegTask

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class FoldRun:
    """A RUN folder of a training that withholds one fold, with predictions/ and scores.json of that fold."""

    path: Path
    fold: int
    task: SegTask
    cases: tuple[Case, ...]  # withheld, with their labels
    settings: Mapping[str, Any]  # of its settings.json, all but the number format: that may differ between machines
    plan: Plan
    folds: Mapping[str, Any]  # its folds.json

    @property
    def trained(self) -> bool:
        """Whether its training is over."""
        return (self.path / "run.json").exists()

    @property
    def unpredicted(self) -> list[Case]:
        """The withheld cases that have no label map yet."""
        return [case for case in self.cases if not self.prediction(case).exists()]

    @property
    def finished(self) -> bool:
        """Whether it is trained, predicted and scored."""
        return self.trained and not self.unpredicted and (self.path / "scores.json").exists()

    def prediction(self, case: Case) -> Path:
        """Return the file for the predicted label map of a case."""
        return self.path / "predictions" / f"{case.name}.nii.gz"

    def check(self) -> None:
        """Refuse a folder that was begun with something else.

        Raises:
            UserError: naming the file and what differs.
        """
        for name, record in (("settings.json", self.settings), ("folds.json", self.folds)):
            if (self.path / name).exists():
                refuse_other(self.path / name, record)
        file = self.path / "plan.json"
        if file.exists() and Plan.load(file) != self.plan:
            raise UserError(
                f"{file}: not this cross-validation's plan: give all folds the same --plan, or move "
                f"{self.path.name} away"
            )

    def run(self, data: Path, architecture: Architecture, compute: Compute) -> None:
        """Train, predict and score, as far as that has not been done.

        Raises:
            UserError: when another process is at it, or what it needs is lost; see also :func:`train`.
        """
        if self.finished:
            logger.info("%s: finished already", self.path)
            return
        logger.info("%s: %d cases withheld", self.path, len(self.cases))
        if self.trained:
            RunFolder(self.path).open(self.settings)
        else:
            train(
                data,
                self.path,
                task=self.task,
                architecture=architecture,
                plan=self.plan,
                init=None,
                fold=self.fold,
                seed=self.settings["seed"],
                minutes=self.settings["minutes"],
                epochs=self.settings["epochs"],
                compute=compute,
                preset=self.settings["preset"],
            )
        self._predict(compute)
        with tempfile.TemporaryDirectory() as folder:
            labels = {_file_name(case, case.label): case.label for case in self.cases if case.label is not None}
            _link(labels, Path(folder))
            evaluate_folder(self.task, self.path / "predictions", Path(folder), self.path / "scores.json")

    def _predict(self, compute: Compute) -> None:
        """Segment the withheld cases that are left, as `monai-nas predict` does with a bundle of this run."""
        remove_unfinished(self.path / "predictions")
        if not self.unpredicted:
            return
        with tempfile.TemporaryDirectory() as folder:
            images, bundle = Path(folder) / "images", Path(folder) / "bundle"
            # Only what a prediction needs of a bundle: the rest takes longer to write than to predict.
            write_json(bundle / "configs" / "inference.json", inference_config(load_run(self.path)))
            _link({"model.pt": self.path / "model.pt"}, bundle / "models")
            _link({_file_name(case, case.image): case.image for case in self.unpredicted}, images)
            predict_folder(bundle, images, self.path / "predictions", mirror=True, compute=compute)


def refuse_other(file: Path, values: Mapping[str, Any]) -> None:
    """Refuse a JSON file that has not all of ``values``.

    Raises:
        UserError: naming the file and the first difference.
    """
    record = read_json(file)
    if not isinstance(record, Mapping):
        raise UserError(f"{file}: not a record of a run: restore it, or choose another --out")
    changed = [key for key in values if record.get(key) != values[key]]
    if changed:
        then, now = repr(record.get(changed[0])), repr(values[changed[0]])
        difference = f"{then}, now {now}" if len(then + now) < 60 else "another than now"
        raise UserError(
            f"{file}: was made with {changed[0]} {difference}: repeat the first command to continue it, move "
            f"{file.parent.name} away, or choose another --out"
        )


def _file_name(case: Case, path: Path) -> str:
    """Return the name of the case with the file's own ending: labels need not be called as their images."""
    return case.name + path.name[len(case_name(path)) :]


def _link(paths: Mapping[str, Path], folder: Path) -> None:
    """Link files into a folder under the names that are their keys."""
    make_folder(folder)
    for name, path in paths.items():
        os.symlink(path.resolve(), folder / name)
