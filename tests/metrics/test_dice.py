"""Dice against a case worked by hand, and the convention for absent classes."""

import math

import numpy as np
import pytest

from monai_nas.metrics import dice


def test_dice_of_a_case_worked_by_hand() -> None:
    reference = np.array([[[0, 1, 1, 2]]])
    prediction = np.array([[[0, 1, 2, 2]]])
    assert dice(prediction, reference, 3) == [2 * 1 / (1 + 2), 2 * 1 / (2 + 1)]


def test_a_class_absent_from_both_is_nan_and_absent_from_one_is_0() -> None:
    reference = np.array([[[0, 1, 0]]], dtype=np.uint8)
    prediction = np.array([[[2, 1, 0]]], dtype=np.uint8)
    scores = dice(prediction, reference, 4)
    assert scores[:2] == [1.0, 0.0]
    assert math.isnan(scores[2])


def test_small_integer_types_do_not_overflow() -> None:
    labels = np.full((4, 4, 4), 19, dtype=np.uint8)
    assert dice(labels, labels, 20)[18] == 1.0


@pytest.mark.parametrize("wrong", [np.array([[[0, 3]]]), np.array([[[0, -1]]]), np.array([[[0, 1, 1]]])])
def test_other_values_or_shapes_are_rejected(wrong: np.ndarray) -> None:
    with pytest.raises(ValueError, match="prediction has"):
        dice(wrong, np.array([[[0, 1]]]), 3)
