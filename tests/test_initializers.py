"""Initial weights: torch.nn.init's numbers from the same generator, plain loops of the papers, and seeds."""

from __future__ import annotations

from math import prod, sqrt

import pytest
import torch
from conftest import config
from safetensors.torch import save_file
from scipy.stats import entropy, ks_2samp
from torch import nn

from dlrun.activations import ACTIVATIONS, negative_slope
from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.initializers.drawn import (
    Constant,
    He,
    Lecun,
    Normal,
    Orthogonal,
    TorchDefault,
    Uniform,
    Xavier,
    Zeros,
)
from dlrun.initializers.initializer import prior
from dlrun.initializers.lsuv import LSUV
from dlrun.matrix.seeds import NOISE, ORDER, WEIGHTS, generator, seed_of
from dlrun.matrix.theta import Layout
from dlrun.training.build import build

SHAPES = [(30, 400), (400, 30), (24, 16, 3, 5), (60, 60)]
FILLS = {
    "normal": (nn.init.xavier_normal_, nn.init.kaiming_normal_),
    "uniform": (nn.init.xavier_uniform_, nn.init.kaiming_uniform_),
}


def weights(initializer, shape, slope=0.0, seed=0):
    return initializer.weight(shape, slope, generator(seed, WEIGHTS))


def twins():
    """Each initializer with the function of torch.nn.init that fills a tensor from the same distribution."""
    yield "zeros", Zeros(0), lambda w, g: nn.init.zeros_(w)
    yield "constant", Constant(0.3, 0), lambda w, g: nn.init.constant_(w, 0.3)
    yield "orthogonal", Orthogonal(1.5, 0), lambda w, g: nn.init.orthogonal_(w, 1.5, generator=g)
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


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_orthogonal(shape):
    w = weights(Orthogonal(1.5, 0), shape).flatten(1).double()
    gram = w @ w.T if w.shape[0] < w.shape[1] else w.T @ w
    torch.testing.assert_close(gram, 2.25 * torch.eye(len(gram), dtype=torch.float64), rtol=0, atol=1e-5)


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
    own = nn.init.uniform_(torch.empty(shape[0]), -1 / sqrt(400), 1 / sqrt(400), generator=generator(0, WEIGHTS))
    torch.testing.assert_close(bias[: shape[0]], own)
    torch.manual_seed(0)
    biases = []
    for _ in range(50):
        layer.reset_parameters()
        biases.append(layer.bias.detach().clone())
    assert ks_2samp(weights(initializer, shape).flatten(), layer.weight.detach().flatten()).pvalue > 0.01
    assert ks_2samp(bias, torch.cat(biases)).pvalue > 0.01
    for sample in (weights(initializer, shape), bias):
        assert 0.99 / sqrt(400) < sample.abs().max().item() <= 1 / sqrt(400)


@pytest.mark.parametrize(
    ("initializer_class", "options"),
    [
        (Zeros, ()), (Constant, (0.5,)), (Uniform, (0.5,)), (Normal, (0.5,)), (Orthogonal, (0.5,)), (LSUV, (0.5,)),
        (Lecun, ("normal",)), (Xavier, ("normal",)), (He, ("normal", "fan_in", None)), (TorchDefault, ()),
    ],
)  # fmt: skip
def test_constant_bias(initializer_class, options):
    initializer = initializer_class(*options, 0.1)
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


def dataset_of(task, targets, outputs, inputs=None):
    targets = torch.as_tensor(targets)
    inputs = torch.randn(len(targets), 4) if inputs is None else inputs
    return Dataset(inputs, targets, task, {"train": len(targets), "val": 0, "test": 0}, outputs, [], [])


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [
        (dataset_of("multiclass", [0, 0, 1, 1, 1, 2], 3), [2 / 6, 3 / 6, 1 / 6]),
        (dataset_of("multiclass", [0, 0, 2], 3), [2 / 4, 1 / 4, 1 / 4]),  # a class without any counts as one
        (dataset_of("binary", [0.0, 1.0, 1.0, 1.0], 1), [3 / 4]),
        (dataset_of("binary", [0.0, 0.0], 1), [1 / 3]),
        (dataset_of("regression", [[1.0, 5.0], [2.0, 9.0]], 2), [1.5, 7.0]),
    ],
)
def test_prior(dataset, expected):
    outputs = prior(dataset)
    as_probabilities = {"multiclass": torch.exp, "binary": torch.sigmoid, "regression": lambda f: f}
    assert as_probabilities[dataset.task](outputs).tolist() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["digits", "breast_cancer", "diabetes"])
