"""What lets a topology supernet start to learn: short trainings, each one change further, and their Dice.

`python -m monai_nas.benchmarks.supernet_start --data DIR --out FILE`. Each setting trains the supernet of a narrow grid
with its MAN for the same steps, one seed after the other; then the same random architectures are judged with the shared
weights on cases that were kept out. What has been trained is in FILE already and is not trained again.
"""

import argparse
import itertools
import statistics
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, replace
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from ignite.engine import Engine, Events
from rich.progress import Progress
from torch import nn

from monai_nas.benchmarks.evidence import one_line_faults
from monai_nas.benchmarks.settings_by_seed import add_options, open_record, work_through
from monai_nas.compute import Compute, choose_compute
from monai_nas.data.loaders import load_cases
from monai_nas.errors import UserError
from monai_nas.pipelines.judging import foreground_region, regions_dice
from monai_nas.pipelines.one_shot_preset import OneShotPreset, one_shot_preset_named
from monai_nas.pipelines.run_folder import environment, fold_cases, plan_for, sound_cases
from monai_nas.pipelines.supernet_run import build_one_shot, space_of, supernet_engine
from monai_nas.plans.plan import Plan
from monai_nas.strategies import OneShotConfig, mean_score, one_shot
from monai_nas.tasks.task import load_task
from monai_nas.training import Schedule, TrainerConfig
from monai_nas.training.handlers import scalars

FOLD, WIDTH = 0, 8  # kept out, and scored; as in the evidence on grids
JUDGED, JUDGES = 8, 12  # architectures, and cases of the fold
JUDGED_SEED = 123  # of those architectures, in all trainings
AVERAGED = 100  # last steps, whose mean loss is told
SLOW, SAME = 2e-3, 1.0  # rates of the supernet and, as a share of that, of the MAN, before the changes
FAST = 5e-3


class Adam(torch.optim.Adam):
    """Adam in Adafactor's place, with gradients clipped as in trainings."""

    is_finite = True

    def update_in_backward(self) -> None:
        """Leave the gradients to the step, and clip all together before it."""
        weights = [weight for group in self.param_groups for weight in group["params"]]

        def clip(*_: object) -> None:
            nn.utils.clip_grad_norm_(weights, TrainerConfig.max_gradient_norm)

        self.register_step_pre_hook(clip)


@dataclass(frozen=True)
class Start:
    """How a supernet starts."""

    config: OneShotConfig
    rare_foreground: bool = True  # whether the last bias first guesses background
    alike: bool = True  # whether the operations of a path begin alike
    adafactor: bool = True  # or Adam


SETTINGS: Mapping[str, Start] = {
    "as_before": Start(
        OneShotConfig(rate=SLOW, assistant_rate=SAME), rare_foreground=False, alike=False, adafactor=False
    ),
    "rare_foreground": Start(OneShotConfig(rate=SLOW, assistant_rate=SAME), alike=False, adafactor=False),
    "higher_rate": Start(OneShotConfig(rate=FAST, assistant_rate=SAME), alike=False, adafactor=False),
    "slower_assistant": Start(OneShotConfig(rate=FAST), alike=False, adafactor=False),
    "alike": Start(OneShotConfig(rate=FAST), adafactor=False),
    "adafactor": Start(OneShotConfig(rate=FAST)),
    "twice_the_rate": Start(OneShotConfig()),
    "no_assistant": Start(OneShotConfig(assistant="none")),
}

Items = Sequence[dict[str, Any]]


def record_of(start: Start) -> dict[str, Any]:
    """Return a setting as JSON gives it back."""
    record = asdict(start)
    return {**record.pop("config"), **record}


