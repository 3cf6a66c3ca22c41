"""The supernet against the plain networks that it holds."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from monai_nas.architecture import Architecture
from monai_nas.errors import UserError
from monai_nas.spaces import CellUNetSpace
from monai_nas.spaces.cell_unet import CELL_TYPES
from monai_nas.supernets import SUPERNETS, CellUNetSupernet, Selection, sample_two_operations
from monai_nas.supernets.cell_unet import MixedOperation

SPACE = CellUNetSpace()


def build(strides: list[list[int]] | None = None, **more: Any) -> CellUNetSupernet:
    torch.manual_seed(0)
    arguments = {"in_channels": 1, "out_channels": 2, "width": 8} | more
    strides = strides or [[2, 2], [2, 2]]
    return CellUNetSupernet(SPACE, strides=strides, spatial_dims=len(strides[0]), **arguments)


def sample(seed: int) -> Architecture:
    return SPACE.sample(np.random.default_rng(seed))


def image(dims: int = 2) -> Tensor:
    return torch.randn(2, 1, *[12] * dims, generator=torch.Generator().manual_seed(1))


def draw(supernet: CellUNetSupernet, seed: int = 0) -> Selection:
    generator = torch.Generator().manual_seed(seed)
    return {name: sample_two_operations(alpha, 1.0, generator) for name, alpha in supernet.alphas().items()}


def test_every_parameter_is_either_weight_or_alpha() -> None:
    supernet = build()
    weights, alphas = list(supernet.weight_parameters()), list(supernet.architecture_parameters())
    identities = [id(parameter) for parameter in weights + alphas]
    assert len(identities) == len(set(identities))
    assert set(identities) == {id(parameter) for parameter in supernet.parameters()}
    assert [tuple(alpha.shape) for alpha in alphas] == [(14, 8)] * 4
    assert set(supernet.alphas()) == set(CELL_TYPES) and SUPERNETS["cell_unet"] is CellUNetSupernet


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize(("seed", "strides"), [(0, None), (1, None), (2, [[2, 2, 1], [2, 2, 2]]), (3, [[2, 2, 2]])])
def test_extracted_network_equals_its_one_hot_selection(
    seed: int, strides: list[list[int]] | None, training: bool
) -> None:
    supernet = build(strides).train(training)
    with torch.no_grad():  # norms that do nothing would hide a mix-up of weights
        for parameter in supernet.weight_parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    architecture = sample(seed)
    network = supernet.extract(architecture).train(training)
    volume = image(len(supernet.network_arguments["strides"][0]))
    selected = supernet(volume, supernet.one_hot(architecture))
    own = network(volume)
    torch.testing.assert_close(own, selected, rtol=1e-5, atol=1e-5)
    if training:
        own.square().mean().backward()
        selected.square().mean().backward()
        kept = dict(supernet.named_parameters())
        torch.testing.assert_close(network.get_parameter("stem.conv.weight").grad, kept["stem.conv.weight"].grad)


def test_extracting_leaves_the_supernet_alone() -> None:
    supernet = build()
    before = {name: value.clone() for name, value in supernet.state_dict().items()}
    first, second = sample(0), sample(1)
    with torch.no_grad():
        expected = supernet.extract(first)(image())
        supernet(image(), supernet.one_hot(second))
        network = supernet.extract(first)
        assert torch.equal(network(image()), expected)
        for parameter in network.parameters():
            parameter.zero_()  # copies, not views
    assert all(torch.equal(value, before[name]) for name, value in supernet.state_dict().items())


def test_operations_of_weight_zero_are_neither_run_nor_trained() -> None:
    supernet = build()
    selection = {name: weights.detach() for name, weights in draw(supernet).items()}
    ran: set[str] = set()
    for name, module in supernet.named_modules():
        if name.split(".")[-2:-1] == ["candidates"]:
            module.register_forward_hook(lambda module, inputs, output, name=name: ran.add(name))
    supernet(image(), selection).square().mean().backward()
    groups = {"reductions": "reduction", "encoder_normals": "encoder_normal"}
    groups |= {"expansions": "expansion", "decoder_normals": "decoder_normal"}
    checked = 0
    for name, mixed in supernet.named_modules():
        if not isinstance(mixed, MixedOperation):
            continue
        row = next(row for row, edge in enumerate(SPACE.edges) if f".{edge[0]}-{edge[1]}." in name)
        weights = selection[groups[name.split(".")[0]]][row]
        for option, weight in zip(SPACE.operations, weights.tolist(), strict=True):
            chosen = weight != 0 and option != "zero"
            assert (f"{name}.candidates.{option}" in ran) == chosen
            for parameter in mixed.candidates[option].parameters():
                assert (parameter.grad is not None) == chosen
            checked += 1
    assert checked == 8 * 14 * 8  # two levels, four cells each


def test_operations_of_weight_zero_are_not_held() -> None:
    """What autograd keeps grows with the operations chosen, not with the candidates there are."""
    mixed = MixedOperation(SPACE.operations, 4, [1, 1], 2)
    features = torch.randn(1, 4, 8, 8, requires_grad=True)

    def held(weights: list[float]) -> int:
        kept: list[Tensor] = []

        def keep(tensor: Tensor) -> Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            mixed([features], torch.tensor(weights))
        return len(kept)

    one, two = held([1.0] + [0.0] * 7), held([0.5, 0.5] + [0.0] * 6)
    mixed = MixedOperation(SPACE.operations[:2], 4, [1, 1], 2)  # the same two alone
    assert 0 < one < two and held([0.5, 0.5]) == two


def test_a_mixture_is_the_weighted_sum() -> None:
    mixed = MixedOperation(("conv_3x3x3", "identity", "zero"), 4, [1, 1], 2)
    features = torch.randn(1, 4, 8, 8)
    output = mixed([features], torch.tensor([0.3, 0.5, 0.2]))
    expected = 0.3 * mixed.candidates["conv_3x3x3"]([features]) + 0.5 * features
    torch.testing.assert_close(output, expected)
    assert mixed([features], torch.tensor([0.0, 0.0, 1.0])) is None


def test_cells_of_a_type_share_the_draw_and_not_the_weights() -> None:
    supernet = build()
    selection = supernet.one_hot(sample(0))
    seen: dict[str, list[Tensor]] = {"reductions": [], "encoder_normals": [], "expansions": [], "decoder_normals": []}
    for name, cells in seen.items():
        stack = supernet.get_submodule(name)
        assert isinstance(stack, nn.ModuleList) and len(stack) == 2
        assert {id(p) for p in stack[0].parameters()}.isdisjoint({id(p) for p in stack[1].parameters()})
        for cell in stack:
            cell.register_forward_pre_hook(lambda module, inputs, cells=cells: cells.append(inputs[2]))
    supernet(image(), selection)
    for cell_type, cells in zip(
        ("reduction", "encoder_normal", "expansion", "decoder_normal"), seen.values(), strict=True
    ):
        assert len(cells) == 2 and all(weights is selection[cell_type] for weights in cells)


def test_gradient_reaches_the_alphas_of_the_drawn_operations_only() -> None:
    supernet = build()
    selection = draw(supernet)
    supernet(image(), selection).square().mean().backward()
    for name, alpha in supernet.alphas().items():
        assert alpha.grad is not None and alpha.grad.any()
        assert not alpha.grad[selection[name] == 0].any()


def test_gradient_of_a_selection_is_that_of_finite_differences() -> None:
    supernet = build([[2, 2]], width=4).double().eval()
    selection = {name: weights.detach().double() for name, weights in draw(supernet).items()}
    selection["reduction"].requires_grad_()
    volume = image().double()

    def loss() -> Tensor:
        return supernet(volume, selection).square().mean()

    (gradient,) = torch.autograd.grad(loss(), selection["reduction"])
    row, option = (gradient.abs() == gradient.abs().max()).nonzero()[0].tolist()
    step, values = 1e-5, []
    original = selection["reduction"].detach()
    for sign in (1, -1):
        selection["reduction"] = original.clone()
        selection["reduction"][row, option] += sign * step
        values.append(float(loss().detach()))
    assert (values[0] - values[1]) / (2 * step) == pytest.approx(float(gradient[row, option]), rel=1e-4)


def test_discretize_takes_the_largest_alpha_and_one_hot_runs_it() -> None:
    supernet, architecture = build(), sample(4)
    with torch.no_grad():
        for name, weights in supernet.one_hot(architecture).items():
            assert torch.equal(weights.sum(dim=1), torch.ones(14))
            supernet.alphas()[name].copy_(weights * 0.1 - 1)
    assert supernet.discretize() == architecture


def test_an_architecture_of_another_space_is_refused() -> None:
    other = CellUNetSpace(num_nodes=2).sample(np.random.default_rng(0))
    with pytest.raises(UserError, match="settings"):
        build().one_hot(other)
