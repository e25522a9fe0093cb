"""Pretraining of hidden layers: plain loops of the papers from the same draws, PCA, exact likelihoods, refusals."""

from __future__ import annotations

from itertools import pairwise, product

import numpy as np
import pytest
import torch
from scipy.special import expit, logit, logsumexp
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from torch import nn

from dlrun.datasets.dataset import Dataset
from dlrun.errors import ConfigError
from dlrun.initializers.autoencoder import AutoencoderPretraining
from dlrun.initializers.initializer import prior
from dlrun.initializers.rbm import RBM, RBMPretraining
from dlrun.matrix.seeds import generator
from dlrun.matrix.theta import Layout


def autoencoder(epochs=3, lr=0.01, batch_size=4, tied=False, corruption=0.0, bias=0.0):
    return AutoencoderPretraining(epochs, lr, batch_size, tied, corruption, bias)


def rbm(epochs=3, lr=0.1, batch_size=4, k=1, momentum=0.9, weight_decay=0.01, visible="auto", bias=0.0):
    return RBMPretraining(epochs, lr, batch_size, k, momentum, weight_decay, visible, bias)


def pretrained(initializer, x, *widths, activation=nn.Sigmoid):
    """The parameters of an MLP with these hidden widths, drawn and pretrained on x, and those that were drawn."""
    sizes = [x.shape[1], *widths]
    hidden = [[nn.Linear(i, o), activation()] for i, o in pairwise(sizes)]
    model = nn.Sequential(*(module for layer in hidden for module in layer), nn.Linear(sizes[-1], 2))
    layout = Layout(model)
    dataset = Dataset(x, torch.zeros(len(x)), "multiclass", {"train": len(x)}, 2, [], [])
    drawn = 0.3 * torch.randn(layout.params, generator=generator(2), dtype=x.dtype)
    before, state = drawn.clone(), torch.get_rng_state()
    theta = initializer.initialize(model, layout, drawn, dataset, generator(0))
    assert torch.equal(drawn, before) and torch.equal(torch.get_rng_state(), state)
    return [[view[0].numpy() for view in layout.views(row[None]).values()] for row in (theta, drawn)]


@pytest.mark.parametrize("visible", ["bernoulli", "gaussian"])
@pytest.mark.parametrize("k", [1, 3])
def test_rbm_is_the_loop_of_the_guide(visible, k):
    """One sample and one hidden unit at a time, for six epochs, so that the momentum rises; from the same draws.

    The visible units of the second machine are the hidden ones of the first, whatever the first one's are.
    """
    x = torch.rand(10, 5, dtype=torch.float64, generator=generator(1))
    theta, drawn = pretrained(rbm(epochs=6, k=k, visible=visible), x, 3, 2)

    draws, codes = generator(0), x.numpy()
    for layer, kind in enumerate([visible, "bernoulli"]):
        (units, features), b = drawn[2 * layer].shape, drawn[2 * layer + 1].copy()
        w = (0.01 * torch.randn(units, features, generator=draws)).double().numpy()
        c = logit((codes.sum(0) + 0.5) / 11) if kind == "bernoulli" else codes.mean(0)
        mean = expit if kind == "bernoulli" else np.asarray
        velocity = [np.zeros_like(p) for p in (w, b, c)]
        for epoch in range(1, 7):
            for batch in torch.randperm(10, generator=draws).split(4):
                uniform = [torch.rand(len(batch), units, generator=draws).numpy() for _ in range(k)]
                gradient = [-0.01 * w, np.zeros(units), np.zeros(features)]
                for i, v in enumerate(codes[batch]):
                    v_k = v
                    for step in range(k):
                        h = [float(uniform[step][i, j] < expit(w[j] @ v_k + b[j])) for j in range(units)]
                        v_k = mean(sum(h[j] * w[j] for j in range(units)) + c)
                    for sign, unit in ((1, v), (-1, v_k)):
                        p = expit(w @ unit + b)
                        for total, part in zip(gradient, (np.outer(p, unit), p, unit), strict=True):
                            total += sign * part / len(batch)
                for v_p, p, g in zip(velocity, (w, b, c), gradient, strict=True):
                    v_p[...] = (0.5 if epoch <= 5 else 0.9) * v_p + 0.1 * g
                    p += v_p
        np.testing.assert_allclose(theta[2 * layer], w, rtol=1e-9)
        np.testing.assert_allclose(theta[2 * layer + 1], b, rtol=1e-9)
        codes = expit(codes @ w.T + b)


