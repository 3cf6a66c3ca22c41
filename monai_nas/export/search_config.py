"""configs/search.json: the search itself as a workflow of the bundle, with the plan inside."""

from typing import Any

from monai_nas.export.finished_run import FinishedRun


def search_config(run: FinishedRun) -> dict[str, Any]:
    """Return the search workflow: it writes a RUN folder to output_dir and leaves the bundle as it is."""
    return {
        "imports": [
            "$import pathlib",
            "$from monai_nas.compute import choose_compute",
            "$from monai_nas.data.spacing import warn_of_published_plan",
            "$from monai_nas.pipelines.search_by_name import search_by_name",
            "$from monai_nas.plans.plan import Plan",
        ],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/runs/search'",
        "strategy": run.facts.get("strategy") or "scnas",
        "seed": run.facts.get("seed", 0),
        "minutes": 30.0,
        "epochs": None,
        "fold": run.facts.get("fold"),
        "settle": None,
        "budgets": [run.facts["budget"]] if "budget" in run.facts else [],
        "tolerance": run.facts.get("tolerance", 0.05),
        "num_candidates": None,
        "preset": run.facts.get("preset") or "cpu",
        "low_precision": True,
        "device": None,
        "plan": run.plan.to_record(),
        "run": [
            "$warn_of_published_plan(@plan::fingerprint::num_cases)",
            "$search_by_name(pathlib.Path(@dataset_dir), pathlib.Path(@output_dir), task=Plan.from_record(@plan).task,"
            " strategy=@strategy, plan=Plan.from_record(@plan), seed=@seed,"
            " minutes=@minutes if @epochs is None else None, epochs=@epochs, fold=@fold,"
            " compute=choose_compute(low_precision=@low_precision, device=@device), settle=@settle, preset=@preset,"
            " budgets=@budgets, tolerance=@tolerance, num_candidates=@num_candidates)",
        ],
    }
