"""The Meta-Assistant Network (MAN): it weighs the channels of a topology supernet while that is trained."""

from itertools import pairwise

import torch
from torch import Tensor, nn

from monai_nas.ops import ConvNorm
from monai_nas.skeletons import W_FIXED
from monai_nas.spaces import TopologySpace

IMAGE_VALUES = 256  # hypersegnas.txt, section 4
ENCODER = ((16, 2), (32, 2), (64, 2), (128, 1), (128, 1), (IMAGE_VALUES, 1))  # channels and stride of each convolution


class MetaAssistantNetwork(nn.Module):
    """From an image and an architecture to weights of channels (HyperSegNAS, Peng et al. 2022, 3.2, figure 2, sec. 4).

    The image encoder has six 3x3x3 convolutions with instance norm and ReLU, then global average pooling to 256 values.
    The HyperNet has five linear layers with ReLU between them and a sigmoid at the end. The paper gives neither the
    encoder's channels and strides nor the HyperNet's hidden size. Here the first three convolutions have stride 2, so
    that patches from 16^3 to 96^3 end at 2^3 to 12^3; channels double to the 256 values; hidden layers have as many.

    There is one weight for each output channel of each (block, path, operation). With 12 blocks and 32, 64, 128 and 256
    channels the paths of a block have 2 * 32 + 3 * 64 + 3 * 128 + 2 * 256 = 1,152 output channels, and the two
    operations of a path 12 * 1,152 * 2 = 27,648: the paper's c_tot (section 4). Other readings of "channels in the
    search space", and why they are rejected:

    - convolutions alone, output channels: 13,824; with the 1x1x1 convolutions of skips that change level: 21,888.
    - nodes in place of paths: 5,760, or 11,520 with two operations.
    - pairs of input and output channels, as a kernel of k x k has one: 2,076,672 for the convolutions.
    - active channels only: at most 13,824, as a path has one operation, and no fixed size for the HyperNet's output.
    - input channels in place of output channels: also 27,648, as the grid is symmetric. But figure 2b weighs what
      an edge gives to the sum, not what it reads.
    - input and output channels of the convolutions alone, or a factor and a shift for each of their output channels:
      also 27,648. But the paper's kernels have one channel index, and its weights only multiply.

    Weights of what the architecture leaves out are never read, so that no gradient comes from them ("the inactivated
    portion is masked off from back-propagation", section 4).

    Args:
        space: of the architectures.
        in_channels: modalities.
        width: of the supernet.
        hidden: size of the HyperNet's hidden layers.
        spatial_dims: 2 or 3.
        sees_architecture: False for the variant of table 1 that is given the image alone.
    """

    def __init__(
        self,
        space: TopologySpace,
        *,
        in_channels: int,
        width: int,
        hidden: int = 256,
        spatial_dims: int = 3,
        sees_architecture: bool = True,
    ) -> None:
        super().__init__()
        self.sees_architecture = sees_architecture
        layers: list[nn.Module] = []
        for channels, stride in ENCODER:
            layers += [
                ConvNorm(in_channels, channels, kernel_size=3, stride=stride, padding=1, spatial_dims=spatial_dims),
                nn.ReLU(),
            ]
            in_channels = channels
        self.encoder = nn.Sequential(*layers)
        num_flags = space.num_blocks * len(space.paths) * len(space.operations) if sees_architecture else 0
        sizes = [num_flags + IMAGE_VALUES, *[hidden] * 4, num_channel_weights(space, width)]
        linears = [nn.Linear(first, second) for first, second in pairwise(sizes)]
        self.hypernet = nn.Sequential(linears[0], *(layer for linear in linears[1:] for layer in (nn.ReLU(), linear)))

    def forward(self, image: Tensor, matrix: Tensor) -> Tensor:
        """Return weights (B, c_tot) in (0, 1), float32, in the order of "channel_weights" of a selection.

        Args:
            image: (B, Ci, *S).
            matrix: the architecture, (blocks, paths, operations) of 0 and 1, on any device.
        """
        # In float32: it costs little, and small patches end at the 2 voxels that decision 0004 warns of.
        with torch.autocast("cuda" if image.is_cuda else "cpu", enabled=False):
            known = self.encoder(image.float()).flatten(2).mean(2)  # (B, 256, *S / 8) -> (B, 256)
            if self.sees_architecture:
                flags = matrix.to(known).flatten().expand(len(known), -1)
                known = torch.cat([flags, known], dim=1)
            return self.hypernet(known).sigmoid()


def num_channel_weights(space: TopologySpace, width: int) -> int:
    """Return c_tot: output channels of all (block, path, operation) of a supernet of ``width``."""
    channels = sum(width * 2**target for _, target in space.paths)
    return space.num_blocks * len(space.operations) * channels


def annealed(weights: Tensor, progress: float) -> Tensor:
    """Return the channel weights on the way to the constant ``W_FIXED``, which the supernet takes as no weights at all.

    hypersegnas.txt, equation 5 with lambda = ``progress``, linear in the annealing steps.

    Args:
        weights: (B, c_tot), from a MAN.
        progress: 0 at the start, 1 at the end.

    Raises:
        ValueError: when ``progress`` is not in [0, 1].
    """
    if not 0.0 <= progress <= 1.0:
        raise ValueError(f"progress must be in [0, 1], got {progress}")
    return progress * W_FIXED + (1.0 - progress) * weights