def log_likelihood(machine, x):
    """The mean over x, from the energies of all states of visible and hidden units."""
    w, b, c = (p.numpy() for p in (machine.weight, machine.hidden_bias, machine.visible_bias))
    hidden = np.array(list(product([0, 1], repeat=len(b))))
    states = np.array(list(product([0, 1], repeat=len(c))))

    def free(v):
        return logsumexp(v @ w.T @ hidden.T + hidden @ b + (v @ c)[:, None], axis=1)

    return (free(x) - logsumexp(free(states))).mean()


def test_contrastive_divergence_raises_the_likelihood_of_bars_and_stripes():
    columns = [np.tile(bits, (2, 1)) for bits in product([0, 1], repeat=3)]
    rows = [np.tile(bits, (3, 1)).T for bits in product([0, 1], repeat=2)]
    x = np.unique([pattern.ravel() for pattern in columns + rows], axis=0)
    assert x.shape == (10, 6)
    draws = generator(0)
    machine = RBM(torch.randn(4, 6, generator=draws).double() * 0.01, *(torch.zeros(n).double() for n in (4, 6)), False)
    # at first six fair coins, which is all that biases can make of these data
    reached = [log_likelihood(machine, x)]
    assert reached[0] == pytest.approx(-6 * np.log(2), abs=1e-3)
    for _ in range(4):
        for _ in range(500):
            gradients, _ = machine.contrast(torch.tensor(x).double(), 1, draws)
            for p, g in zip((machine.weight, machine.hidden_bias, machine.visible_bias), gradients, strict=True):
                p += 0.2 * g
        reached.append(log_likelihood(machine, x))
    assert reached[1] > reached[0] + 0.2 and reached[-1] > reached[0] + 0.8
    assert reached[-1] < -np.log(10)  # that of the data's own distribution


@pytest.mark.parametrize(("tied", "corruption"), [(False, 0.0), (True, 0.0), (False, 0.3), (True, 0.3)])
def test_autoencoders_are_those_of_torch(tied, corruption):
    """Two layers, by modules and torch.optim.Adam, from the same draws."""
    x = torch.randn(10, 6, dtype=torch.float64, generator=generator(1))
    initializer = autoencoder(tied=tied, corruption=corruption)
    theta, drawn = pretrained(initializer, x, 4, 1, activation=nn.Tanh)
    draws, codes, errors = generator(0), x, []
    for layer, (features, units) in enumerate([(6, 4), (4, 1)]):
        encoder, decoder = nn.Linear(features, units).double(), nn.Linear(units, features).double()
        with torch.no_grad():
            encoder.weight.copy_(torch.from_numpy(drawn[2 * layer]))
            encoder.bias.copy_(torch.from_numpy(drawn[2 * layer + 1]))
            decoder.bias.zero_()
            if not tied:
                decoder.weight.copy_(initializer.weight((features, units), 0.0, draws))
        optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=0.01)
        for _ in range(3):
            total = 0.0
            for batch in torch.randperm(10, generator=draws).split(4):
                target = codes[batch]
                given = target
                if corruption:
                    given = torch.where(torch.rand(target.shape, generator=draws) < corruption, 0.0, target)
                code = encoder(given).tanh()
                output = code @ encoder.weight + decoder.bias if tied else decoder(code)
                loss = (output - target).square().mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += len(batch) * loss.item() / 10
            errors.append(total)
        codes = encoder(codes).tanh().detach()
        np.testing.assert_allclose(theta[2 * layer], encoder.weight.detach(), rtol=1e-9)
        np.testing.assert_allclose(theta[2 * layer + 1], encoder.bias.detach(), rtol=1e-9)
    assert [row["reconstruction"] for row in initializer.history] == pytest.approx(errors)


@pytest.mark.parametrize("tied", [False, True])
def test_a_linear_autoencoder_finds_the_principal_components(tied):
    mixing = torch.randn(6, 6, dtype=torch.float64, generator=generator(3))
    x = 1 + torch.randn(100, 6, dtype=torch.float64, generator=generator(4)) @ mixing
    pca = PCA(2).fit(x.numpy())
    best = np.square(pca.inverse_transform(pca.transform(x.numpy())) - x.numpy()).mean()
    initializer = autoencoder(epochs=600, lr=0.05, batch_size=100, tied=tied)
    pretrained(initializer, x, 2, activation=nn.Identity)
    assert initializer.history[0]["reconstruction"] > 2 * best
    assert best * (1 - 1e-9) < initializer.history[-1]["reconstruction"] < best * 1.001


