"""Training steps of a tiny network: rates, formats, and what stops them."""

import math

import pytest
import torch
from ignite.engine import Events
from monai.engines.trainer import SupervisedTrainer
from monai.inferers.inferer import SimpleInferer
from torch import Tensor, nn

from monai_nas.compute import Compute
from monai_nas.errors import UserError
from monai_nas.losses import SoftLabelLoss, segmentation_loss
from monai_nas.training import Learners, TrainerConfig, make_trainer, mean_dice
from monai_nas.training.trainer import rate_at

COMPUTE = Compute(torch.device("cpu"), torch.float32, channels_last=True, workers=0)


def batch(seed: int) -> dict[str, Tensor]:
    image = torch.randn(2, 1, 6, 6, 6, generator=torch.Generator().manual_seed(seed))
    return {"image": image, "label": (image > 0).to(torch.uint8)}


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv3d(1, 4, 1), nn.LeakyReLU(), nn.Conv3d(4, 2, 1))


def build(
    model: nn.Module, batches: list[dict[str, Tensor]], config: TrainerConfig, compute: Compute = COMPUTE
) -> SupervisedTrainer:
    """Return a trainer of one epoch over the batches."""
    learners = Learners(compute.place(model), config, compute)
    return make_trainer(
        learners,
        batches,
        loss=segmentation_loss(),
        config=config,
        num_epochs=1,
        epoch_length=len(batches),
        compute=compute,
    )


def test_rate_warms_up_and_ends_at_zero() -> None:
    config = TrainerConfig(rate=1.0, warmup_steps=4)
    rates = [rate_at(step, 24, config) for step in range(25)]
    assert rates[:5] == pytest.approx([0.25, 0.5, 0.75, 1.0, 1.0])
    assert rates[14] == pytest.approx(0.5) and rates[24] == pytest.approx(0.0, abs=1e-12)
    assert rates[4:] == sorted(rates[4:], reverse=True)


def test_a_run_shorter_than_the_warm_up_has_finite_rates() -> None:
    config = TrainerConfig(warmup_steps=20)
    assert all(0 < rate_at(step, 3, config) <= config.rate for step in range(3))


def test_training_lowers_the_loss_and_follows_the_rates() -> None:
    model, losses, rates = network(), [], []
    config = TrainerConfig(rate=0.05, warmup_steps=2)
    trainer = build(model, [batch(step) for step in range(30)], config)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: losses.append(trainer.state.output["loss"]))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    trainer.run()
    assert len(losses) == 30 and all(isinstance(loss, float) for loss in losses)
    assert sum(losses[-5:]) < 0.5 * sum(losses[:5])
    assert rates == pytest.approx([rate_at(step, 30, config) for step in range(30)])


def test_without_a_cosine_the_rate_falls_when_the_loss_stalls() -> None:
    config = TrainerConfig(rate=0.5, warmup_steps=0, falls_on_cosine=False, plateau_epochs=2, plateau_factor=0.1)
    model, rates = network(), []
    trainer = build(model, [batch(step) for step in range(3)], config)
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: rates.append(trainer.optimizer.param_groups[0]["lr"]))
    trainer.run()
    assert rates == [0.5] * 3
    learners = Learners(model, config, COMPUTE)
    assert [learners.end_epoch(1.0)["rate"] for _ in range(5)] == pytest.approx([0.5, 0.5, 0.5, 0.05, 0.05])
    continued = Learners(model, config, COMPUTE)
    continued.load_state_dict(learners.state_dict())
    assert [continued.end_epoch(1.0)["rate"] for _ in range(2)] == pytest.approx([0.05, 0.005])


def test_a_cosine_is_recorded_as_it_is_though_the_loss_stalls() -> None:
    learners = Learners(network(), TrainerConfig(rate=0.5, plateau_epochs=2), COMPUTE)
    assert [learners.end_epoch(1.0)["rate"] for _ in range(9)] == [0.5] * 9


