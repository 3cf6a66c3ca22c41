"""A command line that takes no time: it writes the files that the real one leaves."""

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import evidence_result, evidence_runs
from monai_nas.benchmarks.evidence_runs import Ended
from monai_nas.cost import Cost
from monai_nas.files import read_json, write_atomic, write_json
from monai_nas.metrics import CaseScores, ScoreTable
from monai_nas.networks import load_architecture
from monai_nas.pipelines.run_folder import processor
from monai_nas.tasks.splits import make_folds, training_cases

HISTORY = "epoch,loss,alpha_loss,temperature,weight_rate,share/zero,entropy/a/0-2,entropy/a/1-2\n"
HISTORY += "1,1.0,1.0,1.0,0.1,0.5,2.0,2.0\n2,1.0,,0.1,0.1,0.5,1.0,2.0\n"
SLOW_MINUTES = 45.0  # of what is asked for in epochs
GAP = {"dice_extracted": 0.5, "dice_gap": -0.125}


@dataclass
class FakeProgram:
    """Stands for `evidence_runs.run_command`.

    ``dice`` are the scores of both classes of all cases by method, ``interrupted_at`` numbers the calls of search and
    train that are cut before their end, ``searched`` gives the architecture that a search finds on a folder of data.
    """

    template: Path  # a RUN folder
    searched: Callable[[Path], Architecture]
    dice: dict[str, float] = field(default_factory=dict)
    interrupted_at: tuple[int, ...] = ()
    calls: list[list[str]] = field(default_factory=list)

    def verbs(self) -> list[str]:
        """Return "fold0_seed0/scnas" for each search and train so far."""
        outs = [Path(option(words, "--out")) for words in self.calls if words[0] in ("search", "train")]
        return ["/".join(out.parts[-3:-1]) for out in outs]

    def __call__(self, command: Sequence[str], log: Path, tick: Callable[[], None]) -> Ended:
        words = list(command[3:])
        self.calls.append(words)
        tick()
        out = Path(option(words, "--out"))
        if words[0] in ("search", "train"):
            if len(self.verbs()) - 1 in self.interrupted_at:
                write_atomic(out / "checkpoint.pt", b"")
                return Ended(-15, 2**30, True)
            self.run(words, out)
        if words[0] == "evaluate":
            self.evaluate(words, out)
        return Ended(0, 2**31, False)

    def run(self, words: list[str], out: Path) -> None:
        """Write the RUN folder of a search or a training."""
        shutil.copytree(self.template, out, dirs_exist_ok=True)
        data, fold = Path(option(words, "--data")), int(option(words, "--fold"))
        folds = make_folds([case.name for case in training_cases(data)], 0)
        write_json(out / "folds.json", {"seed": 0, "kept_out": fold, "folds": folds})
        write_json(out / "schedule.json", {"epoch_length": 3, "search_epochs": 2, "fixed_epochs": 2})
        definition: dict[str, Any] = read_json(out / "network.json")
        minutes = float(option(words, "--minutes")) if "--minutes" in words else SLOW_MINUTES
        facts = {"task": "Task04_Hippocampus", "minutes_of_last_part": minutes + 1, "steps": 12, "num_parameters": 2000}
        environment = {"dtype": "bfloat16", "device": "cpu", "commit": "0123abc", "processor": processor()}
        if words[0] == "search":
            architecture = self.searched(data)
            write_atomic(out / "history.csv", HISTORY)
            facts |= {"dice_extracted": 0.75, "dice_gap": -0.5, "before_last_phase": GAP}
        else:
            architecture = load_architecture(option(words, "--architecture"))
        write_json(out / "network.json", definition | {"architecture": architecture.to_record()})
        write_json(out / "run.json", facts | {"environment": environment})

    def evaluate(self, words: list[str], out: Path) -> None:
        """Write the scores of the cases that were linked."""
        value = self.dice.get(out.parent.name, 0.5)
        names = sorted(path.name.partition(".")[0] for path in Path(option(words, "--labels")).iterdir())
        cases = tuple(CaseScores(name, (value, value), (value, value), 1.0) for name in names)
        ScoreTable("Task04_Hippocampus", ("Anterior", "Posterior"), "published", cases).save(out)


def option(words: Sequence[str], name: str) -> str:
    """Return the value after an option."""
    return words[words.index(name) + 1]


@pytest.fixture
def program(finished_run: Path, monkeypatch: pytest.MonkeyPatch) -> FakeProgram:
    """The fake in the place of the real one; its searches find what the template holds. Costs are made up."""
    found = Architecture.load(finished_run / "architecture.json")
    fake = FakeProgram(finished_run, lambda data: found)
    monkeypatch.setattr(evidence_runs, "run_command", fake)
    monkeypatch.setattr(evidence_result, "architecture_cost", lambda *_, **__: Cost(2000, 4 * 10**9, 2**30))
    return fake
