"""Values of options, read."""

import pytest

from monai_nas.cli.options import compute_of, memory_bytes, time_budget
from monai_nas.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8GB", 8 * 1024**3), ("512 MiB", 512 * 1024**2), ("1.5g", 1536 * 1024**2), ("2048", 2048), ("1T", 1024**4)],
)
def test_memory(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected


def test_thirty_minutes_unless_told_otherwise() -> None:
    assert time_budget(None, None) == (30.0, None)
    assert time_budget(2.0, None) == (2.0, None)
    assert time_budget(None, 7) == (None, 7)


def test_float32_turns_low_precision_off() -> None:
    assert not compute_of(float32=True, device="cpu").low_precision


def test_a_cuda_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="cuda:99"):
        compute_of(float32=False, device="cuda:99")
