"""No module grows beyond what one person reads in a sitting."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT = 400  # lines; aim at 250
MODULES = sorted(path.relative_to(ROOT) for folder in ("monai_nas", "tests") for path in (ROOT / folder).rglob("*.py"))


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_module_is_short(module: Path) -> None:
    lines = len((ROOT / module).read_text().splitlines())
    assert lines <= LIMIT, f"{module} has {lines} lines: split it"
