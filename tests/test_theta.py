"""The parameter matrix: what goes in comes out, in torch's own order, and masks say what a layer's parameters are."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch
from conftest import Rows
from fakes import EVERY, composed, files, typed  # noqa: F401
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.cnn import CNN
from dlrun.matrix.theta import Layout, applied, fans
from dlrun.normalizations import BatchNorm
from dlrun.training.build import build
from dlrun.training.train import fit

NETWORKS = [[choice] for choice in EVERY if choice.startswith("architecture=")]
NETWORKS += [["architecture=autoencoder", "architecture.tied=true"]]

shapes = st.lists(st.lists(st.integers(1, 4), max_size=4), min_size=1, max_size=5)


def network():
    return CNN((2, 4, 4), 3, Blocks("prelu", BatchNorm(1e-5, True, 0.1)), [4], 3, [5])


@settings(max_examples=50, deadline=None)
@given(shapes=shapes, runs=st.integers(1, 3))
def test_views(shapes, runs):
    model = nn.ParameterDict({f"p{i}": nn.Parameter(torch.randn(shape)) for i, shape in enumerate(shapes)})
    layout = Layout(model)
    assert layout.params == sum(map(prod, shapes))
    theta = torch.randn(runs, layout.params)
    views = layout.views(theta)
    assert [list(view.shape) for view in views.values()] == [[runs, *shape] for shape in shapes]
    for run in range(runs):
        nn.utils.vector_to_parameters(theta[run], model.parameters())  # torch's own order
        assert all(torch.equal(views[name][run], parameter) for name, parameter in model.named_parameters())


def test_views_share_memory():
    layout, theta = Layout(network()), torch.zeros(3, Layout(network()).params)
    for value, view in enumerate(layout.views(theta).values(), start=1):
        view[1] = value
    expected = [value for value, slot in enumerate(layout.slots, start=1) for _ in range(prod(slot.shape))]
    assert theta.tolist() == [[0.0] * layout.params, expected, [0.0] * layout.params]


def test_a_row_is_a_network():
    """A module called with a row's views computes what it computes with these parameters of its own."""
    model, x = network().eval(), torch.randn(7, 2, 4, 4)
    layout = Layout(model)
    theta = torch.randn(2, layout.params)
    for run in range(2):
        views = {name: view[run] for name, view in layout.views(theta).items()}
        outputs = applied(model, views, x)
        twin = network().eval()
        nn.utils.vector_to_parameters(theta[run], twin.parameters())
        torch.testing.assert_close(outputs, twin(x))


class Shared(nn.Module):
    """A layer that stands at two places, a weight that two layers share, and a buffer that two modules have."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(3, 3), nn.Linear(3, 3)
        self.again, self.second.weight = nn.Sequential(self.first), self.first.weight
        self.register_buffer("shift", torch.ones(3))
        self.second.register_buffer("shift", self.shift)

    def forward(self, x: Tensor) -> Tensor:
        return self.again(self.first(x) + self.shift) + self.second(x) * self.second.shift


def held(model: nn.Module) -> list[Tensor | None]:
    """All tensors that a model's modules hold, those with several names several times."""
    return [
        own for module in model.modules() for store in (module._parameters, module._buffers) for own in store.values()
    ]


def test_what_has_two_names_is_replaced_at_both_and_put_back():
    model, x = Shared(), torch.randn(5, 3)
    names = [name for name, _ in [*model.named_parameters(), *model.named_buffers()]]
    assert names == ["first.weight", "first.bias", "second.bias", "shift"]
    w, b, c, s = (torch.randn(2, *shape) for shape in ([3, 3], [3], [3], [3]))
    own = held(model)

    outputs = vmap(lambda tensors: applied(model, tensors, x))(dict(zip(names, (w, b, c, s), strict=True)))
    for i in range(2):
        once = x @ w[i].T + b[i] + s[i]
        torch.testing.assert_close(outputs[i], once @ w[i].T + b[i] + (x @ w[i].T + c[i]) * s[i])
    with pytest.raises(RuntimeError):
        applied(model, {"first.weight": torch.zeros(7, 7)}, x)
    assert all(before is now for before, now in zip(own, held(model), strict=True))


@pytest.mark.parametrize("words", NETWORKS, ids=" ".join)
def test_a_stacks_network_has_its_own_tensors_after_a_training(words: list[str], files: Path) -> None:  # noqa: F811
    stack = build([composed([*typed(*words), f"seed={seed}"], files) for seed in range(2)])
    own = held(stack.model)
    assert fit(stack, Rows(2)).status == ["finished"] * 2
    assert all(before is now for before, now in zip(own, held(stack.model), strict=True))


def test_masks():
    layout = Layout(network())
    #        convolution, norm's scale and shift, PReLU; the same of the linear layer; the last layer
    kinds = [("weight", 72), ("bias", 4), ("other", 9), ("weight", 80), ("bias", 5), ("other", 11)]
    kinds += [("weight", 15), ("bias", 3)]
    expected = [kind for kind, size in kinds for _ in range(size)]
    for chosen in (["weight"], ["bias"], ["other"], ["weight", "bias"], []):
        assert layout.mask(*chosen).tolist() == [float(kind in chosen) for kind in expected]


@pytest.mark.parametrize("shape", [(3, 5), (7, 2, 3), (6, 4, 3, 5), (2, 3, 1, 4, 5)])
def test_fans(shape):
    assert fans(shape) == nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
