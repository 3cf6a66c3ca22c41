"""Run files are written whole or not at all, and read without running code."""

import errno
import os
from pathlib import Path

import pytest
import torch

from monai_nas.errors import UserError
from monai_nas.files import (
    load_tensors,
    load_weights,
    make_folder,
    read_json,
    remove_empty,
    remove_unfinished,
    save_tensors,
    write_atomic,
    write_json,
)


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


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_what_fails_leaves_no_temporary_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(descriptor: int) -> None:
        raise error

    monkeypatch.setattr("monai_nas.files.os.fsync", fail)
    with pytest.raises((UserError, KeyboardInterrupt)):
        write_atomic(tmp_path / "a.txt", "new")
    assert not os.listdir(tmp_path)


def test_what_a_kill_left_is_removed_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (".hidden", "a.tmp", "a.txt"):
        (tmp_path / name).touch()
    names = sorted(os.listdir(tmp_path))
    monkeypatch.setattr(Path, "unlink", lambda *_, **__: None)  # a killed process removes nothing
    monkeypatch.setattr(os, "replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        write_atomic(tmp_path / "a.txt", "new")
    monkeypatch.undo()
    assert len(os.listdir(tmp_path)) == len(names) + 1
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == names
    remove_unfinished(tmp_path / "absent")


def test_a_full_disk_leaves_no_new_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "old").mkdir()
    monkeypatch.setattr("monai_nas.files.os.fsync", full)
    for folder in ("old", "new/er"):
        with pytest.raises(UserError, match="cannot be written"):
            write_atomic(tmp_path / folder / "a.txt", "new")
    assert os.listdir(tmp_path) == ["old"] and not os.listdir(tmp_path / "old")


def test_folders_made_in_vain_go_and_others_stay(tmp_path: Path) -> None:
    assert make_folder(tmp_path) == []
    made = make_folder(tmp_path / "a" / "b")
    assert made == [tmp_path / "a" / "b", tmp_path / "a"] and (tmp_path / "a" / "b").is_dir()
    (tmp_path / "a" / "kept").touch()
    remove_empty(made)
    assert os.listdir(tmp_path / "a") == ["kept"]
    with pytest.raises(UserError, match=r"kept/c: cannot be created \(Not a directory\): a file lies where"):
        make_folder(tmp_path / "a" / "kept" / "c")


def test_a_folder_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file: cannot be created .*a file lies where a folder is needed"):
        write_json(tmp_path / "file" / "a.json", {})
    with pytest.raises(UserError, match=r"cannot be written .*a folder lies where a file is needed"):
        write_json(tmp_path, {})


def test_json_comes_back_and_ends_in_a_newline(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"x": [1, None]})
    assert read_json(tmp_path / "a.json") == {"x": [1, None]}
    assert (tmp_path / "a.json").read_text().endswith("}\n")


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe", b"", b"[" * 100_000], ids=["cut", "binary", "empty", "deep"])
def test_unreadable_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.json: not readable as JSON"):
        read_json(tmp_path / "a.json")
    with pytest.raises(UserError, match=r"none\.json: no such file"):
        read_json(tmp_path / "none.json")
    with pytest.raises(UserError, match=r"cannot be read .*a folder lies where a file is needed"):
        read_json(tmp_path)


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
    intact = tmp_path / "intact.pt"
    save_tensors(intact, {"a": torch.ones(1000)})
    for content in (b"half a fi", b"", intact.read_bytes()[:-100], intact.read_bytes()[:2000]):
        (tmp_path / "a.pt").write_bytes(content)
        with pytest.raises(UserError, match=r"a\.pt: not a file of weights, or a damaged one: use one") as caught:
            load_tensors(tmp_path / "a.pt")
        assert "weights_only" not in str(caught.value), "torch's advice to let the file run code"
    with pytest.raises(UserError, match=r"cannot be read .*a folder lies"):
        load_tensors(tmp_path)
    with pytest.raises(UserError, match=r"b\.pt: no such file"):
        load_tensors(tmp_path / "b.pt")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    network = torch.nn.Linear(2, 2)
    save_tensors(tmp_path / "a.pt", {"weight": torch.full((2, 2), value), "bias": torch.zeros(2)})
    with pytest.raises(UserError, match=r"a\.pt: NaN or Inf in 1 tensors, first weight"):
        load_weights(network, tmp_path / "a.pt")
    assert network.weight.isfinite().all()
