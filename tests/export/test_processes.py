"""The commands of the model card, typed as a user types them, each in a process of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def command(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run ``python`` with arguments in a folder."""
    source = str(Path(__file__).parents[2])
    environment = os.environ | {"PYTHONPATH": source, "OMP_NUM_THREADS": "1"}
    line = [sys.executable, *map(str, arguments)]
    return subprocess.run(line, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_inference_from_another_folder(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    own = shutil.copytree(bundle, tmp_path / bundle.name)
    arguments = ("--config_file", own / "configs" / "inference.json", "--bundle_root", own, "--dataset_dir", phantoms)
    done = command(tmp_path, "-m", "monai.bundle", "run", *arguments)
    assert done.returncode == 0, done.stderr
    assert len(list((own / "eval").glob("*.nii.gz"))) == 2


def test_missing_weights_print_one_line_and_no_traceback(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    own = shutil.copytree(bundle, tmp_path / bundle.name)
    (own / "models" / "model.pt").unlink()
    arguments = ("--config_file", "configs/inference.json", "--dataset_dir", phantoms)
    done = command(own, "-m", "monai.bundle", "run", *arguments)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert done.stderr.splitlines()[-1].startswith("error: ./models/model.pt: no such file: train it with")


def test_two_processes_train_one_network(bundle: Path, phantoms: Path, tmp_path: Path) -> None:
    own = shutil.copytree(bundle, tmp_path / bundle.name)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nnodes=1", "--nproc_per_node=2", "-m", "monai.bundle")
    configs = "['configs/train.json','configs/multi_gpu_train.json']"
    arguments = ("--config_file", configs, "--dataset_dir", phantoms, "--max_epochs", "1", "--val_interval", "1")
    done = command(own, *launcher, "run", *arguments)
    assert done.returncode == 0, done.stderr
    (own / "runs" / "train" / "model.pt").replace(own / "models" / "model.pt")
    arguments = ("--config_file", "configs/inference.json", "--dataset_dir", phantoms)
    done = command(own, "-m", "monai.bundle", "run", *arguments)
    assert done.returncode == 0, "weights trained by two processes must fit the plain network"
