"""Recurrent networks against torch.nn's own, with the same weights; dropout, images as rows, refusals."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from dlrun.architectures.blocks import Blocks, Dropout
from dlrun.architectures.recurrent import GRU, LSTM, RNN, Layer
from dlrun.errors import ConfigError
from dlrun.normalizations import LayerNorm, NoNormalization

SHAPE = (7, 3)


def network(name, hidden=(5, 4), shape=SHAPE, rows=False, blocks=None):
    blocks = blocks or Blocks("tanh", NoNormalization())
    if name == "rnn":
        return RNN(shape, 2, blocks, hidden, rows)
    return (
        LSTM(shape, 2, blocks, hidden, rows, forget_bias=1.5) if name == "lstm" else GRU(shape, 2, blocks, hidden, rows)
    )


def twin(name, ours):
    """torch.nn's layers with our weights."""
    layers = []
    for layer in (module for module in ours if isinstance(module, Layer)):
        cls = {"rnn": nn.RNN, "lstm": nn.LSTM, "gru": nn.GRU}[name]
        theirs = cls(layer.input.in_features, layer.units, batch_first=True).double()
        with torch.no_grad():
            theirs.weight_ih_l0.copy_(layer.input.weight)
            theirs.weight_hh_l0.copy_(layer.recurrent.weight)
            theirs.bias_ih_l0.copy_(layer.input.bias)
            theirs.bias_hh_l0.copy_(layer.recurrent.bias if name == "gru" else torch.zeros_like(theirs.bias_hh_l0))
            if name == "lstm":  # whose gates are i, f, g, o
                theirs.bias_hh_l0[layer.units : 2 * layer.units] = 1.5
        layers.append(theirs)
    return layers


@pytest.mark.parametrize("name", ["rnn", "lstm", "gru"])
def test_torch_twin(name):
    torch.manual_seed(0)
    ours = network(name).double()
    x = torch.randn(6, *SHAPE, dtype=torch.float64, requires_grad=True)
    expected = x
    for layer in twin(name, ours):
        expected, _ = layer(expected)
    expected = ours[-1](expected[:, -1])
    torch.testing.assert_close(ours(x), expected, rtol=0, atol=1e-10)
    weights = torch.randn_like(expected)
    gradient, wanted = (torch.autograd.grad((weights * y).sum(), x)[0] for y in (ours(x), expected))
    torch.testing.assert_close(gradient, wanted, rtol=0, atol=1e-10)
    assert wanted[:, 0].abs().min() > 0  # the first time reaches the output


@pytest.mark.parametrize(("name", "gates", "biases"), [("rnn", 1, 1), ("lstm", 4, 1), ("gru", 3, 2)])
def test_parameters(name, gates, biases):
    ours = network(name, hidden=5)
    assert sum(p.numel() for p in ours.parameters()) == gates * (3 * 5 + 5 * 5 + biases * 5) + 5 * 2 + 2
    assert ours(torch.randn(6, *SHAPE)).shape == (6, 2)


def test_activation_of_the_simple_network():
    ours = network("rnn", hidden=5, blocks=Blocks("relu", NoNormalization()))
    x = torch.randn(6, *SHAPE)
    h = torch.zeros(6, 5)
    for t in range(7):
        h = torch.relu(ours[0].input(x[:, t]) + ours[0].recurrent(h))
    torch.testing.assert_close(ours(x), ours[-1](h))


def test_images_are_read_row_by_row():
    image = torch.randn(6, 2, 4, 3)
    ours, plain = network("gru", shape=(2, 4, 3), rows=True), network("gru", shape=(4, 6))
    plain.load_state_dict(dict(zip(plain.state_dict(), ours.state_dict().values(), strict=True)))
    rows = torch.stack([torch.cat([image[:, 0, t], image[:, 1, t]], 1) for t in range(4)], 1)
    torch.testing.assert_close(ours(image), plain(rows))


def test_where_dropout_stands():
    dropout = Blocks("tanh", NoNormalization(), p_input=0.2, p_hidden=0.5)
    kinds = [type(module).__name__ for module in network("lstm", blocks=dropout)]
    assert kinds == ["Dropout", "LSTMLayer", "Dropout", "LSTMLayer", "Dropout", "Last", "Linear"]
    assert not any(isinstance(module, Dropout) for module in network("lstm").modules())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": (4,)}, r"architecture=lstm needs sequences .* shape \(4,\): choose a dataset of sequences"),
        ({"shape": (1, 8, 8)}, r"shape \(1, 8, 8\): give architecture.rows=true .* or choose a dataset of sequences"),
        ({"shape": (8, 8), "rows": True}, r"rows=true reads images .* shape \(8, 8\): leave architecture.rows=false"),
        ({"blocks": Blocks("tanh", LayerNorm(1e-5, True))}, "lstm has no place .*: leave normalization=none"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ConfigError, match=message):
        network("lstm", **options)
