"""Searches shared by several processes give what one gives."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from monai_nas.architecture import Architecture
from monai_nas.files import read_json
from monai_nas.pipelines.processes import evaluate_all, first_alone
from monai_nas.strategies import CoarseToFine, ScoredTrial, Trial

SEARCH = ("search", "--strategy", "hypersegnas", "--float32", "--seed", "3", "--budget", "parameters=30K")


def test_one_process_scores_everything_itself() -> None:
    candidates = [Architecture.create("toy", {}, {"which": name}) for name in "abcd"]
    search = CoarseToFine(candidates, num_finalists=2, steps=7)
    rounds: list[list[ScoredTrial]] = []
    evaluate_all(search, lambda trial: (float(candidates.index(trial.architecture)),), rounds.append)
    assert search.best().trial == Trial(candidates[3], "fine_tuned", 7)
    assert [len(scored) for scored in rounds] == [1] * (len(candidates) + 2)
    assert first_alone(lambda: 5) == 5


@pytest.mark.slow
def test_two_processes_choose_what_one_chooses(phantoms: Path, tmp_path: Path) -> None:
    """A supernet is trained once; then torchrun's two processes and one alone search in it."""
    options = ("--data", str(phantoms), "--candidates", "5")
    plan = tmp_path / "plan.json"
    alone = [sys.executable, "-m", "monai_nas"]
    together = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "monai_nas"]
    run([*alone, "plan", "--data", str(phantoms), "--out", str(plan)])
    small = read_json(plan) | {"width": 4, "patch_size": [16, 16, 16], "strides": [[2, 2, 2]] * 2}
    plan.write_text(json.dumps(small))
    run([*alone, *SEARCH, *options, "--plan", str(plan), "--epochs", "1", "--out", str(tmp_path / "trained")])
    for name, command in (("one", alone), ("two", together)):
        run([*command, *SEARCH, *options, "--supernet", str(tmp_path / "trained"), "--out", str(tmp_path / name)])
    for file in ("architecture.json", "candidates.json", "ranking.json", "model.pt"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes(), file


def run(command: list[str]) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
