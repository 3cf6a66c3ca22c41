"""Run files are written whole or not at all, and read without running code."""

import errno
import os
from pathlib import Path

import pytest
import torch

from monai_nas.errors import UserError
from monai_nas.files import load_tensors, read_json, save_tensors, write_atomic, write_json


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    file = tmp_path / "new" / "folder" / "a.txt"
    write_atomic(file, "first")
    write_atomic(file, b"second")
    assert file.read_bytes() == b"second" and os.listdir(file.parent) == ["a.txt"]
    assert file.stat().st_mode & 0o777 == 0o644


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.txt"
    write_atomic(file, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("monai_nas.files.os.fsync", full)
    with pytest.raises(UserError, match=r"a\.txt: cannot be written \(No space left on device\): free some space"):
        write_atomic(file, "new")
    assert file.read_text() == "old" and os.listdir(tmp_path) == ["a.txt"]


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot be written"):
        write_json(tmp_path / "file" / "a.json", {})


def test_json_comes_back_and_ends_in_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, None]})
    assert read_json(tmp_path / "a.json") == {"x": [1, None]}
    assert (tmp_path / "a.json").read_text().endswith("}\n")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe"])
def test_unreadable_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: not readable as JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")


def test_bytes_of_tensors_depend_on_the_tensors_alone(tmp_path: Path) -> None:
    state = {"a": torch.arange(4.0), "rows": [{"loss": 0.5}]}
    save_tensors(tmp_path / "a.pt", state)
    save_tensors(tmp_path / "another_name.pt", {"a": torch.arange(4.0), "rows": [{"loss": 0.5}]})
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "another_name.pt").read_bytes()
    loaded = load_tensors(tmp_path / "a.pt")
    assert torch.equal(loaded["a"], state["a"]) and loaded["rows"] == state["rows"]


class Harmful:
    """Pickles into a call; a reader that runs code would make a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.folder),)


def test_a_checkpoint_runs_no_code(tmp_path: Path) -> None:
    torch.save(Harmful(tmp_path / "made"), tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"a\.pt: not a file of weights") as caught:
        load_tensors(tmp_path / "a.pt")
    assert not (tmp_path / "made").exists() and "\n" not in str(caught.value)


def test_broken_and_missing_weights_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"half a fi")
    with pytest.raises(UserError, match=r"a\.pt: not a file of weights"):
        load_tensors(tmp_path / "a.pt")
    with pytest.raises(UserError, match=r"b\.pt: no such file"):
        load_tensors(tmp_path / "b.pt")
