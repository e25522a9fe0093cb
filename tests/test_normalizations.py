"""Normalization layers against torch.nn's own, and against the axes that lecture 004 gives for each."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from dlrun.architectures.blocks import Blocks
from dlrun.architectures.cnn import CNN
from dlrun.errors import ConfigError
from dlrun.normalizations import (
    BatchNorm,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    NoNormalization,
    Normalization,
    running_averages,
)

EPS = 1e-3  # large enough to be seen
BATCH = BatchNorm(eps=EPS, affine=True, momentum=0.3)
VECTORS, IMAGES = (16, 12), (16, 12, 5, 7)


def batches(shape, count=4):
    """Minibatches whose channels, samples and pixels all have means and variances of their own."""
    random = torch.Generator().manual_seed(0)
    for _ in range(count):
        x = torch.randn(shape, generator=random)
        for axis, size in enumerate(shape):
            per_entry = torch.rand(2, size, generator=random).reshape(2, size, *[1] * (len(shape) - axis - 1))
            x = x * (0.5 + per_entry[0]) + per_entry[1]
        yield x


def named(value):
    """A test's name: the layer, and the shape of its input."""
    if value in (VECTORS, IMAGES):
        return "x".join(map(str, value))
    return type(value).__name__ if isinstance(value, Normalization) else ""


def randomize(layer):
    """Any scale and shift, the same for each layer of this many channels."""
    random = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        nn.init.uniform_(parameter, -2, 2, generator=random)
    return layer


@pytest.mark.parametrize(
    ("normalization", "twin", "shape"),
    [
        (BATCH, partial(nn.BatchNorm1d, momentum=0.3), VECTORS),
        (BATCH, partial(nn.BatchNorm2d, momentum=0.3), IMAGES),
        (BatchNorm(eps=EPS, affine=False, momentum=1.0), partial(nn.BatchNorm2d, affine=False, momentum=1.0), IMAGES),
        (LayerNorm(eps=EPS, affine=True), nn.LayerNorm, VECTORS),
        (LayerNorm(eps=EPS, affine=True), partial(nn.GroupNorm, 1), IMAGES),
        (InstanceNorm(eps=EPS, affine=True), partial(nn.InstanceNorm2d, affine=True), IMAGES),
        (InstanceNorm(eps=EPS, affine=False), nn.InstanceNorm2d, IMAGES),
        (GroupNorm(3, eps=EPS, affine=True), partial(nn.GroupNorm, 3), VECTORS),
        (GroupNorm(3, eps=EPS, affine=True), partial(nn.GroupNorm, 3), IMAGES),
    ],
    ids=named,
)
def test_torch_twin(normalization, twin, shape):
    ours, theirs = randomize(normalization.layer(12, len(shape) - 2)), randomize(twin(12, eps=EPS))
    for x in batches(shape):
        torch.testing.assert_close(ours(x), theirs(x))
    assert {name: buffer.shape for name, buffer in ours.named_buffers()} == {
        name: buffer.shape for name, buffer in theirs.named_buffers() if name != "num_batches_tracked"
    }
    ours.eval(), theirs.eval()
    torch.testing.assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    ("normalization", "shape", "split", "axes"),
    [
        (BatchNorm(1e-12, False, 0.1), VECTORS, VECTORS, 0),
        (BatchNorm(1e-12, False, 0.1), IMAGES, IMAGES, (0, 2, 3)),
        (LayerNorm(1e-12, False), VECTORS, VECTORS, 1),
        (LayerNorm(1e-12, False), IMAGES, IMAGES, (1, 2, 3)),
        (InstanceNorm(1e-12, False), IMAGES, IMAGES, (2, 3)),
        (GroupNorm(4, 1e-12, False), VECTORS, (16, 4, 3), 2),
        (GroupNorm(4, 1e-12, False), IMAGES, (16, 4, 3, 5, 7), (2, 3, 4)),
    ],
    ids=named,
)
def test_axes(normalization, shape, split, axes):
    """(x - mean) / std over exactly these axes, so that each of the others keeps its own relations."""
    for x in batches(shape, count=1):
        normalized = normalization.layer(12, len(shape) - 2)(x).reshape(split)
        variance, mean = torch.var_mean(x.double().reshape(split), axes, correction=0, keepdim=True)
        expected = (x.double().reshape(split) - mean) / variance.sqrt()
        torch.testing.assert_close(normalized.double(), expected, rtol=1e-4, atol=1e-5)


def test_running_averages():
    """By their formula: r <- (1 - momentum) r + momentum m, with the variance over n - 1 (Ioffe & Szegedy, alg. 2)."""
    layer = BATCH.layer(12, 2)
    mean, variance = torch.zeros(12), torch.ones(12)
    for x in batches(IMAGES):
        layer(x)
        mean = 0.7 * mean + 0.3 * x.mean((0, 2, 3))
        variance = 0.7 * variance + 0.3 * x.var((0, 2, 3), correction=1)
    torch.testing.assert_close(layer.running_mean, mean)
    torch.testing.assert_close(layer.running_var, variance)
    expected = (x - mean[:, None, None]) / (variance[:, None, None] + EPS).sqrt()
    torch.testing.assert_close(layer.eval()(x), expected)
    assert running_averages(nn.Sequential(nn.Linear(2, 2), layer)) == {"1.running_mean", "1.running_var"}
    assert running_averages(layer) == {"running_mean", "running_var"}
    assert not running_averages(LayerNorm(EPS, True).layer(12, 2))


@pytest.mark.parametrize(
    ("normalization", "channels", "axes", "message"),
    [
        (InstanceNorm(EPS, True), 12, 0, "normalization=instance .* no spatial axes: choose normalization=layer"),
        (GroupNorm(5, EPS, True), 12, 2, "normalization.groups=5 does not divide a layer's 12 channels"),
        (GroupNorm(24, EPS, True), 12, 0, "normalization.groups=24 does not divide a layer's 12 channels"),
        (GroupNorm(12, EPS, True), 12, 0, "normalization.groups=12 makes groups of one in a layer of 12 units"),
    ],
)
def test_refusals(normalization, channels, axes, message):
    with pytest.raises(ConfigError, match=message):
        normalization.layer(channels, axes)


@pytest.mark.parametrize(
    ("normalization", "layers"),
    [(InstanceNorm(EPS, True), [6, 16]), (LayerNorm(EPS, True), [6, 16, 120, 84]), (NoNormalization(), [])],
)
def test_a_convolutional_network_has_instances_only_where_it_has_space(normalization, layers):
    network = CNN((1, 8, 8), 10, Blocks("relu", normalization), [6, 16], 5, [120, 84])
    assert [layer.num_channels for layer in network if isinstance(layer, nn.GroupNorm)] == layers
    assert network(torch.zeros(3, 1, 8, 8)).shape == (3, 10)
