"""Where cells sit in the SCNAS U-Net, and what a cell does with the holes on its edges (scnas.txt, 3.1, figure 1)."""

from collections.abc import Callable, Sequence
from typing import Dict, List, Optional  # noqa: UP035  TorchScript reads these annotations

import torch
from torch import Tensor, nn

from monai_nas.ops import (
    ConvNorm,
    Node,
    Resample,
    activated,
    convolution,
    empty_like_strided,
)
from monai_nas.ops.fast import join
from monai_nas.skeletons.sizes import check_size, check_strides, size_unit

NUM_INPUTS = 2

# (cell type, edge, channels, stride) -> what fills the hole, called with (node, weights of the candidates or None);
# None leaves the edge out.
HoleMaker = Callable[[str, tuple[int, int], int, Sequence[int]], nn.Module | None]


class CellEdge(nn.Module):
    """One edge of a cell: gives the node that it reads to what fills the hole."""

    def __init__(self, source: int, row: int, hole: nn.Module) -> None:
        super().__init__()
        self.source = source
        self.row = row
        self.hole = hole

    def forward(self, nodes: List[Node], weights: Optional[Tensor]) -> Optional[Tensor]:  # noqa: UP006, UP045
        if weights is None:
            return self.hole(nodes[self.source], None)
        return self.hole(nodes[self.source], weights[self.row])


class CellNode(nn.Module):
    """The sum of a node's incoming edges; zeros where every edge is left out."""

    def __init__(self, edges: nn.ModuleDict, channels: int, stride: Sequence[int]) -> None:
        super().__init__()
        self.edges = edges
        self.channels = channels
        self.stride = list(stride)

    def forward(self, nodes: List[Node], weights: Optional[Tensor]) -> Tensor:  # noqa: UP006, UP045
        total: Optional[Tensor] = None  # noqa: UP045
        for edge in self.edges.values():
            output = edge(nodes, weights)
            if output is not None:
                total = output if total is None else total + output
        if total is None:
            total = empty_like_strided(nodes[0][0], self.channels, self.stride)
        return total


class SearchableCell(nn.Module):
    """A directed acyclic graph of operations; its output concatenates the intermediate nodes.

    Args:
        make_hole: fills the edges.
        cell_type: one of the four of :mod:`monai_nas.spaces.cell_unet`.
        inputs: how each of the two inputs becomes the cell's channels and size.
        channels: of one node.
        num_nodes: intermediate nodes; the output has ``num_nodes * channels`` channels.
        stride: of the edges from the inputs.
    """

    def __init__(
        self,
        make_hole: HoleMaker,
        cell_type: str,
        *,
        inputs: Sequence[Resample],
        channels: int,
        num_nodes: int,
        stride: Sequence[int],
    ) -> None:
        super().__init__()
        self.first, self.second = inputs
        self.nodes = nn.ModuleList()
        row = 0
        for target in range(NUM_INPUTS, NUM_INPUTS + num_nodes):
            edges = nn.ModuleDict()
            for source in range(target):
                edge_stride = stride if source < NUM_INPUTS else [1] * len(stride)
                hole = make_hole(cell_type, (source, target), channels, edge_stride)
                if hole is not None:
                    edges[f"{source}-{target}"] = CellEdge(source, row, hole)
                row += 1
            self.nodes.append(CellNode(edges, channels, stride))

    def forward(self, first: Node, second: Node, weights: Optional[Tensor]) -> Tensor:  # noqa: UP045
        nodes = [[self.first(first)], [self.second(second)]]
        for node in self.nodes:
            nodes.append([node(nodes, weights)])
        nodes = [made[:1] for made in nodes[2:]]  # what nobody reads any more is freed before the output is made
        return join([made[0] for made in nodes])