def test_a_network_that_starts_at_the_prior(name, stack_of, train):
    """Without weights it has the entropy or the variance of the training targets as its loss."""
    stack = stack_of(f"dataset={name}", "initializer=zeros", "initializer.bias=prior", "steps=1", "precision=float64")
    views = stack.layout.views(stack.theta)
    *hidden, _ = [view for key, view in views.items() if key.endswith("bias")]
    assert hidden and all((bias == 0).all() for bias in hidden)
    _, targets = stack.dataset.part("train")
    if stack.dataset.task == "regression":
        own_unit = targets * stack.dataset.target_std + stack.dataset.target_mean
        expected = own_unit.var(correction=0).item()
    else:
        expected = entropy(torch.bincount(targets.long()))
    _, rows = train(stack)
    assert rows[0][0]["train_loss"] == pytest.approx(expected, rel=1e-9)


def test_prior_goes_into_the_layer_that_comes_last_in_use(stack_of):
    class Backwards(nn.Module):
        def __init__(self, bias):
            super().__init__()
            self.last = nn.Linear(6, 2, bias=bias)
            self.first = nn.Linear(4, 6)

        def forward(self, x):
            return self.last(self.first(x))

    targets = torch.tensor([[1e8 + 1, 5.0], [1e8 + 2, 9.0]], dtype=torch.float64)
    dataset = dataset_of("regression", targets, 2)
    model = Backwards(True)
    layout, drawn = Layout(model), torch.zeros(14 + 30, dtype=torch.float64)
    views = layout.views(Zeros("prior").initialize(model, layout, drawn, dataset, generator(0))[None])
    assert views["last.bias"].tolist() == [[1e8 + 1.5, 7.0]]
    assert (views["first.bias"] == 0).all() and (drawn == 0).all()
    model = Backwards(False)
    layout = Layout(model)
    with pytest.raises(ConfigError, match=r"initializer.bias=prior needs an output layer with a bias"):
        Zeros("prior").initialize(model, layout, torch.zeros(layout.params), dataset, generator(0))
    # the means of a Gaussian start at the targets' mean, its log-variances at 0
    stack = stack_of("dataset=linear", "loss=gaussian_nll", "initializer=torch_default", "initializer.bias=prior")
    *hidden, output = [view for name, view in stack.layout.views(stack.theta).items() if name.endswith("bias")]
    assert output.tolist() == [[pytest.approx(stack.dataset.part("train")[1].mean().item()), 0]]
    assert all((bias == 0).all() for bias in hidden)


NARROW = ["dataset=iris", "architecture.hidden=[16,16,16]", "architecture.activation=tanh", "precision=float64"]


@pytest.mark.parametrize("tolerance", [0.1, 1e-6, 0.8])
def test_lsuv_is_the_loop_of_the_paper(tolerance, stack_of):
    """From the same orthogonal start, with a whole pass through the network for each layer and iteration."""
    options = [*NARROW, "initializer.bias=0.3"]
    start = stack_of(*options, "initializer=orthogonal")
    x, _ = start.dataset.part("train")  # fewer than the batch that LSUV takes, so all of them
    layers = list(start.layout.views(start.theta.clone()).values())
    scaled = 0
    for layer in range(0, len(layers), 2):
        for _ in range(10):
            h = x
            for w, b in zip(layers[: layer + 1 : 2], layers[1 : layer + 2 : 2], strict=True):
                linear = h @ w[0].T + b[0]
                h = linear.tanh()
            if abs(linear.var(correction=0) - 1) <= tolerance:
                break
            layers[layer] /= linear.std(correction=0)
            scaled += 1
    assert scaled == 4 if tolerance < 0.5 else scaled < 4
    stack = stack_of(*options, "initializer=lsuv", f"initializer.tolerance={tolerance}")
    for view, expected in zip(stack.layout.views(stack.theta).values(), layers, strict=True):
        torch.testing.assert_close(view, expected, rtol=1e-9, atol=1e-12)