PRETRAINING = ["autoencoder_pretraining", "rbm_pretraining"]
SMALL = [
    "dataset=digits", "dataset.train_size=400", "dataset.scale=minmax", "precision=float64",
    "architecture.hidden=[32,12]", "architecture.activation=sigmoid",
]  # fmt: skip


def layers_of(stack):
    views = [view[0].numpy() for view in stack.layout.views(stack.theta).values()]
    return list(zip(views[::2], views[1::2], strict=True))


def best_decoder(codes, x):
    """The mean squared error of the linear map with a bias from codes that gives x back best."""
    design = np.column_stack([codes, np.ones(len(codes))])
    return np.square(design @ np.linalg.lstsq(design, x, rcond=None)[0] - x).mean()


@pytest.mark.parametrize("activation", ["relu", "sigmoid"])
def test_every_encoder_keeps_more_of_what_it_is_given_than_an_untrained_one(activation, stack_of):
    options = [*SMALL, f"architecture.activation={activation}"]
    how = ["initializer=autoencoder_pretraining", "initializer.lr=0.01", "initializer.epochs=40"]
    stack = stack_of(*options, *how)
    f = expit if activation == "sigmoid" else lambda z: z.clip(min=0)
    x = stack.dataset.part("train")[0].flatten(1).numpy()
    drawn = layers_of(stack_of(*options, "initializer=xavier_uniform"))
    for (w, b), (w_drawn, b_drawn) in list(zip(layers_of(stack), drawn, strict=True))[:-1]:
        codes = f(x @ w.T + b)
        assert best_decoder(codes, x) < 0.95 * best_decoder(f(x @ w_drawn.T + b_drawn), x)
        x = codes


def test_every_boltzmann_machine_starts_with_the_means_and_learns_more():
    x = torch.tensor(load_digits().data[:400] / 16)
    initializer = rbm(epochs=40, batch_size=64, weight_decay=0.0002)
    theta, _ = pretrained(initializer, x, 32, 12)
    given = [x.numpy(), expit(x.numpy() @ theta[0].T + theta[1])]
    for layer, codes in enumerate(given, 1):
        errors = [row["reconstruction"] for row in initializer.history if row["layer"] == layer]
        assert errors[0] == pytest.approx(codes.var(0).mean(), rel=0.02)
        assert errors[-1] < 0.6 * errors[0]


@pytest.mark.parametrize("name", PRETRAINING)
def test_the_seed_alone_decides_and_the_rest_stays_as_drawn(name, stack_of):
    options = [*SMALL, f"initializer={name}", "initializer.epochs=2"]
    stack = stack_of(*options, "regularizer=dropout", "initializer.bias=prior", rows=[["seed=0"], ["seed=1"]])
    again = stack_of(*options, "initializer.bias=prior", "optimizer=sgd", "batch_size=7")
    assert torch.equal(stack.theta[0], again.theta[0])
    assert not torch.equal(stack.theta[0], stack.theta[1])
    drawn = again.layout.views(stack_of(*SMALL, "initializer=xavier_uniform").theta)
    report, views = again.initializers[0].report, again.layout.views(again.theta)
    assert report["pretrained"] == ["1.weight", "1.bias", "4.weight", "4.bias"]
    assert report["as drawn"] == ["7.weight", "7.bias"]
    assert not any(torch.equal(views[key], drawn[key]) for key in report["pretrained"])
    assert torch.equal(views["7.weight"], drawn["7.weight"])
    torch.testing.assert_close(views["7.bias"][0], prior(again.dataset))


def test_slopes_of_activations_are_no_weights_and_stay(stack_of):
    options = ["dataset=iris", "architecture.hidden=[8,8]", "architecture.activation=prelu", "precision=float64"]
    stack = stack_of(*options, "initializer=autoencoder_pretraining", "initializer.epochs=2")
    slopes = [slot.start for slot in stack.layout.slots if slot.kind == "other"]
    assert len(slopes) == 2 and (stack.theta[0, slopes] == 0.25).all()