class CellUNetSkeleton(nn.Module):
    """The U-Net of cells R N R N ... E D E D; (B, Ci, *S) -> logits (B, Co, *S).

    Every cell reads the outputs of the two cells before it, the first one the stem twice. After each expansion cell the
    encoder's output of that level is added, and the sum is what later cells read (docs/decisions/0002).

    Args:
        make_hole: fills the edges of the cells.
        in_channels: Ci, modalities.
        out_channels: Co, classes with the background.
        width: channels of the stem, doubled by each reduction cell; a multiple of ``num_nodes``.
        strides: one per level, one number per axis; S must be divisible by their product.
        num_nodes: intermediate nodes of a cell.
        spatial_dims: 2 or 3.
        dropout: probability of zeroing a channel in front of the last convolution.

    Raises:
        ValueError: when ``width`` is no multiple of ``num_nodes`` or a stride has not one number per axis.
    """

    def __init__(
        self,
        make_hole: HoleMaker,
        *,
        in_channels: int,
        out_channels: int,
        width: int,
        strides: Sequence[Sequence[int]],
        num_nodes: int,
        spatial_dims: int,
        dropout: float,
    ) -> None:
        super().__init__()
        if width % num_nodes:
            raise ValueError(f"width must be a multiple of the {num_nodes} nodes of a cell, got {width}")
        check_strides(strides, spatial_dims)
        ones = [1] * spatial_dims

        def cell(cell_type: str, level: int, first: tuple[int, int], second: tuple[int, int]) -> SearchableCell:
            """Build the cell whose output has ``level``; the inputs are (level of channels, level of size)."""
            channels = width * 2**level // num_nodes
            reads = level - 1 if cell_type == "reduction" else level
            resamples = []
            for channel_level, size_level in (first, second):
                down = strides[size_level] if size_level < reads else ones
                up = strides[reads] if size_level > reads else ones
                resamples.append(
                    Resample(width * 2**channel_level, channels, down=down, up=up, spatial_dims=spatial_dims)
                )
            stride = strides[level - 1] if cell_type == "reduction" else ones
            return SearchableCell(
                make_hole, cell_type, inputs=resamples, channels=channels, num_nodes=num_nodes, stride=stride
            )

        depth = len(strides)
        self.stem = ConvNorm(in_channels, width, kernel_size=3, padding=1, spatial_dims=spatial_dims)
        self.reductions = nn.ModuleList()
        self.encoder_normals = nn.ModuleList()
        for level in range(1, depth + 1):
            above = (level - 1, level - 1)
            self.reductions.append(cell("reduction", level, above, above))
            self.encoder_normals.append(cell("encoder_normal", level, above, (level, level)))
        self.expansions = nn.ModuleList()
        self.decoder_normals = nn.ModuleList()
        for level in range(depth - 1, -1, -1):
            below = (level + 1, level + 1)
            self.expansions.append(cell("expansion", level, below, below))
            self.decoder_normals.append(cell("decoder_normal", level, below, (level, level)))
        dropout_class = nn.Dropout3d if spatial_dims == 3 else nn.Dropout2d
        self.dropout = dropout_class(dropout)
        self.head = convolution(spatial_dims)(width, out_channels, 1)
        self.size_unit = size_unit(strides)

    def forward(self, image: Tensor, selection: Optional[Dict[str, Tensor]] = None) -> Tensor:  # noqa: UP006, UP045
        """Return the logits.

        Args:
            image: (B, Ci, *S).
            selection: in a supernet, cell type -> weights of the candidates (edges, candidates); None in a network.

        Raises:
            ValueError: when a size is not divisible by the product of the strides.
        """
        check_size(image, self.size_unit)
        reduction: Optional[Tensor] = None  # noqa: UP045
        encoder_normal: Optional[Tensor] = None  # noqa: UP045
        expansion: Optional[Tensor] = None  # noqa: UP045
        decoder_normal: Optional[Tensor] = None  # noqa: UP045
        if selection is not None:
            reduction, encoder_normal = selection["reduction"], selection["encoder_normal"]
            expansion, decoder_normal = selection["expansion"], selection["decoder_normal"]
        previous = current = [self.first_features(image)]
        skips = [current[0]]
        for reduce, normal in zip(self.reductions, self.encoder_normals):  # noqa: B905  TorchScript has no strict
            previous, current = current, [reduce(previous, current, reduction)]
            previous, current = current, [normal(previous, current, encoder_normal)]
            skips.append(current[0])
        skips.pop()  # the deepest level has no partner in the decoder
        for expand, normal in zip(self.expansions, self.decoder_normals):  # noqa: B905
            previous, current = current, [expand(previous, current, expansion) + skips.pop()]
            previous, current = current, [normal(previous, current, decoder_normal)]
        return self.logits(current)

    def first_features(self, image: Tensor) -> Tensor:
        """Return what the stem makes of the image; in evaluation with all its bits, also under autocast."""
        if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
            if not self.training:
                with torch.autocast(image.device.type, enabled=False):
                    return self.stem(image)
        return self.stem(image)

    def logits(self, node: Node) -> Tensor:
        """Return what the head makes of the last features; in evaluation with all their bits, also under autocast."""
        if not torch.jit.is_scripting():  # noqa: SIM102  only a bare test hides the branch from TorchScript
            if not self.training:
                with torch.autocast(node[0].device.type, enabled=False):
                    return self.classify(node)
        return self.classify(node)

    def classify(self, node: Node) -> Tensor:
        """Return what the head makes of a node, in the number format that autocast gives it."""
        return self.head(self.dropout(activated(node)))
