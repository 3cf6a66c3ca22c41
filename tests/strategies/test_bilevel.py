"""Stochastic bi-level optimisation on a tiny supernet."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.losses import segmentation_loss
from monai_nas.ops import CANDIDATES, Node
from monai_nas.spaces import CellUNetSpace
from monai_nas.strategies import Bilevel, BilevelConfig, SearchBatch
from monai_nas.supernets import CellUNetSupernet

COMPUTE = Compute(torch.device("cpu"), torch.float32, channels_last=True, workers=0)
SPACE = CellUNetSpace(num_nodes=1, operations=("conv_3x3x3", "identity", "max_pool_3x3x3", "zero"))


def batch(seed: int) -> dict[str, Tensor]:
    image = torch.randn(1, 1, 8, 8, 8, generator=torch.Generator().manual_seed(seed))
    return {"image": image, "label": (image > 0).to(torch.uint8)}


def search_batch(step: int, weights: int | None = None, alphas: int | None = None) -> SearchBatch:
    return SearchBatch(
        step, batch(2 * step if weights is None else weights), batch(2 * step + 1 if alphas is None else alphas)
    )


AT_ONCE = BilevelConfig(warmup_share=0.0)  # alphas learn from the first step on


def build(
    config: BilevelConfig = AT_ONCE, space: CellUNetSpace = SPACE, search_steps: int = 4, total_steps: int = 8
) -> Bilevel:
    torch.manual_seed(0)
    supernet = CellUNetSupernet(space, in_channels=1, out_channels=2, width=4, strides=[[2, 2, 2]])
    return Bilevel(
        COMPUTE.place(supernet),
        loss=segmentation_loss(),
        config=config,
        search_steps=search_steps,
        total_steps=total_steps,
        seed=0,
        compute=COMPUTE,
    )


def values(parameters: Any) -> Tensor:
    return torch.cat([parameter.detach().flatten().clone() for parameter in parameters])


def weights_of(search: Bilevel) -> Tensor:
    return values(search.supernet.weight_parameters())


def alphas_of(search: Bilevel) -> Tensor:
    return values(search.supernet.architecture_parameters())


class Mirror(nn.Module):
    """The features turned round, which no layer after it can undo."""

    def __init__(self, channels: int, *, stride: Sequence[int], spatial_dims: int) -> None:
        super().__init__()
        self.straight = CANDIDATES["identity"](channels, stride=stride, spatial_dims=spatial_dims)

    def forward(self, node: Node) -> Tensor:
        return self.straight(node).flip(2, 3, 4)


def test_alpha_of_the_better_operation_rises(monkeypatch: pytest.MonkeyPatch) -> None:
    """A voxel's class follows from its own value; on the last edge the mirrored features must lose."""
    monkeypatch.setitem(CANDIDATES._entries, "mirror", Mirror)
    space = CellUNetSpace(num_nodes=1, operations=("mirror", "identity"))
    search = build(replace(AT_ONCE, alpha_rate=0.1, weight_rate=0.01), space, search_steps=40, total_steps=40)
    for step in range(40):
        search.step(search_batch(step))
    last = search.supernet.alphas()["decoder_normal"][1].detach()  # reads the skip
    assert last[1] - last[0] > 1.0
    assert dict(search.architecture().choices)["decoder_normal/1-2"] == "identity"


def test_weights_learn_from_the_weight_batch_only() -> None:
    results = [build() for _ in range(3)]
    for search, (weights, alphas) in zip(results, [(0, 1), (0, 5), (4, 1)], strict=True):
        search.step(search_batch(0, weights, alphas))
    first, other_alphas, other_weights = results
    assert torch.equal(weights_of(first), weights_of(other_alphas))
    assert not torch.equal(alphas_of(first), alphas_of(other_alphas))
    assert not torch.equal(weights_of(first), weights_of(other_weights))


def test_alphas_learn_from_the_alpha_batch_only() -> None:
    results = []
    for weights in (0, 4):
        search = build(replace(AT_ONCE, weight_rate=0.0))
        search.step(search_batch(0, weights=weights, alphas=1))
        results.append(search)
    assert torch.equal(alphas_of(results[0]), alphas_of(results[1]))
    assert alphas_of(results[0]).any() and torch.equal(weights_of(results[0]), weights_of(build()))


def test_alpha_step_leaves_no_gradient_on_weights_of_undrawn_operations() -> None:
    search = build()
    search.step(search_batch(0))
    selection = search.sample(0)
    mixed = search.supernet.reductions[0].nodes[0].edges["0-2"].hole
    gradients = {name: [p.grad is not None for p in op.parameters()] for name, op in mixed.candidates.items()}
    drawn = dict(zip(SPACE.operations, (selection["reduction"][0] != 0).tolist(), strict=True))
    assert all(all(flags) == drawn[name] for name, flags in gradients.items() if flags)
    assert all(parameter.requires_grad for parameter in search.supernet.parameters())