def test_learners_continue_where_they_were() -> None:
    config = TrainerConfig()
    whole, broken = Learners(network(), config, COMPUTE), Learners(network(), config, COMPUTE)
    one = {"loss": segmentation_loss(), "config": config, "num_epochs": 1, "epoch_length": 1, "compute": COMPUTE}
    for learners in (whole, broken):
        make_trainer(learners, [batch(0)], **one).run()
    resumed = Learners(nn.Sequential(nn.Conv3d(1, 4, 1), nn.LeakyReLU(), nn.Conv3d(4, 2, 1)), config, COMPUTE)
    resumed.load_state_dict(broken.state_dict())
    for learners in (whole, resumed):
        make_trainer(learners, [batch(1)], **one).run()
    for mine, theirs in zip(resumed.network.parameters(), whole.network.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_gradients_are_clipped() -> None:
    model = network()
    config = TrainerConfig(max_gradient_norm=1e-3)
    build(model, [batch(0)], config).run()
    norm = math.sqrt(sum(float(p.grad.square().sum()) for p in model.parameters() if p.grad is not None))
    assert norm == pytest.approx(1e-3, rel=1e-3)


def test_a_loss_that_is_not_finite_stops_with_advice() -> None:
    broken = batch(0)
    broken["image"][0, 0, 0, 0, 0] = float("inf")
    with pytest.raises(UserError, match="the loss is nan"):
        build(network(), [broken], TrainerConfig()).run()


def test_16_and_32_bits_give_nearly_the_same_loss() -> None:
    """AMP changes the number format and nothing else of the expression."""
    losses = []
    for dtype in (torch.float32, torch.bfloat16):
        compute = Compute(torch.device("cpu"), dtype, channels_last=True, workers=0)
        trainer = build(network(), [batch(0)], TrainerConfig(), compute)
        trainer.run()
        losses.append(trainer.state.output["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.01) and losses[0] != losses[1]


def test_mean_dice_of_known_predictions() -> None:
    label = torch.zeros(1, 4, 4, 4)
    label[:, :2], label[:, 2:, :2] = 1, 2
    perfect = nn.functional.one_hot(label[0].long(), 3).movedim(-1, 0).float()
    wrong = perfect.clone()
    wrong[0] += 2 * perfect[2]  # class 2 is called background: its Dice is 0
    items = [{"image": perfect, "label": label}, {"image": wrong, "label": label}]
    score = mean_dice(nn.Identity(), items, num_classes=3, inferer=SimpleInferer(), compute=COMPUTE)
    assert score == pytest.approx((1 + 1 + 1 + 0) / 4)


def test_a_teacher_speaks_instead_of_the_labels() -> None:
    teacher, learnt = network().requires_grad_(False), []
    with torch.no_grad():
        for weights in teacher.parameters():
            weights.mul_(3.0)
    before = [weights.clone() for weights in teacher.parameters()]
    batches = [batch(step) for step in range(40)]
    for labels in (0, 1):
        model, losses = network(), []
        for one in batches:
            one["label"] = torch.full_like(one["label"], labels)
        config = TrainerConfig(rate=0.05, warmup_steps=2)
        trainer = make_trainer(
            Learners(model, config, COMPUTE),
            batches,
            loss=SoftLabelLoss(),
            config=config,
            num_epochs=1,
            epoch_length=len(batches),
            compute=COMPUTE,
            teacher=teacher,
        )
        trainer.add_event_handler(
            Events.ITERATION_COMPLETED,
            lambda engine, losses=losses: losses.append(engine.state.output["loss"]),
        )
        trainer.run()
        learnt.append((losses, model(batches[0]["image"]).softmax(1)))
    assert learnt[0][0] == learnt[1][0]
    assert all(torch.equal(now, then) for now, then in zip(teacher.parameters(), before, strict=True))
    wanted = teacher(batches[0]["image"]).softmax(1)
    apart, at_first = (learnt[0][1] - wanted).abs().mean(), (network()(batches[0]["image"]).softmax(1) - wanted).abs()
    assert apart < 0.2 * at_first.mean()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_teacher_speaks_in_16_bits_too(dtype: torch.dtype) -> None:
    compute, config = Compute(torch.device("cpu"), dtype, channels_last=True, workers=0), TrainerConfig()
    values = []
    for number_format in (compute, COMPUTE):
        teacher = network().requires_grad_(False)
        with torch.no_grad():
            teacher[0].weight.mul_(3.0)
        trainer = make_trainer(
            Learners(number_format.place(network()), config, number_format),
            [batch(0)],
            loss=SoftLabelLoss(),
            config=config,
            num_epochs=1,
            epoch_length=1,
            compute=number_format,
            teacher=number_format.place(teacher),
        )
        trainer.run()
        values.append(trainer.state.output["loss"])
    assert values[0] == pytest.approx(values[1], rel=0.02) and values[0] != values[1]
