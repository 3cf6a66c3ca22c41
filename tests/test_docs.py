"""docs/ agrees with the code and with the result files: names, links, examples, figures."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from monai_nas.export.tables import fill_tables

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "monai_nas"
DOCS = ROOT / "docs"
DOCUMENTS = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
REFERENCE = re.compile(r"`([\w/]+\.py)::([\w.]+)`")


def name_of(document: Path) -> str:
    return str(document.relative_to(ROOT))


def defines(source: str, name: str) -> bool:
    """Whether a module's source defines a function, class, method or constant: "f", "Class.method", "CONSTANT"."""
    scope: list[ast.stmt] = ast.parse(source).body
    for part in name.split("."):
        found = None
        for node in scope:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == part:
                found = node.body
            if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == part for t in node.targets):
                found = []
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.target.id == part:
                found = []
        if found is None:
            return False
        scope = found
    return True


def test_the_reader_of_definitions_sees_what_is_not_there() -> None:
    source = "A = 1\nclass B:\n    def c(self): ...\ndef d(): ...\nf: int = 2\n"
    assert all(defines(source, name) for name in ("A", "B", "B.c", "d", "f"))
    assert not any(defines(source, name) for name in ("c", "B.d", "E", "A.b"))


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_every_name_in_the_code_exists(document: Path) -> None:
    for file, name in REFERENCE.findall(document.read_text()):
        assert defines((PACKAGE / file).read_text(), name), f"{file} has no {name}"


def test_methods_cover_the_paper() -> None:
    rows = [line for line in (DOCS / "methods.md").read_text().splitlines() if REFERENCE.search(line)]
    for part in ("Eq. 1", "Eq. 2", "Eq. 3", "Eq. 4", "Alg. 1", "Alg. 2"):
        assert any(line.startswith(f"| {part} |") for line in rows), part


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(document: Path) -> None:
    text = FENCE.sub("", document.read_text())
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if not re.match(r"[a-z]+:", target):
            assert (document.parent / target.partition("#")[0]).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_paths_in_the_repository_exist(document: Path) -> None:
    for path in re.findall(r"`((?:monai_nas|tests|docs)/[\w/.]+\.\w+)`", document.read_text()):
        is_result = path.startswith("docs/results/") or path.startswith("docs/pictures/")
        assert is_result or (ROOT / path).exists(), path


@pytest.mark.parametrize("document", DOCUMENTS, ids=name_of)
def test_figures_are_those_of_the_result_files(document: Path) -> None:
    text = document.read_text()
    remedy = "run python -m monai_nas.export.tables README.md docs/*.md docs/decisions/*.md"
    assert fill_tables(text, document.parent) == text, remedy


def test_the_examples_of_extending_run() -> None:
    blocks = [code for language, code in FENCE.findall((DOCS / "extending.md").read_text()) if language == "python"]
    assert len(blocks) >= 4
    code = "\n".join(blocks)  # in a process of its own: what it registers must not reach other tests
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert result.returncode == 0, result.stderr


def test_the_example_of_the_walkthrough_links_the_fold(
    phantoms: Path, finished_run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs" / "search").symlink_to(finished_run)
    (tmp_path / "Task04_Hippocampus").symlink_to(phantoms)
    monkeypatch.chdir(tmp_path)
    (code,) = (code for language, code in FENCE.findall((DOCS / "walkthrough.md").read_text()) if language == "python")
    exec(compile(code, "walkthrough.md", "exec"), {})
    images, labels = (sorted(p.name for p in (tmp_path / "withheld" / n).iterdir()) for n in ("images", "labels"))
    assert images == labels
    assert len(images) == 2  # a fifth of ten


def test_names_of_the_glossary_are_in_the_code() -> None:
    table = (DOCS / "glossary.md").read_text().partition("## In text")[0]
    source = "\n".join(path.read_text() for path in PACKAGE.rglob("*.py"))
    names = [name for line in table.splitlines() if line.startswith("| ") for name in re.findall(r"`(\w+)`", line)]
    assert len(names) > 30
    for name in names:
        assert re.search(rf"\b{name}\b", source), name


def test_contributing_is_short() -> None:
    assert len((DOCS / "contributing.md").read_text().splitlines()) < 60


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(path.name[:4]) for path in sorted((DOCS / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
    for path in (DOCS / "decisions").glob("*.md"):
        assert path.read_text().startswith(f"# {path.name[:4]} "), path.name
