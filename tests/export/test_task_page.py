"""Task pages: those committed are the ones that tasks, plans, estimates and published scores give."""

import json
import re
from pathlib import Path
from statistics import fmean

import pytest

from monai_nas.errors import UserError
from monai_nas.export.published_scores import BUDGETS, LEADERBOARD, PUBLISHED_SCORES, TRANSFER
from monai_nas.export.task_index import ESTIMATES, main, write_pages
from monai_nas.export.task_page import about, page_name
from monai_nas.files import write_json
from monai_nas.plans.published import committed_plan
from monai_nas.tasks.msd import MSD_TASKS, msd_task

PAGES = Path(__file__).parents[2] / "docs" / "tasks"

# The mean columns as the papers print them, in the order of the rows; NSD after Dice.
PRINTED_MEANS = {
    ("Task01_BrainTumour", LEADERBOARD): ((60.47, 61.10, 61.98, 62.56, 62.81), (82.99, 83.59, 83.88, 84.73, 84.69)),
    ("Task04_Hippocampus", LEADERBOARD): ((89.42, 89.46, 88.67, 89.16, 89.34), (97.75, 97.66, 97.31, 97.66, 97.91)),
    ("Task07_Pancreas", LEADERBOARD): ((66.18, 67.21, 67.59, 68.19, 68.58), (84.46, 83.81, 85.87, 86.08, 86.99)),
    ("Task08_HepaticVessel", LEADERBOARD): ((65.49, 69.12, 67.65, 68.13, 68.23), (80.83, 82.58, 82.22, 82.51, 82.61)),
    ("Task07_Pancreas", BUDGETS): ((63.00, 66.23, 66.29, 66.18, 66.79, 67.43), ()),
    ("Task01_BrainTumour", TRANSFER): ((71.61, 71.80, 72.04), ()),
    ("Task05_Prostate", TRANSFER): ((63.77, 65.18, 65.30), ()),
}


@pytest.fixture
def estimated(tmp_path: Path) -> Path:
    """A folder that holds the committed estimates alone."""
    (tmp_path / ESTIMATES).write_bytes((PAGES / ESTIMATES).read_bytes())
    return tmp_path


def test_the_committed_pages_are_those_that_the_command_writes(estimated: Path) -> None:
    main([str(estimated)])
    names = {path.name for path in estimated.iterdir()}
    assert names == {path.name for path in PAGES.iterdir()}
    assert names == {ESTIMATES, "README.md", *(page_name(task) for task in MSD_TASKS)}
    for name in names:
        message = f"{name}: run python -m monai_nas.export.task_index docs/tasks"
        assert (estimated / name).read_text() == (PAGES / name).read_text(), message


def test_a_page_gives_each_fact_its_source_and_each_number_its_rule() -> None:
    for task in MSD_TASKS:
        page = (PAGES / page_name(task)).read_text()
        assert all(f"{value} {label}" in page for value, label in enumerate(task.labels))
        assert all(source in page for source in task.sources)
        assert page.count("**unverified:**") == sum("unverified" in source for source in task.sources)
        plan = committed_plan(task.name)
        assert all(reason in page for _, reason in plan.reasons)
        verbs = dict.fromkeys(re.findall(r"^monai-nas (\w+)", page, re.MULTILINE))
        assert [*verbs] == ["check", "plan", "search", "train", "crossval", "bundle", "predict", "submit"]
        patch = "x".join(map(str, plan.patch_size))
        assert f"GB of tensors (patch {patch}, batch {plan.batch_size}, float16, cuda)" in page
        assert page.index("not run") < page.index("GB of tensors")


@pytest.mark.parametrize("task", [task for task in MSD_TASKS if task.num_training < 50], ids=lambda task: task.name)
def test_hours_follow_from_the_printed_figures(task: object) -> None:
    """Steps of so many milliseconds; 3 passes of the GFLOP of a patch, for a batch, at the rate of the index."""
    page = (PAGES / page_name(task)).read_text()  # type: ignore[arg-type]
    (gflops,) = re.findall(r"([\d.]+) GFLOP", page)
    (rate,) = re.findall(r"([\d.]+) TFLOP/s", page)
    ((steps, milliseconds, hours),) = re.findall(r"([\d,]+) steps of ([\d.]+) ms: ([\d.]+) hours", page)
    assert 250_000 <= int(steps.replace(",", "")) < 250_100
    assert float(milliseconds) == pytest.approx(3 * 2 * float(gflops) / float(rate), rel=0.05)
    assert float(hours) == pytest.approx(int(steps.replace(",", "")) * float(milliseconds) / 3.6e6, rel=0.07)


def test_estimates_of_another_plan_are_refused(estimated: Path) -> None:
    record = json.loads((estimated / ESTIMATES).read_text())
    record["tasks"]["Task02_Heart"]["plan"]["patch_size"] = [8, 8, 8]
    write_json(estimated / ESTIMATES, record)
    with pytest.raises(
        UserError, match=r"Task02_Heart has another plan now: make them again with `python -m monai_nas"
    ):
        write_pages(estimated)


@pytest.mark.parametrize("damaged", [{}, {"tasks": {}}, []])
def test_damaged_estimates_end_in_one_line(estimated: Path, damaged: object) -> None:
    write_json(estimated / ESTIMATES, damaged)
    with pytest.raises(SystemExit, match=r"estimates\.json: damaged or incomplete .*: make them again"):
        main([str(estimated)])


def test_main_wants_a_folder() -> None:
    with pytest.raises(SystemExit, match="docs/tasks"):
        main([])


def test_published_scores_have_the_means_that_the_papers_print() -> None:
    for (task, source), (dice, nsd) in PRINTED_MEANS.items():
        rows = [scores for scores in PUBLISHED_SCORES if (scores.task, scores.source) == (task, source)]
        assert [fmean(row.dice) for row in rows] == pytest.approx(dice, abs=0.011)  # they round in several ways
        assert [fmean(row.nsd) for row in rows if row.nsd] == pytest.approx(nsd, abs=0.011)


def test_published_scores_fit_their_tasks() -> None:
    for scores in PUBLISHED_SCORES:
        structures = msd_task(scores.task).num_classes - 1
        assert len(scores.dice) == structures, scores
        assert len(scores.nsd) == (structures if scores.source == LEADERBOARD else 0), scores
        assert all(40 < value < 100 for value in (*scores.dice, *scores.nsd)), scores
    assert {scores.task for scores in PUBLISHED_SCORES if len(scores.dice) > 1} == {task for task, _ in PRINTED_MEANS}


def test_about_keeps_two_digits() -> None:
    assert [about(value) for value in (0.0134, 1.26, 9.94, 12.6, 123.4)] == ["0.013", "1.3", "9.9", "13", "123"]
