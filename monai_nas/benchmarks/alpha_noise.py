"""Do alphas learn which operation suits an edge? Searches that differ only in their seed, and how far they agree.

`python -m monai_nas.benchmarks.alpha_noise --data DIR --out FILE`. The steps that sample operations, as `search` makes
them, with each setting in turn; what has been searched is in FILE already and is not searched again.
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import torch
from ignite.engine import Engine, Events
from rich.progress import Progress
from torch import Tensor

from monai_nas.benchmarks.evidence import one_line_faults
from monai_nas.benchmarks.evidence_searches import compare_searches
from monai_nas.benchmarks.settings_by_seed import add_options, open_record, work_through
from monai_nas.compute import Compute, choose_compute
from monai_nas.data.loaders import load_cases
from monai_nas.data.transforms import build
from monai_nas.pipelines.preset import preset_named
from monai_nas.pipelines.run_folder import environment, fold_cases, plan_for, sound_cases
from monai_nas.pipelines.search import Items, sampling_plan, search_batches
from monai_nas.plans.plan import Plan
from monai_nas.spaces.cell_unet import CELL_TYPES
from monai_nas.strategies import BilevelConfig, search_engine
from monai_nas.strategies.bilevel import scnas
from monai_nas.supernets import edge_entropy
from monai_nas.tasks.splits import search_halves
from monai_nas.tasks.task import load_task
from monai_nas.training import Schedule
from monai_nas.training.handlers import scalars

FOLD = 0  # kept out
PRESET = preset_named("cpu")
SETTINGS: Mapping[str, BilevelConfig] = {
    "shipped": BilevelConfig(),
    "third_of_the_rate": BilevelConfig(alpha_rate=0.05),
    "half_warms_up": BilevelConfig(warmup_share=0.5),
    "temperature_stays": BilevelConfig(temperature_end=1.0),
}

Alphas = Mapping[str, Sequence[Sequence[float]]]  # cell type -> (E, O)


def correlations(one: Alphas, other: Alphas) -> dict[str, float]:
    """Return Pearson's correlations of two searches' alphas, after the mean of each edge, which decides nothing.

    ``cells`` is that of the means over the edges of a cell: does a cell like an operation? ``edges`` is that of the
    rest: does an edge like it more than the other edges of its cell do?
    """
    parts = [[_parts(torch.tensor(alphas[cell])) for cell in CELL_TYPES] for alphas in (one, other)]
    cells, edges = (
        torch.stack([torch.cat([part[index].ravel() for part in found]) for found in parts]) for index in (0, 1)
    )
    return {"cells": float(cells.corrcoef()[0, 1]), "edges": float(edges.corrcoef()[0, 1])}


def _parts(alphas: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean over edges (O,), and what is left (E, O), of alphas (E, O)."""
    centred = alphas - alphas.mean(dim=1, keepdim=True)
    mean = centred.mean(dim=0)
    return mean, centred - mean


def sample(
    items: Items, plan: Plan, config: BilevelConfig, *, seed: int, epochs: int, compute: Compute, bar: Progress
) -> dict[str, Any]:
    """Make the steps of a search that sample operations; return its alphas and how they came about.

    Args:
        items: preprocessed cases.
        plan: of the network and the patches.
        config: rates and lengths.
        seed: of weights, halves, order, augmentation and draws.
        epochs: passes over one half of the cases.
        compute: where to run.
        bar: gets a line.
    """
    began = time.monotonic()
    by_name = {item["name"]: item for item in items}
    weight_half, alpha_half = ([by_name[name] for name in half] for half in search_halves(list(by_name), seed))
    epoch_length = math.ceil(len(weight_half) / plan.batch_size)
    schedule = Schedule(epoch_length, epochs, 0)
    strategy = scnas(
        in_channels=plan.task.in_channels,
        out_channels=plan.task.num_classes,
        width=plan.width,
        strides=plan.strides,
        loss=PRESET.loss(),
        search_steps=schedule.search_steps,
        total_steps=schedule.total_steps,
        config=config,
        seed=seed,
        compute=compute,
    )
    patches = build(PRESET.patches(plan.task, sampling_plan(plan, PRESET.sampling_patch_share)))
    batches = search_batches(
        weight_half,
        alpha_half,
        [],
        patches,
        patches,
        batch_size=plan.batch_size,
        schedule=schedule,
        seed=seed,
        start=0,
        compute=compute,
    )
    engine, line = search_engine(strategy), bar.add_task(f"seed {seed}", total=schedule.total_steps)
    losses: list[float] = []

    def note(engine: Engine) -> None:
        losses.append(scalars(engine)["loss"])
        bar.advance(line)

    engine.add_event_handler(Events.ITERATION_COMPLETED, note)
    engine.run(batches, max_epochs=epochs, epoch_length=epoch_length)
    alphas = {name: value.detach().float().cpu() for name, value in strategy.supernet.alphas().items()}
    return {
        "seed": seed,
        "steps": schedule.total_steps,
        "loss_of_last_epoch": statistics.fmean(losses[-epoch_length:]),
        "mean_edge_entropy_nats": float(torch.cat([edge_entropy(alphas[name]) for name in CELL_TYPES]).mean()),
        "choices": dict(strategy.architecture().choices),
        "alphas": {name: [[round(x, 4) for x in row] for row in value.tolist()] for name, value in alphas.items()},
        "minutes": (time.monotonic() - began) / 60,
        "environment": environment(compute),
    }


def summarize(config: BilevelConfig, searches: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what the searches of a setting have in common; the figures of pairs are null for one search."""
    pairs = [correlations(one["alphas"], other["alphas"]) for one, other in itertools.combinations(searches, 2)]
    return {
        "config": asdict(config),
        "correlation": {part: statistics.fmean(pair[part] for pair in pairs) for part in pairs[0]} if pairs else None,
        "agreement": compare_searches({f"seed {one['seed']}": one["choices"] for one in searches}),
        "loss_of_last_epoch": statistics.fmean(one["loss_of_last_epoch"] for one in searches),
        "mean_edge_entropy_nats": statistics.fmean(one["mean_edge_entropy_nats"] for one in searches),
        "searches": list(searches),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Search with every setting and seed that FILE does not hold yet; write it after each search."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, SETTINGS)
    parser.add_argument("--epochs", type=int, default=21, help="of sampling (%(default)s: a search of 20 minutes)")
    options = parser.parse_args(arguments)
    with one_line_faults():
        task, compute = load_task(None, options.data), choose_compute()
        record = open_record(options.out, {"task": task.name, "fold": FOLD, "epochs": options.epochs}, {})
        learn, _, _ = fold_cases(sound_cases(options.data, task), FOLD)
        plan = plan_for(None, learn, task)
        items = load_cases(learn, task, plan, progress=True)

        def train(name: str, seed: int, bar: Progress) -> dict[str, Any]:
            return sample(items, plan, SETTINGS[name], seed=seed, epochs=options.epochs, compute=compute, bar=bar)

        work_through(
            record,
            options.out,
            itertools.product(options.settings, options.seeds),
            kept="searches",
            train=train,
            summarize=lambda name, searches: summarize(SETTINGS[name], searches),
        )


if __name__ == "__main__":
    main()
