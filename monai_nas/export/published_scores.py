"""Published scores of other methods on the MSD tasks: every figure that was typed, with the table that it is from."""

from collections.abc import Iterator
from dataclasses import dataclass

Percents = tuple[float, ...]

LEADERBOARD = "HyperSegNAS (Peng et al. 2022, arXiv:2112.10652), table 3: the MSD leaderboard's hidden test cases"
BUDGETS = "HyperSegNAS (Peng et al. 2022, arXiv:2112.10652), table 2: five-fold cross-validation"
TRANSFER = "SCNAS (Kim et al. 2019), table 1: five-fold cross-validation"


@dataclass(frozen=True)
class PublishedScores:
    """What one method scored on one task, in percent, foreground structures in the order of the task's labels."""

    task: str
    source: str  # paper and table, and which cases were scored
    method: str
    dice: Percents
    nsd: Percents  # at the challenge's tolerance; empty where the table has none


def _rows(task: str, source: str, **methods: tuple[Percents, Percents]) -> Iterator[PublishedScores]:
    """Yield the rows of a table; a keyword is a key of :data:`METHODS`, its value the Dices and the NSDs."""
    for key, (dice, nsd) in methods.items():
        yield PublishedScores(task, source, METHODS[key], dice, nsd)


METHODS = {
    "scnas": "SCNAS (Kim et al.)",
    "nnunet": "nnU-Net (ensemble of up to 20 networks)",
    "c2fnas": "C2FNAS",
    "dints": "DiNTS",
    "hypersegnas": "HyperSegNAS (ensemble of 5)",
    "dints_5gb": "DiNTS, 5,067 MB in training",
    "dints_7gb": "DiNTS, 7,239 MB in training",
    "dints_9gb": "DiNTS, 8,802 MB in training",
    "hypersegnas_5gb": "HyperSegNAS, 5,358 MB in training",
    "hypersegnas_7gb": "HyperSegNAS, 7,168 MB in training",
    "hypersegnas_9gb": "HyperSegNAS, 9,173 MB in training",
    "res_unet": "3D U-ResNet",
    "random": "random cells",
    "scnas_own": "SCNAS, searched on this task",
    "scnas_transferred": "SCNAS, transferred from BrainTumour",
}

PUBLISHED_SCORES: tuple[PublishedScores, ...] = (
    *_rows(
        "Task01_BrainTumour",
        LEADERBOARD,
        scnas=((67.40, 45.75, 68.26), (86.65, 72.03, 90.28)),
        nnunet=((68.04, 46.81, 68.46), (87.51, 72.47, 90.78)),
        c2fnas=((67.62, 48.60, 69.72), (87.61, 72.87, 91.16)),
        dints=((69.28, 48.65, 69.75), (89.33, 73.16, 91.69)),
        hypersegnas=((69.32, 49.11, 70.01), (89.76, 72.58, 91.74)),
    ),
    *_rows(
        "Task01_BrainTumour",
        TRANSFER,
        res_unet=((79.10, 58.38, 77.37), ()),
        random=((79.59, 57.97, 77.85), ()),
        scnas_own=((79.42, 58.01, 78.68), ()),
    ),
    *_rows(
        "Task02_Heart",
        TRANSFER,
        res_unet=((89.60,), ()),
        random=((89.14,), ()),
        scnas_own=((89.99,), ()),
        scnas_transferred=((90.47,), ()),
    ),
    *_rows(
        "Task04_Hippocampus",
        LEADERBOARD,
        scnas=((90.11, 88.72), (97.77, 97.73)),
        nnunet=((90.23, 88.69), (97.79, 97.53)),
        c2fnas=((89.37, 87.96), (97.27, 97.35)),
        dints=((89.91, 88.41), (97.76, 97.56)),
        hypersegnas=((90.21, 88.47), (98.11, 97.70)),
    ),
    *_rows(
        "Task05_Prostate",  # the row of the transferred cells is not legible in the text at hand
        TRANSFER,
        res_unet=((48.37, 79.17), ()),
        random=((50.78, 79.58), ()),
        scnas_own=((49.70, 80.89), ()),
    ),
    *_rows(
        "Task06_Lung",
        LEADERBOARD,
        scnas=((63.10,), (62.51,)),
        nnunet=((73.97,), (76.02,)),
        c2fnas=((70.44,), (72.22,)),
        dints=((74.75,), (77.02,)),
        hypersegnas=((79.72,), (79.67,)),
    ),
    *_rows(
        "Task07_Pancreas",
        LEADERBOARD,
        scnas=((80.61, 51.75), (95.83, 73.09)),
        nnunet=((81.64, 52.78), (96.14, 71.47)),
        c2fnas=((80.76, 54.41), (96.16, 75.58)),
        dints=((81.02, 55.35), (96.26, 75.90)),
        hypersegnas=((80.99, 56.16), (96.30, 77.68)),
    ),
    *_rows(
        "Task07_Pancreas",
        BUDGETS,
        dints_5gb=((77.94, 48.07), ()),
        dints_7gb=((80.20, 52.25), ()),
        dints_9gb=((80.06, 52.53), ()),
        hypersegnas_5gb=((79.92, 52.44), ()),
        hypersegnas_7gb=((80.10, 53.47), ()),
        hypersegnas_9gb=((79.98, 54.88), ()),
    ),
    *_rows(
        "Task08_HepaticVessel",
        LEADERBOARD,
        scnas=((62.34, 68.63), (83.22, 78.43)),
        nnunet=((66.46, 71.78), (84.43, 80.72)),
        c2fnas=((64.30, 71.00), (83.78, 80.66)),
        dints=((64.50, 71.76), (83.98, 81.03)),
        hypersegnas=((64.35, 72.10), (84.08, 81.14)),
    ),
)
