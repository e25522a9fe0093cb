"""Radial basis function networks against the lecture's formula; their centres, widths, phases; growing neural gas."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import NearestNeighbors
from torch.func import functional_call, vmap

from dlrun.architectures import gng
from dlrun.architectures.blocks import Blocks, Dropout
from dlrun.architectures.gng import GrowingNeuralGas, growing_neural_gas
from dlrun.architectures.rbf import RBF, nearest, place
from dlrun.errors import ConfigError
from dlrun.matrix.theta import Layout
from dlrun.normalizations import LayerNorm, NoNormalization

PLACES = ["uniform", "random", "kmeans", "gng", "samples"]


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def clusters(samples=300, seed=0):
    """Six clusters in a plane."""
    random = generator(seed)
    middles = 4 * torch.randn(6, 2, generator=random)
    return middles[torch.randint(6, (samples,), generator=random)] + 0.3 * torch.randn(samples, 2, generator=random)


def rbf(centres="random", kernels=7, width=0.8, inputs=None, blocks=None, learn_widths=True, phases=1):
    inputs = clusters() if inputs is None else inputs
    blocks = blocks or Blocks("identity", NoNormalization())
    shape = tuple(inputs.shape[1:])
    return RBF(shape, 3, blocks, kernels, centres, width, learn_widths, phases, inputs, generator())


def quantisation_error(inputs, centres):
    """Mean squared distance of the inputs to their nearest centre."""
    distances, _ = NearestNeighbors(n_neighbors=1).fit(np.asarray(centres)).kneighbors(inputs.numpy())
    return (distances**2).mean()


def test_the_lectures_formula():
    network, x = rbf(width="nearest", inputs=torch.randn(20, 2, 3)).double(), torch.randn(5, 2, 3).double()
    centres, sigma = network.centres.detach().numpy(), network.log_widths.exp().detach().numpy()
    weight, bias = (p.detach().numpy() for p in network.head.parameters())
    for sample, got in zip(x.numpy().reshape(5, 6), network(x).detach().numpy(), strict=True):
        phi = [1, *(np.exp(-((sample - mu) ** 2).sum() / (2 * s**2)) for mu, s in zip(centres, sigma, strict=True))]
        np.testing.assert_allclose(got, np.column_stack([bias, weight]) @ phi, rtol=0, atol=1e-10)


def test_a_kernel_is_one_at_its_centre_however_far_from_zero_the_data_are():
    inputs = 1000 + torch.randn(30, 4, generator=generator())
    network = rbf("samples", inputs=inputs, width=0.05)
    network.head.weight.data, network.head.bias.data = torch.ones(3, 30), torch.zeros(3)
    torch.testing.assert_close(network(inputs), torch.ones(30, 3), rtol=0, atol=1e-2)


def test_gradients():
    network, x = rbf(inputs=torch.randn(9, 2)).double(), torch.randn(4, 2).double()
    parameters = dict(network.named_parameters())
    assert torch.autograd.gradcheck(
        lambda *p: functional_call(network, dict(zip(parameters, p, strict=True)), (x,)), tuple(parameters.values())
    )


@pytest.mark.parametrize("centres", PLACES)
def test_centres(centres):
    inputs = clusters()
    points = place(centres, 12, inputs, generator())
    assert points.shape == ((300 if centres == "samples" else 12), 2)
    assert torch.equal(points, place(centres, 12, inputs, generator()))
    if centres != "samples":
        assert not torch.equal(points, place(centres, 12, inputs, generator(1)))
    assert (points >= inputs.amin(0)).all() and (points <= inputs.amax(0)).all()
    if centres in ("random", "samples"):
        found = (points[:, None] == inputs).all(2)
        assert found.any(1).all() and found.any(0).sum() == len(points)  # samples, each once
    if centres == "uniform":  # five standard errors of a mean of 10,000
        many = place(centres, 10_000, inputs, generator())
        unit = (many - inputs.amin(0)) / (inputs.amax(0) - inputs.amin(0))
        torch.testing.assert_close(unit.mean(0), torch.full((2,), 0.5), rtol=0, atol=5 / (12 * 10_000) ** 0.5)


@pytest.mark.parametrize("centres", ["kmeans", "gng"])
def test_quantisation_error_is_below_random_centres(centres):
    inputs = clusters()
    for seed in range(5):
        errors = [quantisation_error(inputs, place(how, 30, inputs, generator(seed))) for how in (centres, "random")]
        assert errors[0] < 0.7 * errors[1]


def test_gas_adapts_by_the_papers_steps():
    gas = GrowingNeuralGas(np.array([0.0, 0.0]), np.array([10.0, 0.0]))
    gas.adapt(np.array([1.0, 2.0]))
    np.testing.assert_allclose(gas.units, [[0.2, 0.4], [10 - 0.006 * 9, 0.012]])
    np.testing.assert_allclose(gas.errors, [5, 0])
    gas.grow()  # between the two, whose edge it takes
    np.testing.assert_allclose(gas.units[2], gas.units[:2].mean(0))
    np.testing.assert_allclose(gas.errors, [2.5, 0, 2.5])
    assert gas.ages.tolist() == [[-1, -1, 0], [-1, -1, 0], [0, 0, -1]]
    before = gas.units.copy()
    gas.adapt(np.array([0.0, 0.0]))  # the second nearest is the new one; the far one is no neighbour any more
    np.testing.assert_allclose(gas.units[0], 0.8 * before[0])
    np.testing.assert_allclose(gas.units[2], 0.994 * before[2])
    assert gas.units[1].tolist() == before[1].tolist() and gas.ages[0, 2] == 0


def test_gas_drops_edges_that_are_too_old_and_units_without_any():
    gas = GrowingNeuralGas(np.array([0.0]), np.array([100.0]))
    gas.grow()
    gas.units[2] = 0.1
    for step in range(52):  # the two near units win, so that the edge to the far one ages at every win of the newest
        gas.adapt(np.array([0.1]))
        assert len(gas.units) == (3 if step < 50 else 2)
    assert gas.units.max() < 1 and gas.ages.tolist() == [[-1, 0], [0, -1]]


def test_a_gas_that_keeps_losing_units_is_refused(monkeypatch):
    monkeypatch.setattr(gng, "MAX_AGE", 0)
    with pytest.raises(ConfigError, match=r"kernels=12: architecture.centres=gng could keep only \d+ in these data"):
        place("gng", 12, clusters(), generator())


def test_gas_fills_the_data():
    """Two squares apart share the units fairly, and none is left between them."""
    random = generator()
    inputs = torch.rand(400, 2, generator=random) + 10 * (torch.arange(400) % 2)[:, None]
    units = growing_neural_gas(inputs, 20, random)
    assert len(units) == 20 and 8 <= (units[:, 0] > 5).sum() <= 12
    assert quantisation_error(inputs, units) < 2 / (6 * 10)  # twice that of a square cut into ten, side² / 6 of each


def test_widths():
    points = torch.tensor([[0.0, 0], [3, 4], [0, 1], [0, 1]])
    assert nearest(points).tolist() == pytest.approx([1, 18**0.5, 1, 1])
    distances, _ = NearestNeighbors(n_neighbors=2).fit(clusters().numpy()).kneighbors()
    network = rbf("samples", width="nearest")
    np.testing.assert_allclose(network.log_widths.exp().detach(), distances[:, 0], rtol=1e-5)
    assert rbf(width=0.3).log_widths.exp().tolist() == pytest.approx([0.3] * 7)


def test_phases():
    head, everything = {"head.weight", "head.bias"}, {"centres", "log_widths", "head.weight", "head.bias"}
    assert rbf(phases=1).phase_sets == [everything]
    assert rbf(phases=2).phase_sets == [head]
    assert rbf(phases=3).phase_sets == [head, everything]
    assert rbf(phases=3, learn_widths=False).phase_sets == [head, everything - {"log_widths"}]
    assert {name for name, _ in rbf().named_parameters()} == everything
    kinds = {slot.name: slot.kind for slot in Layout(rbf()).slots}  # initializers leave centres and widths alone
    assert kinds == {"centres": "other", "log_widths": "other", "head.weight": "weight", "head.bias": "bias"}


def test_rows_of_a_stack():
    networks = [rbf(inputs=clusters(seed=i)).double() for i in range(3)]
    rows = [dict(network.named_parameters()) for network in networks]
    stacked = {name: torch.stack([row[name].detach() for row in rows]).requires_grad_() for name in rows[0]}
    x = torch.randn(3, 5, 2, dtype=torch.float64)
    y = vmap(lambda row, x: functional_call(networks[0], row, (x,)))(stacked, x)
    gradients = torch.autograd.grad(y.square().sum(), list(stacked.values()))
    for i, network in enumerate(networks):
        torch.testing.assert_close(y[i], network(x[i]), rtol=0, atol=1e-10)
        alone = torch.autograd.grad(network(x[i]).square().sum(), list(network.parameters()))
        for name, gradient in zip(dict(network.named_parameters()), alone, strict=True):
            together = gradients[list(stacked).index(name)][i]
            torch.testing.assert_close(together, gradient, rtol=0, atol=1e-10)


def test_dropout_of_the_inputs():
    assert isinstance(rbf(blocks=Blocks("identity", NoNormalization(), p_input=0.2, p_hidden=0.5)).input[1], Dropout)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kernels": 301}, "kernels=301: architecture.centres=random takes no more .* samples, 300: give fewer"),
        ({"centres": "gng", "kernels": 1}, "kernels=1: architecture.centres=gng starts with two"),
        ({"kernels": 1, "width": "nearest"}, "width=nearest needs two different centres: give a number"),
        (
            {"centres": "samples", "inputs": torch.zeros(1, 1).expand(40_000, 784)},
            "centres=samples: 40,000 kernels of 784 numbers .* 10,000,000 .*: choose architecture.centres=kmeans",
        ),
        ({"centres": "uniform", "kernels": 10**7}, "10,000,000 kernels of 2 .* choose fewer architecture.kernels"),
        ({"blocks": Blocks("identity", LayerNorm(1e-5, True))}, "architecture=rbf has no place for a normalization"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ConfigError, match=message):
        rbf(**options)


@pytest.mark.parametrize("centres", PLACES)
def test_trains_in_a_stack_as_alone(centres, stack_of, train):
    overrides = ["dataset=iris", "architecture=rbf", f"architecture.centres={centres}", "architecture.kernels=5"]
    overrides += ["batch_size=16", "precision=float64", "steps=3", "optimizer=sgd", "lr=0.1"]
    together = stack_of(*overrides, rows=[["seed=0"], ["seed=1"]])
    start = together.theta.clone()
    train(together)
    assert all((together.theta != start)[:, s.start : s.stop].any() for s in together.layout.slots)
    for i in range(2):
        alone = stack_of(*overrides, f"seed={i}")
        assert torch.equal(alone.theta[0], start[i])
        train(alone)
        torch.testing.assert_close(together.theta[i], alone.theta[0], rtol=0, atol=1e-9)
