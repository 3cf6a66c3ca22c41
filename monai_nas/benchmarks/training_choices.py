"""What a training gains by augmentation, a rate that falls, and averaged weights: each left out or added, on a fold.

`python -m monai_nas.benchmarks.training_choices --data DIR --out FILE`. The shipped architecture is trained from
nothing with each setting and seed, for the same epochs, and scored on the cases that were kept out: with the weights of
the last step, and with an average of those of all steps. What has been trained is in FILE already and is not trained
again.
"""

import argparse
import itertools
import math
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from ignite.engine import Events
from ignite.handlers import EMAHandler
from rich.progress import Progress
from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.evidence import one_line_faults
from monai_nas.benchmarks.settings_by_seed import add_options, open_record, work_through
from monai_nas.compute import Compute, choose_compute
from monai_nas.data.loaders import load_cases
from monai_nas.data.transforms import build, random_crop
from monai_nas.networks import build_network
from monai_nas.pipelines.judging import regions_dice
from monai_nas.pipelines.preset import preset_named
from monai_nas.pipelines.run_folder import environment, fold_cases, network_arguments, plan_for, sound_cases
from monai_nas.pipelines.train import trainer_from
from monai_nas.plans.plan import Plan
from monai_nas.plans.published import committed_architecture
from monai_nas.tasks.task import SegTask, load_task
from monai_nas.training import Learners, Schedule, TrainerConfig

FOLD = 0  # kept out, and scored
PRESET = preset_named("cpu")
MOMENTUM = 0.01  # share of the newest weights in the average, which so reaches back about a hundred steps


@dataclass(frozen=True)
class Choices:
    """What differs between trainings."""

    config: TrainerConfig = PRESET.training
    patches: Callable[[SegTask, Plan], Sequence[dict[str, Any]]] = PRESET.patches


SETTINGS: Mapping[str, Choices] = {
    "shipped": Choices(),
    "no_augmentation": Choices(patches=random_crop),
    "constant_rate": Choices(config=TrainerConfig(falls_on_cosine=False)),
}

Items = Sequence[dict[str, Any]]


def teach(
    items: Items,
    held: Items,
    plan: Plan,
    architecture: Architecture,
    choices: Choices,
    *,
    seed: int,
    epochs: int,
    compute: Compute,
    bar: Progress,
) -> dict[str, Any]:
    """Train a network from nothing; return its Dice on the cases kept out, of the last weights and of averaged ones.

    Args:
        items: preprocessed cases that teach.
        held: preprocessed cases that do not.
        plan: of the network and the patches.
        architecture: what is trained.
        choices: what differs.
        seed: of weights, order and augmentation.
        epochs: passes over the cases.
        compute: where to run.
        bar: gets a line.
    """
    began = time.monotonic()
    schedule = Schedule(math.ceil(len(items) / plan.batch_size), 0, epochs)
    torch.manual_seed(seed)
    network = compute.place(build_network(architecture, **network_arguments(plan)))
    trainer = trainer_from(
        0,
        Learners(network, choices.config, compute),
        items,
        build(choices.patches(plan.task, plan)),
        plan=plan,
        loss=PRESET.loss(),
        config=choices.config,
        schedule=schedule,
        seed=seed,
        compute=compute,
    )
    average = EMAHandler(network, momentum=MOMENTUM)
    average.attach(trainer, event=Events.ITERATION_COMPLETED)
    line = bar.add_task(f"seed {seed}", total=schedule.total_steps)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: bar.advance(line))
    trainer.run()

    def scores(trained: nn.Module) -> list[float]:
        return [100 * score for score in regions_dice(trained.eval(), held, plan, compute) if score is not None]

    return {
        "seed": seed,
        "steps": schedule.total_steps,
        "dice_percent": scores(network),
        "averaged_dice_percent": scores(average.ema_model),
        "minutes": (time.monotonic() - began) / 60,
        "environment": environment(compute),
    }


def summarize(trainings: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the means over cases and seeds, and what they are taken from."""
    means: dict[str, Any] = {}
    for kind in ("dice_percent", "averaged_dice_percent"):
        by_seed = [statistics.fmean(one[kind]) for one in trainings]
        means[kind] = {"mean": statistics.fmean(by_seed), "by_seed": by_seed}
    return {**means, "steps": trainings[0]["steps"], "trainings": list(trainings)}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with every setting and seed that FILE does not hold yet; write it after each training."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, SETTINGS)
    parser.add_argument("--epochs", type=int, default=15, help="of each training (%(default)s: about ten minutes)")
    options = parser.parse_args(arguments)
    with one_line_faults():
        task, compute = load_task(None, options.data), choose_compute()
        asked = {"task": task.name, "fold": FOLD, "epochs": options.epochs, "momentum": MOMENTUM}
        record = open_record(options.out, asked, dict.fromkeys(SETTINGS))  # null is a row of dashes in tables
        learn, kept_out, _ = fold_cases(sound_cases(options.data, task), FOLD)
        plan = plan_for(None, learn, task)
        items, held = (load_cases(cases, task, plan, progress=True) for cases in (learn, kept_out))
        architecture = committed_architecture()

        def train(name: str, seed: int, bar: Progress) -> dict[str, Any]:
            shared = {"seed": seed, "epochs": options.epochs, "compute": compute, "bar": bar}
            return teach(items, held, plan, architecture, SETTINGS[name], **shared)

        work_through(
            record,
            options.out,
            itertools.product(options.settings, options.seeds),
            kept="trainings",
            train=train,
            summarize=lambda _, trainings: summarize(trainings),
        )


if __name__ == "__main__":
    main()
