"""The value: canonical, hashable, and back from JSON as it was."""

import json
from pathlib import Path
from typing import Any

import pytest

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError

VALUE = Architecture.create("cell_unet", {"num_nodes": 1}, {"b/0-2": "zero", "a/1-2": "identity"})


def test_order_of_choices_does_not_matter() -> None:
    other = Architecture.create("cell_unet", {"num_nodes": 1}, {"a/1-2": "identity", "b/0-2": "zero"})
    assert other == VALUE and hash(other) == hash(VALUE) and len({other, VALUE}) == 1
    assert VALUE.choices == (("a/1-2", "identity"), ("b/0-2", "zero"))


def test_it_survives_its_file_and_record(tmp_path: Path) -> None:
    VALUE.save(tmp_path / "architecture.json")
    assert Architecture.load(tmp_path / "architecture.json") == VALUE
    assert json.loads((tmp_path / "architecture.json").read_text()) == VALUE.to_record()
    assert Architecture.from_record(json.loads(VALUE.to_json())) == VALUE


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ([], "not an architecture"),
        ({"format": 1, "space": "cell_unet"}, "settings, choices missing"),
        (VALUE.to_record() | {"format": 2}, "format 2"),
        (VALUE.to_record() | {"choices": []}, "must be objects"),
    ],
)
def test_another_record_is_refused_with_its_file(tmp_path: Path, record: Any, message: str) -> None:
    file = tmp_path / "a.json"
    file.write_text(json.dumps(record))
    with pytest.raises(UserError, match=message) as caught:
        Architecture.load(file)
    assert "a.json" in str(caught.value) and "\n" not in str(caught.value)


def test_missing_and_broken_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such file"):
        Architecture.load(tmp_path / "none.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="not readable as JSON"):
        Architecture.load(tmp_path / "broken.json")
