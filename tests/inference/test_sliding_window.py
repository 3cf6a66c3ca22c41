"""The window that holds a band, against MONAI's sliding window, which holds the whole volume."""

from typing import Any

import pytest
import torch
from monai.inferers.inferer import SlidingWindowInferer
from torch import Tensor

from monai_nas.inference import resampling
from monai_nas.inference.sliding_window import band_axis, probability_slabs

CLASSES = 3


def score(patches: Tensor) -> Tensor:
    """Scores that depend on the place in the window, so that no two windows agree."""
    generator = torch.Generator().manual_seed(0)
    place = torch.rand(CLASSES, *patches.shape[2:], generator=generator)
    return (patches.sum(dim=1, keepdim=True) * 3 * place - place.flip(1)).float()


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("shape", "patch", "options"),
    [
        ((13, 9, 17), (4, 4, 6), {"overlap": 0.5, "mode": "gaussian"}),
        ((13, 9, 17), (4, 4, 6), {"overlap": 0.25, "mode": "constant", "sw_batch_size": 3}),
        ((8, 8, 8), (4, 4, 4), {"overlap": 0.0, "mode": "gaussian"}),
        ((9, 8, 7), (5, 4, 3), {"overlap": (0.6, 0.5, 0.9), "mode": "gaussian"}),
        ((5, 12, 3), (8, 4, 6), {"overlap": 0.5, "mode": "gaussian", "cval": 2.0}),
        ((4, 3, 5), (8, 8, 8), {"overlap": 0.5, "mode": "gaussian"}),
        ((6, 6, 6), (6, 6, 6), {"overlap": 0.5, "mode": "gaussian"}),
    ],
)
@pytest.mark.parametrize("values", [1, 2**21], ids=["slices", "slabs"])
def test_slabs_are_those_of_monai(
    shape: tuple[int, ...],
    patch: tuple[int, ...],
    options: dict[str, Any],
    axis: int,
    values: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(resampling, "SLAB_VALUES", values)
    image = torch.randn(2, *shape, generator=torch.Generator().manual_seed(1))
    window = SlidingWindowInferer(roi_size=patch, **options)
    expected: Any = window(image[None], score)
    slabs = list(probability_slabs(image, window, score, axis))
    assert len(slabs) == shape[axis] or values > 1
    torch.testing.assert_close(torch.cat(slabs, dim=axis + 1), expected[0].softmax(dim=0), rtol=1e-5, atol=1e-6)


def test_slabs_leave_before_the_window_has_reached_the_end() -> None:
    seen = 0

    def counting(patches: Tensor) -> Tensor:
        nonlocal seen
        seen += len(patches)
        return score(patches)

    window = SlidingWindowInferer(roi_size=(4, 4, 4), sw_batch_size=1, overlap=0.5)
    slabs = probability_slabs(torch.rand(1, 40, 4, 4), window, counting, 0)
    assert next(slabs).shape == (CLASSES, 2, 4, 4) and seen == 1
    assert sum(slab.shape[1] for slab in slabs) == 38 and seen == 19


def test_the_band_lies_across_the_axis_that_leaves_it_small() -> None:
    assert band_axis((512, 512, 1000), SlidingWindowInferer(roi_size=(128, 128, 128))) == 2
    assert band_axis((512, 512, 1000), SlidingWindowInferer(roi_size=(16, 128, 128))) == 0
    assert band_axis((20, 30, 9), SlidingWindowInferer(roi_size=(16, 16, 64))) == 1  # 9 slices are padded to 64
