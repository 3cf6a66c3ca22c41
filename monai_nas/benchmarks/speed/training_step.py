"""A training step of a network: ours beside plain float32, the step's own convolutions alone, and peers' networks."""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
from itertools import islice, repeat
from typing import Any

import torch
from monai.losses import DiceCELoss
from monai.networks.nets import DynUNet, SegResNet
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, plain_compute, silent
from monai_nas.benchmarks.speed.convolutions import ConvolutionCalls
from monai_nas.benchmarks.speed.nnunet import PEER, left_out, nnunet_network, nnunet_steps, title
from monai_nas.benchmarks.speed.plain_network import plain_network
from monai_nas.compute import Compute, choose_compute
from monai_nas.cost import count_flops
from monai_nas.losses import segmentation_loss
from monai_nas.networks import build_network
from monai_nas.networks.dynunet import monai_dynunet
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan
from monai_nas.training import Learners, TrainerConfig, make_trainer

DYNUNET_WIDTHS = range(4, 129, 4)
SEGRESNET_GROUPS = 4  # of channels in its norms; MONAI's default of 8 leaves no width near ours
SEGRESNET_WIDTHS = range(4, 129, SEGRESNET_GROUPS)
SEGRESNET_BLOCKS = 1, 2, 2, 4  # a level, MONAI's default


def training_step_contest(
    architecture: Architecture,
    plan: Plan,
    *,
    repetitions: int,
    steps: int,
    seed: int,
    device: str | None = None,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Time steps of training on one batch of noise that is there already: forward, loss, backward, clipping, Adam.

    Contenders: "ours", as `monai-nas train` does it; "float32", the same network in float32 and torch's default
    layout; "plain", the same in torch's own layers, one for each operation of the papers, as eager torch runs them;
    "convolutions", those of ours and nothing else; "dynunet" and "segresnet", MONAI's networks of similar FLOPs in a
    plain loop, with autocast as ours; "dynunet_float32", without; "nnunet", nnU-Net's trainer with the network that
    its rules choose, of more FLOPs.

    Args:
        architecture: of the network.
        plan: gives patch, batch and channels.
        repetitions: how often each does its steps.
        steps: of each piece of work.
        seed: of weights and batch.
        device: as of :func:`~monai_nas.compute.choose_compute`.
        tick: called with the share that is done.

    Returns:
        The record of :func:`~monai_nas.benchmarks.speed.contest.contest`, with "flops" of a forward pass over the batch
        ("ours", "dynunet", "segresnet", "nnunet"), "share_of_convolutions", their time over that of our step, and
        "left_out", who is not installed.
    """
    compute = choose_compute(True, device)
    plain = plain_compute(device)
    torch.manual_seed(seed)
    batch = noise(plan, seed)

    def network() -> nn.Module:
        return build_network(architecture, **network_arguments(plan))

    def flops_of(module: nn.Module) -> int:
        return count_flops(module, plan.task.in_channels, plan.patch_size, plan.batch_size)

    flops = {OURS: flops_of(network())}

    def peer(build: Callable[[int, Plan], nn.Module], widths: Sequence[int]) -> Callable[[], nn.Module]:
        """Return what builds MONAI's network of about our FLOPs."""
        width = width_of(flops[OURS], widths, lambda width: flops_of(build(width, plan)))
        return partial(build, width, plan)

    near_dynunet, near_segresnet = peer(dynunet, DYNUNET_WIDTHS), peer(segresnet, SEGRESNET_WIDTHS)
    flops |= {"dynunet": flops_of(near_dynunet()), "segresnet": flops_of(near_segresnet())}
    with ConvolutionCalls() as convolutions:
        own_steps(network(), batch, compute, 1)()
    alone = convolutions.again()
    contenders = [
        Contender(OURS, own_steps(network(), batch, compute, steps), f"{compute.dtype}, channels-last"),
        Contender("float32", own_steps(network(), batch, plain, steps), "the same network, float32, default layout"),
        Contender(
            "plain", plain_steps(plain_network(network()), batch, plain, steps), "the same in torch's layers, float32"
        ),
        Contender("convolutions", lambda: [alone() for _ in range(steps)], "those of ours alone, forward and backward"),
        Contender("dynunet", plain_steps(near_dynunet(), batch, compute, steps), f"MONAI's DynUNet, {compute.dtype}"),
        Contender("dynunet_float32", plain_steps(near_dynunet(), batch, plain, steps), "MONAI's DynUNet, float32"),
        Contender(
            "segresnet", plain_steps(near_segresnet(), batch, compute, steps), f"MONAI's SegResNet, {compute.dtype}"
        ),
    ]
    absent = left_out()
    if not absent:
        flops[PEER] = flops_of(nnunet_network(plan))
        contenders.append(
            Contender(PEER, nnunet_steps(plan, batch, steps, compute.device), f"{title()}'s trainer and network")
        )
    record = contest(contenders, repetitions=repetitions, tick=tick)
    medians = {name: result["median_seconds"] for name, result in record["contenders"].items()}
    return record | {
        "steps": steps,
        "patch_size": list(plan.patch_size),
        "batch_size": plan.batch_size,
        "flops": flops,
        "share_of_convolutions": medians["convolutions"] / medians[OURS],
        "left_out": absent,
    }


def noise(plan: Plan, seed: int) -> dict[str, Tensor]:
    """Return a batch as the data loader makes it: image (B, C, *S) float32 and label (B, 1, *S) uint8."""
    generator = torch.Generator().manual_seed(seed)
    size = (plan.batch_size, 1, *plan.patch_size)
    return {
        "image": torch.randn(plan.batch_size, plan.task.in_channels, *plan.patch_size, generator=generator),
        "label": torch.randint(0, plan.task.num_classes, size, generator=generator, dtype=torch.uint8),
    }


def own_steps(network: nn.Module, batch: dict[str, Tensor], compute: Compute, steps: int) -> Callable[[], object]:
    """Return what runs ``steps`` updates of our trainer on one batch."""
    return own_updates(network, repeat(batch), batch["image"].ndim - 2, compute, steps)


def own_updates(
    network: nn.Module, batches: Iterator[dict[str, Tensor]], spatial_dims: int, compute: Compute, steps: int
) -> Callable[[], object]:
    """Return what runs the next ``steps`` updates of our trainer."""
    config = TrainerConfig()
    learners = Learners(compute.place(network, spatial_dims), config, compute)

    def run() -> None:
        make_trainer(
            learners,
            islice(batches, steps),
            loss=segmentation_loss(),
            config=config,
            num_epochs=1,
            epoch_length=steps,
            compute=compute,
        ).run()

    return run


def plain_steps(network: nn.Module, batch: dict[str, Tensor], compute: Compute, steps: int) -> Callable[[], object]:
    """Return what runs ``steps`` updates on one batch as anybody would write them."""
    return plain_updates(network, repeat(batch), batch["image"].ndim - 2, compute, steps)


def plain_updates(
    network: nn.Module, batches: Iterator[Mapping[str, Tensor]], spatial_dims: int, compute: Compute, steps: int
) -> Callable[[], object]:
    """Return what runs the next ``steps`` updates as anybody would write them."""
    network = compute.place(network, spatial_dims).train()
    optimizer, loss = torch.optim.Adam(network.parameters(), lr=TrainerConfig.rate), loss_of_monai()

    def run() -> None:
        for batch in islice(batches, steps):
            plain_update(network, optimizer, loss, batch, compute)

    return run


def loss_of_monai() -> DiceCELoss:
    """Return :func:`monai_nas.losses.segmentation_loss` as MONAI computes it: from one-hot labels, by two softmaxes."""
    return DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)


