"""A preprocessed case is read where all that it depends on is the same, and preprocessed wherever a part is not."""

import dataclasses
import logging
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import monai
import pytest
import torch

import monai_nas
from monai_nas.data import case_cache, loaders, transforms
from monai_nas.data.case_cache import cache_folder
from monai_nas.data.loaders import load_cases
from monai_nas.data.transforms import CLASS_INDICES
from monai_nas.errors import UserError
from monai_nas.plans import Plan, make_plan, measure_fingerprint
from monai_nas.tasks import Case, load_task, training_cases

NUM_CASES = 2
Count = Callable[[], int]


@pytest.fixture
def plan(phantoms: Path) -> Plan:
    task = load_task(None, phantoms)
    return make_plan(task, measure_fingerprint(training_cases(phantoms), task))


@pytest.fixture
def cases(phantoms: Path, tmp_path: Path) -> list[Case]:
    """Copies that a test may change."""
    (tmp_path / "scans").mkdir()
    copies = []
    for case in training_cases(phantoms)[:NUM_CASES]:
        assert case.label is not None
        image, label = tmp_path / "scans" / f"{case.name}.nii.gz", tmp_path / "scans" / f"{case.name}_label.nii.gz"
        shutil.copy(case.image, image)
        shutil.copy(case.label, label)
        copies.append(Case(case.name, image, label))
    return copies


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own, not there yet."""
    monkeypatch.setenv("MONAI_NAS_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def preprocessed(monkeypatch: pytest.MonkeyPatch) -> Count:
    """A function that gives the number of cases preprocessed since it was last called."""
    original, done = loaders._preprocess, []

    def counting(case: Case, *arguments: Any) -> dict[str, Any]:
        done.append(case.name)
        return original(case, *arguments)

    def count() -> int:
        number = len(done)
        done.clear()
        return number

    monkeypatch.setattr(loaders, "_preprocess", counting)
    return count


def equal(first: list[dict[str, Any]], second: list[dict[str, Any]]) -> bool:
    def parts(item: dict[str, Any]) -> list[torch.Tensor]:
        return [item["image"], item["label"], *item[CLASS_INDICES]]

    return all(
        list(one) == list(other)
        and one["name"] == other["name"]
        and all(
            type(a) is type(b) is torch.Tensor and a.dtype == b.dtype and a.stride() == b.stride() and torch.equal(a, b)
            for a, b in zip(parts(one), parts(other), strict=True)
        )
        for one, other in zip(first, second, strict=True)
    )


def test_a_case_is_preprocessed_once(
    cases: list[Case], plan: Plan, folder: Path, preprocessed: Count, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_cases(cases, plan.task, plan)
    assert preprocessed() == NUM_CASES and len(list(folder.iterdir())) == NUM_CASES
    second = load_cases(cases, plan.task, plan)
    assert preprocessed() == 0 and equal(first, second)
    monkeypatch.setenv("MONAI_NAS_CACHE", "")
    assert equal(first, load_cases(cases, plan.task, plan)) and preprocessed() == NUM_CASES


def test_another_fold_preprocesses_what_is_new(
    cases: list[Case], plan: Plan, folder: Path, preprocessed: Count
) -> None:
    load_cases(cases[:1], plan.task, plan)
    load_cases(cases[::-1], plan.task, plan)
    assert preprocessed() == NUM_CASES


def test_names_and_places_do_not_matter(
    cases: list[Case], plan: Plan, folder: Path, preprocessed: Count, tmp_path: Path
) -> None:
    load_cases(cases, plan.task, plan)
    (tmp_path / "scans").rename(tmp_path / "elsewhere")
    assert cases[0].label is not None
    image, label = (tmp_path / "elsewhere" / file.name for file in (cases[0].image, cases[0].label))
    preprocessed()
    (item,) = load_cases([Case("renamed", image, label)], plan.task, plan)
    assert preprocessed() == 0 and item["name"] == "renamed"


def test_other_scans_are_preprocessed(cases: list[Case], plan: Plan, folder: Path, preprocessed: Count) -> None:
    first, other = cases
    load_cases([first], plan.task, plan)
    preprocessed()
    assert first.label is not None
    before = first.label.read_bytes()
    flags = before[8] ^ 2  # the byte of gzip's header that says how hard it was compressed: as good, and not the same
    first.label.write_bytes(before[:8] + bytes([flags]) + before[9:])
    load_cases([first], plan.task, plan)
    assert preprocessed() == 1, "the label"
    shutil.copy(other.image, first.image)
    assert other.label is not None
    shutil.copy(other.label, first.label)
    load_cases([first], plan.task, plan)
    assert preprocessed() == 1, "both"
    content = first.image.read_bytes()
    first.image.write_bytes(content[:8] + bytes([content[8] ^ 2]) + content[9:])
    load_cases([first], plan.task, plan)
    assert preprocessed() == 1, "the image"


def test_another_plan_preprocesses(cases: list[Case], plan: Plan, folder: Path, preprocessed: Count) -> None:
    load_cases(cases, plan.task, plan)
    for change in ({"spacing_mm": (1.5, 1.5, 1.5)}, {"crop_to_nonzero": not plan.crop_to_nonzero}):
        preprocessed()
        load_cases(cases, plan.task, dataclasses.replace(plan, **change))
        assert preprocessed() == NUM_CASES, change
    load_cases(cases, plan.task, dataclasses.replace(plan, width=2 * plan.width))
    assert preprocessed() == 0, "the width says nothing of the scans"


@pytest.mark.parametrize(
    ("owner", "name", "value"),
    [
        (transforms, "_MAX_VOXELS_PER_CLASS", 100),
        (monai, "__version__", "0"),
        (monai_nas, "__version__", "0"),
        (torch, "__version__", "0"),
        (torch, "get_num_threads", lambda: 99),
    ],
    ids=["class indices", "monai", "monai_nas", "torch", "threads"],
)
def test_other_programs_preprocess(
    owner: Any,
    name: str,
    value: Any,
    cases: list[Case],
    plan: Plan,
    folder: Path,
    preprocessed: Count,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    load_cases(cases[:1], plan.task, plan)
    preprocessed()
    monkeypatch.setattr(owner, name, value)
    load_cases(cases[:1], plan.task, plan)
    assert preprocessed() == 1


def cut_short(content: bytes) -> bytes:
    return content[: len(content) // 2]


def turn_a_bit(content: bytes) -> bytes:
    middle = len(content) // 2  # among the voxels of the image, where torch.load would not notice
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what was warned of; what is told besides depends on who has set up logging before."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.mark.parametrize("damage", [cut_short, turn_a_bit, lambda content: b""], ids=["short", "bit", "empty"])
def test_damaged_files_are_written_anew(
    damage: Callable[[bytes], bytes],
    cases: list[Case],
    plan: Plan,
    folder: Path,
    preprocessed: Count,
    caplog: pytest.LogCaptureFixture,
) -> None:
    items = load_cases(cases[:1], plan.task, plan)
    (file,) = folder.iterdir()
    whole = file.read_bytes()
    file.write_bytes(damage(whole))
    assert not warnings(caplog)
    assert equal(items, load_cases(cases[:1], plan.task, plan)) and preprocessed() == 2
    (message,) = warnings(caplog)
    assert str(file) in message and "\n" not in message
    assert file.read_bytes() == whole and list(folder.iterdir()) == [file]


def test_files_appear_whole_or_not_at_all(
    cases: list[Case],
    plan: Plan,
    folder: Path,
    preprocessed: Count,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def stop(*arguments: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(os, "replace", stop)
        load_cases(cases[:1], plan.task, plan)
    assert list(folder.iterdir()) == []
    load_cases(cases[:1], plan.task, plan)
    assert preprocessed() == 2 and not warnings(caplog)


def test_nothing_is_kept_where_space_is_short(
    cases: list[Case],
    plan: Plan,
    folder: Path,
    preprocessed: Count,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    (item,) = load_cases(cases[:1], plan.task, plan)
    shutil.rmtree(folder)
    num_bytes = sum(part.nbytes for part in (item["image"], item["label"], *item[CLASS_INDICES]))
    usage = type("usage", (), {"free": 10 * num_bytes + 1})  # enough for one, not for two
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage)
    caplog.clear()
    with caplog.at_level(logging.INFO):
        load_cases([cases[0], cases[0]], plan.task, plan)
    assert list(folder.iterdir()) == [] and preprocessed() == 3
    (record,) = caplog.records
    assert "MONAI_NAS_CACHE" in record.getMessage()
    load_cases(cases[:1], plan.task, plan)
    assert len(list(folder.iterdir())) == 1


def test_a_folder_that_cannot_be_made_costs_one_warning(
    cases: list[Case], plan: Plan, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder.write_text("a file")
    assert len(load_cases(cases, plan.task, plan)) == NUM_CASES
    (message,) = warnings(caplog)
    assert "MONAI_NAS_CACHE" in message


def test_a_closed_folder_costs_one_warning(
    cases: list[Case],
    plan: Plan,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    stat = os.stat

    def closed(path: Any, *arguments: Any, **options: Any) -> os.stat_result:
        if isinstance(path, str | Path) and str(path).startswith(f"{folder}{os.sep}"):
            raise PermissionError(13, "Permission denied", str(path))
        return stat(path, *arguments, **options)

    monkeypatch.setattr(os, "stat", closed)
    monkeypatch.setattr(case_cache, "save_tensors", lambda place, tensors: place.stat())
    assert len(load_cases(cases, plan.task, plan)) == NUM_CASES
    assert len(warnings(caplog)) == 1


def test_missing_scans_are_named(cases: list[Case], plan: Plan, folder: Path) -> None:
    cases[0].image.unlink()
    with pytest.raises(UserError, match=f"{cases[0].image.name}: cannot be read"):
        load_cases(cases, plan.task, plan)


def test_the_cache_tells_its_size_and_is_the_users_alone(
    cases: list[Case], plan: Plan, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        load_cases(cases[:1], plan.task, plan)
        load_cases(cases, plan.task, plan)
    first, second = (record.getMessage() for record in caplog.records)
    assert f"0 read from {folder}, 1 written" in first and " GB" in first
    assert f"1 read from {folder}, 1 written" in second
    assert folder.stat().st_mode & 0o777 == 0o700


def test_the_folder_is_named_or_the_users(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("MONAI_NAS_CACHE", "~/mine")
    assert cache_folder() == tmp_path / "mine"
    monkeypatch.setenv("MONAI_NAS_CACHE", "")
    assert cache_folder() is None
    monkeypatch.delenv("MONAI_NAS_CACHE")
    assert cache_folder() == tmp_path / "xdg" / "monai_nas"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == tmp_path / ".cache" / "monai_nas"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert cache_folder() is None


def test_tests_leave_the_users_cache_alone(case_cache: Path) -> None:
    assert cache_folder() == case_cache
