"""configs/search.json: the search itself as a workflow of the bundle, with the plan inside."""

from typing import Any

from monai_nas.export.finished_run import FinishedRun


def search_config(run: FinishedRun) -> dict[str, Any]:
    """Return the search workflow: it writes a RUN folder to output_dir and leaves the bundle as it is.

    Plan and budget are those of one strategy and one preset. Where another is named, both fall away as on the command
    line: the plan is made from the data, by that strategy's rule, and a budget has to be given where one is needed.
    """
    strategy, preset = run.facts.get("strategy") or "scnas", run.facts.get("preset") or "cpu"
    own = f"@strategy == {strategy!r}"
    grid = {name: run.facts.get(key) for name, key in (("grid", "grid"), ("num_blocks", "blocks"))}
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
        "strategy": strategy,
        "seed": run.facts.get("seed", 0),
        "minutes": None,
        "epochs": None,
        "fold": run.facts.get("fold"),
        "settle": None,
        "budgets": f"${[run.facts['budget']]} if {own} else []" if "budget" in run.facts else [],
        "tolerance": run.facts.get("tolerance", 0.05),
        "num_candidates": None,
        **{name: None if value is None else f"${value!r} if {own} else None" for name, value in grid.items()},
        "preset": preset,
        "low_precision": True,
        "device": None,
        "plan": run.plan.to_record(),
        "search_plan": f"$Plan.from_record(@plan) if {own} and @preset == {preset!r} else None",
        "run": [
            "$warn_of_published_plan(@plan::fingerprint::num_cases)",
            "$search_by_name(pathlib.Path(@dataset_dir), pathlib.Path(@output_dir), task=Plan.from_record(@plan).task,"
            " strategy=@strategy, plan=@search_plan, seed=@seed,"
            " minutes=@minutes if @epochs is None else None, epochs=@epochs, fold=@fold,"
            " compute=choose_compute(low_precision=@low_precision, device=@device), settle=@settle, preset=@preset,"
            " budgets=@budgets, tolerance=@tolerance, num_candidates=@num_candidates,"
            " grid=@grid, num_blocks=@num_blocks)",
        ],
    }
