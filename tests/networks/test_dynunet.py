"""The plain U-Net computes what MONAI's DynUNet computes."""

import pytest
import torch
from monai.networks.nets.dynunet import DynUNet
from torch import nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks import PlainUNet

ARCHITECTURE = Architecture.create("dynunet", {}, {})


@pytest.mark.parametrize("strides", [[[2, 2, 1], [2, 2, 2]], [[2, 2], [2, 1], [2, 2]]])
def test_logits_and_gradients_are_those_of_monai(strides: list[list[int]]) -> None:
    dims, count = len(strides[0]), len(strides) + 1
    torch.manual_seed(0)
    peer = DynUNet(
        dims,
        2,
        3,
        kernel_size=[3] * count,
        strides=[1, *strides],
        upsample_kernel_size=strides,
        filters=[4, 8, 16, 32][:count],
    )
    network = PlainUNet(ARCHITECTURE, in_channels=2, out_channels=3, width=4, strides=strides, spatial_dims=dims)
    network.levels.load_state_dict(peer.skip_layers.state_dict())
    network.head.load_state_dict(peer.output_block.state_dict())
    image = torch.randn(2, 2, *(16,) * dims)
    logits, expected = network(image), peer(image)
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)
    logits.square().mean().backward()
    expected.square().mean().backward()
    theirs = dict(peer.skip_layers.named_parameters())
    assert len(theirs) == len(list(network.levels.parameters()))
    for name, parameter in network.levels.named_parameters():
        torch.testing.assert_close(parameter.grad, theirs[name].grad, rtol=1e-3, atol=1e-5)


def test_channels_double_up_to_320() -> None:
    with torch.device("meta"):
        network = PlainUNet(ARCHITECTURE, in_channels=1, out_channels=2, width=32, strides=[[2, 2, 2]] * 5)
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv3d)]
    assert {module.out_channels for module in convolutions} == {2, 32, 64, 128, 256, 320}


def test_one_stride_is_refused() -> None:
    with pytest.raises(UserError, match="2 strides or more, the plan has 1"):
        PlainUNet(ARCHITECTURE, in_channels=1, out_channels=2, width=4, strides=[[2, 2, 2]])