def test_a_cell_of_zeros_alone_teaches_the_alphas_nothing() -> None:
    search = build()
    zero = SPACE.operations.index("zero")
    with torch.no_grad():
        for alpha in search.supernet.alphas().values():
            alpha[:, zero] = 1e4
    before = alphas_of(search)
    assert set(search.step(search_batch(0))) == {"loss", "alpha_loss"}
    assert torch.equal(alphas_of(search), before)


def test_temperature_falls_over_the_sampling_phase() -> None:
    config = replace(AT_ONCE, temperature_start=2.0, temperature_end=0.02)
    search = build(config, search_steps=5)
    seen = []
    for step in range(5):
        search.step(search_batch(step))
        seen.append(search.temperature)
    assert seen[0] == 2.0 and seen[-1] == pytest.approx(0.02) and seen == sorted(seen, reverse=True)


def test_alphas_wait_at_the_hottest_until_the_warmup_is_over() -> None:
    search = build(BilevelConfig(warmup_share=0.5), search_steps=8)
    fresh = alphas_of(search)
    for step in range(4):
        assert set(search.step(search_batch(step))) == {"loss"}
        assert search.temperature == search.config.temperature_start
    assert torch.equal(alphas_of(search), fresh)
    for step in range(4, 8):
        assert set(search.step(search_batch(step))) == {"loss", "alpha_loss"}
    assert search.temperature == pytest.approx(search.config.temperature_end)
    assert not torch.equal(alphas_of(search), fresh)


def test_settling_trains_the_argmax_alone() -> None:
    search = build(search_steps=1, total_steps=5)
    search.step(search_batch(0))
    alphas, weights = alphas_of(search), weights_of(search)
    rates = []
    for step in range(1, 5):
        assert set(search.step(SearchBatch(step, batch(step), None))) == {"loss"}
        rates.append(search.weight_optimizer.param_groups[0]["lr"])
    assert torch.equal(alphas_of(search), alphas) and not torch.equal(weights_of(search), weights)
    expected = [search.config.weight_rate * 0.5 * (1 + math.cos(math.pi * share / 4)) for share in range(4)]
    assert rates == pytest.approx(expected)
    image = batch(9)["image"]
    network, supernet = search.network().eval(), search.supernet.eval()
    with torch.no_grad():
        selected = supernet(image, supernet.one_hot(search.architecture()))
        torch.testing.assert_close(network(image), selected, rtol=1e-5, atol=1e-5)


def test_rate_falls_when_the_loss_stalls() -> None:
    search = build(replace(AT_ONCE, plateau_epochs=2))
    search.step(search_batch(0))
    rates = [search.end_epoch(1.0)["weight_rate"] for _ in range(5)]
    rate = search.config.weight_rate
    assert rates == pytest.approx([rate, rate, rate, rate / 10, rate / 10])


def test_record_of_an_epoch_describes_the_search() -> None:
    search = build()
    with torch.no_grad():
        search.supernet.alphas()["reduction"][0, 1] = 100.0
    record = search.end_epoch(1.0)
    assert record["entropy/reduction/0-2"] == pytest.approx(0, abs=1e-6)
    assert record["entropy/reduction/1-2"] == pytest.approx(math.log(4))
    assert sum(record[f"share/{name}"] for name in SPACE.operations) == pytest.approx(1)
    assert record["share/identity"] == pytest.approx((1 + 7 * 0.25) / 8)


def test_a_loss_that_is_not_finite_stops_with_advice() -> None:
    search, broken = build(), batch(0)
    broken["image"][0, 0, 0, 0, 0] = float("nan")
    with pytest.raises(UserError, match="the loss is nan"):
        search.step(SearchBatch(0, broken, batch(1)))
    with pytest.raises(UserError, match="the loss is nan"):
        build().step(SearchBatch(0, batch(1), broken))
    assert all(parameter.requires_grad for parameter in search.supernet.parameters())


def test_loss_falls() -> None:
    search = build(replace(AT_ONCE, weight_rate=0.03), search_steps=30, total_steps=60)
    losses = [search.step(search_batch(step))["loss"] for step in range(30)]
    losses += [search.step(SearchBatch(step, batch(step), None))["loss"] for step in range(30, 60)]
    assert sum(losses[-5:]) < 0.6 * sum(losses[:5])


def test_sampled_draws_differ_and_follow_their_number() -> None:
    search = build()
    image = batch(3)["image"]
    with torch.no_grad():
        first, again, other = (search.sampled(draw)(image) for draw in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)
    assert F.softmax(first, dim=1).isfinite().all()