def teach(
    items: Items,
    regions: Items,
    plan: Plan,
    start: Start,
    *,
    values: OneShotPreset,
    seed: int,
    steps: int,
    compute: Compute,
    bar: Progress,
) -> dict[str, Any]:
    """Train a supernet, and return its loss and the Dice of architectures with its weights.

    Args:
        items: preprocessed cases that teach.
        regions: of cases that judge.
        plan: of the grid.
        start: what differs.
        values: everything else.
        seed: of weights, order, augmentation and draws.
        steps: all of the training, annealing included.
        compute: where to run.
        bar: gets a line.
    """
    began = time.monotonic()
    values = replace(values, supernet=start.config)
    with nullcontext() if start.adafactor else patch.object(one_shot, "Adafactor", Adam):
        searcher = build_one_shot(plan, values, steps, seed, compute)
    if not start.rare_foreground:
        bound = (plan.width // 2) ** -0.5  # of torch's uniform draw, by the channels that the last convolution reads
        nn.init.uniform_(searcher.supernet.get_parameter("head.conv.bias"), -bound, bound)
    if not start.alike:
        for module in searcher.supernet.blocks.modules():
            if isinstance(module, nn.Conv3d):
                module.reset_parameters()
    schedule = Schedule(steps, 1, 0)
    engine, run = supernet_engine(searcher, items, plan, values, schedule, first=0, seed=seed, compute=compute)
    line = bar.add_task(f"seed {seed}", total=steps)
    losses: list[float] = []

    def note(engine: Engine) -> None:
        losses.append(scalars(engine)["loss"])
        bar.advance(line)

    engine.add_event_handler(Events.ITERATION_COMPLETED, note)
    run()
    searcher.parts.eval()
    rng = np.random.default_rng(JUDGED_SEED)
    judged = [space_of(plan, values).sample(rng) for _ in range(JUDGED)]
    dice = [mean_score(regions_dice(searcher.network(one), regions, plan, compute)) for one in judged]
    return {
        "seed": seed,
        "loss": statistics.fmean(losses[-AVERAGED:]),
        "dice_percent": [100 * one for one in dice],
        "minutes": (time.monotonic() - began) / 60,
        "environment": environment(compute),
    }


def summarize(start: Start, trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over trainings and architectures, and what they are taken from."""
    return {
        "start": record_of(start),
        "loss": statistics.fmean(one["loss"] for one in trainings),
        "dice_percent": statistics.fmean(itertools.chain.from_iterable(one["dice_percent"] for one in trainings)),
        "dice_percent_by_seed": [statistics.fmean(one["dice_percent"]) for one in trainings],
        "trainings": list(trainings),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with every setting and seed that FILE does not hold yet; write it after each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, SETTINGS)
    parser.add_argument("--steps", type=int, default=800, help="of each training (%(default)s)")
    options = parser.parse_args(arguments)
    with one_line_faults():
        task, compute, values = load_task(None, options.data), choose_compute(), one_shot_preset_named("cpu")
        asked = {"task": task.name, "fold": FOLD, "steps": options.steps, "width": WIDTH}
        record = open_record(options.out, asked, dict.fromkeys(SETTINGS))  # null is a row of dashes in tables
        for name in options.settings:
            before = record["settings"].get(name)
            if before and before["start"] != record_of(SETTINGS[name]):
                raise UserError(f"{options.out}: {name} was trained with {before['start']}: choose another --out")
        learn, held, _ = fold_cases(sound_cases(options.data, task), FOLD)
        plan = replace(values.adapt(plan_for(None, learn, task)), width=WIDTH)
        items = load_cases(learn, task, plan, progress=True)
        regions = [foreground_region(item, plan) for item in load_cases(held[:JUDGES], task, plan)]
        shared = {"values": values, "steps": options.steps, "compute": compute}
        work_through(
            record,
            options.out,
            itertools.product(options.settings, options.seeds),
            kept="trainings",
            train=lambda name, seed, bar: teach(items, regions, plan, SETTINGS[name], seed=seed, bar=bar, **shared),
            summarize=lambda name, trainings: summarize(SETTINGS[name], trainings),
        )


if __name__ == "__main__":
    main()
