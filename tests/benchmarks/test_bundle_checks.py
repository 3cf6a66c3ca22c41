"""The shipped bundles pass the checks of the MONAI ecosystem, and the checks find what is wrong with broken ones."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from monai_nas.benchmarks.bundle_check_list import CHECKS
from monai_nas.benchmarks.bundle_checks import all_checks, check_bundle, find_bundles, main, one_line
from monai_nas.benchmarks.bundle_copy import fault_line
from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json

ROOT = Path(__file__).parents[2]
NEAR = ROOT.parent / "shared" / "schema"
SCHEMA = Path(os.environ.get("MONAI_NAS_SCHEMA", NEAR)) / "meta_schema_20240725.json"
BUNDLES = find_bundles(ROOT / "bundles", None)
PROCESSES = ("elsewhere", "torchrun")
IN_ONE_PROCESS = [name for name in all_checks(SCHEMA) if name not in PROCESSES]
ALSO_IN_PROCESSES = ("Task01_BrainTumour", "Task04_Hippocampus", "Task08_HepaticVessel")  # each takes half a minute


def failed(bundle: Path, *checks: str, schema_file: Path = SCHEMA, log: Path | None = None) -> dict[str, str]:
    """Return what failed of the checks, or was skipped and should not have been, with the reason."""
    outcomes = check_bundle(bundle, schema_file=schema_file, checks=checks, log=log)
    assert list(outcomes) == [name for name in all_checks(schema_file) if name in checks]
    may_be_skipped = {"schema", "shipped_weights"}
    return {
        name: one.reason
        for name, one in outcomes.items()
        if one.status == "failed" or (one.status == "skipped" and name not in may_be_skipped)
    }


@pytest.mark.parametrize("task", BUNDLES)
def test_a_shipped_bundle(task: str, tmp_path: Path) -> None:
    processes = PROCESSES if task in ALSO_IN_PROCESSES else ()
    log = tmp_path / "log.txt"
    assert failed(BUNDLES[task], *IN_ONE_PROCESS, *processes, log=log) == {}, log.read_text()[-9999:]


@pytest.mark.slow
def test_all_checks_of_all_bundles(tmp_path: Path) -> None:
    main(["--bundles", str(ROOT / "bundles"), "--schema", str(SCHEMA), "--torchrun", "--out", str(tmp_path / "a.json")])
    record = read_json(tmp_path / "a.json")
    assert list(record["tasks"]) == list(BUNDLES)
    assert all(list(outcomes) == ["schema", *CHECKS] for outcomes in record["tasks"].values())


@pytest.fixture
def own(bundle: Path, tmp_path: Path) -> Path:
    """A narrow bundle that a test may break."""
    return shutil.copytree(bundle, tmp_path / "bundles" / bundle.name)


def edit(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the record of a JSON file in its place."""
    record = read_json(path)
    change(record)
    write_json(path, record)


def test_a_sound_bundle_passes_and_is_left_as_it_is(own: Path) -> None:
    before = {path: path.read_bytes() for path in own.rglob("*") if path.is_file()}
    assert failed(own, *IN_ONE_PROCESS) == {}
    assert {path: path.read_bytes() for path in own.rglob("*") if path.is_file()} == before


def test_wrong_metadata_is_found(own: Path) -> None:
    def change(record: Any) -> None:
        record["network_data_format"]["outputs"]["pred"]["num_channels"] = 7
        record["changelog"] = {}

    edit(own / "configs" / "metadata.json", change)
    faults = failed(own, "metadata", "verify_net_in_out", "shipped_weights")
    assert faults["metadata"] == "version 0.1.0 is not in the changelog"
    assert faults["verify_net_in_out"] == "ValueError: output channel number `3` doesn't match: `7`."
    assert faults["shipped_weights"] == "models/model.ts carries other metadata"


def test_the_schema_is_applied(own: Path, tmp_path: Path) -> None:
    file = tmp_path / "meta_schema_20240725.json"
    assert failed(own, "schema", schema_file=file) == {}, "skipped where it is not at hand"
    write_json(file, {"required": ["version", "no_such_key"]})
    assert failed(own, "schema", schema_file=file) == {
        "schema": "ValidationError: 'no_such_key' is a required property"
    }
    write_json(file, {"required": ["version"]})
    assert failed(own, "schema", schema_file=file) == {}
    other = file.rename(tmp_path / "meta_schema_19990101.json")
    assert "names another schema" in failed(own, "schema", schema_file=other)["schema"]


def test_another_network_is_found(own: Path) -> None:
    edit(own / "configs" / "inference.json", lambda record: record["network_def"].update(width=8))
    faults = failed(own, "train", "load", "ckpt_export", "shipped_weights", "inference")
    assert set(faults) == {"train", "load", "ckpt_export", "shipped_weights", "inference"}
    assert "weights of another network" in faults["train"]


def test_a_network_that_cannot_be_built_is_found(own: Path) -> None:
    for stem in ("train", "inference"):
        edit(own / "configs" / f"{stem}.json", lambda record: record["network_def"].update(widht=8))
    faults = failed(own, "train", "load", "verify_net_in_out", "properties_train", "inference")
    assert "widht" in faults["train"] and "widht" in faults["verify_net_in_out"]
    assert faults["load"] == faults["inference"] == "no weights: train them first"


