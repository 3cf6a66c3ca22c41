"""The law of the samples against algorithm 2 of scnas.txt, and gradients against their closed form."""

import itertools
import math

import pytest
import torch
from scipy import stats
from torch import Tensor

from monai_nas.supernets import edge_entropy, sample_two_operations, temperature_at
from monai_nas.supernets.relaxation import pair_weights, sample_gumbel, sample_pair


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("relaxed", [[0.7, 0.2, 0.1, 0.0], [0.25] * 4, [0.97, 0.01, 0.01, 0.01], [0.4, 0.6]])
def test_pairs_follow_q_of_algorithm_2(relaxed: list[float]) -> None:
    draws, candidates = 20_000, len(relaxed)
    drawn = sample_pair(torch.tensor([relaxed]).expand(draws, -1), generator())
    assert drawn.shape == (draws, 2) and (drawn[:, 0] != drawn[:, 1]).all()
    pairs = list(itertools.combinations(range(candidates), 2))
    law = [(relaxed[first] + relaxed[second]) / (candidates - 1) for first, second in pairs]
    assert sum(law) == pytest.approx(1)
    observed = [int((drawn.sort(dim=1).values == torch.tensor(pair)).all(dim=1).sum()) for pair in pairs]
    possible = [index for index, probability in enumerate(law) if probability > 0]
    assert sum(observed[index] for index in possible) == draws
    expected = [draws * law[index] for index in possible]
    if len(possible) > 1:
        assert stats.chisquare([observed[index] for index in possible], expected).pvalue > 1e-3


def test_the_two_members_of_a_pair_are_exchangeable_in_what_follows() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0]])
    assert torch.equal(pair_weights(logits, torch.tensor([[0, 2]])), pair_weights(logits, torch.tensor([[2, 0]])))


def test_weights_of_the_pair_are_renormalised_relaxed_weights() -> None:
    logits = torch.tensor([[0.3, -1.0, 2.0, 0.5], [1.0, 1.0, 0.0, 3.0]])
    relaxed = logits.softmax(dim=1)
    weights = pair_weights(logits, torch.tensor([[0, 2], [3, 1]]))
    for row, (first, second) in enumerate([(0, 2), (3, 1)]):
        for one, other in ((first, second), (second, first)):
            expected = relaxed[row, one] / (relaxed[row, one] + relaxed[row, other])
            assert float(weights[row, one]) == pytest.approx(float(expected), rel=1e-6)
    assert (weights != 0).sum() == 4


def test_a_weight_lost_in_rounding_is_exactly_zero() -> None:
    for gap, negligible in ((8.0, False), (8.6, True)):  # weights 2^-11.5 and 2^-12.4
        logits = torch.tensor([[gap, 0.0, 1.0]], requires_grad=True)
        weights = pair_weights(logits, torch.tensor([[0, 1]]))
        assert (weights[0, 1] == 0.0 and weights[0, 0] == 1.0) == negligible
        (gradient,) = torch.autograd.grad(weights[0, 0], logits)
        assert (not gradient.any()) == negligible


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_gradient_is_the_closed_form(temperature: float) -> None:
    """d zhat[o1] / d alpha[o1] = z[o1] z[o2] / (z[o1] + z[o2])^2 / tau, its negative for o2, zero elsewhere."""
    alphas = torch.tensor([[0.3, -0.4, 0.8, 0.1]], dtype=torch.float64)
    noise = torch.tensor([[0.2, 0.5, -0.3, 1.0]], dtype=torch.float64)
    pair = torch.tensor([[2, 1]])

    def weight(alphas: Tensor) -> Tensor:
        return pair_weights((alphas + noise) / temperature, pair)[0, 2]

    variable = alphas.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(weight(variable), variable)
    first, second = ((alphas + noise) / temperature).softmax(dim=1)[0, [2, 1]].tolist()
    closed = first * second / (first + second) ** 2 / temperature
    torch.testing.assert_close(gradient, torch.tensor([[0.0, -closed, closed, 0.0]], dtype=torch.float64))
    step = 1e-6
    for option in range(4):
        shift = torch.zeros_like(alphas)
        shift[0, option] = step
        numeric = float(weight(alphas + shift) - weight(alphas - shift)) / (2 * step)
        assert numeric == pytest.approx(float(gradient[0, option]), abs=1e-7)


def test_gumbel_noise_has_the_gumbel_law() -> None:
    noise = sample_gumbel((20_000,), generator())
    assert stats.kstest(noise.numpy(), "gumbel_r").pvalue > 1e-3 and noise.dtype == torch.float32


def test_perturbed_argmax_has_the_law_of_the_softmax() -> None:
    """P_alpha of equation 3: as the temperature falls, the sampled architecture is the argmax of alpha + noise."""
    alphas = torch.tensor([[1.0, 0.0, -0.5, 0.7]])
    draws = 20_000
    winners = (alphas + sample_gumbel((draws, 4), generator())).argmax(dim=1).bincount(minlength=4)
    expected = alphas.softmax(dim=1)[0].double() * draws
    assert stats.chisquare(winners.numpy(), (expected * draws / expected.sum()).numpy()).pvalue > 1e-3


def test_a_draw_has_two_operations_an_edge_and_follows_its_seed() -> None:
    alphas = torch.zeros(14, 8)
    first, again, other = (sample_two_operations(alphas, 1.0, generator(seed)) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert ((first != 0).sum(dim=1) == 2).all()
    torch.testing.assert_close(first.sum(dim=1), torch.ones(14))


def test_a_cold_draw_is_one_hot_and_finite() -> None:
    """Annealing reduces the operations computed from two to one: the lesser weight becomes exactly zero."""
    alphas = torch.zeros(200, 8, requires_grad=True)
    weights = sample_two_operations(alphas, 1e-4, generator())
    assert ((weights == 1).sum(dim=1) == 1).float().mean() > 0.95
    weights.square().sum().backward()
    assert alphas.grad is not None and alphas.grad.isfinite().all()


@pytest.mark.parametrize("temperature", [0.0, -1.0, 10.5, math.nan])
def test_a_temperature_out_of_range_is_refused(temperature: float) -> None:
    with pytest.raises(ValueError, match="temperature must be in"):
        sample_two_operations(torch.zeros(1, 2), temperature, generator())


def test_annealing_goes_from_start_to_end_by_equal_factors() -> None:
    assert temperature_at(0.0, 2.0, 0.02) == 2.0 and temperature_at(1.0, 2.0, 0.02) == pytest.approx(0.02)
    assert temperature_at(0.5, 2.0, 0.02) == pytest.approx(0.2)


def test_entropy_is_zero_when_decided_and_log_of_the_count_when_open() -> None:
    alphas = torch.tensor([[0.0, 0.0, 0.0, 0.0], [200.0, 0.0, 0.0, 0.0], [math.log(3.0), 0.0, -500.0, -500.0]])
    expected = [math.log(4), 0.0, -0.75 * math.log(0.75) - 0.25 * math.log(0.25)]
    assert edge_entropy(alphas).tolist() == pytest.approx(expected, abs=1e-6)