def test_lsuv_of_convolutions(stack_of):
    """Every linear map's outputs have variance 1 as a training starts: batch normalization by its batch, no dropout."""
    options = [
        "dataset=digits", "architecture=cnn", "architecture.channels=[8,8]", "architecture.hidden=[16]",
        "normalization=batch", "initializer=lsuv", "initializer.bias=prior", "precision=float64",
    ]  # fmt: skip
    stack = stack_of(*options, "regularizer=dropout", rows=[["seed=0"], ["seed=1"]])
    assert torch.equal(stack_of(*options).theta[0], stack.theta[0])
    *_, output = stack.layout.views(stack.theta).values()
    torch.testing.assert_close(output[1], prior(stack.dataset))
    assert not torch.equal(stack.theta[0], stack.theta[1])
    means = [buffer for name, buffer in stack.buffers.items() if name.endswith("running_mean")]
    assert means and all((mean == 0).all() for mean in means)
    for run in range(2):
        variances = []
        state = {name: view[run] for name, view in stack.layout.views(stack.theta).items()}
        maps = [m for m in stack.model.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        handles = [
            m.register_forward_hook(lambda m, _, out, to=variances: to.append((out - m.bias.mean()).var().item()))
            for m in maps[:-1]  # the prior's spread adds to the last one's
        ]
        buffers = {name: buffer[run].clone() for name, buffer in stack.buffers.items()}
        buffers |= {name: torch.tensor(0.0) for name in buffers if name.endswith(".p")}
        torch.func.functional_call(stack.model.train(), {**state, **buffers}, stack.dataset.part("train")[0])
        for handle in handles:
            handle.remove()
        assert variances == pytest.approx([1.0] * 3, abs=0.25)  # of a batch within 0.1, here of all samples


@pytest.mark.parametrize(
    ("fill", "variance"), [((0, 0), "0"), ((1, 1), "0"), ((1e30, -1e30), "inf"), ((float("inf"), 0), "nan")]
)
def test_lsuv_where_it_cannot_be(fill, variance):
    model = nn.Sequential(nn.Linear(4, 3))
    inputs = torch.tensor(fill, dtype=torch.float32)[:, None].expand(-1, 4)
    layout, dataset = Layout(model), dataset_of("multiclass", [0, 1], 3, inputs)
    message = rf"initializer=lsuv: .* layer 0 have variance {variance} on .* choose another initializer"
    with pytest.raises(ConfigError, match=message):
        LSUV(0.1, 0.0).initialize(model, layout, torch.ones(layout.params), dataset, generator(0))


@pytest.mark.parametrize("architecture", ["rnn", "lstm", "gru"])
def test_lsuv_scales_a_recurrent_map_at_the_second_time_step(architecture, stack_of):
    """At the first its input, the state, is 0, and so would be every variance."""
    stack = stack_of("dataset=sequences", f"architecture={architecture}", "initializer=lsuv")
    outputs = []
    layer = stack.model.get_submodule("0.recurrent")
    handle = layer.register_forward_hook(lambda module, inputs, output: outputs.append(output))
    state = {name: view[0] for name, view in stack.layout.views(stack.theta).items()}
    torch.func.functional_call(stack.model.eval(), state, stack.dataset.part("train")[0])
    handle.remove()
    first, second = (output.var(correction=0).item() for output in outputs[:2])
    assert first == 0 and second == pytest.approx(1, abs=0.25)  # of a batch within 0.1, here of all samples


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["dataset=beale", "architecture=point", "initializer.bias=prior"], "needs an output layer with a bias"),
        (
            ["dataset=beale", "architecture=point", "initializer.bias=prior", "initializer=checkpoint"],
            "needs an output layer with a bias",
        ),
        (["initializer=rbm_pretraining"], "this network's activation is ReLU"),
        (
            ["initializer=rbm_pretraining", "architecture.activation=sigmoid", "initializer.visible=bernoulli"],
            "needs inputs in",
        ),
        (["initializer=autoencoder_pretraining", "normalization=batch"], "this network has a BatchNorm1d"),
        (["initializer=checkpoint", "initializer.path=/nowhere"], "there is no file /nowhere"),
        (["initializer=checkpoint", "initializer.path={saved}"], "does not fit this network"),
    ],
)
def test_a_network_that_is_only_looked_at_is_refused_likewise(overrides, message, saved):
    overrides = [override.replace("{saved}", str(saved[1])) for override in overrides]
    with pytest.raises(ConfigError, match=message):
        build([config("dataset=digits", *overrides)], initialize=False)


@pytest.fixture
def saved(tmp_path, stack_of):
    """A stack with batch normalization and dropout, and the folder of a run with its parameters."""
    stack = stack_of("dataset=iris", "architecture.hidden=[8,8]", "normalization=batch", "regularizer=dropout")
    for name, buffer in stack.buffers.items():
        if not name.endswith(".p"):
            buffer.copy_(torch.rand(buffer.shape))
    tensors = {**stack.layout.views(stack.theta), **stack.buffers}
    save_file({name: tensor[0].contiguous() for name, tensor in tensors.items()}, tmp_path / "model.safetensors")
    return stack, tmp_path


def continued(stack_of, path, *overrides):
    return stack_of(
        "dataset=iris", "architecture.hidden=[8,8]", "normalization=batch", "regularizer=dropout", "seed=5",
        "initializer=checkpoint", f"initializer.path={path}", *overrides,
    )  # fmt: skip


