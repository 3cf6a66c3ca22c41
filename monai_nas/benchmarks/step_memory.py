"""Memory of a search step per voxel and stem channel: what `plans/rules.py` budgets with.

`python -m monai_nas.benchmarks.step_memory --out FILE` on Linux; a fresh process for each number format.
"""

import argparse
import resource
from collections.abc import Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor, nn

from monai_nas.compute import choose_compute
from monai_nas.cost import network_cost
from monai_nas.files import write_json
from monai_nas.losses import segmentation_loss
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES
from monai_nas.strategies import STRATEGIES, BilevelConfig, SearchBatch
from monai_nas.supernets import CellUNetSupernet, Selection, sample_two_operations

SIZE, BATCH_SIZE, WIDTH = (40, 56, 40), 2, 32  # Task04
STRIDES = ((2, 2, 2),) * 3
CLASSES = 3
MEASURED_STEPS = 3


class DrawnNetwork(nn.Module):
    """A supernet with one selection."""

    def __init__(self, supernet: CellUNetSupernet, selection: Selection) -> None:
        super().__init__()
        self.supernet = supernet
        self.selection = selection

    def forward(self, image: Tensor) -> Tensor:
        return self.supernet(image, self.selection)


def estimates(bytes_per_value: int, num_draws: int, seed: int) -> list[float]:
    """Return the predicted peak of live tensors in steps of the alphas, the larger kind, in bytes a unit."""
    with torch.device("meta"):
        supernet = CellUNetSupernet(
            CellUNetSpace(), in_channels=1, out_channels=CLASSES, width=WIDTH, strides=STRIDES
        ).requires_grad_(False)
    shape = len(supernet.space.edges), len(supernet.space.operations)
    generator = torch.Generator().manual_seed(seed)
    kept = []
    for _ in range(num_draws):
        selection = {
            name: sample_two_operations(torch.zeros(shape), 1.0, generator).requires_grad_() for name in CELL_TYPES
        }
        costs = [
            network_cost(DrawnNetwork(supernet, selection), 1, SIZE, batch, bytes_per_value) for batch in (1, 2)
        ]  # the difference leaves out what does not grow with the batch
        kept.append((costs[1].memory_bytes - costs[0].memory_bytes) / (prod(SIZE) * WIDTH))
    return kept


def measured(low_precision: bool, seed: int) -> float:
    """Return by how much this process grew in whole search steps on the processor, in bytes a unit."""
    compute = choose_compute(low_precision, "cpu")
    strategy = STRATEGIES["scnas"](
        in_channels=1,
        out_channels=CLASSES,
        width=WIDTH,
        strides=STRIDES,
        loss=segmentation_loss(),
        search_steps=MEASURED_STEPS,
        total_steps=MEASURED_STEPS,
        config=BilevelConfig(warmup_share=0.0),
        seed=seed,
        compute=compute,
    )
    batch = {
        "image": torch.randn(BATCH_SIZE, 1, *SIZE),
        "label": torch.randint(0, CLASSES, (BATCH_SIZE, 1, *SIZE)),
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for step in range(MEASURED_STEPS):
        strategy.step(SearchBatch(step, batch, batch))
    grown_bytes = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    return grown_bytes / (prod(SIZE) * BATCH_SIZE * WIDTH)


def main(arguments: Sequence[str] | None = None) -> None:
    """Estimate, measure, and write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="JSON file to write")
    parser.add_argument("--draws", type=int, default=8, help="selections to estimate (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of draws and weights (%(default)s)")
    parser.add_argument("--bfloat16", action="store_true", help="16-bit feature maps, where the processor has them")
    options = parser.parse_args(arguments)
    grown = measured(options.bfloat16, options.seed)
    kept = estimates(2 if options.bfloat16 else 4, options.draws, options.seed)
    write_json(
        options.out,
        {
            "unit": "bytes per patch voxel, sample and stem channel",
            "dtype": "16 bits" if options.bfloat16 else "float32",
            "size": SIZE,
            "batch_size": BATCH_SIZE,
            "width": WIDTH,
            "seed": options.seed,
            "draws": options.draws,
            "estimated_mean": sum(kept) / len(kept),
            "estimated_max": max(kept),
            "measured_growth_of_process": grown,
            "measured_steps": MEASURED_STEPS,
        },
    )


if __name__ == "__main__":
    main()
