"""Networks against their formulas: what stands where, how many parameters, activations, dropout, skips, refusals."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.polynomial.legendre import legval
from scipy.special import erf, expit
from torch import nn
from torch.func import functional_call, vmap

from dlrun.activations import ACTIVATIONS
from dlrun.architectures.blocks import Blocks, Dropout, Residual
from dlrun.architectures.cnn import CNN
from dlrun.architectures.mlp import MLP, Linear
from dlrun.architectures.polynomial import Polynomial
from dlrun.errors import ConfigError
from dlrun.normalizations import BatchNorm, LayerNorm, NoNormalization

NONE, BATCH, LAYER = NoNormalization(), BatchNorm(1e-5, True, 0.1), LayerNorm(1e-5, True)


def mlp(shape, outputs, hidden=None, blocks=None, width=None, depth=None, skip=False):
    return MLP(shape, outputs, blocks or Blocks("relu", NONE), hidden, width, depth, skip)


def cnn(shape=(1, 28, 28), outputs=10, channels=(6, 16), kernel=5, hidden=(120, 84), blocks=None):
    return CNN(shape, outputs, blocks or Blocks("relu", NONE), channels, kernel, hidden)


def sizes(network):
    return [p.numel() for p in network.parameters()]


FORMULAS = {
    "relu": lambda x: np.maximum(x, 0),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.01 * x),
    "prelu": lambda x: np.where(x > 0, x, 0.25 * x),
    "elu": lambda x: np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1),
    "sigmoid": expit,
    "tanh": np.tanh,
    "lecun_tanh": lambda x: 1.7159 * np.tanh(2 * x / 3),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "gelu": lambda x: x * (1 + erf(x / sqrt(2))) / 2,
    "silu": lambda x: x * expit(x),
    "identity": lambda x: x,
    "symmetric_sigmoid": lambda x: 4 * (expit(x) - 0.5),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_activation(name):
    x = torch.linspace(-6, 6, 101, dtype=torch.float64)
    y = ACTIVATIONS[name]().double()(x).detach().numpy()
    np.testing.assert_allclose(y, FORMULAS[name](x.numpy()), atol=1e-12)


def test_activations_as_the_lecture_has_them():
    one = torch.tensor(1.0)
    assert ACTIVATIONS["lecun_tanh"]()(one).item() == pytest.approx(1, abs=1e-4)
    zero = torch.zeros((), requires_grad=True)
    assert torch.autograd.grad(ACTIVATIONS["symmetric_sigmoid"]()(zero), zero)[0].item() == 1


@pytest.mark.parametrize(
    ("network", "shape", "expected"),
    [
        (Linear((8, 8), 10, Blocks("identity", NONE)), (8, 8), [640, 10]),
        (mlp((4,), 3, [16, 8]), (4,), [64, 16, 128, 8, 24, 3]),
        (mlp((1, 8, 8), 1, []), (1, 8, 8), [64, 1]),
        (mlp((4,), 3, [16], Blocks("prelu", BATCH)), (4,), [64, 16, 16, 16, 1, 48, 3]),
        (mlp((4,), 3, [9, 9], width=16, depth=2), (4,), [64, 16, 256, 16, 48, 3]),  # in place of hidden
        (mlp((4,), 3, width=16, depth=0), (4,), [12, 3]),
        # LeNet-5's sizes, whose convolutions here keep the image's: 28 -> 14 -> 7, so 7 x 7 x 16 = 784 inputs
        (cnn(), (1, 28, 28), [150, 6, 2400, 16, 94080, 120, 10080, 84, 840, 10]),
        (cnn((3, 9, 17), 1, [4], 3, []), (3, 9, 17), [108, 4, 4 * 4 * 8, 1]),
        (cnn((3, 4, 4), 2, [4], 3, [5], Blocks("relu", BATCH)), (3, 4, 4), [108, 4, 4, 4, 80, 5, 5, 5, 10, 2]),
    ],
)
def test_parameters_and_shapes(network, shape, expected):
    assert sizes(network) == expected
    assert network(torch.randn(7, *shape)).shape == (7, expected[-1])


@pytest.mark.parametrize("position", ["before", "after"])
def test_mlp_by_its_formula(position):
    network = mlp((3, 2), 4, [7, 5], Blocks("tanh", LAYER, position)).double()
    x = torch.randn(9, 3, 2, dtype=torch.float64)
    W1, b1, _, _, W2, b2, _, _, W3, b3 = network.parameters()
    h = x.reshape(9, 6)
    for W, b in ((W1, b1), (W2, b2)):
        h = h @ W.T + b
        h = torch.tanh(F.layer_norm(h, h.shape[1:])) if position == "before" else F.layer_norm(h.tanh(), h.shape[1:])
    torch.testing.assert_close(network(x), h @ W3.T + b3)


@pytest.mark.parametrize("position", ["before", "after"])
def test_cnn_by_its_formula(position):
    network = cnn((2, 9, 12), 4, [3, 5], 3, [6], Blocks("tanh", LAYER, position)).double()
    x = torch.randn(9, 2, 9, 12, dtype=torch.float64)
    W1, b1, _, _, W2, b2, _, _, W3, b3, _, _, W4, b4 = network.parameters()

    def block(h):
        return torch.tanh(F.layer_norm(h, h.shape[1:])) if position == "before" else F.layer_norm(h.tanh(), h.shape[1:])

    h = F.max_pool2d(block(F.conv2d(x, W1, b1, padding=1)), 2)
    h = F.max_pool2d(block(F.conv2d(h, W2, b2, padding=1)), 2)
    torch.testing.assert_close(network(x), block(h.reshape(9, 5 * 2 * 3) @ W3.T + b3) @ W4.T + b4)


def test_skip_adds_the_identity():
    network = mlp((4,), 3, [5, 5, 6, 6], skip=True)
    plain = mlp((4,), 3, [5, 5, 6, 6])
    skips = [layer for layer in network if isinstance(layer, Residual)]
    assert len(skips) == 2 and sizes(network) == sizes(plain)
    x = torch.randn(9, 5)
    for skip in skips:
        h = torch.randn(9, skip.body[0].in_features)
        torch.testing.assert_close(skip(h), h + skip.body(h))
    for parameter in skips[0].body.parameters():
        nn.init.zeros_(parameter)
    assert torch.equal(skips[0](x), x)  # the identity once the body is zero
    square = mlp((5,), 3, [5], skip=True)  # the inputs count as a layer
    W1, b1, W2, b2 = square.parameters()
    torch.testing.assert_close(square(x), (x + torch.relu(x @ W1.T + b1)) @ W2.T + b2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: mlp((4,), 3, [5], width=8), "width and architecture.depth go together: give architecture.depth"),
        (lambda: mlp((4,), 3, [5], depth=8), "width and architecture.depth go together: give architecture.width"),
        (lambda: mlp((4,), 3, [5, 6], skip=True), r"skip=true needs two neighbouring .* the widths are 4, 5, 6"),
        (lambda: cnn((64,)), r"architecture=cnn needs images, .* shape \(64,\): choose architecture=mlp"),
        (lambda: cnn((1, 28, 7), channels=[4] * 3), r"channels=\[4, 4, 4\] halves the image 3 times, and 28x7 pixels"),
        (lambda: cnn(kernel=4), "architecture.kernel=4: give an odd number"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_where_dropout_stands():
    def kinds(network):
        return [type(layer) for layer in network if not isinstance(layer, nn.Flatten | nn.Identity)]

    blocks = Blocks("relu", NONE, p_input=0.2, p_hidden=0.5)
    hidden = [nn.Linear, nn.ReLU, Dropout]
    assert kinds(Linear((4,), 3, blocks)) == [Dropout, nn.Linear]
    assert kinds(mlp((4,), 3, [5, 5], blocks)) == [Dropout, *hidden, *hidden, nn.Linear]
    conv = [nn.Conv2d, nn.ReLU, nn.MaxPool2d]
    assert kinds(cnn(blocks=blocks)) == [Dropout, *conv, *conv, *hidden, *hidden, nn.Linear]
    assert [layer.p.item() for layer in mlp((4,), 3, [5], blocks) if isinstance(layer, Dropout)] == [
        pytest.approx(0.2),
        pytest.approx(0.5),
    ]
    assert kinds(mlp((4,), 3, [5])) == [nn.Linear, nn.ReLU, nn.Linear]


@pytest.mark.parametrize("p", [0, 0.2, 0.5, 0.9])
def test_dropout(p):
    torch.manual_seed(0)
    x = 3 * torch.ones(200, 100)
    layer, n = Dropout(p), x.numel()
    y = layer(x)
    kept = y != 0
    torch.testing.assert_close(y[kept], torch.full_like(y[kept], 3 / (1 - p)))
    # five standard errors: of the share zeroed sqrt(p (1 - p) / n), of the mean 3 sqrt(p / (1 - p) / n)
    assert 1 - kept.double().mean().item() == pytest.approx(p, abs=5 * sqrt(p * (1 - p) / n) + 1e-6)
    assert y.double().mean().item() == pytest.approx(3, abs=15 * sqrt(p / (1 - p) / n) + 1e-6)
    assert torch.equal(layer.eval()(x), x)
    if p == 0:
        assert torch.equal(y, x)


def test_dropout_rates_per_row():
    torch.manual_seed(0)
    rates, x = torch.tensor([0.0, 0.2, 0.7]), torch.ones(100, 100)
    layer = Dropout(0.5)
    y = vmap(lambda p: functional_call(layer, {"p": p}, (x,)), randomness="different")(rates)
    torch.testing.assert_close((y == 0).float().mean((1, 2)), rates, rtol=0, atol=5 * sqrt(0.25 / x.numel()))
    torch.testing.assert_close(y.amax((1, 2)), 1 / (1 - rates))


def test_polynomial_is_a_linear_map_of_legendre_polynomials_of_each_input():
    network = Polynomial((2,), 1, Blocks("relu", NONE), degree=5).double()
    x = torch.linspace(-1.2, 1.2, 14, dtype=torch.float64).view(7, 2)
    weight, bias = network.head.weight.detach().numpy()[0].reshape(2, 5), network.head.bias.item()
    expected = bias + sum(legval(x[:, j].numpy(), [0, *weight[j]]) for j in range(2))
    np.testing.assert_allclose(network(x).detach().numpy()[:, 0], expected, rtol=1e-12)
    assert sizes(network) == [10, 1]
    with pytest.raises(ConfigError, match="architecture=polynomial has no place for a normalization"):
        Polynomial((1,), 1, Blocks("relu", BATCH), degree=2)
