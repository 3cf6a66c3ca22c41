"""A copy of a bundle with phantoms of its task: what the checks of bundles read, train and run."""

import logging
import os
import re
import shutil
import subprocess
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from monai.bundle import ConfigParser, ConfigWorkflow
from torch import nn

import monai_nas
from monai_nas.data.synthetic import write_phantoms
from monai_nas.files import read_json, write_json
from monai_nas.pipelines.search import sampling_plan
from monai_nas.plans.plan import Plan
from monai_nas.tasks import SegTask

NUM_TRAINING, NUM_TEST = 3, 1  # a fold of one case, and two steps of one case on the others
PHANTOM_SCALE = 0.5  # 20 voxels along the longest axis
SEARCH_WIDTH = 4  # of the supernet, whose networks are compared with nothing
PROCESS_SECONDS = 1800  # until a process counts as hanging: workflows take a few, but on a busy machine minutes
FAULT = re.compile(r"^(?:\[\w+\]: )?((?:[\w.]*(?:Error|Exception)|error): \S.*|terminate called .*)")


@dataclass(frozen=True)
class BundleCopy:
    """A copy without models/, to train and to run."""

    original: Path
    root: Path  # the copy
    data: Path  # phantoms, in the MSD's layout
    plan: Plan

    @classmethod
    def make(cls, original: Path, work: Path) -> "BundleCopy":
        """Copy a bundle into the folder ``work``, and write phantoms of its task beside the copy."""
        root = work / original.name
        shutil.copytree(original, root, ignore=shutil.ignore_patterns("models", "runs", "eval"))
        plan = bundle_plan(root)
        return cls(original, root, write_small_phantoms(plan.task, work / plan.task.name, NUM_TRAINING), plan)

    @property
    def weights(self) -> Path:
        """Where the configurations look for weights."""
        return self.root / "models" / "model.pt"

    @property
    def files(self) -> dict[str, Any]:
        """Arguments of MONAI's functions that check and export the network."""
        configs = self.root / "configs"
        return {"meta_file": str(configs / "metadata.json"), "config_file": str(configs / "inference.json")}

    @property
    def patch(self) -> list[int]:
        """The smallest patch for all that the network has to do, in voxels: TorchScript's pooling wants 3 at least."""
        return list(sampling_plan(self.plan, 0.0).patch_size)

    def small_training(self) -> dict[str, Any]:
        """Return what makes training two steps on small patches; nothing of the network is changed."""
        steps = read_json(self.root / "configs" / "train.json")["train"]["preprocessing"]["transforms"]
        sizes = [
            f"train::preprocessing::transforms::{i}::spatial_size" for i, s in enumerate(steps) if "spatial_size" in s
        ]
        lengths = {"max_epochs": 1, "val_interval": 1, "train::dataloader::batch_size": 1}
        return lengths | dict.fromkeys([*sizes, "validate::inferer::roi_size"], self.patch)

    def small_inference(self) -> dict[str, Any]:
        """Return what makes the sliding window small."""
        return {"inferer::roi_size": self.patch}

    def small_search(self) -> dict[str, Any]:
        """Return what makes a search one step of sampling and one of the network found, both small."""
        return {
            "epochs": 2,
            "plan::patch_size": self.patch,
            "plan::width": SEARCH_WIDTH,
        }

    def workflow(self, kind: str | None, stems: Sequence[str], **overrides: Any) -> ConfigWorkflow:
        """Return a workflow of the copy, initialized; the copy must be the working folder.

        Args:
            kind: "train" or "infer", whose properties it has; None for none.
            stems: of the configurations, laid over each other.
            overrides: of ids in them.
        """
        files = [f"configs/{stem}.json" for stem in stems]
        data = str(self.data)
        workflow = ConfigWorkflow(files, workflow_type=kind, logging_file=False, dataset_dir=data, **overrides)
        workflow.initialize()
        return workflow

    def run(self, stems: Sequence[str], **overrides: Any) -> ConfigWorkflow:
        """Run a workflow of the copy from beginning to end, and return it."""
        workflow = self.workflow(None, stems, **overrides)
        workflow.run()
        workflow.finalize()
        return workflow

    def process(self, folder: Path, stems: Sequence[str], *, processes: int = 1, **overrides: Any) -> None:
        """Run a workflow with ``python -m monai.bundle run`` in another process, or several that torchrun starts.

        Args:
            folder: working folder; where it is not the copy, ``bundle_root`` is to be among the overrides.
            stems: see :meth:`workflow`.
            processes: more than one share a training, on the CPU.
            overrides: of ids.

        Raises:
            RuntimeError: when it fails, with the line that says why.
            subprocess.TimeoutExpired: when it hangs.
        """
        arguments = self.root.parent / "arguments.json"
        files = [str(self.root / "configs" / f"{stem}.json") for stem in stems]
        write_json(arguments, {"config_file": files, "dataset_dir": str(self.data)} | overrides)
        launcher = ["torch.distributed.run", "--standalone", f"--nproc_per_node={processes}", "-m"]
        command = [sys.executable, "-m", *(launcher if processes > 1 else []), "monai.bundle", "run"]
        source = os.pathsep.join([str(Path(monai_nas.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
        done = subprocess.run(
            [*command, "--args_file", str(arguments)],
            cwd=folder,
            env=os.environ
            | {"PYTHONPATH": source, "PYTHONFAULTHANDLER": "1", "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
            capture_output=True,
            text=True,
            timeout=PROCESS_SECONDS,
            check=False,
        )
        if done.returncode:
            sys.stderr.write(done.stderr)  # what a process that a signal ended says in its last line is not all
            raise RuntimeError(fault_line(done.stderr) or f"ended with status {done.returncode}")

    def network(self) -> nn.Module:
        """Return the network that inference.json defines, without weights."""
        network: nn.Module = ConfigParser(read_json(self.root / "configs/inference.json")).get_parsed_content(
            "network_def"
        )
        return network


def bundle_plan(bundle: Path) -> Plan:
    """Return the plan inside a bundle's search.json; raises UserError where there is none."""
    path = bundle / "configs" / "search.json"
    record = read_json(path)
    return Plan.from_record(record.get("plan") if isinstance(record, Mapping) else None, source=str(path))


def write_small_phantoms(task: SegTask, out: Path, num_training: int) -> Path:
    """Write phantoms as small as the checks use them, and return their folder."""
    return write_phantoms(task, out, num_training, NUM_TEST, seed=0, scale=PHANTOM_SCALE)


def fault_line(text: str) -> str:
    """Return the first line of a process's output that names an error, else its last line; ruled ones say nothing."""
    lines = [line.strip() for line in text.splitlines() if line.strip(" =-")]
    faults = [found[1] for found in map(FAULT.match, lines) if found]
    return faults[0] if faults else lines[-1] if lines else ""


@contextmanager
def inside(folder: Path) -> Iterator[None]:
    """Make a folder the working folder for the duration of a block."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(before)


@contextmanager
def quiet(log: Path) -> Iterator[None]:
    """Send what workflows print to a file, and leave out what MONAI says to everyone who runs a bundle."""
    level, handlers = logging.root.manager.disable, list(logging.root.handlers)
    logging.disable(logging.WARNING)
    try:
        with log.open("a") as file, redirect_stdout(file), redirect_stderr(file), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "parsing config_file", UserWarning)  # a config is code
            warnings.filterwarnings("ignore", "No hash value provided", UserWarning)  # of the schema
            warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is (deprecated|not supported)", DeprecationWarning)
            yield
    finally:
        logging.disable(level)
        logging.root.handlers[:] = handlers  # workflows add some that write to the file, which is closed now
