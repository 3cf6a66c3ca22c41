"""Predicted memory against closed forms and against trainings that run; live bytes by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from monai.losses import DiceCELoss
from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.benchmarks.step_memory import DrawnNetwork
from monai_nas.compute import Compute
from monai_nas.cost import Calibration, LiveBytes, inference_memory, memory_text, training_memory
from monai_nas.errors import UserError
from monai_nas.files import write_json
from monai_nas.losses import segmentation_loss
from monai_nas.networks import build_network
from monai_nas.pipelines.one_shot_preset import grid_plan
from monai_nas.plans.published import committed_plan
from monai_nas.spaces import CellUNetSpace, DintsSpace, TopologySpace
from monai_nas.spaces.cell_unet import CELL_TYPES
from monai_nas.supernets import CellUNetSupernet, sample_two_operations
from monai_nas.training import Learners, TrainerConfig, make_trainer

SIZE = (12, 8, 16)  # 3 voxels of the first axis at the coarsest level: docs/decisions/0004
VOXELS = 2 * 12 * 8 * 16  # of a batch of two
STRIDES = [[2, 2, 2], [2, 2, 2]]


def compute_in(dtype: torch.dtype, device: str = "cpu", channels_last: bool = True) -> Compute:
    return Compute(torch.device(device), dtype, channels_last=channels_last, workers=0)


def summed(logits: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    return logits.sum()


def test_live_bytes_by_hand() -> None:
    old = torch.zeros(25)  # 100 bytes
    with LiveBytes("cpu") as live:
        first = torch.zeros(10, dtype=torch.float64)
        assert (live.now, live.peak) == (80, 80)
        view, same = first[2:], first.reshape(2, 5).t()
        first.add_(1.0)
        assert live.now == 80  # views and what is done in place take nothing
        live.add(old)
        live.add(old)
        assert live.now == 180
        del first, view
        assert live.now == 180  # one view is left
        del same
        assert live.now == 100
        parts = torch.ones(8).split(4)  # the parts are views
        assert live.now == 132
        parts[0].resize_(4)
        assert live.now == 132
        torch.ones(4).resize_(16)
        assert (live.now, live.peak) == (132, 196)
    del old
    assert live.now == 32
    torch.ones(4)  # nobody looks any more
    assert (live.now, live.peak) == (32, 196)


def test_live_bytes_of_what_autograd_keeps() -> None:
    weight = torch.ones(100, requires_grad=True)
    with LiveBytes("cpu") as live:
        value = (weight.exp() * 2.0).exp().sum()
        assert live.now == 2 * 400 + 4  # both exponentials, which no name holds; the product is gone
        value.backward()
        assert live.now == 400 + 4  # the gradient and the value
    assert live.peak == 3 * 400 + 4 + 4  # the second exponential times its gradient, with the value and its own


def test_live_bytes_in_units_of_the_allocator_of_a_gpu() -> None:
    with LiveBytes("cpu", allocator="cuda") as live:
        one, many = torch.zeros(1), torch.zeros(129)  # 4 and 516 bytes
        assert live.now == 512 + 1024
        del one, many
    assert live.now == 0
    with LiveBytes("cuda") as live:
        torch.zeros(100)
    assert live.peak == 0  # on another device


def test_training_of_one_convolution_by_hand() -> None:
    """In float32: image, label, logits, the loss; weights, gradients, two moments, Adam's counter, the norm.

    The update is the peak, as the weights are few and autograd keeps nothing but the image.
    """
    network = nn.Conv3d(2, 4, 1, bias=False)
    weights = 4 * (4 * 2)
    expected = VOXELS * (2 * 4 + 1 + 4 * 4) + 4 + 4 * weights + 4 + 4
    compute = compute_in(torch.float32, channels_last=False)
    assert training_memory(network, 2, SIZE, 2, compute=compute, loss=summed) == expected
    # channels-last the two channels of the image are copied
    image = VOXELS * 2 * 4
    assert training_memory(network, 2, SIZE, 2, compute=compute_in(torch.float32), loss=summed) == expected + image


class HalfUsed(nn.Module):
    """One convolution that the output depends on, and one that it does not."""

    def __init__(self) -> None:
        super().__init__()
        self.used, self.unused = nn.Conv3d(1, 3, 1), nn.Conv3d(1, 3, 9)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.used(image)


def test_weights_without_gradients_have_no_moments() -> None:
    compute = compute_in(torch.float32)
    predicted = training_memory(HalfUsed(), 1, SIZE, 2, compute=compute)
    assert predicted == measured_training(compute.place(HalfUsed()), 1, SIZE, compute)


def test_training_of_frozen_weights_by_hand() -> None:
    """They have neither gradients nor moments, but the gradient of the map before them is the peak."""
    first, second = nn.Conv3d(1, 4, 1, bias=False), nn.Conv3d(4, 4, 1, bias=False).requires_grad_(False)
    expected = VOXELS * (4 + 1)  # image and label
    expected += 3 * VOXELS * 4 * 4  # output of the first, logits, gradient of the former
    expected += 3 * 4 * 4 + 4 * 4 * 4  # weights and moments of the first, weights of the second
    expected += 4 + 4 + 4  # the loss, its gradient, Adam's counter
    compute = compute_in(torch.float32, channels_last=False)
    assert training_memory(nn.Sequential(first, second), 1, SIZE, 2, compute=compute, loss=summed) == expected


def test_inference_with_one_convolution_by_hand() -> None:
    network = nn.Conv3d(2, 4, 1, bias=False).train()
    weights, voxels = 4 * (4 * 2), VOXELS
    single = inference_memory(network, 2, SIZE, 2, compute=compute_in(torch.float32, channels_last=False))
    assert single == weights + voxels * (2 * 4 + 4 * 4)
    # in 16 bits logits exist twice at the end, in 2 and 4 bytes, when the casts of image and weights are gone
    half = inference_memory(network, 2, SIZE, 2, compute=compute_in(torch.bfloat16, channels_last=False))
    assert half == weights + voxels * (2 * 4 + 4 * 2 + 4 * 4)
    assert network.training and next(network.parameters()).grad is None


def network_of(architecture: Architecture, in_channels: int, dims: int = 3) -> nn.Module:
    torch.manual_seed(0)
    strides = [stride[:dims] for stride in STRIDES]
    arguments: dict[str, Any] = {"in_channels": in_channels, "out_channels": 3, "width": 4, "spatial_dims": dims}
    return build_network(architecture, **arguments, strides=strides)


def measured_training(network: nn.Module, in_channels: int, size: tuple[int, ...], compute: Compute) -> int:
    """Return the peak of live bytes in two steps of the trainer."""
    config = TrainerConfig()
    with LiveBytes("cpu") as live:
        for tensor in network.parameters():
            live.add(tensor)
        batch = {
            "image": torch.randn(2, in_channels, *size),
            "label": torch.randint(0, 3, (2, 1, *size), dtype=torch.uint8),
        }
        learners = Learners(network, config, compute)
        arguments: dict[str, Any] = {"loss": segmentation_loss(), "config": config, "compute": compute}
        make_trainer(learners, [batch, batch], **arguments, num_epochs=1, epoch_length=2).run()
    return live.peak


ARCHITECTURES = [CellUNetSpace(num_nodes=2).sample(np.random.default_rng(seed)) for seed in (0, 1)]
ARCHITECTURES.append(Architecture.create("res_unet", {}, {}))


GRID_STRIDES = grid_plan(committed_plan("Task04_Hippocampus")).strides
GRID_SIZE = (48, 16, 32)  # 3 voxels of the first axis at the coarsest level
SPACES = (TopologySpace(num_blocks=3), DintsSpace(num_blocks=3))
GRIDS = [space.sample(np.random.default_rng(seed)) for space in SPACES for seed in (0, 1)]


@pytest.mark.parametrize("architecture", GRIDS, ids=["topology_0", "topology_1", "dints_0", "dints_1"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_predicted_training_of_grids_is_the_measured(architecture: Architecture, dtype: torch.dtype) -> None:
    """Exact in 16 bits, too, without batch norms; with the strides of the grid that Task04 is searched on."""
    compute = compute_in(dtype)
    torch.manual_seed(0)
    strides = [list(stride) for stride in GRID_STRIDES]
    network = compute.place(build_network(architecture, in_channels=1, out_channels=3, width=4, strides=strides))
    predicted = training_memory(network, 1, GRID_SIZE, 2, compute=compute)
    assert predicted == measured_training(network, 1, GRID_SIZE, compute)


@pytest.mark.parametrize("architecture", ARCHITECTURES, ids=["random_0", "random_1", "res_unet"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_predicted_training_is_the_measured(architecture: Architecture, dtype: torch.dtype) -> None:
    """Exact in float32; in 16 bits real batch norms keep their statistics in another number format than fake ones."""
    compute = compute_in(dtype)
    network = compute.place(network_of(architecture, 2))
    predicted = training_memory(network, 2, SIZE, 2, compute=compute)
    real = measured_training(network, 2, SIZE, compute)
    assert predicted == pytest.approx(real, rel=0.0 if dtype == torch.float32 else 0.005)


def test_predicted_training_in_two_dimensions_is_the_measured() -> None:
    compute = compute_in(torch.float32)
    network = compute.place(network_of(ARCHITECTURES[0], 1, dims=2), 2)
    predicted = training_memory(network, 1, (16, 24), 2, compute=compute)
    assert predicted == measured_training(network, 1, (16, 24), compute)


def test_code_may_read_tables_that_are_real() -> None:
    """A supernet reads which operations are drawn."""
    space = CellUNetSpace(num_nodes=2)
    supernet = CellUNetSupernet(space, in_channels=1, out_channels=3, width=4, strides=STRIDES)
    generator = torch.Generator().manual_seed(0)
    logits = torch.zeros(len(space.edges), len(space.operations))
    drawn = DrawnNetwork(supernet, {name: sample_two_operations(logits, 1.0, generator) for name in CELL_TYPES})
    compute = compute_in(torch.float32)
    predicted = training_memory(compute.place(drawn), 1, SIZE, 2, compute=compute)
    assert predicted == measured_training(drawn, 1, SIZE, compute)


def test_training_of_large_weights_counts_the_update() -> None:
    """Where weights outweigh features the peak is within Adam, after the backward pass."""
    compute = compute_in(torch.float32)
    network = compute.place(nn.Sequential(nn.Conv3d(1, 64, 3, padding=1), nn.Conv3d(64, 3, 3, padding=1)))
    size = (4, 4, 4)
    predicted = training_memory(network, 1, size, 2, compute=compute)
    assert predicted == measured_training(network, 1, size, compute)
    weights = 4 * sum(parameter.numel() for parameter in network.parameters())
    assert predicted > 5 * weights


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_predicted_inference_is_the_measured(dtype: torch.dtype) -> None:
    compute = compute_in(dtype)
    network = compute.place(network_of(ARCHITECTURES[0], 2)).eval()
    predicted = inference_memory(network, 2, SIZE, 3, compute=compute)
    with LiveBytes("cpu") as live, torch.no_grad():
        for tensor in network.parameters():
            live.add(tensor)
        image = compute.place(torch.randn(3, 2, *SIZE))
        with compute.autocast():
            logits = network(image)
        logits.float()
    assert predicted == pytest.approx(live.peak, rel=0.005)
    assert predicted < training_memory(network, 2, SIZE, 3, compute=compute) / 2


def test_default_loss_is_that_of_trainings() -> None:
    network = network_of(ARCHITECTURES[0], 1)
    compute = compute_in(torch.float32)
    default = training_memory(network, 1, SIZE, compute=compute)
    assert default == training_memory(network, 1, SIZE, compute=compute, loss=segmentation_loss())
    assert default > training_memory(network, 1, SIZE, compute=compute, loss=summed)


def test_a_loss_of_monai_can_be_predicted_and_takes_more() -> None:
    head, compute = nn.Conv3d(1, 3, 1), compute_in(torch.float32)
    monai = DiceCELoss(include_background=False, to_onehot_y=True, softmax=True, batch=True)
    predicted = training_memory(head, 1, SIZE, 2, compute=compute, loss=monai)
    assert predicted > training_memory(head, 1, SIZE, 2, compute=compute)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_a_gpu_that_is_not_there(dtype: torch.dtype) -> None:
    network = network_of(ARCHITECTURES[0], 1)
    expected = training_memory(network, 1, SIZE, 2, compute=compute_in(dtype, "cuda"))
    processor = training_memory(network, 1, SIZE, 2, compute=compute_in(dtype))
    assert expected % 512 == 0
    assert expected == pytest.approx(processor, rel=0.5) and not torch.is_autocast_enabled("cuda")
    assert inference_memory(network, 1, SIZE, 2, compute=compute_in(dtype, "cuda")) < expected


def test_promises_name_patch_batch_and_precision_and_estimates_say_so(tmp_path: Path) -> None:
    where: dict[str, Any] = {"size": (96, 64, 32), "batch_size": 2}
    bfloat16, gpu = compute_in(torch.bfloat16), compute_in(torch.float16, "cuda")
    assert memory_text(2**31, **where, compute=bfloat16) == "2 GB of tensors (patch 96x64x32, batch 2, bfloat16, cpu)"
    estimate = memory_text(2**31, **where, compute=gpu)
    assert estimate.startswith("estimate: 2 GB of tensors (patch 96x64x32, batch 2, float16, cuda); not measured")
    file = tmp_path / "memory.json"
    write_json(file, {"calibration": {"device": "cuda", "dtype": "float16", "scratch_share": 0.25}})
    calibration = Calibration.load(file)
    assert calibration.taken(1000) == 1250
    text = memory_text(2**31, **where, compute=gpu, calibration=calibration)
    assert "estimate" not in text and "float16" in text and text.endswith("about 2.5 GB with scratch memory")
    with pytest.raises(UserError, match="of cuda in float16, needed is cpu in bfloat16"):
        memory_text(2**31, **where, compute=bfloat16, calibration=calibration)


@pytest.mark.parametrize("record", [{}, {"calibration": {"device": "cpu"}}, [1], {"calibration": None}])
def test_a_file_without_calibration_is_refused(record: Any, tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", record)
    with pytest.raises(UserError, match=r"x\.json: holds no calibration"):
        Calibration.load(tmp_path / "x.json")
