"""Choose the best network within a budget, with the weights of a trained supernet (hypersegnas.txt, 3.2)."""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ignite.engine import Engine

from monai_nas.architecture import Architecture
from monai_nas.compute import Compute
from monai_nas.data.transforms import build
from monai_nas.files import (
    load_weights,
    make_folder,
    read_json,
    remove_unfinished,
    save_tensors,
    write_atomic,
    write_json,
)
from monai_nas.pipelines.budget_costs import CostOf, RememberedCosts
from monai_nas.pipelines.epochs import checkpoint_seconds, run_epochs
from monai_nas.pipelines.judging import regions_dice
from monai_nas.pipelines.one_shot_preset import OneShotPreset
from monai_nas.pipelines.processes import evaluate_all, first_alone
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.pipelines.train import trainer_from
from monai_nas.plans.plan import Plan
from monai_nas.spaces import TopologySpace
from monai_nas.strategies import CoarseToFine, OneShot, ScoredTrial, Trial
from monai_nas.strategies.budget import Budget
from monai_nas.strategies.within_budget import sample_within
from monai_nas.training import Learners, Schedule, TrainerConfig, longest_epoch

Items = Sequence[dict[str, Any]]


def draw_candidates(
    folder: Path, budget: Budget, space: TopologySpace, cost_of: CostOf, basis: str, *, count: int, seed: int
) -> None:
    """Write candidates.json, unless it is there: architectures within the budget, and what they cost.

    A draw that was cut is made again with the costs that costs.json kept: only the walks are walked again.

    Args:
        folder: of the search; it is made.
        budget: of the networks.
        space: of the supernet; its weights are not needed.
        cost_of: the cost that the budget limits.
        basis: what it is counted for, in words.
        count: how many, at most.
        seed: of the draws.

    Raises:
        UserError: when no network of the space is within the budget.
    """
    remove_unfinished(folder)
    file, costs = folder / "candidates.json", folder / "costs.json"
    if not file.exists():
        rng = np.random.default_rng(np.random.SeedSequence([seed, 5]))
        remembered = RememberedCosts(cost_of, costs, checkpoint_seconds())
        found = sample_within(space, remembered, budget, count=count, rng=rng, basis=basis)
        make_folder(folder)
        write_json(file, {"costs": list(found.values()), "architectures": [one.to_record() for one in found]})
    costs.unlink(missing_ok=True)


