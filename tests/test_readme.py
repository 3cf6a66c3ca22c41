"""README.md does what it says: its Python runs, its commands parse, its make targets exist."""

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer

from monai_nas.cli.app import app

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def code_blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of one language, in order."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def calls(text: str, program: str) -> list[list[str]]:
    """Return the arguments of every call of ``program`` in the text's shell blocks."""
    lines = "\n".join(code_blocks(text, "sh")).replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line[1:] for line in words if line and line[0].endswith(program)]


def test_the_python_of_the_readme_runs_on_a_run(
    finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "search").symlink_to(finished_run)
    monkeypatch.chdir(tmp_path)
    blocks = code_blocks(README, "python")
    assert len(blocks) == 1
    names: dict[str, Any] = {}
    exec(compile(blocks[0], "README.md", "exec"), names)
    assert names["logits"].shape == (1, 3, 32, 48, 32)
    assert names["logits"].std() > 0


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_every_command_shown_parses(document: Path) -> None:
    verbs = typer.main.get_command(app).commands
    for verb, *arguments in calls(document.read_text(), "monai-nas"):
        verbs[verb].make_context(verb, arguments)  # raises for an unknown option or a missing one


def test_a_wrong_command_would_be_seen() -> None:
    (arguments,) = calls("```sh\nmonai-nas check DIR --fast  # comment\n```\n", "monai-nas")
    assert arguments == ["check", "DIR", "--fast"]
    with pytest.raises(Exception, match="--fast"):
        typer.main.get_command(app).commands["check"].make_context("check", arguments[1:])


def test_the_readme_shows_the_whole_flow() -> None:
    shown = dict.fromkeys(arguments[0] for arguments in calls(README, "monai-nas"))  # in order, each once
    assert [verb for verb in shown if verb in ("check", "plan", "search", "predict", "evaluate")] == [
        "check",
        "plan",
        "search",
        "predict",
        "evaluate",
    ]
    assert "bundle" in shown


def test_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = {target for document in DOCUMENTS for (target,) in calls(document.read_text(), "make")}
    assert {"demo", "test"} <= targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_the_readme_names_the_least_python() -> None:
    (least,) = re.findall(r"python_requires = >=(\S+)", (ROOT / "setup.cfg").read_text())
    assert f"Python {least} or later" in README