@pytest.mark.parametrize("file", ["", "model.safetensors"])
def test_checkpoint(saved, stack_of, file):
    stack, folder = saved
    again = continued(stack_of, folder / file, "initializer.strict=true", "regularizer.dropout.p_hidden=0.125")
    assert torch.equal(again.theta, stack.theta)
    told = [name for name in stack.buffers if name.endswith(".p")]
    for name, buffer in again.buffers.items():
        if name not in told:
            assert torch.equal(buffer, stack.buffers[name])
    assert told and again.buffers[told[-1]].item() == 0.125  # what the config says is no part of what was learned
    report = again.initializers[0].report
    assert set(report["loaded"]) == set(report_names(stack))
    assert [report[kind] for kind in ("skipped", "missing", "extra")] == [[], [], []]


def test_checkpoint_of_another_network(saved, stack_of):
    stack, folder = saved  # linear maps 2, 6 and 10, batch normalizations 3 and 7
    shallow = continued(stack_of, folder, "architecture.hidden=[8]").initializers[0].report
    assert set(shallow["loaded"]) == {"2.weight", "2.bias", *(name for name in report_names(stack) if name[0] == "3")}
    assert shallow["skipped"] == ["6.weight", "6.bias"] and shallow["missing"] == []
    assert set(shallow["extra"]) == {
        "9.p",
        "10.weight",
        "10.bias",
        *(name for name in report_names(stack) if name[0] == "7"),
    }

    options = ["architecture.hidden=[8,8,6]", "initializer.bias=0.5"]
    deep = continued(stack_of, folder, *options)
    fresh = stack_of("dataset=iris", *options, "normalization=batch", "regularizer=dropout", "seed=5")
    report = deep.initializers[0].report
    assert report["skipped"] == ["10.weight", "10.bias"] and report["extra"] == []
    assert set(report["missing"]) >= {"14.weight", "14.bias", "11.running_mean"}
    views, old, new = (s.layout.views(s.theta) for s in (deep, stack, fresh))
    for name, view in views.items():
        assert torch.equal(view, old[name] if name in report["loaded"] else new[name])

    prepared = continued(stack_of, folder, *options[:1], "initializer.bias=prior")  # what is not loaded is as drawn
    views = prepared.layout.views(prepared.theta)
    torch.testing.assert_close(views["14.bias"][0], prior(prepared.dataset).float())
    assert torch.equal(views["2.bias"], old["2.bias"])

    with pytest.raises(ConfigError, match=r"does not fit this network \(skipped: 6.weight, .*strict=false loads"):
        continued(stack_of, folder, "architecture.hidden=[8]", "initializer.strict=true")
    with pytest.raises(ConfigError, match=r"does not fit this network .* give the architecture of that run"):
        continued(stack_of, folder, "architecture.hidden=[7,6]", "normalization=none", "dataset=xor")


def report_names(stack):
    return [*(slot.name for slot in stack.layout.slots), *stack.averages]


def test_checkpoint_that_is_none(tmp_path, stack_of):
    (tmp_path / "folder").mkdir()
    torch.save({"0.weight": torch.zeros(2)}, tmp_path / "pickled.pt")
    for name, message in {
        "folder": "there is no file .*model.safetensors",
        "pickled.pt": "cannot be read as safetens",
    }.items():
        with pytest.raises(ConfigError, match=rf"initializer.path=.*{name}: .*{message}"):
            continued(stack_of, tmp_path / name)


def test_given_values_are_the_parameters_in_their_order(stack_of):
    """f(1, 2) of a network typed by hand, weights a row per unit."""
    values = [1, 2, 3, 4, 5, 6, 0.5, -0.5, 2]
    options = ["dataset=given", "architecture.hidden=[2]", "precision=float64", "initializer=given"]
    stack = stack_of(*options, f"initializer.values={values}", rows=[["seed=0"], ["seed=1"]])
    assert stack.theta.tolist() == [values] * 2
    views = {name: view[0].tolist() for name, view in stack.layout.views(stack.theta).items()}
    assert views == {"1.weight": [[1, 2], [3, 4]], "1.bias": [5, 6], "4.weight": [[0.5, -0.5]], "4.bias": [2]}
    for changes, message in [
        ([f"initializer.values={values[1:]}"], r"has 8 numbers, and this network has 9 parameters: 1.weight 2 x 2, "),
        ([f"initializer.values={values}", "initializer.bias=1"], r"initializer.values holds the biases too"),
        ([f"initializer.values={values}", "initializer.bias=prior"], r"initializer.values holds the biases too"),
    ]:
        with pytest.raises(ConfigError, match=message):
            stack_of(*options, *changes)
