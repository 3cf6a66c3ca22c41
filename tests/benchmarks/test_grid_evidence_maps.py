"""Maps of the changes of channel weights, by hand."""

import numpy as np
import pytest
import torch

from monai_nas.benchmarks import grid_evidence_maps as maps


def test_windows_cover_a_volume() -> None:
    windows = maps.windows_of((18, 16, 10))
    assert [x.start for x, _, _ in windows] == [0, 2] and windows[0] == (slice(0, 16), slice(0, 16), slice(0, 10))
    assert maps.averaged(np.array([1.0, 3.0]), windows, (18, 16, 10))[:, 0, 0].tolist() == [1, 1, *[2] * 14, 3, 3]


def test_changes_of_weights_by_hand() -> None:
    first = torch.tensor([[1.0, 0.0], [3.0, 0.0], [2.0, 3.0]])  # mean (2, 1)
    assert maps.change_with_image(first).tolist() == pytest.approx([2**0.5, 2**0.5, 2.0])
    assert maps.change_with_architecture(first, torch.zeros(3, 2)).tolist() == pytest.approx([1.0, 3.0, 13**0.5])


def test_changes_go_with_the_foreground_by_hand() -> None:
    one = np.array([1.0, 2.0, 4.0]), np.array([0.0, 0.25, 0.5])
    other = np.array([9.0, 5.0, 7.0]), np.array([0.5, 1.0, 0.75])  # foreground everywhere, against the order
    facts = maps.facts_of([one, other])
    assert (facts["mean_with_foreground"], facts["mean_without_foreground"]) == (5.0, 1.0)
    assert facts["spearman_with_share"] == 0.0 and facts["spearman_interval_95"] == pytest.approx(
        [-12.706205, 12.706205]
    )
    assert maps.facts_of([(np.ones(2), np.ones(2))])["spearman_with_share"] is None
