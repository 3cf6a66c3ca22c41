"""Values of options, read."""

import pytest

from monai_nas.cli.options import check_length, compute_of, memory_bytes
from monai_nas.errors import UserError


@pytest.mark.parametrize(
    ("text", "expected"),
    [("8GB", 8 * 1024**3), ("512 MiB", 512 * 1024**2), ("1.5g", 1536 * 1024**2), ("2048", 2048), ("1T", 1024**4)],
)
def test_memory(text: str, expected: int) -> None:
    assert memory_bytes(text) == expected


@pytest.mark.parametrize(
    ("minutes", "epochs", "message"),
    [
        (2.0, 3, "--minutes 2 and --epochs 3: give one of the two"),
        (0.0, None, "--minutes 0: must be more than 0"),
        (float("inf"), None, "--minutes inf: must be more than 0 and finite"),
        (None, 0, "--epochs 0: must be 1 or more"),
    ],
)
def test_an_impossible_length_is_refused(minutes: float | None, epochs: int | None, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_length(minutes, epochs)


def test_a_length_may_be_left_to_the_preset() -> None:
    check_length(None, None)
    check_length(2.0, None)
    check_length(None, 7)


def test_float32_turns_low_precision_off() -> None:
    assert not compute_of(float32=True, device="cpu").low_precision


def test_a_cuda_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UserError, match="cuda:99"):
        compute_of(float32=False, device="cuda:99")
