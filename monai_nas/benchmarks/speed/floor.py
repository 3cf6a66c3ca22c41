"""The floor under a training step: what its FLOPs and bytes alone would take at the rates that this machine reaches."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.speed.contest import OURS, Contender, Tick, contest, silent
from monai_nas.benchmarks.speed.convolutions import ConvolutionCalls
from monai_nas.benchmarks.speed.training_step import noise, own_steps
from monai_nas.compute import choose_compute
from monai_nas.networks import build_network
from monai_nas.pipelines.run_folder import network_arguments
from monai_nas.plans.plan import Plan

NOT_READ = "copy_", "zero_", "fill_"  # operators that only write to their first argument


class OperatorBytes(TorchDispatchMode):
    """Counts what operators read and write while it is entered: the bytes of their arguments and of their results.

    Each operator counts by itself, as eager torch runs it, whether a cache holds the values or not; views count
    nothing, nor does memory that is taken and left unwritten. An expanded tensor counts by the bytes that it has.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result, name = func(*args, **(kwargs or {})), func.overloadpacket.__name__
        if not (func.is_view or name == "_unsafe_view" or "empty" in name):
            written = {argument.name for argument in func._schema.arguments if argument.is_out}  # they are the result
            read = [value for key, value in (kwargs or {}).items() if key not in written]
            read += args[1:] if name in NOT_READ else args
            self.total += sum(_bytes(leaf) for leaf in tree_leaves((read, result)))
        return result


def floor_contest(
    architecture: Architecture,
    plan: Plan,
    *,
    repetitions: int,
    size: int,
    copied: int,
    seed: int,
    device: str | None = None,
    tick: Tick = silent,
) -> dict[str, Any]:
    """Time a training step beside what the machine can do at best, in turn.

    Contenders: "ours", one step of our trainer; "convolutions", those of it alone; "product", a product of square
    matrices in the step's number format; "product_float32", in float32; "copy", of one block of memory to another.

    Args:
        architecture: of the network.
        plan: gives patch, batch and channels.
        repetitions: how often each does its work.
        size: rows and columns of the matrices.
        copied: bytes of the block, more than any cache holds.
        seed: of weights, batch and matrices.
        device: as of :func:`~monai_nas.compute.choose_compute`.
        tick: called with the share that is done.

    Returns:
        The record of :func:`~monai_nas.benchmarks.speed.contest.contest`, with "step": "flops" of its convolutions,
        forward and backward, two for a multiplication with its addition, and "bytes" of :class:`OperatorBytes`;
        "rates": FLOPs a second of "product", "product_float32", "convolutions" and "step", bytes a second of "copy",
        which reads and writes; "floor": the seconds that the step's "flops" would need at the rate of "product" and its
        "bytes" at that of "copy", and the "share" of the step that the longer of the two is.
    """
    compute = choose_compute(True, device)
    torch.manual_seed(seed)
    batch = noise(plan, seed)
    step = own_steps(build_network(architecture, **network_arguments(plan)), batch, compute, 1)
    with ConvolutionCalls() as convolutions:
        step()
    with OperatorBytes() as moved:
        step()
    source = torch.zeros(copied, dtype=torch.uint8, device=compute.device)
    target = torch.zeros_like(source)

    def product(dtype: torch.dtype) -> Callable[[], object]:
        left, right = (torch.randn(size, size, device=compute.device).to(dtype) for _ in range(2))
        return lambda: left @ right

    record = contest(
        [
            Contender(OURS, step, f"a step of training, {compute.dtype}"),
            Contender("convolutions", convolutions.again(), "those of the step alone, forward and backward"),
            Contender("product", product(compute.dtype), f"{size}x{size} matrices, {compute.dtype}"),
            Contender("product_float32", product(torch.float32), f"{size}x{size} matrices, torch.float32"),
            Contender("copy", lambda: target.copy_(source), f"{copied} bytes"),
        ],
        repetitions=repetitions,
        tick=tick,
    )
    seconds = {name: result["median_seconds"] for name, result in record["contenders"].items()}
    flops = convolutions.flops()
    rates = {name: 2 * size**3 / seconds[name] for name in ("product", "product_float32")}
    rates |= {"convolutions": flops / seconds["convolutions"], "step": flops / seconds[OURS]}
    rates["copy"] = 2 * copied / seconds["copy"]
    floor = {"flops": flops / rates["product"], "bytes": moved.total / rates["copy"]}
    return record | {
        "step": {"flops": flops, "bytes": moved.total},
        "rates": rates,
        "floor": floor | {"share": max(floor.values()) / seconds[OURS]},
    }


def _bytes(leaf: Any) -> int:
    if not isinstance(leaf, Tensor):
        return 0
    return min(leaf.numel() * leaf.element_size(), leaf.untyped_storage().nbytes())
