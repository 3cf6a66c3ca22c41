"""What searches and trainings share."""

import pytest

from monai_nas.errors import UserError
from monai_nas.pipelines.epochs import checkpoint_seconds


def test_time_between_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MONAI_NAS_CHECKPOINT_SECONDS", raising=False)
    assert checkpoint_seconds() == 60.0
    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "0")
    assert checkpoint_seconds() == 0.0
    monkeypatch.setenv("MONAI_NAS_CHECKPOINT_SECONDS", "often")
    with pytest.raises(UserError, match="MONAI_NAS_CHECKPOINT_SECONDS=often: not a number"):
        checkpoint_seconds()
