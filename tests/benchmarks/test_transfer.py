"""Transfer: which architecture is trained on which task, and what is taken over from the evidence."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import evidence
from monai_nas.benchmarks.transfer import METHODS, main
from monai_nas.files import read_json, write_json
from monai_nas.spaces import CellUNetSpace

PAIR = "fold0_seed0"
RESULT = {"task": "Task04_Hippocampus", "minutes": {"search": {"asked": 20.0}, "train": {"asked": 0.0}}}


@pytest.fixture
def sarcoma(phantoms: Path, tmp_path: Path) -> Path:
    """Another folder of data."""
    return Path(shutil.copytree(phantoms, tmp_path / "Task11_Sarcoma"))


def words_for(hippocampus: Path, sarcoma: Path, folder: Path, *more: str) -> list[str]:
    words = ["--hippocampus", str(hippocampus), "--sarcoma", str(sarcoma), *more]
    return [*words, "--runs", str(folder / "runs"), "--out", str(folder / "out")]


def find_by_data(program: Any) -> dict[str, Architecture]:
    """Let searches find another architecture on each folder of data; return them by its name."""
    space, names = CellUNetSpace(num_nodes=2), ("Task04_Hippocampus", "Task11_Sarcoma")
    found = {name: space.sample(np.random.default_rng(seed)) for seed, name in enumerate(names)}
    program.searched = lambda data: found[data.name]
    return found


def test_architectures_are_exchanged(phantoms: Path, sarcoma: Path, tmp_path: Path, program: Any) -> None:
    found = find_by_data(program)
    program.dice = {"transferred": 0.75, "scnas_retrained": 0.5}
    main(words_for(phantoms, sarcoma, tmp_path))
    methods = [name.partition("/")[2] for name in program.verbs()]
    assert methods == [method for method in METHODS for _ in range(2)]
    here, there = (tmp_path / "out" / name / PAIR for name in ("hippocampus", "sarcoma"))
    for folder, own, other in ((here, *found.values()), (there, *reversed(found.values()))):
        architectures = {method: read_json(folder / f"{method}.json")["architecture"] for method in METHODS}
        assert architectures["scnas"] == architectures["scnas_retrained"] == own.to_record()
        assert architectures["transferred"] == other.to_record() != own.to_record()
    trained = {option(words, "--data") for words in program.calls if words[0] == "train"}
    assert trained == {str(phantoms), str(sarcoma)}
    summary = read_json(tmp_path / "out" / "summary.json")
    difference = summary["sarcoma"]["differences"]["transferred_minus_scnas_retrained"]
    assert difference["dice_percent"]["mean"] == pytest.approx(25)
    assert summary["hippocampus"]["methods"]["transferred"]["search_minutes_asked"]["mean"] == 20


def option(words: list[str], name: str) -> str:
    return words[words.index(name) + 1]


def test_the_evidence_is_taken_over(phantoms: Path, sarcoma: Path, tmp_path: Path, program: Any) -> None:
    find_by_data(program)
    methods = ("--methods", "scnas", "random", "dynunet")
    words = ["--data", str(phantoms), "--runs", str(tmp_path / "before"), "--out", str(tmp_path / "evidence")]
    evidence.main([*words, "--pairs", "0/0", *methods])
    program.calls.clear()
    main(words_for(phantoms, sarcoma, tmp_path, "--evidence", str(tmp_path / "evidence")))
    runs = [Path(option(words, "--out")).parts[-4:-1:2] for words in program.calls if words[0] in ("search", "train")]
    assert ("hippocampus", "transferred") in runs and ("hippocampus", "scnas_retrained") in runs
    assert ("hippocampus", "scnas") not in runs and ("hippocampus", "random") not in runs
    copied = tmp_path / "out" / "hippocampus" / PAIR
    assert read_json(copied / "random.json") == read_json(tmp_path / "evidence" / PAIR / "random.json")
    assert (copied / "scnas_history.csv").exists() and not (copied / "dynunet.json").exists()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"task": "Task05_Prostate"}, "scnas.json: of Task05_Prostate, not of Task04_Hippocampus"),
        ({"minutes": {"search": {"asked": 5.0}, "train": {"asked": 0.0}}}, "made with 5 minutes of search, now 20"),
        ({"environment": {"processor": "an abacus, 2 cores"}}, "scnas.json: made on an abacus, 2 cores, this is"),
        (None, "no results of scnas, transferred"),
    ],
)
def test_other_evidence_is_refused(
    change: dict[str, Any] | None,
    complaint: str,
    phantoms: Path,
    sarcoma: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if change is not None:
        write_json(tmp_path / "evidence" / PAIR / "scnas.json", RESULT | change)
    with pytest.raises(SystemExit) as leaving:
        main(words_for(phantoms, sarcoma, tmp_path, "--evidence", str(tmp_path / "evidence")))
    assert leaving.value.code == 2 and complaint in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_list_runs_nothing(
    phantoms: Path, sarcoma: Path, tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    main(words_for(phantoms, sarcoma, tmp_path, "--list"))
    lines = capsys.readouterr().out.splitlines()
    assert not program.calls and lines[-2].split("│")[5].strip() == "100"  # 2 searches of 20, 6 trainings of 10