def plain_update(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: nn.Module,
    batch: Mapping[str, Tensor],
    compute: Compute,
) -> float:
    """Update the weights on a batch of "image" (B, C, *S) and "label" (B, 1, *S); return the loss."""
    optimizer.zero_grad()
    with compute.autocast():
        logits = network(compute.place(batch["image"]))
    value = loss(logits.float(), batch["label"].to(compute.device))
    value.backward()
    optimizer.step()
    return float(value.detach())  # which waits for a GPU


def dynunet(width: int, plan: Plan) -> DynUNet:
    """Return MONAI's DynUNet, with its own norms, with the plan's levels and ``width`` channels on the first."""
    return monai_dynunet(
        in_channels=plan.task.in_channels, out_channels=plan.task.num_classes, width=width, strides=plan.strides
    )


def segresnet(width: int, plan: Plan) -> SegResNet:
    """Return MONAI's SegResNet with the plan's levels, or as many as it can halve all axes; ``width`` first channels.

    The plan may leave axes of few voxels as they are; SegResNet never does.
    """
    levels = max(level for level in range(len(plan.strides) + 1) if not any(n % 2**level for n in plan.patch_size))
    return SegResNet(
        init_filters=width,
        norm=("GROUP", {"num_groups": SEGRESNET_GROUPS}),
        in_channels=plan.task.in_channels,
        out_channels=plan.task.num_classes,
        blocks_down=(SEGRESNET_BLOCKS + SEGRESNET_BLOCKS[-1:] * levels)[: levels + 1],
        blocks_up=(1,) * levels,
    )


def width_of(flops: int, widths: Sequence[int], flops_at: Callable[[int], int]) -> int:
    """Return the width whose network has nearly so many FLOPs, which grow with the width."""
    flops_at = cache(flops_at)
    at = bisect_left(widths, flops, key=flops_at)
    return min(widths[max(0, at - 1) : at + 1], key=lambda width: abs(flops_at(width) - flops))
