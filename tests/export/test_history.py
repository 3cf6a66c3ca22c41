"""Reading history.csv: what is kept of it, and one line for what is wrong with it."""

from pathlib import Path

import numpy as np
import pytest

from monai_nas.errors import UserError
from monai_nas.export.history import read_history
from monai_nas.training.handlers import write_history

SEARCH = "epoch,loss,alpha_loss,temperature,weight_rate,share/conv,share/zero,entropy/reduction/0-2,note\n"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "history.csv"
    path.write_text(text)
    return path


def test_a_search_has_phases_shares_and_entropies(tmp_path: Path) -> None:
    rows = [{"epoch": epoch, "loss": 1.0 / epoch} for epoch in (1, 2, 3)]
    for row in rows[:2]:
        row["alpha_loss"] = 2.0
    more = {
        "temperature": 0.5,
        "weight_rate": 0.1,
        "share/conv": 0.75,
        "share/zero": 0.25,
        "entropy/reduction/0-2": 0.5,
    }
    write_history(tmp_path / "history.csv", [row | more for row in rows])  # as a run writes it
    history = read_history(tmp_path / "history.csv")
    assert history.is_search
    assert history.num_sampling == 2
    np.testing.assert_allclose(history.columns["loss"], [1, 1 / 2, 1 / 3])
    np.testing.assert_array_equal(history.columns["alpha_loss"], [2.0, 2.0, np.nan])
    assert list(history.under("share")) == ["conv", "zero"]
    np.testing.assert_array_equal(history.under("entropy")["reduction/0-2"], [0.5] * 3)


def test_a_training_has_loss_and_rate(tmp_path: Path) -> None:
    history = read_history(written(tmp_path, "epoch,loss,rate,validation\n1,0.5,0.1,\n2,0.25,0.05,0.9\n"))
    assert not history.is_search
    assert set(history.columns) == {"epoch", "loss", "rate"}  # what is not drawn is not read
    np.testing.assert_array_equal(history.columns["loss"], [0.5, 0.25])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column epoch"),
        ("case,dice\na,1\n", "has no column epoch"),
        ("epoch,loss\n1,0.5\n", "has no column rate"),
        ("epoch,loss,rate\n", "has no epoch yet"),
        ("epoch,loss,rate\n1,0.5\n", "line 2 has 2 values, not 3"),
        ("epoch,loss,rate\n1,0.5,0.1\n2,low,0.1\n", "line 3: 'low' is no number"),
        (SEARCH.replace("alpha_loss", "other"), "has no column alpha_loss"),
        (SEARCH.replace("share/", ""), "has no column share/OPERATION"),
        (SEARCH.replace("0-2", "x"), "has no column entropy/CELL/EDGE"),
        (SEARCH + "1,1,,0.5,0.1,0.7,0.3,0.6,\n", "alpha_loss is empty in each epoch"),
    ],
)
def test_what_is_no_history_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(UserError, match=rf"history\.csv: {message}") as fault:
        read_history(written(tmp_path, text))
    assert "\n" not in str(fault.value)


def test_files_that_are_no_text_and_files_that_are_not_there(tmp_path: Path) -> None:
    (tmp_path / "history.csv").write_bytes(b"\xff\xfe\x00epoch")
    with pytest.raises(UserError, match="not readable as CSV"):
        read_history(tmp_path / "history.csv")
    with pytest.raises(UserError, match="no such file"):
        read_history(tmp_path / "none.csv")


def test_a_warm_up_without_a_loss_of_the_alphas_belongs_to_the_sampling(tmp_path: Path) -> None:
    lines = [f"{epoch},1.0,{alpha},0.5,0.1,0.5,0.5,0.6," for epoch, alpha in enumerate(("", "", "2.0", "2.0", ""), 1)]
    assert read_history(written(tmp_path, SEARCH + "\n".join(lines) + "\n")).num_sampling == 4
