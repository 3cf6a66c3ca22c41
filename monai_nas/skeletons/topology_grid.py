"""The grid of blocks and levels, and what a path does with the operations that fill it (hypersegnas.txt, 3.1)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Dict, List, Optional  # noqa: UP035  TorchScript reads these annotations

from torch import Tensor, nn

from monai_nas.ops import Node
from monai_nas.ops.blocks import FeatureNorm
from monai_nas.skeletons.sizes import check_size, check_strides, size_unit
from monai_nas.skeletons.topology_parts import NODE_NORM, GridParts, PathShape

W_FIXED = 0.5  # the constant that channel weights are annealed to (hypersegnas.txt, equation 5)

# (block, (source, target), shape) -> operations by name; the path is left out where there are none.
PathMaker = Callable[[int, tuple[int, int], PathShape], Mapping[str, nn.Module]]


def plus(total: Optional[Tensor], features: Tensor) -> Tensor:  # noqa: UP045
    """Return the sum of what has come so far, if anything, and ``features``."""
    return features if total is None else total + features


class GridPath(nn.Module):
    """A path between two blocks. A network's holds one operation; a supernet's all, of which the selection runs some.

    Args:
        operations: by name, in the order of the selection.
        source: level that the path reads.
        channels: of the level that it leads to.
        block: its first index in the selection.
        index: its second index there.
        start: in a supernet, where its channel weights start.
    """

    def __init__(
        self, operations: Mapping[str, nn.Module], *, source: int, channels: int, block: int, index: int, start: int
    ) -> None:
        super().__init__()
        self.operations = nn.ModuleDict(dict(operations))
        self.source = source
        self.channels = channels
        self.block = block
        self.index = index
        self.start = start
        self.w_fixed = W_FIXED  # TorchScript reads no globals

    def forward(
        self,
        nodes: List[Node],  # noqa: UP006
        selection: Optional[Dict[str, Tensor]],  # noqa: UP006, UP045
    ) -> Optional[Tensor]:  # noqa: UP045
        """Return the sum of the operations that run, None where there is none."""
        total: Optional[Tensor] = None  # noqa: UP045
        column = 0
        for operation in self.operations.values():
            if selection is None:
                total = plus(total, operation(nodes[self.source], None))
            elif bool(selection["paths"][self.block, self.index, column]):
                total = plus(total, operation(nodes[self.source], self.scale(selection, column)))
            column += 1  # noqa: SIM113  TorchScript does not enumerate modules
        return total

    def scale(self, selection: Dict[str, Tensor], column: int) -> Optional[Tensor]:  # noqa: UP006, UP045
        """Return the factors (B, C) on the output of an operation, None without channel weights."""
        if "channel_weights" not in selection:
            return None
        start = self.start + column * self.channels
        return selection["channel_weights"][:, start : start + self.channels] / self.w_fixed


class GridNode(nn.Module):
    """The normalised sum of the paths that lead to a level (hypersegnas.txt, 3.1, "summed and normalized").

    Args:
        paths: by name.
        channels: of the level.
        make_norm: what follows the sum, by its channels.
    """

    def __init__(
        self, paths: nn.ModuleDict, channels: int, make_norm: Callable[[int], nn.Module] = FeatureNorm
    ) -> None:
        super().__init__()
        self.paths = paths
        self.norm = make_norm(channels)

    def forward(
        self,
        nodes: List[Node],  # noqa: UP006
        selection: Optional[Dict[str, Tensor]],  # noqa: UP006, UP045
    ) -> Node:
        total: Optional[Tensor] = None  # noqa: UP045
        for path in self.paths.values():
            output = path(nodes, selection)
            if output is not None:
                total = plus(total, output)
        node: Node = []
        if total is not None:
            node.append(self.norm(total))
        return node


class GridBlock(nn.Module):
    """All nodes of a block, by level."""

    def __init__(self, nodes: nn.ModuleDict) -> None:
        super().__init__()
        self.nodes = nodes

    def forward(
        self,
        nodes: List[Node],  # noqa: UP006
        selection: Optional[Dict[str, Tensor]],  # noqa: UP006, UP045
    ) -> List[Node]:  # noqa: UP006
        reached: List[Node] = [[] for _ in range(len(nodes))]  # noqa: UP006
        for level, node in self.nodes.items():
            reached[int(level)] = node(nodes, selection)
        return reached


class TopologyGridSkeleton(nn.Module):
    """A grid of blocks, each with all levels, joined by paths; (B, Ci, *S) -> logits (B, Co, *S).

    The first block reads the image at the size of every level. Each node of a block is the normalised sum of its paths;
    convolutions read its LeakyReLU, skip connections the node itself. From the last block the levels are summed top
    down, coarse to fine, each step a 1x1x1 convolution and an interpolation, and meet the image in the head. Only what
    the paths use is built: stems that are read, nodes that are reached, and the steps from the coarsest of the last.

    A selection runs a part of the grid. It holds "paths", (blocks, paths, operations) of 0 and 1 on the CPU, so that
    reading it makes no GPU wait, and may hold "channel_weights", (B, ``num_channel_weights``) in (0, 1) on the device,
    ordered (block, path, operation, channel of the target). They multiply the outputs of the operations before the node
    sums them, divided by ``W_FIXED``: as ``norm(c x, eps) == norm(x, eps / c^2)``, weights w and w / W_FIXED define the
    same network but for eps, and so the constant weight W_FIXED is exactly the grid without weights. A node with a
    single path ignores the weights on it, since the norm removes any positive factor.

    Args:
        make_path: fills the paths.
        paths: (source level, target level) of each path of a block; level 0 is the finest.
        num_blocks: of paths, and so of nodes behind the stems.
        in_channels: Ci, modalities.
        out_channels: Co, classes with the background.
        width: channels of level 0, doubled by each level; even.
        strides: one per level, one number per axis: the first from the image to level 0, the others from the level
            above; S must be divisible by their product.
        spatial_dims: 2 or 3.
        dropout: probability of zeroing a channel in front of the last convolution.
        parts: what the grid is built of beside the paths. By default nodes carry the norms, as said above; the other
            setting, with norms on the paths, is that of :mod:`~monai_nas.skeletons.dints_parts`.
        make_block: makes a block of its nodes, by level.

    Raises:
        ValueError: when ``width`` is odd, there is not one stride per level, or a stride has not one number per axis.
    """

    def __init__(
        self,
        make_path: PathMaker,
        *,
        paths: Sequence[tuple[int, int]],
        num_blocks: int,
        in_channels: int,
        out_channels: int,
        width: int,
        strides: Sequence[Sequence[int]],
        spatial_dims: int,
        dropout: float,
        parts: GridParts = NODE_NORM,
        make_block: Callable[[nn.ModuleDict], GridBlock] = GridBlock,
    ) -> None:
        super().__init__()
        check_strides(strides, spatial_dims)
        self.num_levels = 1 + max(level for path in paths for level in path)
        if len(strides) != self.num_levels:
            raise ValueError(f"strides must hold one stride for each of {self.num_levels} levels, got {strides}")
        if width % 2:
            raise ValueError(f"width must be even, as the head has half of it, got {width}")
        channels = [width * 2**level for level in range(self.num_levels)]
        self.num_channel_weights = 0
        self.blocks = nn.ModuleList()
        readers: list[list[int]] = [[] for _ in channels]  # of each stem
        for block in range(num_blocks):
            incoming = [nn.ModuleDict() for _ in channels]
            for index, (source, target) in enumerate(paths):
                operations = make_path(block, (source, target), path_shape(source, target, channels, strides))
                if not operations:
                    continue
                incoming[target][f"{source}-{target}"] = GridPath(
                    operations,
                    source=source,
                    channels=channels[target],
                    block=block,
                    index=index,
                    start=self.num_channel_weights,
                )
                self.num_channel_weights += len(operations) * channels[target]
                if block == 0:
                    readers[source].append(index)
            filled = [level for level in range(self.num_levels) if len(incoming[level])]
            nodes = {str(level): GridNode(incoming[level], channels[level], parts.norm) for level in filled}
            self.blocks.append(make_block(nn.ModuleDict(nodes)))
        self.stems = nn.ModuleDict()
        for level in range(self.num_levels):
            if readers[level]:
                stride = size_unit(strides[: level + 1])
                self.stems[str(level)] = parts.stem(in_channels, channels[level], stride, readers=readers[level])
        self.lifts = nn.ModuleDict()
        for level in range(max(filled), 0, -1):
            self.lifts[str(level)] = parts.lift(channels[level], channels[level - 1], strides[level])
        self.head = parts.head(
            in_channels=in_channels, out_channels=out_channels, width=width, stride=strides[0], dropout=dropout
        )
        self.size_unit = size_unit(strides)

    def forward(self, image: Tensor, selection: Optional[Dict[str, Tensor]] = None) -> Tensor:  # noqa: UP006, UP045
        """Return the logits.

        Args:
            image: (B, Ci, *S).
            selection: in a supernet, what runs, see above; None in a network, which runs all that it holds.

        Raises:
            ValueError: when a size is not divisible by the product of the strides.
        """
        check_size(image, self.size_unit)
        nodes: List[Node] = [[] for _ in range(self.num_levels)]  # noqa: UP006
        for level, stem in self.stems.items():
            nodes[int(level)] = stem(image, selection)
        for block in self.blocks:
            nodes = block(nodes, selection)
        features: Optional[Tensor] = None  # noqa: UP045
        for level, lift in self.lifts.items():  # coarse to fine; a level that is not reached adds nothing
            if len(nodes[int(level)]) > 0:
                features = plus(features, nodes[int(level)][0])
            if features is not None:
                features = lift(features)
        if len(nodes[0]) > 0:
            features = plus(features, nodes[0][0])
        assert features is not None  # the last block reaches a level
        return self.head(features, image)


def path_shape(source: int, target: int, channels: Sequence[int], strides: Sequence[Sequence[int]]) -> PathShape:
    """Return what a path between two levels, equal or next to each other, has to do to its features."""
    ones = (1,) * len(strides[0])
    down = tuple(strides[target]) if target > source else ones
    up = tuple(strides[source]) if target < source else ones
    return PathShape(channels[source], channels[target], down, up)