class BudgetSearch:
    """The search of one network in a folder of its own; what a kill interrupts is continued by the same call.

    Args:
        folder: has the candidates.json of :func:`draw_candidates`; gets ranking.json, finalists/, and at the end the
            files of a RUN.
        budget: of the network.
        searcher: the trained supernet.
        learn: preprocessed cases that finalists are fine-tuned on.
        regions: of the cases that candidates are judged by, which taught the supernet nothing.
        plan: of the grid.
        values: how much is tried, and how finalists are trained.
        seed: of fine-tuning.
        compute: where and in which number format.
    """

    def __init__(
        self,
        folder: Path,
        budget: Budget,
        *,
        searcher: OneShot,
        learn: Items,
        regions: Items,
        plan: Plan,
        values: OneShotPreset,
        seed: int,
        compute: Compute,
    ) -> None:
        self.folder = folder
        self.budget = budget
        self.searcher = searcher
        self.learn = learn
        self.regions = regions
        self.plan = plan
        self.values = values
        self.seed = seed
        self.compute = compute

    def run(self) -> dict[str, Any]:
        """Search, write architecture.json, network.json, model.pt and history.csv, and return what run.json tells."""
        record = read_json(self.folder / "candidates.json")
        candidates = [Architecture.from_record(one) for one in record["architectures"]]
        search = CoarseToFine(candidates, num_finalists=self.values.num_finalists, steps=self.values.fine_tuning_steps)
        search.update(self._known(candidates))
        evaluate_all(search, lambda trial: self._score(trial, candidates), lambda _: self._note(search, candidates))
        best = search.best()
        index = candidates.index(best.trial.architecture)
        first_alone(lambda: self._write(best.trial, index))
        ranking = [done.score for done in search.ranking()]
        return {
            "budget": str(self.budget),
            "tolerance": self.budget.tolerance,
            "cost": record["costs"][index],
            "patch_size": list(self.plan.patch_size),
            "batch_size": self.plan.batch_size,
            "candidates": len(candidates),
            "dice_inherited": search.scores[Trial(best.trial.architecture, "inherited")],
            "dice_fine_tuned": best.score,
            "dice_inherited_best": ranking[0],
            "dice_inherited_median": float(np.median(ranking)),
        }

    def _known(self, candidates: Sequence[Architecture]) -> list[ScoredTrial]:
        """Return the scores that ranking.json holds."""
        file = self.folder / "ranking.json"
        record: Mapping[str, Mapping[str, float]] = read_json(file) if file.exists() else {}
        return [
            ScoredTrial(self._trial(fidelity, candidates[int(index)]), score)
            for fidelity, scores in record.items()
            for index, score in scores.items()
        ]

    def _note(self, search: CoarseToFine, candidates: Sequence[Architecture]) -> None:
        """Write the scores known so far, by fidelity and index of the candidate."""
        places = {architecture: index for index, architecture in enumerate(candidates)}
        record: dict[str, dict[str, float]] = {}
        for trial, score in search.scores.items():
            record.setdefault(trial.fidelity, {})[str(places[trial.architecture])] = score
        write_json(self.folder / "ranking.json", record)

    def _trial(self, fidelity: str, architecture: Architecture) -> Trial:
        return Trial(architecture, fidelity, self.values.fine_tuning_steps if fidelity == "fine_tuned" else 0)

    def _score(self, trial: Trial, candidates: Sequence[Architecture]) -> float:
        """Return the mean foreground Dice of a trial on the regions."""
        if trial.fidelity == "inherited":
            network = self.searcher.network(trial.architecture)
        else:
            network = self._fine_tuned(trial, candidates.index(trial.architecture)).eval()
        return regions_dice(network, self.regions, self.plan, self.compute)

    def _fine_tuned(self, trial: Trial, index: int) -> Any:
        """Train the candidate's network on from the inherited weights, and keep the weights in its folder."""
        run = RunFolder(self.folder / "finalists" / f"{index:04d}")
        make_folder(run.path)
        remove_unfinished(run.path)
        dims = len(self.plan.patch_size)
        network = self.searcher.supernet.extract(trial.architecture)
        config = TrainerConfig(rate=self.values.supernet.rate / 2)
        learners = Learners(self.compute.place(network, dims), config, self.compute)
        if (run.path / "model.pt").exists():
            load_weights(learners.network, run.path / "model.pt")
            (run.path / "checkpoint.pt").unlink(missing_ok=True)  # where a kill came between the two
            return learners.network
        epoch_length = longest_epoch(trial.steps, math.ceil(len(self.learn) / self.plan.batch_size))
        schedule = Schedule(epoch_length, 0, trial.steps // epoch_length)
        transform = build(self.values.patches(self.plan.task, self.plan))

        def start(step: int) -> tuple[Engine, Callable[[], object]]:
            trainer = trainer_from(
                step,
                learners,
                self.learn,
                transform,
                plan=self.plan,
                loss=self.values.loss(),
                config=config,
                schedule=schedule,
                seed=self.seed,
                compute=self.compute,
            )
            return trainer, trainer.run

        run_epochs(run, schedule, learners, start, title=f"candidate {index}")
        weights = {name: value.cpu() for name, value in learners.network.state_dict().items()}
        save_tensors(run.path / "model.pt", weights)
        (run.path / "checkpoint.pt").unlink(missing_ok=True)
        return learners.network

    def _write(self, trial: Trial, index: int) -> None:
        """Write the files of a RUN but run.json: the chosen network with the weights it was judged by."""
        RunFolder(self.folder).write_network(trial.architecture, self.plan)
        if trial.fidelity == "inherited":
            network = self.searcher.supernet.extract(trial.architecture)
            save_tensors(self.folder / "model.pt", {name: value.cpu() for name, value in network.state_dict().items()})
            return
        finalist = self.folder / "finalists" / f"{index:04d}"
        write_atomic(self.folder / "model.pt", (finalist / "model.pt").read_bytes())
        if not (self.folder / "history.csv").exists():  # of several budgets; else it is the supernet's
            write_atomic(self.folder / "history.csv", (finalist / "history.csv").read_bytes())
