"""The SCNAS supernet: the cell U-Net whose edges hold all candidates."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.networks import build_network
from monai_nas.networks.cell_unet import ChosenOperation
from monai_nas.ops import CANDIDATES, Node
from monai_nas.skeletons import CellUNetSkeleton, HoleMaker
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES, decision_name
from monai_nas.supernets.supernet import SUPERNETS, RelaxedSupernet, Selection, build_arguments


class MixedOperation(nn.Module):
    """All candidates of an edge; the output is their weighted sum (scnas.txt, equation 1)."""

    def __init__(self, operations: Sequence[str], channels: int, stride: Sequence[int], spatial_dims: int) -> None:
        super().__init__()
        self.candidates = nn.ModuleDict(
            {name: CANDIDATES[name](channels, stride=stride, spatial_dims=spatial_dims) for name in operations}
        )

    def forward(self, node: Node, weights: Tensor) -> Tensor | None:
        """Return the sum over candidates of non-zero weight, None where only ``zero`` has one.

        Args:
            node: of features (B, C, *S).
            weights: (O,) on the CPU, so that reading which are zero makes no GPU wait.
        """
        total = None
        for (name, operation), value, weight in zip(self.candidates.items(), weights.tolist(), weights, strict=True):
            if value == 0.0 or name == "zero":
                continue
            # Tables of selections are float32; without the cast the product would leave the features' 16 bits.
            output = operation(node)
            output = output * weight.to(output.dtype) if value != 1.0 or weight.requires_grad else output
            total = output if total is None else total + output
        return total


@SUPERNETS.register("cell_unet")
class CellUNetSupernet(CellUNetSkeleton, RelaxedSupernet):
    """Every network of a :class:`~monai_nas.spaces.CellUNetSpace` in one (SCNAS, Kim et al. 2019, sections 3.1, 3.2).

    Cells of one type share the draw; each has weights of its own. Arguments as
    :class:`~monai_nas.skeletons.CellUNetSkeleton`.
    """

    def __init__(
        self,
        space: CellUNetSpace,
        *,
        in_channels: int,
        out_channels: int,
        width: int,
        strides: Sequence[Sequence[int]],
        spatial_dims: int = 3,
    ) -> None:
        make_hole: HoleMaker = lambda cell_type, edge, channels, stride: MixedOperation(  # noqa: E731
            space.operations, channels, stride, spatial_dims
        )
        super().__init__(
            make_hole,
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            strides=strides,
            num_nodes=space.num_nodes,
            spatial_dims=spatial_dims,
            dropout=0.0,
        )
        self.space = space
        shape = len(space.edges), len(space.operations)
        self.choice_logits = nn.ParameterDict({name: torch.zeros(shape) for name in CELL_TYPES})
        self.network_arguments = build_arguments(
            in_channels=in_channels,
            out_channels=out_channels,
            width=width,
            strides=strides,
            spatial_dims=spatial_dims,
        )

    def alphas(self) -> dict[str, nn.Parameter]:
        return dict(self.choice_logits.items())

    def discretize(self) -> Architecture:
        best = {name: alpha.argmax(dim=1).tolist() for name, alpha in self.alphas().items()}
        return self.space.create(
            {
                decision_name(name, edge): self.space.operations[index]
                for name, indices in best.items()
                for edge, index in zip(self.space.edges, indices, strict=True)
            }
        )

    def one_hot(self, architecture: Architecture) -> Selection:
        self.space.check(architecture)
        choices = dict(architecture.choices)
        selection = {}
        for name in CELL_TYPES:
            indices = [self.space.operations.index(choices[decision_name(name, edge)]) for edge in self.space.edges]
            selection[name] = nn.functional.one_hot(torch.tensor(indices), len(self.space.operations)).float()
        return selection

    def extract(self, architecture: Architecture) -> nn.Module:
        network = build_network(architecture, **self.network_arguments)
        inherited = self.state_dict()
        state = {}
        for name, module in network.named_modules():
            own = [f"{name}.{key}" for key in module.state_dict()] if isinstance(module, ChosenOperation) else []
            for key in own:
                state[key] = inherited[key.replace(".hole.operation.", f".hole.candidates.{module.choice}.")]
        state |= {key: inherited[key] for key in network.state_dict() if key not in state}
        network.load_state_dict(state)
        return network