@pytest.mark.parametrize(
    ("stem", "path", "value", "check", "reason"),
    [
        ("train", ["bundle_root"], None, "properties_train", "bundle_root"),
        ("train", ["validate", "evaluator", "postprocessing"], "@train::postprocessing", "properties_train", "missing"),
        ("inference", ["missing_weights"], " is missing", "missing_weights", "does not name the training"),
        ("inference", ["run"], ["$@evaluator"], "missing_weights", "ends as if it had weights"),
        ("search", ["strategy"], "guess", "search", "guess"),
    ],
)
def test_a_broken_configuration_is_found(
    stem: str, path: list[str], value: Any, check: str, reason: str, own: Path
) -> None:
    def change(record: Any) -> None:
        for key in path[:-1]:
            record = record[key]
        record[path[-1]] = value
        if value is None:
            del record[path[-1]]

    edit(own / "configs" / f"{stem}.json", change)
    assert reason in failed(own, check)[check]


def test_labels_in_the_wrong_format_are_found(own: Path) -> None:
    def change(record: Any) -> None:
        record["postprocessing"]["transforms"][-1]["output_dtype"] = "$np.float32"

    edit(own / "configs" / "inference.json", change)
    assert "float32 instead of uint8" in failed(own, "train", "inference")["inference"]


@pytest.mark.slow
def test_a_process_that_fails_says_why(own: Path) -> None:
    edit(own / "configs" / "inference.json", lambda record: record.update(run=["$sys.exit('error: no: try again')"]))
    assert failed(own, "train", "elsewhere") == {"elsewhere": "RuntimeError: error: no: try again"}


def test_an_incomplete_bundle_and_an_unlucky_name_are_found(own: Path) -> None:
    (own / "LICENSE").unlink()
    assert failed(own, "layout") == {"layout": "lacks ['LICENSE']"}
    sound = shutil.copytree(own, own.with_name("hepatic_vessel"))
    (sound / "LICENSE").touch()
    assert failed(sound, "layout") == {"layout": "'_v' in the name hepatic_vessel"}
    longer = sound.rename(own.with_name(f"large_{own.name}"))
    assert failed(longer, "layout") == {}
    (own / "LICENSE").touch()
    assert failed(own, "layout") == {"layout": f"the name {own.name} lies within ['{longer.name}']"}


def test_the_command_prints_a_table_and_its_status_says_whether_all_is_well(
    own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    common = ["--bundles", str(own.parent), "--checks", "schema", "layout", "load"]
    common += ["--schema", str(tmp_path / "none.json"), "--out", str(tmp_path / "table.json")]
    main(common)
    lines = capsys.readouterr().out.splitlines()
    assert any("layout" in line and " ok " in line for line in lines)
    assert "load skipped: no weights: train them first (Task04_Hippocampus)" in lines
    found = read_json(tmp_path / "table.json")["tasks"]["Task04_Hippocampus"]
    assert found.pop("schema").startswith("skipped: none.json is not there: load https://github.com/")
    assert found == {"layout": "ok", "load": "skipped: no weights: train them first"}
    (own / "LICENSE").unlink()
    with pytest.raises(SystemExit) as stop:
        main(common)
    assert stop.value.code == 1
    out = capsys.readouterr().out
    assert "FAIL" in out and "layout failed: lacks ['LICENSE'] (Task04_Hippocampus)" in out


def test_bundles_are_found_by_task(own: Path) -> None:
    assert find_bundles(own.parent, None) == find_bundles(own.parent, ["Task04_Hippocampus"])
    with pytest.raises(UserError, match=r"no bundle of Task09_Spleen: choose from Task04_Hippocampus"):
        find_bundles(own.parent, ["Task09_Spleen"])
    with pytest.raises(UserError, match="no bundles in it"):
        find_bundles(own, None)
    edit(own / "configs" / "search.json", lambda record: record.pop("plan"))
    with pytest.raises(UserError, match=r"search.json: "):
        find_bundles(own.parent, None)


def test_reasons_are_one_line() -> None:
    outer = RuntimeError("outer")
    outer.__cause__ = ValueError("first\n\nsecond")
    assert one_line(outer) == "ValueError: first"
    assert one_line(UserError("file: fault: remedy")) == "file: fault: remedy"
    assert one_line(RuntimeError("failed in the TorchScript interpreter.\ncode\nRuntimeError: small")).endswith("small")
    assert len(one_line(ValueError("x" * 999))) == 200
    trace = "Traceback\n  File\n[rank1]: RuntimeError: no port\nValueError: outer\n====\n"
    assert fault_line(trace) == "RuntimeError: no port"
    assert fault_line("INFO\nerror: a.pt: no such file\n") == "error: a.pt: no such file"
    assert fault_line("Killed\n") == "Killed"
    assert fault_line("terminate called without an exception\nFatal\n") == "terminate called without an exception"
    assert fault_line("  traceback : Signal 6 (SIGABRT)\n====\n----\n") == "traceback : Signal 6 (SIGABRT)"
    assert fault_line("") == ""
