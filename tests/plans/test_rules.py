"""The planning rules against cases worked by hand."""

from math import prod
from pathlib import Path

import pytest

from monai_nas.benchmarks.step_memory import estimates
from monai_nas.errors import UserError
from monai_nas.files import read_json
from monai_nas.plans import rules
from monai_nas.tasks import MSD_TASKS, SegTask

GIB = 1024**3


def test_spacing_is_the_median_and_finer_along_a_coarse_axis() -> None:
    assert rules.choose_spacing([(1, 1, 1), (1, 2, 2.9), (1, 1, 2.9)])[0] == (1, 1, 2.9)
    thick = [(1.0, 1.0, float(z)) for z in range(1, 12)]  # median 6, 10th percentile 2
    spacing, reason = rules.choose_spacing(thick)
    assert spacing == (1, 1, 2) and "axis S" in reason and "10th percentile" in reason
    assert rules.choose_spacing([(1, 1, 0.5)] * 2 + [(1, 1, 5)] * 5)[0] == (1, 1, 1)  # never finer than the others


@pytest.mark.parametrize(
    ("spacing", "median", "axis", "reason"),
    [
        ((1, 1, 1), (1, 1, 1), None, "all axes linearly"),
        ((0.62, 0.62, 3.6), (0.62, 0.62, 3.6), 2, "axis S by itself to the nearest slice"),
        ((1, 3.1, 1), (1, 3.1, 1), 1, "the target's 3.1 mm"),
        ((1, 1, 3), (1, 1, 3), None, "neither the target nor the median case"),  # three times is not more than three
        ((0.8, 0.8, 1.5), (0.8, 0.8, 5.0), 2, "the median case's 5 mm"),
        ((0.8, 0.8, 5.0), (5.0, 0.8, 0.8), 2, "the target's 5 mm"),
        ((4, 1, 4), (4, 1, 4), None, "all axes"),  # two coarse axes: none is by itself
    ],
)
def test_one_thick_axis_is_resampled_by_itself(
    spacing: rules.Spacing, median: rules.Spacing, axis: int | None, reason: str
) -> None:
    found, sentence = rules.choose_separate_axis(spacing, median)
    assert found == axis and reason in sentence and sentence.endswith(".")


def test_cases_are_cropped_where_the_median_box_is_small() -> None:
    shapes = [(10, 10, 10)] * 3
    assert rules.choose_crop(shapes, [(10, 10, 1), (10, 10, 8), (10, 10, 10)])[0]
    whole, reason = rules.choose_crop(shapes, [(10, 10, 1), (10, 10, 9), (10, 10, 10)])
    assert not whole and "90 % of the median case, not under 90 %" in reason
    assert rules.choose_crop(shapes, []) == (False, "no crop: the boxes of non-zero voxels were not measured.")
    assert "36.3 % of the median case, under 90 %" in rules.choose_crop([(240, 240, 155)], [(138, 170, 138)])[1]


@pytest.mark.parametrize(
    ("size", "spacing", "strides"),
    [
        ((35, 50, 36), (1, 1, 1), ((2, 2, 2), (2, 2, 2), (2, 2, 2))),
        ((320, 320, 24), (0.62, 0.62, 3.6), ((2, 2, 1), (2, 2, 1), (2, 2, 2))),
        ((64, 64, 6), (1, 1, 1), ((2, 2, 1), (2, 2, 1), (2, 2, 1))),
        ((64, 64, 16), (1, 1, 1), ((2, 2, 2), (2, 2, 2), (2, 2, 1))),
        ((16, 16, 16), (1, 1, 1), ((2, 2, 2), (2, 2, 2))),
        ((7, 7, 7), (1, 1, 1), ()),
    ],
)
def test_strides(size: rules.Size, spacing: rules.Spacing, strides: tuple[rules.Size, ...]) -> None:
    assert rules.choose_strides(size, spacing) == strides


def test_hippocampus_gets_the_whole_case() -> None:
    patch, strides, _, _ = rules.choose_patch((35, 50, 36), (1, 1, 1), 32, 8 * GIB)
    assert (patch, strides) == ((40, 56, 40), ((2, 2, 2),) * 3)
    assert rules.choose_width((35, 50, 36), 8 * GIB)[0] == 32


@pytest.mark.parametrize("gib", [1, 4, 8, 16, 64])
@pytest.mark.parametrize("task", MSD_TASKS, ids=lambda task: task.name)
def test_plans_of_all_tasks_fit_their_memory(task: SegTask, gib: int) -> None:
    assert task.median_shape and task.median_spacing_mm
    width, _ = rules.choose_width(task.median_shape, gib * GIB)
    patch, strides, _, _ = rules.choose_patch(task.median_shape, task.median_spacing_mm, width, gib * GIB)
    batch_size, _ = rules.choose_batch_size()
    product = rules.stride_product(strides)
    assert all(size % step == 0 and size // step >= 4 for size, step in zip(patch, product, strict=True))
    assert batch_size == 2 and 1 <= len(strides) <= 3
    assert rules.training_bytes(patch, batch_size, width) <= rules.MEMORY_SHARE * gib * GIB
    assert prod(patch) <= rules.FULL_PATCH_VOXELS


def test_more_memory_never_gives_less() -> None:
    shape, spacing = (512, 512, 432), (0.77, 0.77, 1.0)
    volumes = [prod(rules.choose_patch(shape, spacing, 32, gib * GIB)[0]) for gib in (2, 4, 8, 16)]
    assert volumes == sorted(volumes) and volumes[0] < volumes[-1]
    assert [rules.choose_width(shape, gib * GIB)[0] for gib in (8, 16)] == [16, 32]


def test_tiny_images_keep_one_level_and_tiny_memory_is_refused() -> None:
    patch, strides, _, _ = rules.choose_patch((5, 5, 5), (1, 1, 1), 32, 8 * GIB)
    assert (patch, strides) == ((8, 8, 8), ((2, 2, 2),))
    with pytest.raises(UserError, match=r"--memory .*give at least"):
        rules.choose_patch((200, 200, 200), (1, 1, 1), 16, 10_000_000)


def test_budgeted_memory_is_what_a_search_step_was_measured_to_take() -> None:
    """A change of the network must be followed by `python -m monai_nas.benchmarks.step_memory`."""
    record = read_json(Path(__file__).parents[2] / "docs" / "results" / "step_memory.json")
    assert record["dtype"] == "float32" and record["estimated_max"] <= record["measured_growth_of_process"]
    assert record["measured_growth_of_process"] <= rules.BYTES_PER_VOXEL_PER_CHANNEL
    assert 1.1 * record["measured_growth_of_process"] >= rules.BYTES_PER_VOXEL_PER_CHANNEL


def test_search_step_still_keeps_what_was_measured() -> None:
    record = read_json(Path(__file__).parents[2] / "docs" / "results" / "step_memory.json")
    (now,) = estimates(4, 1, record["seed"])
    assert now == pytest.approx(record["estimated_mean"], rel=0.1)
