"""A race against the whole ranking."""

import numpy as np

from monai_nas.benchmarks.grid_evidence_race import races


def test_races_are_held_against_the_whole_ranking() -> None:
    rng = np.random.default_rng(0)
    apart = [
        tuple(float(score) for score in own) for own in rng.normal(np.linspace(0.5, 0.9, 30)[:, None], 0.01, (30, 12))
    ]
    result = races(apart, num_parts=3, num_finalists=5)
    assert result["finalists_kept"] == result["best_kept"] == 1.0 and result["kendall_first_part"] > 0.9
    assert 1 / 3 < result["judgements"] < 0.6
    equal = races([(0.5,) * 12] * 6, num_parts=3, num_finalists=5)
    assert equal["judgements"] == equal["finalists_kept"] == 1.0 and equal["kendall_first_part"] is None
    noise = [tuple(float(score) for score in own) for own in rng.normal(0.5, 0.01, (30, 12))]
    assert races(noise, num_parts=3, num_finalists=5)["judgements"] > 0.8, "who cannot be told apart stays"
