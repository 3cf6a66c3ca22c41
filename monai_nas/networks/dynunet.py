"""MONAI's DynUNet, the plain U-Net of nnU-Net, as a baseline in the same harness."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.networks.build import NETWORKS
from monai_nas.networks.hand_made import check_nothing_chosen
from monai_nas.ops.blocks import FeatureNorm, convolution
from monai_nas.skeletons.sizes import check_size, check_strides, size_unit

if TYPE_CHECKING:
    from monai.networks.nets.dynunet import DynUNet

MOST_CHANNELS = 320  # nnU-Net's limit for 3D
LEAST_LEVELS = 2  # DynUNet refuses fewer


def monai_dynunet(*, in_channels: int, out_channels: int, width: int, strides: Sequence[Sequence[int]]) -> "DynUNet":
    """Return MONAI's DynUNet as it is; arguments as :class:`PlainUNet`."""
    from monai.networks.nets.dynunet import DynUNet  # takes seconds, and the other networks do without

    spatial_dims = len(strides[0])
    return DynUNet(
        spatial_dims,
        in_channels,
        out_channels,
        kernel_size=[[3] * spatial_dims] * (len(strides) + 1),
        strides=[[1] * spatial_dims, *strides],
        upsample_kernel_size=list(strides),
        filters=[min(width * 2**level, MOST_CHANNELS) for level in range(len(strides) + 1)],
    )


@NETWORKS.register("dynunet")
class PlainUNet(nn.Module):
    """MONAI's DynUNet with 3x3x3 convolutions, instance norm and leaky ReLU, without deep supervision.

    It computes what MONAI's class computes. Its instance norms are in this package's form, which keeps the channels
    last, so that a minute of training is worth as much to it as to the other networks; and each weight is in its
    ``state_dict`` once, where MONAI's class lists it once by block and once by level.

    Args:
        architecture: of space "dynunet", without settings and choices.
        in_channels: modalities.
        out_channels: classes with the background.
        width: channels of the first level, doubled at each further level up to 320.
        strides: one per level below the first, one number per axis; the first level has none.
        spatial_dims: 2 or 3.
        dropout: probability of zeroing a channel in front of the last convolution.

    Raises:
        UserError: when ``architecture`` holds settings or choices, or there are fewer than two strides.
        ValueError: when a stride has not one number per axis.
    """

    def __init__(
        self,
        architecture: Architecture,
        *,
        in_channels: int,
        out_channels: int,
        width: int,
        strides: Sequence[Sequence[int]],
        spatial_dims: int = 3,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.check(architecture)
        check_strides(strides, spatial_dims)
        convolution(spatial_dims)  # refuses other dimensions
        if len(strides) < LEAST_LEVELS:
            raise UserError(f"dynunet needs {LEAST_LEVELS} strides or more, the plan has {len(strides)}: change it")
        network = monai_dynunet(in_channels=in_channels, out_channels=out_channels, width=width, strides=strides)
        self.levels = _with_own_norms(network.skip_layers)
        self.dropout = nn.Dropout3d(dropout) if spatial_dims == 3 else nn.Dropout2d(dropout)
        self.head = network.output_block
        self.size_unit = size_unit(strides)

    @staticmethod
    def check(architecture: Architecture) -> None:
        """Raise UserError when anything is chosen."""
        check_nothing_chosen(architecture)

    def forward(self, image: Tensor) -> Tensor:
        """Return the logits (B, Co, *S) of an image (B, Ci, *S).

        Raises:
            ValueError: when a size is not divisible by the product of the strides.
        """
        check_size(image, self.size_unit)
        return self.head(self.dropout(self.levels(image)))


def _with_own_norms(network: nn.Module) -> nn.Module:
    """Replace the instance norms within a network by ours, with fresh weights; return the network."""
    for module in list(network.modules()):
        for name, part in module.named_children():
            if isinstance(part, (nn.InstanceNorm2d, nn.InstanceNorm3d)):
                setattr(module, name, FeatureNorm(part.num_features))
    return network
