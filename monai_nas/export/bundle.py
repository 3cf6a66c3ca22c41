"""Write a MONAI bundle, of a run or to be trained: put together beside its place, then moved there whole."""

import importlib.metadata
import logging
import shutil
import tempfile
from pathlib import Path

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.export.finished_run import FinishedRun, load_run
from monai_nas.export.inference_config import inference_config
from monai_nas.export.metadata import bundle_metadata
from monai_nas.export.model_card import data_license, model_card
from monai_nas.export.overlay_configs import evaluate_config, multi_gpu_config
from monai_nas.export.search_config import search_config
from monai_nas.export.torchscript import export_torchscript
from monai_nas.export.train_config import train_config
from monai_nas.files import make_folder, remove_empty, save_tensors, write_atomic, write_json
from monai_nas.plans.plan import Plan
from monai_nas.tasks.task import SegTask

logger = logging.getLogger(__name__)

LOGGING_CONF = """\
[loggers]
keys=root

[handlers]
keys=consoleHandler

[formatters]
keys=fullFormatter

[logger_root]
level=INFO
handlers=consoleHandler

[handler_consoleHandler]
class=StreamHandler
level=INFO
formatter=fullFormatter
args=(sys.stdout,)

[formatter_fullFormatter]
format=%(asctime)s - %(name)s - %(levelname)s - %(message)s
"""


def write_bundle(run: Path, out: Path, estimate: Path | None = None) -> None:
    """Write the bundle of a search, a training or a cross-validation; see :func:`put_bundle`.

    Args:
        run: RUN folder, finished.
        out: bundle folder.
        estimate: RUN folder whose scores stand for those of ``run``; see :func:`load_run`.

    Raises:
        UserError: when a run is not finished or not sound, or the bundle cannot be written.
    """
    _check_place(out)
    put_bundle(load_run(run, estimate), out)


def write_untrained_bundle(*, task: SegTask, plan: Plan, architecture: Architecture, out: Path) -> None:
    """Write a bundle without weights, to be trained by its own train.json; see :func:`put_bundle`.

    Args:
        task: what is to be segmented.
        plan: of that task.
        architecture: searched on any task, or of a network made by hand.
        out: bundle folder.

    Raises:
        UserError: when plan or architecture do not fit, or the bundle cannot be written.
    """
    _check_place(out)
    put_bundle(FinishedRun.from_parts(task, plan, architecture), out)


def put_bundle(run: FinishedRun, out: Path) -> None:
    """Write a bundle, with models/ where the run has weights.

    Args:
        run: what the bundle is made of.
        out: bundle folder; its name is the bundle's name. An earlier bundle there is replaced, anything else is kept.

    Raises:
        UserError: when ``out`` is something else than a bundle, or one with results that would be lost, or when it
            cannot be written; nothing is then left behind.
    """
    out = out.resolve()
    _check_place(out)
    for results in ("runs",) if run.weights is not None else ("runs", "models"):
        if (out / results).exists():
            raise UserError(f"{out / results}: would be lost with the earlier bundle: move it away or change --out")
    if "_v" in out.name:
        logger.warning("%s: MONAI's listings cut a bundle's name at '_v': choose another name to publish it", out.name)
    made = make_folder(out.parent)
    try:
        workplace = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    except OSError as error:
        remove_empty(made)
        raise UserError(f"{out.parent}: cannot be written ({error.strerror}): choose another --out") from error
    try:
        _write_documents(workplace / "new", run, out.name)
        if run.weights is not None:
            save_tensors(workplace / "new" / "models" / "model.pt", dict(run.weights))
            export_torchscript(workplace / "new")
        _swap(workplace, out)
    except UserError as error:  # the user knows the bundle, not the place where it is put together
        raise UserError(str(error).replace(str(workplace / "new"), str(out))) from error
    except OSError as error:
        raise UserError(f"{out}: cannot be written ({error.strerror}): free some space or change --out") from error
    finally:
        shutil.rmtree(workplace, ignore_errors=True)
        remove_empty(made)  # only after a failure are they empty


def _check_place(out: Path) -> None:
    """Raise UserError unless ``out`` is free, an empty folder, or an earlier bundle."""
    is_bundle = (out / "configs" / "metadata.json").is_file()
    if out.exists() and not (out.is_dir() and (is_bundle or not any(out.iterdir()))):
        raise UserError(f"{out}: exists and is not a bundle: choose another --out or remove it")


def _swap(workplace: Path, out: Path) -> None:
    """Move ``workplace``/new to ``out``; an earlier bundle is back in its place when that fails."""
    earlier = workplace / "earlier"
    if out.exists():
        out.rename(earlier)
    try:
        (workplace / "new").rename(out)
    except OSError:
        if earlier.exists():
            earlier.rename(out)
        raise


def _write_documents(folder: Path, run: FinishedRun, name: str) -> None:
    """Write all files of the bundle called ``name`` into ``folder``, but for models/."""
    configs = {
        "metadata": bundle_metadata(run),
        "search": search_config(run),
        "train": train_config(run),
        "inference": inference_config(run),
        "evaluate": evaluate_config(run),
        "multi_gpu_train": multi_gpu_config(),
    }
    for stem, config in configs.items():
        write_json(folder / "configs" / f"{stem}.json", config)
    write_atomic(folder / "configs" / "logging.conf", LOGGING_CONF)
    write_atomic(folder / "docs" / "README.md", model_card(run, name))
    write_atomic(folder / "docs" / "data_license.txt", data_license(run.plan.task))
    write_atomic(folder / "LICENSE", license_text())


def license_text() -> str:
    """Return the Apache License 2.0, as it lies in the source tree or in the installed package.

    Raises:
        UserError: when this copy of monai_nas has lost it.
    """
    places = [Path(__file__).parents[2] / "LICENSE"]
    try:
        files = importlib.metadata.files("monai-nas") or []
    except importlib.metadata.PackageNotFoundError:
        files = []
    places += [Path(str(file.locate())) for file in files if file.name == "LICENSE"]
    for place in places:
        if place.is_file():
            return place.read_text()
    raise UserError(f"{places[0]}: the licence is missing from this copy of monai_nas: install it again")
