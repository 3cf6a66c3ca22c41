"""Cases of a dataset.json, folds and search halves."""

import json
from pathlib import Path

import pytest

from monai_nas.errors import UserError
from monai_nas.tasks.splits import Case, make_folds, search_halves, training_cases, unlabelled_cases

NAMES = [f"case_{number:02d}" for number in range(23)]


def test_cases_are_named_after_their_images_and_hidden_files_are_left_out(tmp_path: Path) -> None:
    pairs = [("a.b.nii.gz", "a.b.nii.gz"), ("._a.nii.gz", "._a.nii.gz"), ("c.nrrd", "c.mha")]
    training = [{"image": f"./imagesTr/{image}", "label": f"./labelsTr/{label}"} for image, label in pairs]
    listing = {"training": training, "test": ["./imagesTs/d.nii", {"image": "./imagesTs/e.nii.gz"}]}
    (tmp_path / "dataset.json").write_text(json.dumps(listing))
    cases = training_cases(tmp_path)
    assert [case.name for case in cases] == ["a.b", "c"]
    assert cases[0].image == tmp_path / "imagesTr/a.b.nii.gz" and cases[1].label == tmp_path / "labelsTr/c.mha"
    assert [(case.name, case.label) for case in unlabelled_cases(tmp_path)] == [("d", None), ("e", None)]
    assert [Case.from_record(json.loads(json.dumps(case.to_record()))) for case in cases] == cases


@pytest.mark.parametrize("listing", [[], {"training": {}}, {"training": ["./imagesTr/a.nii.gz"]}])
def test_faulty_listing_is_refused(tmp_path: Path, listing: object) -> None:
    (tmp_path / "dataset.json").write_text(json.dumps(listing))
    with pytest.raises(UserError, match=r"dataset\.json: "):
        training_cases(tmp_path)


def test_folds_partition_the_cases_whatever_their_order() -> None:
    folds = make_folds(NAMES, seed=3)
    assert sorted(name for fold in folds for name in fold) == NAMES
    assert sorted(map(len, folds)) == [4, 4, 5, 5, 5]
    assert make_folds(NAMES[::-1], seed=3) == folds != make_folds(NAMES, seed=4)
    assert make_folds(NAMES[:3], seed=0) != () and all(len(fold) == 1 for fold in make_folds(NAMES[:3], seed=0))


def test_search_halves_partition_the_cases() -> None:
    weights, alphas = search_halves(NAMES, seed=1)
    assert (len(weights), len(alphas)) == (12, 11) and sorted(weights + alphas) == NAMES
    assert search_halves(NAMES[::-1], seed=1) == (weights, alphas) != search_halves(NAMES, seed=2)


def test_too_few_or_repeated_cases_are_refused() -> None:
    with pytest.raises(UserError, match="1 training case"):
        make_folds(["a"], seed=0)
    with pytest.raises(UserError, match="case a is listed twice"):
        search_halves(["a", "a"], seed=0)
