"""Imports go left: the table of allowed imports between the packages, read from the source without running it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "monai_nas"
LEAVES = {"architecture", "registry", "compute", "losses", "metrics", "errors", "files", "rates", "__version__"}
STAGES = {
    "tasks": set(),
    "plans": {"tasks"},
    "data": {"tasks", "plans"},
    "spaces": set(),
    "ops": set(),
    "skeletons": {"ops"},
    "supernets": {"spaces", "ops", "skeletons", "networks"},  # extract() returns what build_network builds
    "networks": {"spaces", "ops", "skeletons"},
    "cost": {"networks", "ops"},  # a unit that computes its two convolutions as one is counted as two
    "strategies": {"spaces", "supernets", "cost"},
    "training": {"tasks", "plans", "data"},
    "inference": {"tasks", "plans", "data"},
    "export": {"tasks", "plans"},
}
ALLOWED: dict[str, set[str]] = {leaf: set() for leaf in LEAVES} | STAGES
ALLOWED |= {"pipelines": set(STAGES), "benchmarks": set(STAGES) | {"pipelines"}, "cli": {"pipelines", "benchmarks"}}
# the composition of a whole run needs every stage; a verb needs the values it reads from files and hands on
ALLOWED["cli"] |= {"tasks", "plans", "data", "export", "networks"}
ALLOWED["export"] |= {"data"}
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE or not path.stem.startswith("__"))


def imported_parts(source: str) -> set[str]:
    """Return the first names under ``monai_nas`` that the source imports, wherever in it."""
    parts = set()
    for node in ast.walk(ast.parse(source)):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = ["monai_nas.<relative>"]
        parts |= {name.split(".")[1] for name in names if name.startswith("monai_nas.")}
    return parts


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_left(module: Path) -> None:
    part = module.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert part in ALLOWED, f"{part} has no row in the table of layers"
    foreign = imported_parts(module.read_text()) - ALLOWED[part] - LEAVES - {part}
    assert not foreign, f"{module.relative_to(PACKAGE)} must not import {', '.join(sorted(foreign))}"


def test_the_reader_of_imports_sees_each_form() -> None:
    source = "import monai_nas.ops\nfrom monai_nas.spaces import x\nfrom monai_nas import data\n"
    source += "from . import y\nimport torch"
    assert imported_parts(source) == {"ops", "spaces", "data", "<relative>"}


@pytest.mark.parametrize("light", ["spaces", "tasks", "architecture", "registry", "cli.app"])
def test_light_parts_leave_torch_out(light: str) -> None:
    code = f"import sys, monai_nas.{light}; sys.exit('torch' in sys.modules or 'monai' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_every_folder_of_modules_is_packaged() -> None:
    folders = {path.parent for path in MODULES}
    assert not [str(folder.relative_to(PACKAGE)) for folder in folders if not (folder / "__init__.py").is_file()]
