"""From alphas to weights of candidates: Gumbel softmax with two-operation sampling, its annealing, its entropy."""

import torch
from torch import Tensor

NEGLIGIBLE_WEIGHT = 2.0**-12  # lost when bfloat16, of 8 significant bits, adds it to its partner


def sample_gumbel(shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
    """Draw standard Gumbel noise, -log(-log(u)) with u uniform in (0, 1)."""
    uniform = torch.rand(shape, generator=generator, dtype=torch.float64)
    uniform = uniform.clamp(torch.finfo(torch.float64).tiny, 1 - torch.finfo(torch.float64).eps)
    return -(-uniform.log()).log().float()


def sample_pair(relaxed: Tensor, generator: torch.Generator) -> Tensor:
    """Draw a pair of candidates on each edge with the probability of scnas.txt, algorithm 2.

    q{o1, o2} = (z[o1] + z[o2]) / (O - 1) is drawn exactly by taking one member from z and the other uniformly among the
    rest: P{o1, o2} = z[o1] / (O - 1) + z[o2] / (O - 1).

    Args:
        relaxed: z, (E, O), rows sum to 1.
        generator: source of the draws.

    Returns:
        Indices (E, 2), int64, the two of a row different.
    """
    edges, candidates = relaxed.shape
    first = torch.multinomial(relaxed, 1, generator=generator)
    step = torch.randint(1, candidates, (edges, 1), generator=generator)
    return torch.cat([first, (first + step) % candidates], dim=1)


def pair_weights(logits: Tensor, pair: Tensor) -> Tensor:
    """Return the softmax over the two sampled logits, zero elsewhere (scnas.txt, algorithm 2, last line of the loop).

    z[o1] / (z[o1] + z[o2]) with z a softmax equals the softmax over the two logits, which does not under- or overflow.
    A weight under ``NEGLIGIBLE_WEIGHT`` becomes exactly 0 and its partner exactly 1, without a gradient, so that the
    lesser operation is neither computed nor held.

    Args:
        logits: (alpha + noise) / temperature, (E, O); gradients flow into it.
        pair: (E, 2).

    Returns:
        Weights (E, O), rows sum to 1.
    """
    two = logits.gather(1, pair).softmax(dim=1)
    decided = two.detach().amin(dim=1, keepdim=True) < NEGLIGIBLE_WEIGHT
    two = torch.where(decided, two.detach().round(), two)
    return torch.zeros_like(logits).scatter(1, pair, two)


def sample_two_operations(alphas: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    """Draw the weights of the candidates on each edge: GumbelSoftmaxSample of scnas.txt, algorithm 2.

    Args:
        alphas: (E, O) on the CPU; the result carries gradients to it (equation 4).
        temperature: positive.
        generator: source of the draws.

    Returns:
        Weights (E, O), two of each row non-zero (one where the other is negligible).

    Raises:
        ValueError: when the temperature is outside (0, 10].
    """
    if not 0.0 < temperature <= 10.0:
        raise ValueError(f"temperature must be in (0, 10], got {temperature}")
    logits = (alphas + sample_gumbel(tuple(alphas.shape), generator)) / temperature
    pair = sample_pair(logits.detach().softmax(dim=1), generator)
    return pair_weights(logits, pair)


def temperature_at(progress: float, start: float, end: float) -> float:
    """Return the temperature at a share ``progress`` in [0, 1] of the search: exponential annealing, scnas.txt, 3.3.

    The paper anneals towards 0 and names no law; an exponential one spends equal time on each factor of ten.
    """
    return float(start * (end / start) ** progress)


def edge_entropy(alphas: Tensor) -> Tensor:
    """Return the entropy of softmax(alpha) on each edge in nats, (E,): 0 when decided, log(O) when all are equal."""
    log_probability = alphas.detach().log_softmax(dim=1)
    return -(log_probability.exp() * log_probability).sum(dim=1)
