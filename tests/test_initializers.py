"""Initial weights: torch.nn.init's numbers from the same generator, variances within five standard errors, seeds."""

from __future__ import annotations

from math import prod, sqrt

import pytest
import torch
from scipy.stats import ks_2samp
from torch import nn

from dlrun.activations import ACTIVATIONS, negative_slope
from dlrun.initializers import He, Lecun, Normal, TorchDefault, Uniform, Xavier, Zeros
from dlrun.seeds import NOISE, ORDER, WEIGHTS, generator, seed_of

SHAPES = [(30, 400), (400, 30), (24, 16, 3, 5)]
FILLS = {
    "normal": (nn.init.xavier_normal_, nn.init.kaiming_normal_),
    "uniform": (nn.init.xavier_uniform_, nn.init.kaiming_uniform_),
}


def weights(initializer, shape, slope=0.0, seed=0):
    return initializer.weight(shape, slope, generator(seed, WEIGHTS))


def twins():
    """Each initializer with the function of torch.nn.init that fills a tensor from the same distribution."""
    yield "zeros", Zeros(0), lambda w, g: nn.init.zeros_(w)
    yield "uniform", Uniform(0.3, 0), lambda w, g: nn.init.uniform_(w, -0.3, 0.3, generator=g)
    yield "normal", Normal(0.02, 0), lambda w, g: nn.init.normal_(w, 0, 0.02, generator=g)
    yield "torch_default", TorchDefault(None), lambda w, g: nn.init.kaiming_uniform_(w, a=sqrt(5), generator=g)
    for kind, (xavier_, kaiming_) in FILLS.items():
        yield f"xavier {kind}", Xavier(kind, 0), lambda w, g, f=xavier_: f(w, generator=g)
        yield f"lecun {kind}", Lecun(kind, 0), lambda w, g, f=kaiming_: f(w, nonlinearity="linear", generator=g)
        for mode in ("fan_in", "fan_out"):
            for a in (0, 0.5):
                yield (
                    f"he {kind} {mode} a={a}",
                    He(kind, mode, a, 0),
                    lambda w, g, f=kaiming_, a=a, mode=mode: f(w, a=a, mode=mode, generator=g),
                )


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize(("initializer", "fill_"), [pytest.param(*twin, id=name) for name, *twin in twins()])
def test_draws_what_torch_draws(initializer, fill_, shape):
    expected = fill_(torch.empty(shape), generator(0, WEIGHTS))
    torch.testing.assert_close(weights(initializer, shape), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(("kind", "kurtosis"), [("normal", 3.0), ("uniform", 1.8)])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_variance(shape, kind, kurtosis):
    fan_in, fan_out = prod(shape[1:]), shape[0] * prod(shape[2:])
    n = prod(shape)
    for initializer, variance in [
        (Lecun(kind, 0), 1 / fan_in),
        (Xavier(kind, 0), 2 / (fan_in + fan_out)),
        (He(kind, "fan_in", None, 0), 2 / fan_in),
        (He(kind, "fan_out", None, 0), 2 / fan_out),
        (He(kind, "fan_in", 2, 0), 2 / (5 * fan_in)),
    ]:
        w = weights(initializer, shape).double()
        # five standard errors: of a mean sigma / sqrt(n), of a variance sigma^2 sqrt((kurtosis - 1) / n)
        assert abs(w.mean().item()) < 5 * sqrt(variance / n)
        assert w.square().mean().item() == pytest.approx(variance, rel=5 * sqrt((kurtosis - 1) / n))
        if kind == "uniform":
            assert 0.995 * sqrt(3 * variance) < w.abs().max().item() <= sqrt(3 * variance)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_he_takes_the_slope_of_the_activation(name):
    activation = ACTIVATIONS[name]()
    slope = negative_slope(activation)
    # only rectifiers have one: f(-1) = -slope
    expected = -activation(torch.tensor(-1.0)).item() if name in ("leaky_relu", "prelu", "relu") else 0.0
    assert slope == pytest.approx(expected) and (slope > 0) == (name in ("leaky_relu", "prelu"))
    gain = nn.init.calculate_gain("leaky_relu", slope)
    assert sqrt(He("normal", "fan_out", None, 0).variance(30, 50, slope)) == pytest.approx(gain / sqrt(50))
    assert He("normal", "fan_in", 0.0, 0).variance(30, 50, slope) == 2 / 30  # what the user says comes first


@pytest.mark.parametrize("layer", [nn.Linear(400, 50), nn.Conv2d(16, 40, 5)], ids=["linear", "conv"])
def test_torch_default_is_that_of_torch(layer):
    initializer, shape = TorchDefault(None), tuple(layer.weight.shape)
    bias = torch.cat([initializer.bias(shape, generator(seed, WEIGHTS)) for seed in range(50)])
    torch.manual_seed(0)
    biases = []
    for _ in range(50):
        layer.reset_parameters()
        biases.append(layer.bias.detach().clone())
    assert ks_2samp(weights(initializer, shape).flatten(), layer.weight.detach().flatten()).pvalue > 0.01
    assert ks_2samp(bias, torch.cat(biases)).pvalue > 0.01
    for sample in (weights(initializer, shape), bias):
        assert 0.99 / sqrt(400) < sample.abs().max().item() <= 1 / sqrt(400)


@pytest.mark.parametrize("initializer", [Zeros(0.1), He("normal", "fan_in", None, 0.1), TorchDefault(0.1)])
def test_constant_bias(initializer):
    assert initializer.bias((3, 2, 5, 5), generator(0)).tolist() == pytest.approx([0.1] * 3)


def test_pinned_values():
    """A seed's weights stay what they are from version to version."""
    normal = weights(He("normal", "fan_in", None, 0), (2, 2), seed=7).flatten()
    uniform = weights(TorchDefault(None), (2, 2), seed=7).flatten()
    assert normal.tolist() == pytest.approx([-0.528345, 0.639405, -0.946747, 0.360522], abs=1e-6)
    assert uniform.tolist() == pytest.approx([-0.466707, -0.446797, 0.228230, 0.140376], abs=1e-6)
    assert (seed_of(0, WEIGHTS), seed_of(1, ORDER, 2)) == (7896617691693857887, 4577980684254263135)


def test_streams_are_independent():
    purposes = [(s, *p) for s in range(20) for p in ((WEIGHTS,), (NOISE,), *((ORDER, epoch) for epoch in range(20)))]
    # torch's generator keeps the lowest 32 bits of its seed
    assert len({seed_of(*p) % 2**32 for p in purposes}) == len(purposes)


def test_the_seed_alone_decides(stack_of):
    def theta(*overrides):
        return stack_of("dataset=xor", "normalization=batch", "initializer.bias=0.5", *overrides).theta

    stack = stack_of("dataset=xor", "normalization=batch", "initializer.bias=0.5", rows=[["seed=0"], ["seed=1"]])
    first, second = stack.theta
    assert torch.equal(theta("optimizer=sgd", "batch_size=4", "schedule=cosine", "regularizer=dropout")[0], first)
    assert torch.equal(theta("seed=1")[0], second)
    kind = {name: stack.layout.mask(name).bool() for name in ("weight", "bias", "other")}
    assert not (first[kind["weight"]] == second[kind["weight"]]).any()
    assert (stack.theta[:, kind["bias"]] == 0.5).all()
    scales = [s for s in stack.layout.slots if s.kind == "other"]  # what the layer starts with: scale 1, shift 0
    assert [set(first[s.start : s.stop].tolist()) for s in scales] == [{1.0}, {0.0}] * 2
