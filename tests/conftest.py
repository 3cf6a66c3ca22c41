"""Data for tests: tiny phantoms and a run made once, and the real decathlon folder where the machine has one."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session", autouse=True)
def case_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The folder for preprocessed cases while tests run, theirs and their processes': never the user's."""
    folder = tmp_path_factory.mktemp("case_cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MONAI_NAS_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Task04-like dataset folder: ten training cases and two test cases of some twenty voxels a side."""
    from monai_nas.data.synthetic import write_phantoms
    from monai_nas.tasks.msd import msd_task

    folder = tmp_path_factory.mktemp("phantoms") / "Task04_Hippocampus"
    write_phantoms(msd_task("Task04_Hippocampus"), folder, num_training=10, num_test=2, seed=0, scale=0.5)
    return folder


def make_run(data: Path, run: Path) -> None:
    """Write a RUN folder as a search leaves it, with a narrow network of untrained weights."""
    import numpy as np
    import torch

    from monai_nas.files import save_tensors, write_json
    from monai_nas.networks import build_network
    from monai_nas.plans.fingerprint import measure_fingerprint
    from monai_nas.plans.plan import make_plan
    from monai_nas.spaces import CellUNetSpace
    from monai_nas.tasks.splits import make_folds, training_cases
    from monai_nas.tasks.task import load_task

    task = load_task(None, data)
    plan = make_plan(task, measure_fingerprint(training_cases(data), task))
    architecture = CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0))
    arguments = {
        "spatial_dims": 3,
        "in_channels": task.in_channels,
        "out_channels": task.num_classes,
        "width": 4,
        "strides": [list(stride) for stride in plan.strides],
        "dropout": 0.0,
    }
    torch.manual_seed(0)
    record = architecture.to_record()
    save_tensors(run / "model.pt", build_network(record, **arguments).state_dict())
    architecture.save(run / "architecture.json")
    target = {"_target_": "monai_nas.networks.build_network", "architecture": record}
    write_json(run / "network.json", target | arguments)
    environment = {"versions": {"torch": "2.13.0"}, "dtype": "float32", "processor": "abacus", "commit": "0123abc"}
    facts = {"verb": "search", "strategy": "scnas", "seed": 0, "minutes": 0.1, "epochs": None, "fold": 0}
    write_json(run / "run.json", facts | {"environment": environment})
    folds = make_folds([case.name for case in training_cases(data)], 0)
    write_json(run / "folds.json", {"seed": 0, "kept_out": 0, "folds": folds})
    plan.save(run / "plan.json")


@pytest.fixture(scope="session")
def finished_run(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A RUN folder on the phantoms; see :func:`make_run`."""
    run = tmp_path_factory.mktemp("runs") / "search"
    make_run(phantoms, run)
    return run


@pytest.fixture(scope="session")
def run_maker() -> Callable[[Path, Path], None]:
    """:func:`make_run`, for datasets other than the phantoms."""
    return make_run


@pytest.fixture(scope="session")
def bundle(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of :func:`finished_run`; copy it before changing anything."""
    from monai_nas.export import write_bundle

    out = tmp_path_factory.mktemp("bundles") / "msd_task04_hippocampus"
    write_bundle(finished_run, out)
    return out


@pytest.fixture(scope="session")
def msd_root() -> Path:
    """The folder that holds the real TaskNN_Name folders; tests that ask for it are skipped where there is none."""
    root = Path(os.environ.get("MSD_ROOT") or Path(__file__).parents[2] / "shared" / "msd")
    if not root.is_dir():
        pytest.skip(f"{root} is no folder: no real data on this machine; set MSD_ROOT")
    return root


@pytest.fixture(scope="session")
def published_code() -> dict[str, Any]:
    """MONAI's ``arch_code`` of the architecture of the DiNTS paper."""
    root = Path(os.environ.get("MSD_ROOT") or Path(__file__).parents[2] / "shared" / "msd")
    path = root.parent / "peers" / "dints_cvpr_arch_code.json"
    if not path.is_file():
        pytest.skip(f"{path} is no file: the published DiNTS architecture is not on this machine; set MSD_ROOT")
    code: dict[str, Any] = json.loads(path.read_text())
    return code
