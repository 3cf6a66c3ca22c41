"""Which names of channels mean Hounsfield units."""

import pytest

from monai_nas.tasks import MSD_TASKS
from monai_nas.tasks.modality import is_ct

CT = [
    "CT",
    "ct",
    "CT scan",
    "ct_venous",
    "CT-arterial",
    "4D-CT",
    "CTA",
    "CBCT",
    "LDCT",
    "low-dose CT",
    "Computed Tomography",
    "computed-tomography",
    "COMPUTED_TOMOGRAPHY",
    "cone beam computed tomography",
    "computerised tomography",
    "Computed tomographic angiography",
]
NOT_CT = [
    "SPECT",
    "T1 subtraction",
    "Fractional anisotropy",
    "CT1",
    "OCT",
    "PET",
    "PET/CT",
    "SPECT-CT",
    "emission_computed_tomography",
    "Single photon emission computed tomography",
    "optical coherence tomography",
    "reconstruction",
    "",
]


@pytest.mark.parametrize("name", CT)
def test_ct_is_known_by_a_whole_word(name: str) -> None:
    assert is_ct(name)


@pytest.mark.parametrize("name", NOT_CT)
def test_letters_within_a_word_are_not_ct(name: str) -> None:
    assert not is_ct(name)


def test_the_names_of_the_msd() -> None:
    names = {name for task in MSD_TASKS for name in task.modalities}
    assert {name for name in names if is_ct(name)} == {"CT"}
