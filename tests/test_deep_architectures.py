"""Residual and dense networks, spatial transformers and autoencoders against the papers: counts, formulas, refusals."""

from __future__ import annotations

from math import cos, sin

import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from dlrun.architectures.autoencoder import Autoencoder
from dlrun.architectures.blocks import Blocks
from dlrun.architectures.cnn import CNN
from dlrun.architectures.densenet import DenseNet
from dlrun.architectures.resnet import BasicBlock, ResNet, ResNet18
from dlrun.architectures.stn import STN
from dlrun.errors import ConfigError
from dlrun.normalizations import BatchNorm, InstanceNorm, LayerNorm, NoNormalization

NONE, BATCH, LAYER = NoNormalization(), BatchNorm(1e-5, True, 0.1), LayerNorm(1e-5, True)
CIFAR = (3, 32, 32)


def relu(normalization, position="before"):
    return Blocks("relu", normalization, position)


def resnet(depth=8, width=4, skip=True, shape=CIFAR, normalization=BATCH, position="before"):
    return ResNet(shape, 10, relu(normalization, position), depth, width, skip)


def densenet(depth, growth=None, bottleneck=True, shape=CIFAR, normalization=BATCH):
    return DenseNet(shape, 10, relu(normalization), depth, growth, bottleneck)


def stn(shape=(1, 8, 8), localisation=(4,)):
    return STN(shape, 3, relu(NONE), localisation, channels=[2], kernel=3, hidden=[5])


def autoencoder(widths=(16, 4), tied=False, normalization=NONE):
    return Autoencoder((1, 8, 8), 64, relu(normalization), widths, tied)


def count(make, *args, **options):
    with torch.device("meta"):
        return sum(p.numel() for p in make(*args, **options).parameters())


