"""What edges share of a node."""

import torch
from torch import Tensor
from torch.nn import functional as F

from monai_nas.ops import UnitConv, activated
from monai_nas.ops.node import Features, max_pooled


def test_in_training_readers_share_activation_and_maximum() -> None:
    node = [torch.randn(1, 2, 4, 4, requires_grad=True)]
    first = activated(node)
    torch.testing.assert_close(first, F.leaky_relu(node[0]))
    assert activated(node) is first
    largest = max_pooled(node, [1, 1])
    torch.testing.assert_close(largest, F.max_pool2d(node[0], 3, 1, 1))
    assert max_pooled(node, [1, 1]) is largest and activated(node) is first
    assert max_pooled(node, [2, 2]).shape == (1, 2, 2, 2)


def test_at_inference_nothing_is_kept() -> None:
    node = [torch.randn(1, 2, 4, 4)]
    with torch.no_grad():
        first = activated(node)
        assert activated(node) is not first and max_pooled(node, [1, 1]) is not max_pooled(node, [1, 1])
        assert len(node) == 1
    torch.testing.assert_close(first, F.leaky_relu(node[0]))


def test_a_reader_more_holds_no_further_map_of_the_features() -> None:
    units = [UnitConv(4, 4, kernel_size=3, padding=1, spatial_dims=2) for _ in range(2)]

    def held(readers: int) -> int:
        """Return how many different tensors of the features' values autograd keeps."""
        kept: dict[int, Tensor] = {}

        def keep(tensor: Tensor) -> Tensor:
            kept[tensor.data_ptr()] = tensor
            return tensor

        node = [torch.randn(1, 4, 8, 8, requires_grad=True)]
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            outputs = [unit(node) for unit in units[:readers]]
        assert len(outputs) == readers
        return sum(torch.equal(tensor, F.leaky_relu(node[0])) for tensor in kept.values() if tensor.dim() == 4)

    assert held(1) == held(2) == 1


def test_features_are_the_nodes_own() -> None:
    image = torch.randn(1, 2, 4, 4)
    assert Features()([image, image + 1]) is image
