"""What the name of an image channel says of its intensities."""

import re

# By itself or in the usual compounds: angiography (also pulmonary), cone beam, contrast-enhanced, dual energy, high
# resolution, low dose, multi-detector, multi-slice, non-contrast, non-enhanced, photon-counting, in time.
_CT_WORDS = "ct|cta|ctpa|cbct|cect|dect|hrct|ldct|mdct|msct|ncct|nect|pcct|4dct"
# SPECT and PET are "emission computed tomography", in other units.
_WRITTEN_OUT = r"(?<!emission[ _-])comput(?:ed|er|eri[sz]ed)[ _-]tomogra(?:m|phy|phic)"
_CT = re.compile(rf"(?<![^\W_])(?:{_CT_WORDS}|{_WRITTEN_OUT})(?![^\W_])", re.IGNORECASE)
_EMISSION = re.compile(r"(?<![^\W_])(?:PET|SPECT)(?![^\W_])", re.IGNORECASE)


def is_ct(modality: str) -> bool:
    """Whether a channel holds Hounsfield units: its name has CT, or a form of it, as a whole word, but not PET.

    "CT", "ct_venous" and "Computed Tomography" do; "PET/CT", "T1 subtraction", "Fractional anisotropy" and "CT1" (T1
    with contrast) do not.
    """
    return _CT.search(modality) is not None and _EMISSION.search(modality) is None
