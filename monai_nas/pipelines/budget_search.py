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
from monai_nas.errors import UserError
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
from monai_nas.pipelines.judging import RankingProgress, regions_dice
from monai_nas.pipelines.one_shot_preset import OneShotPreset
from monai_nas.pipelines.processes import evaluate_all, first_alone
from monai_nas.pipelines.run_folder import RunFolder
from monai_nas.pipelines.train import trainer_from
from monai_nas.plans.plan import Plan
from monai_nas.spaces import TopologySpace
from monai_nas.strategies import CoarseToFine, OneShot, ScoredTrial, Scores, Trial
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
        search = CoarseToFine(
            candidates,
            num_finalists=self.values.num_finalists,
            steps=self.values.fine_tuning_steps,
            num_parts=self.values.num_judging_parts,
        )
        search.update(self._known(candidates))
        progress = RankingProgress(search, str(self.budget))

        def record_all(_: list[ScoredTrial]) -> None:
            self._note(search, candidates)
            progress.tell()

        evaluate_all(search, lambda trial: self._score(trial, candidates), record_all)
        best = search.best()
        index = candidates.index(best.trial.architecture)
        first_alone(lambda: self._write(best.trial, index))
        ranking = search.ranking()
        return {
            "budget": str(self.budget),
            "tolerance": self.budget.tolerance,
            "cost": record["costs"][index],
            "patch_size": list(self.plan.patch_size),
            "batch_size": self.plan.batch_size,
            "candidates": len(candidates),
            "candidates_judged_on_all_cases": len(ranking),
            "dice_inherited": search.inherited(best.trial.architecture).score,
            "dice_fine_tuned": best.score,
            "dice_inherited_best": ranking[0].score,
        }

    def _known(self, candidates: Sequence[Architecture]) -> list[ScoredTrial]:
        """Return the scores that ranking.json holds."""
        file = self.folder / "ranking.json"
        record: Mapping[str, Mapping[str, list[list[float | None]]]] = read_json(file) if file.exists() else {}
        try:
            return [
                ScoredTrial(self._trial(fidelity, candidates[int(index)], part), tuple(scores))
                for fidelity, parts_of in record.items()
                for index, parts in parts_of.items()
                for part, scores in enumerate(parts)
            ]
        except TypeError as error:
            raise UserError(f"{file}: holds no scores of cases: delete it to rank the candidates again") from error

    def _note(self, search: CoarseToFine, candidates: Sequence[Architecture]) -> None:
        """Write the scores known so far: by fidelity and index of the candidate, those of each part of the cases."""
        places = {architecture: str(index) for index, architecture in enumerate(candidates)}
        record: dict[str, dict[str, list[Scores]]] = {}
        for trial, scores in search.scores.items():  # the parts of a candidate come in their order
            record.setdefault(trial.fidelity, {}).setdefault(places[trial.architecture], []).append(scores)
        write_json(self.folder / "ranking.json", record)

    def _trial(self, fidelity: str, architecture: Architecture, part: int) -> Trial:
        if fidelity == "inherited":
            return Trial(architecture, fidelity, part=part, num_parts=self.values.num_judging_parts)
        return Trial(architecture, fidelity, self.values.fine_tuning_steps)

    def _score(self, trial: Trial, candidates: Sequence[Architecture]) -> Scores:
        """Return the foreground Dice of a trial on each of its regions."""
        if trial.fidelity == "inherited":
            network = self.searcher.network(trial.architecture)
        else:
            network = self._fine_tuned(trial, candidates.index(trial.architecture)).eval()
        return regions_dice(network, self.regions[trial.part :: trial.num_parts], self.plan, self.compute)

    def _fine_tuned(self, trial: Trial, index: int) -> Any:
        """Train the candidate's network on from the inherited weights, and keep the weights in its folder."""
        run = RunFolder(self.folder / "finalists" / f"{index:04d}")
        make_folder(run.path)
        remove_unfinished(run.path)
        dims = len(self.plan.patch_size)
        network = self.searcher.supernet.extract(trial.architecture)
        config = TrainerConfig(rate=self.values.fine_tuning_rate)
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
