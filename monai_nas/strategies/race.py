"""Which candidates cannot win any more, told from the cases that all have been judged on so far."""

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.99  # of each comparison of two candidates, whatever their number: equals may be dropped, at no loss


def hopeless(scores: NDArray[np.float64], num_kept: int) -> NDArray[np.bool_]:
    """Return which candidates are most likely not among the best ``num_kept``.

    They have at least that many rivals that seem better on the same cases: the mean difference is more than 0 by
    Student's t-test for pairs, one-sided, at ``CONFIDENCE``. What makes a case easy or hard makes it so for all, so the
    differences tell candidates apart on few cases. Racing so is Maron and Moore's ("The racing algorithm: model
    selection for lazy learners", 1997); the test in it is the simplest of those for pairs.

    Args:
        scores: (candidates, cases), higher is better; cases with a NaN of any candidate are left out.
        num_kept: N, how many the race is for.

    Returns:
        (candidates,); all False where fewer than two cases are left, as there is no spread then.
    """
    shared = scores[:, ~np.isnan(scores).any(axis=0)]
    num_cases = shared.shape[1]
    if num_cases < 2:
        return np.zeros(len(scores), dtype=bool)
    threshold = stats.t.ppf(CONFIDENCE, num_cases - 1) / np.sqrt(num_cases)
    better = [
        np.count_nonzero(gains.mean(axis=1) > threshold * gains.std(axis=1, ddof=1))
        for gains in (shared - own for own in shared)
    ]
    return np.asarray(better) >= num_kept