def residual_formula(depth, width):
    """He et al. 2016, section 4.2: 2n layers of 3x3 convolutions per stage, batch normalization after each, one map."""
    n = (depth - 2) // 6
    convolutions = [(3, width)]
    for stage in range(3):
        units = width * 2**stage
        convolutions += [(max(width, units // 2), units)] + [(units, units)] * (2 * n - 1)
    assert len(convolutions) == depth - 1
    return sum(9 * fan_in * units + 2 * units for fan_in, units in convolutions) + 10 * (4 * width) + 10


@pytest.mark.parametrize(
    ("depth", "published", "exact"), [(20, 0.27, 269_722), (56, 0.85, 853_018), (110, 1.7, 1_727_962)]
)
def test_parameters_of_resnet(depth, published, exact):
    for skip in (True, False):
        parameters = count(resnet, depth, 16, skip)
        assert parameters == exact == residual_formula(depth, 16)
        assert parameters / 1e6 == pytest.approx(published, rel=0.02)
    assert count(resnet, depth, 5) == residual_formula(depth, 5)


def test_biases_stand_where_no_normalization_follows():
    def biases(**options):
        return [m.bias is not None for m in resnet(**options).modules() if isinstance(m, nn.Conv2d)]

    assert not any(biases()) and all(biases(normalization=NONE)) and all(biases(position="after"))


def test_parameters_of_resnet18():
    def formula(k):
        """Two 3x3 convolutions per block with a normalization before each, 1x1 ones where the width changes."""
        blocks = [(k, k), (k, k), (k, 2 * k), (2 * k, 2 * k), (2 * k, 4 * k), (4 * k, 4 * k), (4 * k, 8 * k)]
        blocks.append((8 * k, 8 * k))
        total = 9 * 3 * k + 10 * (8 * k) + 10
        for fan_in, units in blocks:
            total += 2 * fan_in + 9 * fan_in * units + 2 * units + 9 * units**2 + (fan_in != units) * fan_in * units
        return total

    for k in (1, 10, 64):
        assert count(ResNet18, CIFAR, 10, relu(BATCH), k) == formula(k)
    assert formula(64) == 11_171_146 == pytest.approx(11.2e6, rel=0.01)


def test_parameters_of_densenet():
    # torchvision's DenseNet-121 has 7,978,856, among them a 7x7 stem with its normalization and 1000 outputs
    expected = 7_978_856 - (7 * 7 * 3 * 64 + 128 + 1024 * 1000 + 1000) + (3 * 3 * 3 * 64 + 1024 * 10 + 10)
    assert count(densenet, 121) == expected == 6_956_298
    # Huang et al. 2017, table 2
    assert count(densenet, 40, 12, bottleneck=False) == pytest.approx(1.0e6, rel=0.03)
    assert count(densenet, 100, 12) == pytest.approx(0.8e6, rel=0.05)
    assert count(densenet, 100) == count(densenet, 100, 12)
    assert count(densenet, 100, 24, bottleneck=False) == pytest.approx(27.2e6, rel=0.01)
    assert count(densenet, 250, 24) == pytest.approx(15.3e6, rel=0.01)


def norm(x):
    return F.layer_norm(x, x.shape[1:])  # new scales are 1 and shifts 0


@pytest.mark.parametrize("position", ["before", "after"])
@pytest.mark.parametrize("skip", [True, False])
def test_resnet_by_its_formula(skip, position):
    network = resnet(8, 2, skip, (1, 9, 10), LAYER, position).double()
    x = torch.randn(3, 1, 9, 10, dtype=torch.float64)
    maps = iter([m for m in network.modules() if isinstance(m, nn.Conv2d)])

    def conv(h, stride=1):
        m = next(maps)
        return F.conv2d(h, m.weight, m.bias, stride, padding=1)

    def end(h):
        return norm(h).relu() if position == "before" else norm(h.relu())

    h = end(conv(x))
    for stride in (1, 2, 2):
        body = conv(end(conv(h, stride)))
        shortcut = torch.zeros_like(body)
        shortcut[:, : h.shape[1]] = h[:, :, ::stride, ::stride]
        if position == "before":
            h = torch.relu(norm(body) + skip * shortcut)
        else:
            h = norm(torch.relu(body + skip * shortcut))
    assert h.shape == (3, 8, 3, 3)
    torch.testing.assert_close(network(x), network[-1](h.mean((2, 3))))


def test_a_block_of_zero_weights_is_its_shortcut():
    x = torch.rand(3, 4, 8, 8)
    for skip in (True, False):
        block = BasicBlock(4, 4, 1, relu(BATCH), skip)
        for m in block.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.zeros_(m.weight)
        assert torch.equal(block(x), x if skip else torch.zeros_like(x))


def test_resnet18_by_its_formula():
    network = ResNet18((1, 9, 10), 10, relu(LAYER), 2).double()
    x = torch.randn(3, 1, 9, 10, dtype=torch.float64)
    maps = iter([m for m in network.modules() if isinstance(m, nn.Conv2d)])

    def conv(h, stride=1):
        m = next(maps)
        return F.conv2d(h, m.weight, None, stride, padding=m.kernel_size[0] // 2)

    h = conv(x)
    for block in range(8):
        changes = block in (2, 4, 6)
        y = norm(h).relu()
        body = conv(norm(conv(y, 1 + changes)).relu())
        h = body + (conv(y, 2) if changes else h)
    assert next(maps, None) is None and h.shape == (3, 16, 2, 2)
    torch.testing.assert_close(network(x), network[-1](h.mean((2, 3))))


@pytest.mark.parametrize("bottleneck", [True, False])
def test_densenet_by_its_formula(bottleneck):
    network = densenet(16 if bottleneck else 10, 3, bottleneck, (1, 9, 10), LAYER).double()
    x = torch.randn(3, 1, 9, 10, dtype=torch.float64)
    maps = iter([m for m in network.modules() if isinstance(m, nn.Conv2d)])

    def conv(h):
        m = next(maps)
        return F.conv2d(h, m.weight, None, padding=m.kernel_size[0] // 2)

    def transfer(h):
        return norm(h).relu()

    h = conv(x)
    for block in range(3):
        if block:
            channels = h.shape[1]
            h = F.avg_pool2d(conv(transfer(h)), 2)
            assert h.shape[1] == (channels // 2 if bottleneck else channels)
        for _ in range(2):
            y = conv(transfer(h)) if bottleneck else h
            assert not bottleneck or y.shape[1] == 12
            h = torch.cat([h, conv(transfer(y))], 1)
    assert next(maps, None) is None
    torch.testing.assert_close(network(x), network[-1](transfer(h).mean((2, 3))))


def test_a_new_transformer_changes_nothing():
    network, x = stn((2, 8, 11)), torch.randn(3, 2, 8, 11)
    assert isinstance(network[1], CNN)
    for parameter in network[0].localisation[:-1].parameters():
        nn.init.normal_(parameter)  # whatever the initializer
    torch.testing.assert_close(network[0](x), x)
    torch.testing.assert_close(network(x), network[1](x))


def test_the_transformer_turns_and_moves_as_scipy_does():
    network, x = stn((1, 9, 9)), torch.zeros(1, 1, 9, 9)
    x[..., 2:7, 2:7] = torch.randn(5, 5, generator=torch.Generator().manual_seed(0))
    angle, right, down = 0.4, 0.11, -0.2
    turn = torch.tensor([[cos(angle), -sin(angle), right], [sin(angle), cos(angle), down]])
    network[0].localisation[-1].bias.data = turn.flatten()
    # SciPy samples at M (row, column) + offset in pixels; a unit of ours is 4.5 pixels, with 0 at pixel 4
    matrix = turn[:, :2].flip(0, 1).numpy()
    offset = 4 + 4.5 * turn[:, 2].flip(0).numpy() - matrix @ [4, 4]
    expected = ndimage.affine_transform(x[0, 0].numpy(), matrix, offset, order=1)
    torch.testing.assert_close(network[0](x)[0, 0].detach(), torch.from_numpy(expected), rtol=0, atol=1e-5)


def test_the_pose_learns():
    network = stn()
    network(torch.randn(3, 1, 8, 8)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in network[0].localisation[-1].parameters())


@pytest.mark.parametrize(("tied", "parameters"), [(False, [1024, 16, 64, 4, 64, 16, 1024, 64]), (True, None)])
def test_sizes_of_the_autoencoder(tied, parameters):
    network, x = autoencoder(tied=tied), torch.randn(3, 1, 8, 8)
    assert network.encoder(x).shape == (3, 4) and network(x).shape == (3, 64)
    assert [p.numel() for p in network.parameters()] == (parameters or [1024, 16, 64, 4, 16, 64])


@pytest.mark.parametrize("tied", [True, False])
def test_autoencoder_by_its_formula(tied):
    network, x = autoencoder(tied=tied, normalization=LAYER).double(), torch.randn(3, 1, 8, 8, dtype=torch.float64)
    layers = [(m.weight, m.bias) for m in network.modules() if isinstance(m, nn.Linear)]
    if tied:
        biases = [nn.init.normal_(network.decoder[i].bias) for i in (0, 3)]
        layers += [(layers[1][0].T, biases[0]), (layers[0][0].T, biases[1])]
    h = x.flatten(1)
    for i, (weight, bias) in enumerate(layers):
        h = h @ weight.T + bias
        h = norm(h).relu() if i < 3 else h
    torch.testing.assert_close(network(x), h)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: resnet(21), r"architecture.depth=21: must be 6n \+ 2, for example 20"),
        (lambda: resnet(shape=(64,)), r"architecture=resnet needs images, .* shape \(64,\): choose architecture=mlp"),
        (lambda: resnet(shape=(1, 8, 3)), "resnet halves the image 2 times, and of 8x3 pixels nothing is left"),
        (lambda: resnet(shape=(1, 4, 4), normalization=InstanceNorm(1e-5, True)), "single one is left, .*=instance"),
        (lambda: ResNet18((4, 8), 2, relu(NONE), 2), "architecture=resnet18 needs images"),
        (lambda: densenet(41), r"depth=41: must be 121, or 6n \+ 4, .* with architecture.bottleneck=true"),
        (lambda: densenet(121, bottleneck=False), r"depth=121: must be 3n \+ 4, .* with architecture.bottleneck=false"),
        (lambda: densenet(4, bottleneck=False), r"depth=4: must be 3n \+ 4"),
        (lambda: densenet(121, shape=(1, 7, 7)), "densenet halves the image 3 times, and of 7x7 pixels"),
        (lambda: stn((64,)), "architecture=stn needs images"),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


IMAGES = ["dataset=digits", "batch_size=16", "precision=float64", "steps=2", "optimizer=momentum", "lr=0.01"]
NETWORKS = {
    "resnet": ["architecture.depth=8", "architecture.width=2", "normalization=batch"],
    "resnet18": ["architecture.width=2", "normalization=group", "normalization.groups=2"],
    "densenet": ["architecture.depth=10", "architecture.growth=2", "normalization=batch"],
    "stn": ["architecture.localisation=[4]", "architecture.channels=[2]", "architecture.hidden=[5]"],
    "rnn": ["architecture.hidden=3", "architecture.rows=true"],
    "lstm": ["architecture.hidden=[3,2]", "architecture.rows=true"],
    "gru": ["architecture.hidden=[3]", "architecture.rows=true"],
}


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_a_row_of_a_stack_is_the_run_alone(name, stack_of, train):
    overrides = [*IMAGES, f"architecture={name}", *NETWORKS[name]]
    together = stack_of(*overrides, rows=[["seed=0"], ["seed=1"]])
    start = together.theta.clone()
    train(together)
    assert all((together.theta != start)[:, s.start : s.stop].any() for s in together.layout.slots)
    for i in range(2):
        alone = stack_of(*overrides, f"seed={i}")
        assert torch.equal(alone.theta[0], start[i])
        train(alone)
        torch.testing.assert_close(together.theta[i], alone.theta[0], rtol=0, atol=1e-9)
