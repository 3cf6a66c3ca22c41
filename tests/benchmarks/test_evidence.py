"""The evidence: order, continuation and result files with a program that takes no time; once with the real one."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import evidence_result, evidence_runs
from monai_nas.benchmarks.evidence import METHODS, main
from monai_nas.benchmarks.evidence_runs import RANDOM, Ended, Job, Study, architecture_of, run_job
from monai_nas.cost import architecture_cost
from monai_nas.files import read_json, write_json
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import Plan, make_plan
from monai_nas.tasks.splits import make_folds, training_cases
from monai_nas.tasks.task import load_task

KEYS = {"method", "task", "fold", "seed", "commands", "minutes", "starts", "steps", "patch_size", "batch_size"}
KEYS |= {"width", "strides", "num_parameters", "gflops", "training_memory_bytes", "scores", "search", "architecture"}
KEYS |= {"environment"}


def words_for(data: Path, folder: Path, *more: str) -> list[str]:
    return ["--data", str(data), "--runs", str(folder / "runs"), "--out", str(folder / "out"), *more]


def result_of(folder: Path, method: str, pair: str = "fold0_seed0") -> dict[str, Any]:
    record: dict[str, Any] = read_json(folder / "out" / pair / f"{method}.json")
    return record


def exit_status(arguments: list[str]) -> object:
    with pytest.raises(SystemExit) as leaving:
        main(arguments)
    return leaving.value.code


def test_a_whole_pair_comes_before_the_next(phantoms: Path, tmp_path: Path, program: Any) -> None:
    main(words_for(phantoms, tmp_path, "--pairs", "0/0", "1/2", "--methods", *reversed(METHODS)))
    assert program.verbs() == [f"{pair}/{method}" for pair in ("fold0_seed0", "fold1_seed2") for method in METHODS]
    assert [words[0] for words in program.calls[:5]] == ["search", "bundle", "predict", "evaluate", "train"]
    assert sum(words[0] == "search" for words in program.calls) == 2
    minutes = {method: result_of(tmp_path, method)["minutes"] for method in METHODS}
    asked = {method: (minutes[method]["search"]["asked"], minutes[method]["train"]["asked"]) for method in METHODS}
    assert asked == {
        "scnas": (20, 0),
        "scnas_retrained": (20, 10),
        "random": (0, 10),
        "random_equal": (0, 10),
        "res_unet": (0, 10),
        "dynunet": (0, 10),
        "res_unet_long": (0, 30),
        "dynunet_long": (0, 30),
    }
    assert read_json(tmp_path / "out" / "summary.json")["num_pairs"] == 2


def test_what_was_cut_goes_on_and_what_is_done_stays(
    phantoms: Path, tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods", "scnas", "random", "dynunet")
    program.interrupted_at = (1,)
    assert exit_status(arguments) == 130
    assert capsys.readouterr().err == "interrupted: give the same command again to go on\n"
    assert [path.name for path in sorted((tmp_path / "out").rglob("*.*"))] == [
        "scnas.json",
        "scnas_history.csv",
        "summary.json",
    ]
    main([*arguments, "--list"])
    listing = capsys.readouterr().out
    states = [line.split("│")[4].strip() for line in listing.splitlines() if "fold0_seed0" in line]
    assert states == ["done", "started", "left"] and listing.splitlines()[-2].split("│")[5].strip() == "20"
    assert len(program.verbs()) == 2  # a list runs nothing
    main(arguments)
    methods = [name.partition("/")[2] for name in program.verbs()]
    assert methods == ["scnas", "random", "random", "dynunet"]
    assert result_of(tmp_path, "random")["starts"] == 2
    calls = len(program.calls)
    main(arguments)
    assert len(program.calls) == calls  # all is done


def test_a_run_that_ended_without_a_result_is_not_made_again(phantoms: Path, tmp_path: Path, program: Any) -> None:
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods", "res_unet")
    main(arguments)
    (tmp_path / "out" / "fold0_seed0" / "res_unet.json").unlink()
    main(arguments)
    assert [words[0] for words in program.calls] == ["train"] + 2 * ["bundle", "predict", "evaluate"]
    assert result_of(tmp_path, "res_unet")["starts"] == 1


def test_the_result_of_a_search(phantoms: Path, tmp_path: Path, program: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evidence_result, "architecture_cost", architecture_cost)
    program.dice["scnas"] = 0.75
    main(words_for(phantoms, tmp_path, "--pairs", "1/0", "--methods", "scnas"))
    record = result_of(tmp_path, "scnas", "fold1_seed0")
    assert set(record) == KEYS
    assert str(tmp_path) not in str(record) and str(phantoms) not in str(record)
    assert record["commands"][0] == (
        "monai-nas search --strategy scnas --data Task04_Hippocampus --fold 1 --seed 0 --minutes 20 "
        "--out runs/fold1_seed0/scnas/run"
    )
    assert record["minutes"] == {"search": {"asked": 20, "taken": 21}, "train": {"asked": 0, "taken": 0}}
    assert record["steps"] == {"sampling": 6, "all": 12}
    scores = record["scores"]
    kept_out = make_folds([case.name for case in training_cases(phantoms)], 0)[1]
    assert tuple(case["case"] for case in scores["cases"]) == kept_out
    assert scores["mean"] == {"dice": 0.75, "surface_dice": 0.75}
    assert scores["per_class"]["dice"] == {"Anterior": 0.75, "Posterior": 0.75}
    assert record["search"] == {
        "dice_before_last_phase": 0.5,
        "dice_gap_before_last_phase": -0.125,
        "dice_after_last_phase": 0.75,
        "dice_gap_after_last_phase": -0.5,
        "mean_edge_entropy_nats": 1.5,
    }
    assert len(record["architecture"]["choices"]) == 4 * 5  # two nodes: 2 + 3 edges in each of four cells
    assert record["environment"]["commit"] == "0123abc" and record["environment"]["threads"] >= 1
    history = tmp_path / "out" / "fold1_seed0" / "scnas_history.csv"
    assert history.read_text().startswith("epoch,loss,alpha_loss")

    plan = Plan.load(program.template / "plan.json")
    fixed = {"in_channels": 1, "out_channels": 3, "width": 4, "strides": plan.strides}
    cost = architecture_cost(record["architecture"], **fixed, size=plan.patch_size)
    step = architecture_cost(record["architecture"], **fixed, size=plan.patch_size, batch_size=2, bytes_per_value=2)
    large = architecture_cost(record["architecture"], **fixed, size=(128, 128, 128))
    assert plan.batch_size == 2
    assert record["gflops"] == pytest.approx({"patch": cost.flops / 1e9, "128x128x128": large.flops / 1e9})
    assert record["training_memory_bytes"] == {"estimated": step.memory_bytes, "peak_of_process": 2**31}

    record["training_memory_bytes"]["estimated"] = 1  # by an earlier version
    write_json(tmp_path / "out" / "fold1_seed0" / "scnas.json", record)
    main(words_for(phantoms, tmp_path, "--pairs", "1/0", "--methods", "scnas"))
    summary = read_json(tmp_path / "out" / "summary.json")
    fixed["width"] = plan.width  # which the network of this run has not, but that of a real one
    step = architecture_cost(record["architecture"], **fixed, size=plan.patch_size, batch_size=2, bytes_per_value=2)
    assert summary["methods"]["scnas"]["memory_gib_estimated"]["mean"] == pytest.approx(step.memory_bytes / 2**30)


def test_a_training_takes_the_architecture_that_was_searched(phantoms: Path, tmp_path: Path, program: Any) -> None:
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods")
    assert exit_status([*arguments, "scnas_retrained"]) == 2
    main([*arguments, "scnas"])
    (tmp_path / "runs").rename(tmp_path / "gone")  # the result file suffices, as on another machine
    main([*arguments, "scnas_retrained"])
    record = result_of(tmp_path, "scnas_retrained")
    assert record["architecture"] == result_of(tmp_path, "scnas")["architecture"]
    assert record["minutes"] == {"search": {"asked": 20, "taken": 21}, "train": {"asked": 10, "taken": 11}}
    assert record["search"] is None
    assert record["commands"][0].startswith(
        "monai-nas train --architecture runs/fold0_seed0/scnas_retrained/architecture.json --data Task04_Hippocampus "
    )


def test_a_long_run_takes_the_steps_of_the_short_one_three_times(
    phantoms: Path, tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods")
    assert exit_status([*arguments, "res_unet_long"]) == 2
    assert "res_unet_long needs its steps: add res_unet to --methods" in capsys.readouterr().err
    main([*arguments, "res_unet"])
    file = tmp_path / "out" / "fold0_seed0" / "res_unet.json"
    record = read_json(file)
    assert (record["steps"]["all"], record["batch_size"], len(record["scores"]["cases"])) == (12, 2, 2)
    record["environment"]["processor"] = "an abacus, 2 cores"  # steps are the same work everywhere
    write_json(file, record)
    assert exit_status([*arguments, "res_unet_long", "--train-minutes", "5"]) == 2
    main([*arguments, "res_unet_long"])
    long = result_of(tmp_path, "res_unet_long")
    # 12 steps are three passes over the eight cases learned from, in batches of two
    assert long["commands"][0] == (
        "monai-nas train --architecture res_unet --data Task04_Hippocampus --fold 0 --seed 0 --epochs 9 "
        "--out runs/fold0_seed0/res_unet_long/run"
    )
    assert long["minutes"]["train"] == {"asked": 30, "taken": 46}


def test_a_random_network_takes_the_steps_of_the_searched_one(
    phantoms: Path, tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods")
    assert exit_status([*arguments, "random_equal"]) == 2
    assert "random_equal needs its steps: add scnas_retrained to --methods" in capsys.readouterr().err
    main([*arguments, "scnas", "scnas_retrained", "random", "random_equal"])
    equal, random = result_of(tmp_path, "random_equal"), result_of(tmp_path, "random")
    assert equal["architecture"] == random["architecture"] != result_of(tmp_path, "scnas")["architecture"]
    assert " --epochs 3 " in equal["commands"][0] and " --minutes 10 " in random["commands"][0]  # 12 steps, 4 a pass
    assert equal["minutes"]["search"] == {"asked": 0, "taken": 0}


def test_random_architectures_are_new_for_each_pair() -> None:
    jobs = [Job("random", fold, seed, 0.0, 10.0, RANDOM) for fold, seed in ((0, 0), (1, 1), (2, 2), (0, 1), (1, 0))]
    assert len({architecture_of(job) for job in jobs}) == 5
    assert architecture_of(jobs[3]) == architecture_of(jobs[3])


def test_minutes_of_starts_that_were_cut_count_up_to_their_checkpoint(
    phantoms: Path, tmp_path: Path, program: Any
) -> None:
    job, study = Job("dynunet", 0, 0, 0.0, 10.0, "dynunet"), Study(phantoms, tmp_path / "runs", tmp_path / "out")
    run_job(job, study, lambda: None)
    starts = [
        {"began": 600.0, "checkpoint_before": None, "peak_memory_bytes": 2**30},
        {"began": 6000.0, "checkpoint_before": 660.0, "peak_memory_bytes": None},  # killed, no checkpoint of its own
        {"began": 9000.0, "checkpoint_before": 660.0, "peak_memory_bytes": 2**29},
    ]
    write_json(job.folder(study) / "starts.json", starts)
    record = evidence_result.result(job, study)
    assert record["minutes"]["train"] == {"asked": 10, "taken": pytest.approx(1 + 11)}  # 11: see FakeProgram.run
    assert record["starts"] == 3 and record["training_memory_bytes"]["peak_of_process"] == 2**30


def test_results_of_other_minutes_are_refused(
    phantoms: Path, tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods")
    main([*arguments, "scnas", "random"])
    assert exit_status([*arguments, "random", "--train-minutes", "5"]) == 2
    assert "random.json: made with 10 minutes of train, now 5 are asked for" in capsys.readouterr().err
    assert exit_status([*arguments, "scnas_retrained", "--search-minutes", "5"]) == 2
    assert "scnas.json: made with 20 minutes of search, now 5 are asked for" in capsys.readouterr().err


def test_results_of_another_task_are_refused(
    phantoms: Path, tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods", "random")
    main(arguments)
    file = tmp_path / "out" / "fold0_seed0" / "random.json"
    write_json(file, read_json(file) | {"task": "Sarcoma"})
    assert exit_status(arguments) == 2
    assert "random.json: of Sarcoma, not of Task04_Hippocampus" in capsys.readouterr().err


def test_a_pair_of_another_processor_is_not_continued(
    phantoms: Path, tmp_path: Path, program: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = words_for(phantoms, tmp_path, "--methods", "random", "dynunet")
    main([*arguments, "--pairs", "0/0", "--methods", "random"])
    file = tmp_path / "out" / "fold0_seed0" / "random.json"
    record = read_json(file)
    record["environment"]["processor"] = "an abacus, 2 cores"
    write_json(file, record)
    calls = len(program.calls)
    assert exit_status([*arguments, "--pairs", "1/1", "0/0"]) == 2 and len(program.calls) == calls
    assert "random.json: made on an abacus, 2 cores, this is" in capsys.readouterr().err
    main([*arguments, "--pairs", "1/1"])
    assert result_of(tmp_path, "dynunet", "fold1_seed1")


def test_a_command_that_fails_is_told_with_its_last_line(
    phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(command: list[str], log: Path, tick: object) -> Ended:
        log.write_text("first\nerror: out of memory\n")
        return Ended(2, 2**30, False)

    monkeypatch.setattr(evidence_runs, "run_command", fail)
    assert exit_status(words_for(phantoms, tmp_path, "--pairs", "0/0")) == 2
    error = capsys.readouterr().err
    assert error.endswith("log.txt: `monai-nas search` ended with status 2: error: out of memory\n")
    assert not list((tmp_path / "out").rglob("*.json"))


@pytest.mark.parametrize("wrong", [["--pairs", "0"], ["--pairs", "0/x"], ["--methods", "best"], ["--minutes", "1"]])
def test_wrong_options_are_refused(phantoms: Path, tmp_path: Path, wrong: list[str]) -> None:
    assert exit_status(words_for(phantoms, tmp_path, *wrong)) == 2


@pytest.mark.parametrize("minutes", ["0", "-1", "nan", "inf", "ten"])
def test_wrong_minutes_are_refused(phantoms: Path, tmp_path: Path, minutes: str) -> None:
    assert exit_status(words_for(phantoms, tmp_path, f"--search-minutes={minutes}")) == 2


@pytest.mark.slow
def test_a_pair_with_the_real_program(phantoms: Path, tmp_path: Path) -> None:
    task = load_task(None, phantoms)
    plan = make_plan(task, measure_fingerprint(training_cases(phantoms), task))
    replace(plan, width=4, patch_size=(8, 8, 8), strides=((2, 2, 2),)).save(tmp_path / "plan.json")
    arguments = words_for(phantoms, tmp_path, "--pairs", "0/0", "--methods", "scnas", "random")
    arguments += ["--plan", str(tmp_path / "plan.json"), "--search-minutes", "0.02", "--train-minutes", "0.02"]
    main(arguments)
    searched, random = (result_of(tmp_path, method) for method in ("scnas", "random"))
    for record in (searched, random):
        assert set(record) == KEYS and 0 <= record["scores"]["mean"]["dice"] <= 1
        assert len(record["scores"]["cases"]) == 2  # a fifth of ten
        estimated, peak = (record["training_memory_bytes"][key] for key in ("estimated", "peak_of_process"))
        assert 0 < estimated < peak < 2**36
        assert record["num_parameters"] > 100 and record["gflops"]["128x128x128"] > record["gflops"]["patch"] > 0
    assert 0 < searched["minutes"]["search"]["taken"] < 2 and 0 < random["minutes"]["train"]["taken"] < 2
    assert 0 <= searched["search"]["mean_edge_entropy_nats"] <= np.log(8)
    assert Architecture.from_record(searched["architecture"]) != Architecture.from_record(random["architecture"])
    assert not (tmp_path / "runs" / "fold0_seed0" / "scnas" / "run" / "checkpoint.pt").exists()
    assert sys.executable in (tmp_path / "runs" / "fold0_seed0" / "random" / "log.txt").read_text()
