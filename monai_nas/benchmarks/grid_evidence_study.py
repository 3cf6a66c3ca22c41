"""What the units of the evidence on grids share: settings, data, plan, trained supernets, and where results lie."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from monai_nas.architecture import Architecture
from monai_nas.compute import choose_compute
from monai_nas.data.loaders import load_cases
from monai_nas.errors import UserError
from monai_nas.files import file_sha256, read_json, write_json
from monai_nas.inference.predictor import sliding_window
from monai_nas.pipelines.judging import foreground_region
from monai_nas.pipelines.one_shot import split_for_ranking
from monai_nas.pipelines.one_shot_preset import OneShotPreset, one_shot_preset_named
from monai_nas.pipelines.preset import preset_named
from monai_nas.pipelines.run_folder import environment, fold_cases, plan_for, sound_cases
from monai_nas.pipelines.supernet_run import FILE as SUPERNET
from monai_nas.pipelines.supernet_run import load_supernet
from monai_nas.plans.plan import Plan
from monai_nas.strategies import OneShot
from monai_nas.strategies.budget import Budget, parse_budget
from monai_nas.strategies.one_shot import Assistant
from monai_nas.tasks.splits import Case
from monai_nas.tasks.task import SegTask, load_task
from monai_nas.training import mean_dice

FOLD, SEED = 0, 0  # kept out of everything, and scored; of weights, order, augmentation and draws
TOLERANCE = 0.05  # of the budget, as the command line's
VARIANTS: tuple[Assistant, ...] = ("none", "image_only", "kept", "removed", "annealed")  # in the order of table 1
TIMED: Assistant = "annealed"  # its supernet trains for the minutes asked for, the others for as many steps
SUPERNETS: Mapping[Assistant, Assistant] = {  # of each variant: "removed" is "kept", judged without its MAN
    variant: "kept" if variant == "removed" else variant for variant in VARIANTS
}

Record = dict[str, Any]
Network = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class GridSettings:
    """What can be asked for; settings.json in OUT and in RUNS keeps it, and what else all results depend on."""

    width: int = 8  # channels of the finest level
    supernet_minutes: float = 20.0  # of the training of the first supernet; the others have equal steps
    train_minutes: float = 3.0  # of a training from scratch
    scored: int = 12  # architectures of table 1
    correlated: int = 24  # architectures of the correlation
    repeated: int = 8  # of those, trained from scratch with a second seed
    raced: int = 100  # candidates of one budget that are all judged on all cases
    pairs: int = 4  # seeds with which the chosen network and another one are trained
    candidates: int = 500  # of the search under the budget
    budget: str | None = None  # KIND=AMOUNT; None takes the median training memory of the correlation's architectures
    largest: str | None = None  # KIND=AMOUNT, of three budgets; None takes what the dearest network takes to train
    retrain_minutes: float = 10.0  # of training the network of the largest from scratch; the others have equal steps
    retrained: int = 3  # seeds with which those of the three budgets are trained


class GridStudy:
    """Where the evidence reads and writes; what several units need is read when it is first asked for.

    Args:
        data: folder that holds dataset.json.
        runs: gets a folder for each unit that trains.
        out: gets a result file for each unit.
        settings: the same as in earlier starts with this ``out``.

    Raises:
        UserError: when ``out`` or ``runs`` holds what was made with other settings, naming one.
    """

    def __init__(self, data: Path, runs: Path, out: Path, settings: GridSettings) -> None:
        if settings.repeated > settings.correlated:
            raise UserError(f"--repeated {settings.repeated}: at most --correlated {settings.correlated}")
        self.data = data
        self.runs = runs
        self.out = out
        self.settings = settings
        self.values = one_shot_preset_named("cpu")
        self.compute = choose_compute()
        for file in self._settings_files:
            before = read_json(file) if file.exists() else self._dependencies()
            for name, value in self._dependencies().items():
                if before.get(name) != value:
                    raise UserError(
                        f"{file}: results with {name} {before.get(name)}, now {value}: ask for the same, or choose "
                        "another --out and --runs"
                    )

    @property
    def _settings_files(self) -> list[Path]:
        return [self.out / "settings.json", self.runs / "settings.json"]

    def _dependencies(self) -> Record:
        """Return the settings, the number format, and the preset's values from the supernet on."""
        values, training = self.values, preset_named("cpu").training
        return {
            **asdict(self.settings),
            "grid": [values.grid, values.num_blocks],
            "training": {**asdict(training), "betas": list(training.betas)},
            "dtype": str(self.compute.dtype),
            "supernet": asdict(values.supernet),
            "ranking": [values.num_judging_parts, values.num_finalists],
            "fine_tuning": [values.fine_tuning_steps, values.fine_tuning_rate],
        }

    def keep_settings(self) -> None:
        """Write down what all results and folders depend on, before the first of them."""
        for file in self._settings_files:
            if not file.exists():
                write_json(file, self._dependencies())

    def file(self, name: str) -> Path:
        """Return the result file of a unit; where it exists, the unit is done."""
        return self.out / f"{name}.json"

    def has(self, name: str) -> bool:
        """Whether the unit is done."""
        return self.file(name).exists()

    def result(self, name: str) -> Record:
        """Return the result of a unit that is done."""
        record: Record = read_json(self.file(name))
        return record

    def write_result(self, name: str, record: Mapping[str, Any], minutes: float) -> None:
        """Write what a unit gave, the minutes of its last start, and where it ran."""
        where = environment(self.compute) | {"threads": torch.get_num_threads()}
        facts = {"task": self.task.name, "fold": FOLD, **record, "minutes_of_last_start": minutes, "environment": where}
        write_json(self.file(name), facts)

    @cached_property
    def task(self) -> SegTask:
        """What is to be segmented."""
        return load_task(None, self.data)

    @cached_property
    def cases(self) -> tuple[list[Case], list[Case], Record]:
        """The cases to learn from, those kept out, and the folds."""
        return fold_cases(sound_cases(self.data, self.task), FOLD)

    @cached_property
    def plan(self) -> Plan:
        """That of the rules for the cases to learn from, as a grid of the width asked for."""
        file = self.out / "plan.json"
        if not file.exists():
            plan = self.values.adapt(plan_for(None, self.cases[0], self.task))
            reasons = dict(plan.reasons) | {"width": f"{self.settings.width}: asked for, so that many can be trained."}
            replace(plan, width=self.settings.width, reasons=tuple(reasons.items())).save(file)
        return Plan.load(file)

    @cached_property
    def taught(self) -> list[Record]:
        """The cases that teach supernets and finalists, preprocessed."""
        teachers, _ = split_for_ranking(self.cases[0])
        return load_cases(teachers, self.task, self.plan, progress=True)

    @cached_property
    def regions(self) -> list[Record]:
        """The regions by which a search judges its candidates."""
        _, judges = split_for_ranking(self.cases[0])
        return [foreground_region(item, self.plan) for item in load_cases(judges, self.task, self.plan)]

    @cached_property
    def held(self) -> list[Record]:
        """The cases kept out, preprocessed and whole."""
        return load_cases(self.cases[1], self.task, self.plan)

    def values_of(self, variant: Assistant) -> OneShotPreset:
        """Return the preset with this variant's assistant."""
        return replace(self.values, supernet=replace(self.values.supernet, assistant=variant))

    def supernet(self, variant: Assistant) -> OneShot:
        """Return the trained supernet of a variant, to be judged as that variant is.

        Raises:
            UserError: when ``runs`` has not the supernet on which results rest.
        """
        name = f"supernets/{SUPERNETS[variant]}"
        weights = self.runs / name / SUPERNET
        if not weights.exists() or file_sha256(weights) != self.result(name)["weights"]:
            raise UserError(
                f"{weights}: is not the supernet of {self.file(name)}: give the --runs of these results, or begin anew "
                "with another --out and --runs"
            )
        return load_supernet(weights.parent, self.plan, self.values_of(variant), seed=SEED, compute=self.compute)

    def architectures(self, name: str) -> list[Architecture]:
        """Return the architectures that a unit drew."""
        return [Architecture.from_record(one) for one in self.result(name)["architectures"]]

    def budget(self) -> Budget:
        """Return the budget asked for, or the median training memory of the correlation's architectures."""
        if self.settings.budget is not None:
            return parse_budget(self.settings.budget, TOLERANCE)
        drawn = self.result("correlation/architectures")
        return Budget("train_memory", float(statistics.median(drawn["train_memory_bytes"])), TOLERANCE)

    def score(self, network: Network) -> tuple[float, float]:
        """Return the mean foreground Dice on the fold, as trainings report it, and the seconds of the network a case.

        Args:
            network: (B, C, *S) -> logits (B, K, *S), on its device, in evaluation mode.
        """
        seconds = 0.0

        def timed(image: Tensor) -> Tensor:
            nonlocal seconds
            begin = time.perf_counter()
            logits = network(image)
            if logits.is_cuda:
                torch.cuda.synchronize()
            seconds += time.perf_counter() - begin
            return logits

        inferer = sliding_window(self.plan.patch_size, self.compute.device)
        dice = mean_dice(timed, self.held, num_classes=self.task.num_classes, inferer=inferer, compute=self.compute)
        return dice, seconds / len(self.held)