@pytest.mark.parametrize(("tied", "layers"), [(True, 2), (False, 3)])
def test_hidden_layers_of_an_autoencoder(tied, layers, stack_of):
    """A tied decoder follows its encoder; another's hidden layers are pretrained as the encoder's are."""
    stack = stack_of(
        "dataset=digits", "architecture=autoencoder", "architecture.widths=[16,4]", f"architecture.tied={tied}",
        "initializer=autoencoder_pretraining", "initializer.epochs=1",
    )  # fmt: skip
    assert len(stack.initializers[0].report["pretrained"]) == 2 * layers


def test_an_activation_that_two_layers_share_follows_both():
    model = nn.Sequential(nn.Linear(6, 4), shared := nn.Tanh(), nn.Linear(4, 3), shared, nn.Linear(3, 2))
    layers = autoencoder().hidden_layers(model)
    assert [(name, *following) for name, following in layers] == [("0", shared), ("2", shared)]


def test_an_error_that_is_infinite_has_diverged():
    with pytest.raises(ConfigError, match="layer 1 diverged in epoch 2"):
        autoencoder().record(1, 2, float("inf"), 3)


def test_what_a_run_is_told():
    told = []
    initializer = autoencoder(epochs=2)
    initializer.progress = lambda *news: told.append(news)
    x = torch.randn(10, 6, generator=generator(1))
    pretrained(initializer, x, 4, 3)
    assert [(row["layer"], row["epoch"]) for row in initializer.history] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert [(done, total) for _, done, total in told] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert told[2][0] == f"pretraining layer 2/2  reconstruction {initializer.history[2]['reconstruction']:.4g}"


def test_visible_units_suit_the_inputs(stack_of):
    x = torch.rand(10, 6, generator=generator(1))
    reports = {}
    for visible, inputs in product(["auto", "gaussian"], [x, 2 * x]):
        initializer = rbm(visible=visible)
        pretrained(initializer, inputs, 4, 3)
        reports[visible, inputs is x] = initializer.report["visible units"]
    bernoulli = reports.pop(("auto", True))
    assert bernoulli == ["bernoulli"] and list(reports.values()) == [["gaussian"]] * 3
    for visible in ("auto", "bernoulli"):  # black and white: the ends of [0, 1] are in it
        initializer = rbm(visible=visible)
        pretrained(initializer, x.round(), 4)
        assert initializer.report["visible units"] == ["bernoulli"]
    stack_of(*SMALL, "initializer=rbm_pretraining", "initializer.visible=bernoulli", "initializer.epochs=1")
    with pytest.raises(ConfigError, match=r"visible=bernoulli needs inputs in \[0, 1\], .* give dataset.scale=minmax"):
        pretrained(rbm(visible="bernoulli"), 2 * x, 4)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("rbm", ["architecture.hidden=[]"], "trains hidden layers, and this network has none: give architecture=mlp"),
        ("rbm", ["architecture=cnn"], "and this network has a Conv2d: choose architecture=mlp"),
        (
            "autoencoder",
            ["architecture.hidden=[8,8]", "architecture.skip=true"],
            "a Residual: .* architecture.skip=false",
        ),
        ("autoencoder", ["normalization=batch"], "has a BatchNorm1d: .* normalization=none"),
        ("rbm", ["normalization=layer", "normalization.position=after"], "has a GroupNorm"),
        ("autoencoder", ["initializer.lr=1e30"], r"layer 1 diverged in epoch 1: give a smaller initializer.lr"),
        ("rbm", ["initializer.lr=1e30"], r"layer 1 diverged in epoch 1: give a smaller initializer.lr"),
    ],
)
def test_what_cannot_be(name, overrides, message, stack_of):
    options = ["dataset.train_size=100", f"initializer={name}_pretraining", "architecture.activation=sigmoid"]
    with pytest.raises(ConfigError, match=rf"^initializer={name}_pretraining.*{message}"):
        stack_of("dataset=digits", *options, *overrides)


def test_other_networks_are_refused(stack_of):
    with pytest.raises(ConfigError, match=r"and this network has a RBF: choose architecture=mlp"):
        stack_of("dataset=iris", "architecture=rbf", "initializer=autoencoder_pretraining")


@pytest.mark.parametrize("activation", ["relu", "identity"])
def test_hidden_units_of_an_rbm_are_sigmoids(activation, stack_of):
    with pytest.raises(ConfigError, match=rf"(?i)activation is {activation}: give architecture.activation=sigmoid"):
        stack_of("initializer=rbm_pretraining", f"architecture.activation={activation}")
