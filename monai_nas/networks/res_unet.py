"""The hand-made baseline of SCNAS: a U-Net of residual blocks with attention gates and multiple segmentation maps."""

from collections.abc import Sequence
from typing import Optional

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from monai_nas.architecture import Architecture
from monai_nas.networks.build import NETWORKS
from monai_nas.networks.hand_made import check_nothing_chosen
from monai_nas.ops import ConvNorm, UnitConv, convolution
from monai_nas.ops.blocks import Enlarge
from monai_nas.ops.fast import leaky_relu
from monai_nas.skeletons.sizes import check_size, check_strides, size_unit


class AdditiveAttentionGate(nn.Module):
    """Weighs each voxel of a skip connection by what the level below knows (Oktay et al. 2018, additive attention).

    Args:
        channels: of the skip connection.
        gating_channels: of the features below.
        enlarge: from the size of the features below to that of the skip connection.
        stride: the same as whole numbers.
    """

    def __init__(self, channels: int, gating_channels: int, *, enlarge: Enlarge, stride: Sequence[int]) -> None:
        super().__init__()
        conv = convolution(len(stride))
        inner = max(1, channels // 2)
        step = tuple(stride)
        self.theta = conv(channels, inner, step, stride=step, bias=False)  # type: ignore[arg-type]
        self.phi = conv(gating_channels, inner, 1)
        self.psi = conv(inner, 1, 1)
        self.enlarge = enlarge

    def coefficients(self, skip: Tensor, gating: Tensor) -> Tensor:
        """Return the weights (B, 1, *S) in (0, 1) of a skip connection (B, C, *S), given the features below."""
        return self.enlarge(torch.sigmoid(self.psi(F.relu(self.theta(skip) + self.phi(gating)))))

    def forward(self, skip: Tensor, gating: Tensor) -> Tensor:
        return skip * self.coefficients(skip, gating)


class EncoderLevel(nn.Module):
    """Strided convolution, then a residual block of two convolutions. (B, Ci, *S) -> (B, Co, *S / stride)."""

    def __init__(self, in_channels: int, out_channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        dims = len(stride)
        self.reduce = UnitConv(
            in_channels, out_channels, kernel_size=3, stride=tuple(stride), padding=1, spatial_dims=dims
        )
        self.first = UnitConv(out_channels, out_channels, kernel_size=3, padding=1, spatial_dims=dims)
        self.second = UnitConv(out_channels, out_channels, kernel_size=3, padding=1, spatial_dims=dims)

    def forward(self, features: Tensor) -> Tensor:
        features = self.reduce([features])
        return features + self.second([self.first([features])])


class DecoderLevel(nn.Module):
    """Enlarges the features below, and adds what two convolutions of them and the skip connection find.

    (B, Ci, *S / stride) and (B, Co, *S) -> (B, Co, *S). Skip connections are gated but for the first, at full size, as
    in the code of Oktay et al.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: Sequence[int], *, gated: bool) -> None:
        super().__init__()
        dims = len(stride)
        self.enlarge = Enlarge(stride)
        self.narrow = UnitConv(in_channels, out_channels, kernel_size=1, spatial_dims=dims)
        self.gate: AdditiveAttentionGate | None = None
        if gated:
            self.gate = AdditiveAttentionGate(out_channels, in_channels, enlarge=self.enlarge, stride=stride)
        self.first = UnitConv(2 * out_channels, out_channels, kernel_size=3, padding=1, spatial_dims=dims)
        self.second = UnitConv(out_channels, out_channels, kernel_size=3, padding=1, spatial_dims=dims)

    def forward(self, below: Tensor, skip: Tensor) -> Tensor:
        if self.gate is not None:
            skip = self.gate(skip, below)
        enlarged = self.enlarge(self.narrow([below]))
        return enlarged + self.second([self.first([torch.cat([enlarged, skip], dim=1)])])


class SegmentationMap(nn.Module):
    """The logits of one level, and those of the level below added to them (Kayalibay et al. 2017).

    (B, C, *S) and (B, Co, *S / stride) -> (B, Co, *S). The deepest map has none below.
    """

    def __init__(self, channels: int, out_channels: int, stride: Sequence[int], *, dropout: float) -> None:
        super().__init__()
        dims = len(stride)
        self.dropout = nn.Dropout3d(dropout) if dims == 3 else nn.Dropout2d(dropout)
        self.conv = convolution(dims)(channels, out_channels, 1)
        self.enlarge = Enlarge(stride)

    def forward(self, features: Tensor, below: Optional[Tensor]) -> Tensor:  # noqa: UP045  TorchScript reads these
        logits = self.conv(self.dropout(leaky_relu(features)))
        return logits if below is None else logits + self.enlarge(below)


@NETWORKS.register("res_unet")
class ResUNet(nn.Module):
    """3D U-ResNet with attention gates and multiple segmentation maps, what SCNAS is compared with (section 4).

    The paper gives its cost and names its parts; docs/decisions/0007 says how they are put together here.

    Args:
        architecture: of space "res_unet", without settings and choices.
        in_channels: modalities.
        out_channels: classes with the background.
        width: channels of the first convolution, doubled at each level.
        strides: one per level, one number per axis.
        spatial_dims: 2 or 3.
        dropout: probability of zeroing a channel in front of the convolutions that make the maps.

    Raises:
        UserError: when ``architecture`` holds settings or choices.
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
        channels = [width * 2**level for level in range(len(strides) + 1)]
        self.stem = ConvNorm(in_channels, width, kernel_size=3, padding=1, spatial_dims=spatial_dims)
        self.encoder = nn.ModuleList()
        self.decoder = nn.ModuleList()
        self.maps = nn.ModuleList()
        for level, stride in enumerate(strides):
            self.encoder.append(EncoderLevel(channels[level], channels[level + 1], stride))
        for level, stride in reversed(list(enumerate(strides))):
            self.decoder.append(DecoderLevel(channels[level + 1], channels[level], stride, gated=level > 0))
            self.maps.append(SegmentationMap(channels[level], out_channels, stride, dropout=dropout))
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
        features = self.stem(image)
        skips = [features]
        for encode in self.encoder:
            features = encode(features)
            skips.append(features)
        skips.pop()  # the deepest level has no partner in the decoder
        logits: Optional[Tensor] = None  # noqa: UP045
        for decode, make_map in zip(self.decoder, self.maps):  # noqa: B905  TorchScript has no strict
            features = decode(features, skips.pop())
            logits = make_map(features, logits)
        assert logits is not None  # there is at least one level
        return logits
