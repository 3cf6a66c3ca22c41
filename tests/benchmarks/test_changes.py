"""The step with one change undone: it computes the same, and what is undone is undone."""

import json
from pathlib import Path

import pytest
import torch
from monai.losses import DiceCELoss

from monai_nas.benchmarks import changes
from monai_nas.ops import CANDIDATES, UnitConv, fast
from monai_nas.ops.instance_norm import InstanceNorm, NarrowInstanceNorm


def test_undone_only_meanwhile() -> None:
    with changes.UNDONE["norms voxel by voxel"]():
        assert fast.NarrowInstanceNorm is InstanceNorm
    assert fast.NarrowInstanceNorm is NarrowInstanceNorm
    with changes.UNDONE["Adam weight by weight"]():
        assert not torch.optim.Adam([torch.ones(1)], lr=0.1, fused=True).param_groups[0]["fused"]
    with changes.UNDONE["one-hot labels"]():
        assert isinstance(changes.speed.segmentation_loss(), DiceCELoss)
    assert not isinstance(changes.speed.segmentation_loss(), DiceCELoss)
    features = torch.randn(1, 4, 8, 8, 8)
    with changes.UNDONE["LeakyReLU for each reader"]():
        node = [features]
        UnitConv(4, 4, kernel_size=1, spatial_dims=3)(node)
        assert len(node) == 1
    with torch.autocast("cpu", dtype=torch.bfloat16), changes.UNDONE["strided max pooling in 32 bits"]():
        assert fast.max_pool(features.bfloat16(), [2, 2, 2]).dtype == torch.float32
    with changes.UNDONE["maximum for each reader"]():
        node, pool = [features.requires_grad_()], CANDIDATES["max_pool_3x3x3"](4, stride=(1, 1, 1), spatial_dims=3)
        assert pool(node) is not pool(node)
    assert pool(node) is pool(node)
    with changes.UNDONE["gradients of nodes with gaps"]():
        assert changes.cell_unet.join([features, features]).grad_fn.name() == "CatBackward0"
    weight = torch.randn(4, 4, 3, 3, 3)
    with changes.UNDONE["strides after dilated convolutions"]():
        late = fast.dilated_convolution(features, weight, [2, 2, 2], 3)
    assert late.grad_fn.name() == "TakeEveryBackward"
    torch.testing.assert_close(late, fast.dilated_convolution(features, weight, [2, 2, 2], 3), rtol=1e-4, atol=1e-4)


@pytest.mark.slow
def test_figures_of_all_variants(tmp_path: Path) -> None:
    changes.main(["--out", str(tmp_path / "changes.json"), "--steps", "2"])
    record = json.loads((tmp_path / "changes.json").read_text())
    assert list(record["contenders"]) == list(changes.UNDONE)
    assert record["freed_memory"]["kept"]["page_faults"] < record["freed_memory"]["given_back"]["page_faults"]
