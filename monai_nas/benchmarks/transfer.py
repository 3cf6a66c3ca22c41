"""Does an architecture transfer to another task? `python -m monai_nas.benchmarks.transfer --hippocampus DIR ...`

Searches on both tasks, and trains on each the architecture found on the other, beside the one found there and a random
one; fold 0 is kept out and scored. Continues where it was cut, see `monai_nas/benchmarks/evidence.py`.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from monai_nas.benchmarks.evidence import add_shared_options, make_job, one_line_faults, show, work_through
from monai_nas.benchmarks.evidence_result import check_processor, check_result, estimated_anew
from monai_nas.benchmarks.evidence_runs import Study, pair_name
from monai_nas.benchmarks.evidence_table import read_results, summarize
from monai_nas.errors import UserError
from monai_nas.files import write_atomic, write_json
from monai_nas.tasks.task import load_task

FOLD, SEED = 0, 0
OTHER = {"hippocampus": "sarcoma", "sarcoma": "hippocampus"}
METHODS = ("scnas", "transferred", "scnas_retrained", "random")  # the searches first
DIFFERENCES = (("transferred", "scnas_retrained"), ("transferred", "random"), ("scnas_retrained", "random"))


def reuse(evidence: Path, out: Path, task: str, search_minutes: float, train_minutes: float) -> None:
    """Copy what the evidence has of our pair and methods, where ``out`` has it not.

    Args:
        evidence: folder of the evidence's result files.
        out: folder of ours, of the same task.
        task: its name.
        search_minutes: asked for now, as must be those of the evidence.
        train_minutes: likewise.

    Raises:
        UserError: when there is no such pair, or it is of another task, of other minutes or of another processor.
    """
    source, target = evidence / pair_name(FOLD, SEED), out / pair_name(FOLD, SEED)
    found = [source / f"{method}.json" for method in METHODS if (source / f"{method}.json").exists()]
    if not found:
        raise UserError(
            f"{source}: no results of {', '.join(METHODS)}: give the --out of the evidence, or leave it out"
        )
    for file in found:
        job = make_job(
            file.stem,
            FOLD,
            SEED,
            search_minutes=search_minutes,
            train_minutes=train_minutes,
            searched_in=evidence,
        )
        check_result(file, job, task)
    new = [file for file in found if not (target / file.name).exists()]
    for file in new:
        check_processor(file)
    for file in new:
        write_atomic(target / file.name, file.read_bytes())
        if (history := file.with_name(f"{file.stem}_history.csv")).exists():
            write_atomic(target / history.name, history.read_bytes())


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what is left and write the summary, or list it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in OTHER:
        parser.add_argument(f"--{name}", type=Path, required=True, help="folder that holds dataset.json")
    parser.add_argument("--evidence", type=Path, help="--out of the evidence on the hippocampus, to use its results")
    add_shared_options(parser)
    options = parser.parse_args(arguments)
    minutes = {"search_minutes": options.search_minutes, "train_minutes": options.train_minutes}
    data = {name: Path(getattr(options, name)) for name in OTHER}
    studies = {name: Study(data[name], options.runs / name, options.out / name) for name in OTHER}
    planned = []
    for method in METHODS:
        for name, study in studies.items():
            searched = studies[OTHER[name]] if method == "transferred" else study
            planned.append((make_job(method, FOLD, SEED, **minutes, searched_in=searched.out), study))

    def write_summary() -> None:
        summaries = {}
        for name, study in studies.items():
            results = estimated_anew(read_results(study.out, METHODS), tasks[name].in_channels)
            summaries[name] = summarize(results, DIFFERENCES)
        write_json(options.out / "summary.json", summaries)

    with one_line_faults():
        tasks = {name: load_task(None, folder) for name, folder in data.items()}
        if options.evidence is not None:
            reuse(options.evidence, studies["hippocampus"].out, tasks["hippocampus"].name, **minutes)
        if options.list:
            show(planned)
        else:
            work_through(planned, write_summary)


if __name__ == "__main__":
    main()
