"""The units of the evidence on grids, in order, with what each needs of the others."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial

from monai_nas.architecture import Architecture
from monai_nas.benchmarks import grid_evidence_budgets as budgets
from monai_nas.benchmarks import grid_evidence_runs as runs
from monai_nas.benchmarks.grid_evidence_maps import draw_maps
from monai_nas.benchmarks.grid_evidence_race import judge_all
from monai_nas.benchmarks.grid_evidence_study import SUPERNETS, TIMED, VARIANTS, GridStudy, Record

PARTS = ("table1", "correlation", "race", "chosen", "published", "budgets", "maps")
DRAWN = "correlation/architectures"
LENGTH = "correlation/length"
CHOSEN = "chosen/search"


@dataclass(frozen=True)
class Unit:
    """Work with a result file of its own."""

    name: str  # "table1/kept": of the result file under OUT, and of the folder under RUNS where it needs one
    work: Callable[[], Record]
    needs: tuple[str, ...] = ()  # units whose results it reads
    minutes: float = 0.0  # of training that it was asked for
    beside: tuple[str, ...] = ()  # units whose minutes must be worth as much as its own: of the same processor

    @property
    def part(self) -> str:
        """The folder of its result file."""
        return self.name.partition("/")[0]


def all_units(study: GridStudy, published: Architecture | None, shipped: budgets.Shipped | None) -> list[Unit]:
    """Return the units of all parts in the order in which they are done.

    Args:
        study: what they share.
        published: the architecture to compare the chosen one with; without it there is no such part.
        shipped: the network to compare those of the budgets with; without it they are compared among themselves.
    """
    race = Unit("race/candidates", partial(judge_all, study), ("supernets/annealed", DRAWN))
    units = [*_table1(study), *_correlation(study), race, *_chosen(study)]
    if published is not None:
        units += _published(study, published)
    units += _budgets(study, shipped)
    needs = ("supernets/kept", "table1/architectures")
    return [*units, Unit("maps/maps", partial(draw_maps, study), needs)]


def planned(units: Sequence[Unit], parts: Iterable[str]) -> list[Unit]:
    """Return the units of these parts with all that they need, in order."""
    by_name = {unit.name: unit for unit in units}
    wanted = [unit.name for unit in units if unit.part in set(parts)]
    for name in wanted:  # grows meanwhile
        wanted += [need for need in by_name[name].needs if need not in wanted]
    return [unit for unit in units if unit.name in wanted]


def repeated(count: int, of: int) -> list[int]:
    """Return ``count`` indices below ``of``, spread evenly."""
    return [(2 * place + 1) * of // (2 * count) for place in range(count)]


def _table1(study: GridStudy) -> list[Unit]:
    asked = study.settings
    units = [Unit("table1/architectures", partial(runs.draw, study, asked.scored, runs.TABLE1_DRAW))]
    for variant in (TIMED, *(other for other in VARIANTS if other != TIMED)):
        supernet = f"supernets/{SUPERNETS[variant]}"
        if SUPERNETS[variant] == variant:
            work, equal = partial(runs.teach, study, variant), () if variant == TIMED else (f"supernets/{TIMED}",)
            units.append(Unit(supernet, work, equal, asked.supernet_minutes))
        needs = (supernet, "table1/architectures")
        units.append(Unit(f"table1/{variant}", partial(runs.score_variant, study, variant), needs))
    return units


def _correlation(study: GridStudy) -> list[Unit]:
    asked = study.settings
    units = [
        Unit(DRAWN, partial(runs.draw, study, asked.correlated, runs.CORRELATION_DRAW)),
        Unit("correlation/estimates", partial(runs.estimate, study), ("supernets/annealed", DRAWN)),
        Unit(LENGTH, partial(runs.measure_length, study), (DRAWN,), asked.train_minutes),
    ]
    twice = repeated(asked.repeated, asked.correlated)
    first = sorted(range(asked.correlated), key=lambda index: (index not in twice, index))  # the ceiling comes early
    for kind, seed, indices in (("again", 1, twice), ("trained", 0, first)):
        for index in indices:
            name = f"correlation/{kind}_{index:02d}"
            work = partial(runs.train_drawn, study, name, index, seed)
            units.append(Unit(name, work, (DRAWN, LENGTH), asked.train_minutes))
    return units


def _chosen(study: GridStudy) -> list[Unit]:
    needs = ("supernets/annealed", DRAWN)
    units = [
        Unit(CHOSEN, partial(runs.choose, study), needs),
        Unit("chosen/random", partial(runs.draw_within, study), (DRAWN,)),
    ]
    for seed in range(study.settings.pairs):
        for kind, train, source in (
            ("chosen", runs.train_chosen, CHOSEN),
            ("random", runs.train_random, "chosen/random"),
        ):
            name = f"chosen/{kind}_{seed}"
            work = partial(train, study, name, seed)
            units.append(Unit(name, work, (source, LENGTH), study.settings.train_minutes))
    return units


def _published(study: GridStudy, architecture: Architecture) -> list[Unit]:
    units, minutes, firsts = [], study.settings.train_minutes, ("published/chosen_0", "published/dints_0")
    finds: tuple[Callable[[], Architecture], ...] = (partial(runs.chosen, study), lambda: architecture)
    for seed in range(study.settings.pairs):
        for first, find, needs in zip(firsts, finds, ((CHOSEN,), ()), strict=True):
            name = f"{first[:-1]}{seed}"
            work = partial(runs.train_beside, study, name, first, find, seed)
            units.append(_as_long_as(first, Unit(name, work, needs, minutes, beside=firsts)))
    return units


def _budgets(study: GridStudy, shipped: budgets.Shipped | None) -> list[Unit]:
    units, minutes = [Unit(budgets.AMOUNTS, partial(budgets.set_budgets, study))], study.settings.retrain_minutes
    for name in budgets.THIRDS:
        search = budgets.search_of(name)
        units.append(Unit(search, partial(budgets.choose_for, study, name), ("supernets/annealed", budgets.AMOUNTS)))
        units.append(Unit(f"budgets/memory_{name}", partial(budgets.measure, study, name), (search,)))
    if shipped is not None:
        units.append(Unit("budgets/shipped", partial(budgets.describe, study, shipped)))
    beside = (budgets.FIRST, budgets.FIRST_SHIPPED)
    for seed in range(study.settings.retrained):
        trainings = []
        for name in budgets.THIRDS:
            unit = f"budgets/{name}_{seed}"
            work, needs = partial(budgets.retrain, study, unit, name, seed), (budgets.search_of(name),)
            trainings.append(_as_long_as(budgets.FIRST, Unit(unit, work, needs, minutes, beside)))
        if shipped is not None:
            unit = f"budgets/shipped_{seed}"
            work = partial(budgets.train_shipped, study, unit, seed, shipped)
            trainings.insert(1, _as_long_as(budgets.FIRST_SHIPPED, Unit(unit, work, (), minutes, beside)))
        units += trainings
    return units


def _as_long_as(first: str, unit: Unit) -> Unit:
    """Return a training as it is if it is the one called ``first``, else as one that takes the epochs of that."""
    return unit if unit.name == first else replace(unit, needs=(*unit.needs, first), beside=())
