"""One-shot training of a tiny topology supernet with a MAN."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.losses import segmentation_loss
from monai_nas.spaces import TopologySpace
from monai_nas.strategies import OneShot, OneShotConfig, SearchBatch
from monai_nas.strategies.one_shot import Assistant
from monai_nas.supernets import MetaAssistantNetwork, TopologySupernet

COMPUTE = Compute(torch.device("cpu"), torch.float32, channels_last=True, workers=0)
SPACE = TopologySpace(num_blocks=2, num_levels=2)
STEPS = 6
ASSISTANTS: tuple[Assistant, ...] = ("annealed", "removed", "kept", "image_only", "none")


def batch(step: int) -> SearchBatch:
    image = torch.randn(2, 1, 16, 16, 16, generator=torch.Generator().manual_seed(step))
    return SearchBatch(step, {"image": image, "label": (image > 1).to(torch.uint8)}, None)


def build(assistant: Assistant = "annealed", seed: int = 0, compute: Compute = COMPUTE, **values: Any) -> OneShot:
    torch.manual_seed(seed)
    supernet = TopologySupernet(SPACE, in_channels=1, out_channels=2, width=4, strides=[[1, 1, 1], [2, 2, 2]])
    hypernet = None
    if assistant != "none":
        hypernet = MetaAssistantNetwork(SPACE, in_channels=1, width=4, sees_architecture=assistant != "image_only")
        compute.place(hypernet)
    return OneShot(
        compute.place(supernet),
        hypernet,
        loss=segmentation_loss(),
        config=OneShotConfig(warmup_steps=1, annealing_share=0.5, assistant=assistant, **values),
        total_steps=STEPS,
        seed=seed,
        compute=compute,
    )


def run(search: OneShot, first: int = 0, last: int = STEPS) -> OneShot:
    for step in range(first, last):
        search.step(batch(step))
    return search


def weights(search: OneShot) -> Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in search.parts.parameters()])


def outputs(search: OneShot, image: Tensor) -> Tensor:
    search.parts.eval()
    with torch.no_grad():
        return search.network(next(iter(SPACE.enumerate())))(image)


@pytest.mark.parametrize("assistant", ASSISTANTS)
def test_same_seed_same_bits_and_a_break_changes_nothing(assistant: Assistant) -> None:
    whole, first = run(build(assistant)), run(build(assistant), last=3)
    state = first.state_dict()
    torch.manual_seed(99)  # what others draw must not matter
    second = build(assistant, seed=0)
    second.load_state_dict(state)
    run(second, first=3)
    assert torch.equal(weights(whole), weights(second))
    assert not torch.equal(weights(whole), weights(run(build(assistant, seed=1))))


def test_the_assistant_learns_at_a_share_of_the_rate() -> None:
    search = build(assistant_rate=0.25)
    search.step(batch(2))
    rates = [group["lr"] for group in search.optimizer.param_groups]
    assert rates == [search.rate_at(2), 0.25 * search.rate_at(2)] and rates[0] > 0
    still = build(assistant_rate=0.0)
    before = [parameter.detach().clone() for parameter in still.parts[1].parameters()]
    still.step(batch(0))
    assert all(map(torch.equal, before, still.parts[1].parameters()))
    assert len(build("none").optimizer.param_groups) == 1


def test_weights_move_within_the_backward_pass() -> None:
    search = build()
    before = weights(search)
    search.scaler.step = lambda optimizer: None  # type: ignore[method-assign]
    search.step(batch(0))
    assert not torch.equal(before, weights(search))
    assert all(weight.grad is None for weight in search.parts.parameters())


def test_scaled_gradients_that_are_infinite_move_nothing() -> None:
    """In float16 the first scale may be too large: such a step is left out, and the next has a smaller one."""
    search = build(compute=replace(COMPUTE, dtype=torch.float16))
    search.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=1)
    before = weights(search)
    search.step(batch(0))
    assert torch.equal(before, weights(search)) and search.scaler.get_scale() == 2.0**119
    search.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**10)
    search.step(batch(0))
    assert not torch.equal(before, weights(search)) and weights(search).isfinite().all()


def test_a_gradient_that_is_no_number_ends_the_training() -> None:
    """The weights are lost by then, though the loss of this step is one."""
    search = build("none")
    search.supernet.get_parameter("head.conv.bias").register_hook(lambda gradient: gradient * torch.nan)
    with pytest.raises(UserError, match="the loss is nan"):
        search.step(batch(0))


def test_the_loss_falls() -> None:
    """At a rate for 60 steps of a head with two channels."""
    search = build(rate=5e-2)
    fixed = [batch(0).weight_batch] * 60
    search.total_steps = len(fixed)
    losses = [search.step(SearchBatch(step, one, None))["loss"] for step, one in enumerate(fixed)]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])


def test_annealing_is_linear_and_ends_without_the_hypernet() -> None:
    search = build()
    assert [search.annealing(step) for step in range(STEPS)] == pytest.approx([0, 0, 0, 1 / 3, 2 / 3, 1])
    assert {build(assistant).annealing(STEPS - 1) for assistant in ASSISTANTS[1:]} == {0.0}


@pytest.mark.parametrize("assistant", ASSISTANTS)
def test_weights_can_follow_while_the_hypernet_goes(assistant: Assistant) -> None:
    search = build(assistant, rate=1.0)
    search.total_steps = 1800
    rates = [search.rate_at(step) for step in range(1800)]  # the last 900 anneal
    assert rates[0] == 1.0 and rates[900] == pytest.approx(0.2)  # a warm-up of one step
    for phase in (rates[:900], rates[900:]):
        assert phase == sorted(phase, reverse=True) and phase[450] == pytest.approx(phase[0] / 2, rel=1e-2)
        assert phase[-1] < 1e-4 * phase[0]


def test_the_annealed_network_is_the_extracted_one() -> None:
    search = run(build())
    search.parts.eval()
    image = batch(7).weight_batch["image"]
    for architecture in list(SPACE.enumerate())[::200]:
        with torch.no_grad():
            expected = search.supernet.extract(architecture).eval()(image)
            torch.testing.assert_close(search.network(architecture)(image), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("assistant", "is_asked"), [("removed", False), ("kept", True), ("image_only", True)])
def test_who_keeps_the_hypernet_asks_it(assistant: Assistant, is_asked: bool) -> None:
    search = build(assistant)
    assert search.hypernet is not None
    image = batch(0).weight_batch["image"]
    before = outputs(search, image)
    with torch.no_grad():
        search.hypernet.hypernet[-1].bias += torch.linspace(-3, 3, search.supernet.num_channel_weights)
    assert (not torch.equal(before, outputs(search, image))) == is_asked


def test_only_the_sampled_architecture_learns() -> None:
    search = build("none")
    before = {name: value.clone() for name, value in search.supernet.named_parameters()}
    search.step(batch(0))
    changed = {name for name, value in search.supernet.named_parameters() if not torch.equal(value, before[name])}
    paths = {name for name in before if ".paths." in name}
    assert changed and paths - changed, "all paths learned from one architecture"


def test_an_assistant_needs_its_network() -> None:
    search = build("none")
    with pytest.raises(ValueError, match="does not go"):
        OneShot(
            search.supernet,
            None,
            loss=segmentation_loss(),
            config=OneShotConfig(),
            total_steps=1,
            seed=0,
            compute=COMPUTE,
        )
