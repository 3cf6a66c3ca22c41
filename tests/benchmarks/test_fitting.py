"""Cases learnt from beside cases that were not: differences by hand, and the command on two bundles of phantoms."""

from pathlib import Path

import pytest

from monai_nas.benchmarks import fitting
from monai_nas.export import write_bundle
from monai_nas.files import file_sha256, read_json, write_json
from monai_nas.metrics import CaseScores, ScoreTable
from monai_nas.pipelines.run_folder import fold_cases
from monai_nas.tasks.splits import training_cases


def table_of(*dice: float) -> ScoreTable:
    cases = tuple(CaseScores(f"case_{index}", (own, own), (1.0, 1.0), 1.0) for index, own in enumerate(dice))
    return ScoreTable("Task04_Hippocampus", ("Anterior", "Posterior"), "published", cases)


def test_differences_by_hand() -> None:
    parts = {
        "first": {fitting.LEARNT: table_of(0.9, 0.9), fitting.KEPT_OUT: table_of(0.5, 0.7, 0.8)},
        "second": {fitting.LEARNT: table_of(0.8, 0.7), fitting.KEPT_OUT: table_of(0.6, 0.8, 0.7)},
    }
    summary = fitting.summarize(parts)
    assert summary["bundles"]["second"]["dice_percent"] == pytest.approx({"learnt": 75.0, "kept_out": 70.0})
    assert list(summary["differences"]) == ["second_minus_first"]
    difference = summary["differences"]["second_minus_first"]["dice_percent"]
    half = 4.302653 * (400 / 3) ** 0.5 / 3**0.5  # Student's t of two degrees of freedom; differences 10, 10, -10
    assert difference["mean"] == pytest.approx(10 / 3) and difference["share_of_cases_better"] == pytest.approx(2 / 3)
    assert difference["interval_95"] == pytest.approx([10 / 3 - half, 10 / 3 + half])
    assert summary["differences"]["second_minus_first"]["surface_dice_percent"]["share_of_cases_better"] == 0.0


def test_bundles_are_scored_on_both_parts(phantoms: Path, finished_run: Path, tmp_path: Path) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "fitting.json"
    write_bundle(finished_run, bundle)
    words = ["--data", str(phantoms), "--out", str(out), f"before={bundle}", f"after={bundle}"]
    fitting.main(words)
    record = read_json(out)
    assert record["cases"] == {"learnt": 2, "kept_out": 2} and record["fold"] == 0
    before, after = record["bundles"]["before"], record["bundles"]["after"]
    assert before == after and before["weights_sha256"] == file_sha256(bundle / "models" / "model.pt")
    learn, held, _ = fold_cases(training_cases(phantoms), 0)
    for part, cases in (("learnt", [learn[0], learn[4]]), ("kept_out", held)):
        table = fitting.scores_of(bundle, cases, fitting.load_task(None, phantoms))
        assert before["dice_percent"][part] == pytest.approx(100 * table.mean("dice"))
    assert record["differences"]["after_minus_before"]["dice_percent"]["mean"] == 0.0
    assert before["million_parameters"] > 0 and before["gflops_128x128x128"] > 0


def test_a_bundle_that_knows_the_fold_is_refused(
    phantoms: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, out = tmp_path / "bundle", tmp_path / "fitting.json"
    for fold, fault in ((None, "no fold was kept out of its"), (0, "fold 0 was kept out of its training, not 1")):
        write_json(bundle / "configs" / "search.json", {"fold": fold})
        with pytest.raises(SystemExit) as left:
            fitting.main(["--data", str(phantoms), "--fold", "1", "--out", str(out), f"a={bundle}"])
        error = capsys.readouterr().err
        assert left.value.code == 2 and not out.exists() and fault in error and "with --fold 1" in error
    for wrong, fault in (([str(bundle)], "is no NAME=BUNDLE, such as"), ([f"a={bundle}"] * 2, "is given twice")):
        with pytest.raises(SystemExit):
            fitting.main(["--data", str(phantoms), "--out", str(out), *wrong])
        assert fault in capsys.readouterr().err
