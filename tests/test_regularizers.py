"""Regularizers against autograd, torch's own, plain loops and laws of noise; per-row numbers as separate calls."""

from __future__ import annotations

import inspect
import shutil
from math import inf, nan

import pytest
import scipy.stats
import torch
import torch.nn.functional as F
from conftest import replayed
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from torch import nn

from dlrun.config.catalogue import choices, conf_dir
from dlrun.errors import ConfigError
from dlrun.matrix.rows import call, keywords
from dlrun.matrix.theta import Layout
from dlrun.regularizers.noise import Dropout, GradientNoise
from dlrun.regularizers.penalties import L1, L2, ElasticNet, MaxNorm, WeightDecay
from dlrun.regularizers.regularizer import HOOKS, Regularizer
from dlrun.regularizers.stopping import EarlyStopping
from dlrun.regularizers.targets import LabelSmoothing, Mixup, symmetric_beta

RUNS, PARAMS = 3, 6
_random = torch.Generator().manual_seed(0)
THETA = torch.randn(RUNS, PARAMS, generator=_random, dtype=torch.float64)
THETA[0, 0] = 0  # where the L1 norm has a kink, and autograd and sign take 0
G = torch.randn(RUNS, PARAMS, generator=_random, dtype=torch.float64)
MASK = torch.tensor([1, 1, 1, 0, 0, 1], dtype=torch.float64)
ALPHA = torch.tensor([[0.0], [0.3], [2.0]], dtype=torch.float64)
LR = torch.tensor([[0.1], [0.2], [0.5]], dtype=torch.float64)


@pytest.mark.parametrize("mask", [MASK, torch.ones(PARAMS, dtype=torch.float64)])
@pytest.mark.parametrize(
    ("regularizer", "ratio"), [(L2(False), 0.0), (L1(False), 1.0), *((ElasticNet(False), r) for r in (0.0, 0.3, 1.0))]
)
def test_penalties_and_their_gradients(regularizer, ratio, mask):
    theta = THETA.clone().requires_grad_()
    rows = {"alpha": ALPHA, "l1_ratio": torch.full_like(ALPHA, ratio)}
    value = call(regularizer.penalty, theta, mask, rows=rows)
    expected = [
        sum(a * m * (ratio * abs(t) + (1 - ratio) / 2 * t**2) for t, m in zip(row, mask.tolist(), strict=True))
        for a, row in zip(ALPHA[:, 0].tolist(), THETA.tolist(), strict=True)
    ]
    assert value.tolist() == pytest.approx(expected, rel=1e-12)
    (gradient,) = torch.autograd.grad(value.sum(), theta)
    torch.testing.assert_close(gradient, ALPHA * mask * (ratio * THETA.sign() + (1 - ratio) * THETA))


def test_max_norm():
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Flatten(), nn.Linear(12, 5), nn.PReLU())
    layout = Layout(model)
    theta = torch.randn(RUNS, layout.params, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    layout.views(theta)["3.weight"][0, 2] = 0  # a unit without weights stays so
    c = torch.tensor([[2.0], [4.0], [100.0]], dtype=torch.float64)
    expected = {name: view.clone() for name, view in layout.views(theta).items()}
    shrunk = 0
    for name in ("0.weight", "3.weight"):
        for run, weights in enumerate(expected[name]):
            for unit in weights:
                norm = sum(w.item() ** 2 for w in unit.flatten()) ** 0.5
                if norm > c[run].item():
                    unit *= c[run].item() / norm
                    shrunk += 1
    assert 0 < shrunk < RUNS * (3 + 5)
    MaxNorm().project(theta, layout, c=c)
    torch.testing.assert_close(
        theta, torch.cat([expected[slot.name].flatten(1) for slot in layout.slots], 1), rtol=1e-14, atol=0
    )


def test_weight_decay():
    theta = THETA.clone()
    WeightDecay(False).decay(theta, MASK, LR, alpha=ALPHA)
    for run in range(RUNS):
        # torch.optim.AdamW moves by its decay alone where there is no gradient
        parts = [THETA[run][MASK.bool()].requires_grad_(), THETA[run][~MASK.bool()].requires_grad_()]
        groups = [{"params": [parts[0]], "weight_decay": ALPHA[run].item()}, {"params": [parts[1]], "weight_decay": 0}]
        for part in parts:
            part.grad = torch.zeros_like(part)
        torch.optim.AdamW(groups, lr=LR[run].item()).step()
        torch.testing.assert_close(theta[run][MASK.bool()], parts[0].detach())
        torch.testing.assert_close(theta[run][~MASK.bool()], parts[1].detach())


@pytest.mark.parametrize("name", ["l1", "l2", "elastic_net", "weight_decay"])
@pytest.mark.parametrize("include_bias", [False, True])
def test_biases_are_kept_small_where_that_is_asked_for(name, include_bias, stack_of, train):
    options = ["dataset=iris", "steps=1", "optimizer=sgd", "initializer.bias=0.5", f"regularizer={name}"]
    alphas = [[f"regularizer.{name}.alpha={alpha}"] for alpha in (0, 0.1)]
    stack = stack_of(*options, f"regularizer.{name}.include_bias={include_bias}", rows=alphas)
    train(stack)
    without, smaller = stack.theta
    bias = stack.layout.mask("bias").bool()
    assert (smaller[bias] < without[bias]).all() if include_bias else torch.equal(smaller[bias], without[bias])
    assert (smaller[~bias] != without[~bias]).any()


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_label_smoothing(alpha):
    classes, k = torch.tensor([0, 2, 3, 3]), 4
    x = torch.zeros(1, 4, 2, dtype=torch.float64)
    x_after, [soft] = LabelSmoothing().transform(x, classes[None], k, alpha=torch.tensor([[alpha]], dtype=x.dtype))
    assert x_after is x
    # lecture 002: {0, 1} becomes {alpha / k, 1 - alpha (k - 1) / k}
    low, high = alpha / k, 1 - alpha * (k - 1) / k
    expected = [[high if j == c else low for j in range(k)] for c in classes.tolist()]
    torch.testing.assert_close(soft, torch.tensor(expected, dtype=torch.float64))
    logits = torch.randn(4, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(F.cross_entropy(logits, soft), F.cross_entropy(logits, classes, label_smoothing=alpha))
    _, binary = LabelSmoothing().transform(x, torch.tensor([[0.0, 1.0]]), 1, alpha=torch.tensor([[alpha]]))
    torch.testing.assert_close(binary, torch.tensor([[alpha / 2, 1 - alpha / 2]]))


def test_label_smoothing_needs_classes(stack_of):
    for dataset in ("iris", "breast_cancer"):
        stack_of(f"dataset={dataset}", "regularizer=label_smoothing")
    with pytest.raises(ConfigError, match="label_smoothing needs classes"):
        stack_of("dataset=diabetes", "regularizer=label_smoothing")


@pytest.mark.parametrize("name", ["augmentation", "label_smoothing", "mixup"])
def test_a_test_function_has_no_minibatches_to_change(name, stack_of):
    with pytest.raises(ConfigError, match=f"regularizer={name} changes minibatches, and a test function has none"):
        stack_of("dataset=beale", "architecture=point", f"regularizer={name}")


@pytest.mark.parametrize("alpha", [0.02, 0.2, 1.0, 4.0])
@pytest.mark.parametrize("recorded", [False, True])
def test_draws_follow_the_beta_distribution(alpha, recorded):
    size = 20_000
    torch.manual_seed(0)
    alphas = torch.full((size, 1), alpha, dtype=torch.float64)
    draws = (replayed(lambda a: (symmetric_beta(a),), alphas)[0] if recorded else symmetric_beta(alphas))[:, 0]
    # Near 0 doubles resolve what crowds there at a small alpha, near 1 they do not: each half on its own.
    beta, low = scipy.stats.beta(alpha, alpha), draws[draws < 0.5]
    assert abs(len(low) / size - 0.5) < 0.012
    assert scipy.stats.ks_1samp(low, lambda x: 2 * beta.cdf(x)).pvalue > 0.001
    if alpha >= 0.2:
        assert scipy.stats.ks_1samp(draws, beta.cdf).pvalue > 0.001


def test_beta_of_zero_is_its_limit_and_that_of_infinity_one_half():
    assert (symmetric_beta(torch.full((100, 1), inf)) == 0.5).all()
    draws = symmetric_beta(torch.zeros(10_000, 1, dtype=torch.float64))
    assert set(draws.unique().tolist()) == {0.0, 1.0} and abs(draws.mean() - 0.5) < 0.02


@pytest.mark.parametrize("task", ["multiclass", "binary", "regression"])
def test_mixup_mixes_pairs_and_their_targets_in_one_share(task):
    runs, batch, k = 4, 12, 3
    torch.manual_seed(0)
    x = torch.eye(batch, dtype=torch.float64).expand(runs, -1, -1).reshape(runs, batch, 3, 4)  # tells who is in a mix
    y = {
        "multiclass": torch.arange(batch).expand(runs, -1) % k,
        "binary": torch.arange(batch).expand(runs, -1) % 2.0,
        "regression": torch.randn(runs, batch, 2),
    }[task]
    y = y.double() if y.is_floating_point() else y
    one_hot = F.one_hot(y, k).double() if task == "multiclass" else y
    alpha = torch.tensor([[0.0], [0.5], [1.0], [8.0]], dtype=torch.float64)
    mixed_x, mixed_t = Mixup().transform(x, y, k, alpha=alpha)
    orders = []
    for run in range(runs):
        shares = mixed_x[run].flatten(1)  # row i: how much of each sample is in the i-th
        share = shares.diagonal().min()
        assert share >= 0.5 and (share == 1) == (alpha[run] == 0)
        order = (shares - share * torch.eye(batch)).argmax(1)
        assert run == 0 or order.sort().values.equal(torch.arange(batch))  # a permutation
        torch.testing.assert_close(shares, share * torch.eye(batch) + (1 - share) * torch.eye(batch)[order].double())
        torch.testing.assert_close(mixed_t[run], share * one_hot[run] + (1 - share) * one_hot[run][order])
        orders.append(order)
    assert len({tuple(order.tolist()) for order in orders[1:]}) == runs - 1


def test_mixups_share_is_a_beta_folded_at_one_half():
    torch.manual_seed(1)
    x = torch.tensor([0.0, 1.0]).double().expand(6000, 2)[..., None]
    alpha = torch.full((6000, 1), 0.7, dtype=torch.float64)
    mixed, _ = Mixup().transform(x, x[..., 0], 1, alpha=alpha)
    shares = mixed[:, 1, 0][mixed[:, 1, 0] < 1]  # where the two were exchanged: every other time
    assert abs(len(shares) / 6000 - 0.5) < 0.03
    beta = scipy.stats.beta(0.7, 0.7)
    assert scipy.stats.ks_1samp(shares, lambda s: 2 * beta.cdf(s) - 1).pvalue > 0.001


def test_gradient_noise_has_the_papers_variance():
    runs, params, steps = 2, 40_000, 4
    eta, gamma = torch.tensor([[0.3], [1.0]]).double(), torch.tensor([[0.55], [2.0]]).double()
    g = torch.arange(runs)[:, None].double().expand(runs, params)
    noise, memory = GradientNoise(), GradientNoise().init({"theta": torch.zeros(runs, params).double()})
    torch.manual_seed(0)
    drawn = torch.stack([noise.perturb(g, memory, eta=eta, gamma=gamma) - g for _ in range(steps)])
    for t in range(steps):
        for run in range(runs):
            std = (eta[run, 0] / (1 + t) ** gamma[run, 0]).sqrt().item()
            assert scipy.stats.kstest(drawn[t, run].numpy(), "norm", args=(0, std)).pvalue > 0.001
    pairs = torch.corrcoef(drawn.flatten(0, 1))
    assert (pairs - torch.eye(runs * steps)).abs().max() < 0.03  # independent from step to step and from run to run


def test_gradient_noise_counts_the_trainings_steps_and_follows_clipping(stack_of, train):
    options = ["dataset=iris", "precision=float64", "optimizer=sgd", "lr=1", "clip_norm=1e-9", "steps=9"]
    rows = [[f"regularizer.gradient_noise.{key}={value}" for key, value in row] for row in (
        [("eta", 0)], [("eta", 1), ("gamma", 0)], [("eta", 1), ("gamma", 3)]
    )]  # fmt: skip
    stack = stack_of(*options, "batch_size=20", "regularizer=gradient_noise", rows=rows)
    start = stack.theta.clone()
    train(stack)
    variance = (stack.theta - start).square().mean(1)
    assert variance[0] < 1e-9
    # a random walk whose steps' variances add up, a smaller last batch of each epoch included
    assert variance[1:].tolist() == pytest.approx([9, sum(1 / t**3 for t in range(1, 10))], rel=0.05)


def stops_at(losses, patience, min_delta):
    """The evaluation at which a run stops, by the definition; None where it goes on."""
    best, since = inf, 0
    for i, loss in enumerate(losses):
        since += 1
        if loss < best - min_delta:
            best, since = loss, 0
        if since == patience:
            return i
    return None


losses = st.lists(st.integers(0, 12).map(lambda n: n / 8) | st.sampled_from([inf, nan]), min_size=12, max_size=12)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(losses, st.integers(1, 5), st.sampled_from([0, 0.125, 0.5])), min_size=1, max_size=4))
def test_early_stopping(runs):
    sequences, patience, min_delta = zip(*runs, strict=True)
    rows = {"patience": torch.tensor(patience)[:, None], "min_delta": torch.tensor(min_delta)[:, None]}
    stopping = EarlyStopping()
    state, first = stopping.init({"theta": torch.zeros(len(runs), 1)}), [None] * len(runs)
    for i, column in enumerate(zip(*sequences, strict=True)):
        stops = stopping.observe(state, torch.tensor(column, dtype=torch.float64), **rows)
        first = [i if was is None and now else was for was, now in zip(first, stops.tolist(), strict=True)]
    assert first == [stops_at(*run) for run in runs]


def regularizers():
    """Every regularizer of conf/ with the numbers that may differ by row: the YAML's value times 0.5, 1 and 1.5."""
    for name in choices("regularizer"):
        for key, values in (OmegaConf.load(conf_dir() / "regularizer" / f"{name}.yaml") or {}).items():
            cls = get_class(values.pop("_target_"))
            options = {option: values[option] for option in inspect.signature(cls).parameters if option in values}
            factors = torch.tensor([[0.5], [1.0], [1.5]], dtype=torch.float64)
            names = set().union(*(keywords(getattr(cls, hook)) for hook in HOOKS if hasattr(cls, hook)))
            rows = {name: values[name] * factors for name in names}
            yield pytest.param(cls(**options), rows, id=key)


@pytest.mark.parametrize(("regularizer", "rows"), list(regularizers()))
def test_rows_are_as_separate_runs(regularizer, rows):
    def outcome(chosen):
        mine = {name: row[chosen] for name, row in rows.items()}
        theta, lr = THETA[chosen].clone(), LR[chosen]
        penalty = call(regularizer.penalty, theta, MASK, rows=mine)
        call(regularizer.decay, theta, MASK, lr, rows=mine)
        state, stops = regularizer.init({"theta": theta}), []
        for loss in torch.rand(30, RUNS, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
            stops.append(call(regularizer.observe, state, loss[chosen], rows=mine))
        for _ in range(3):
            theta = theta / 2
            call(regularizer.follow, state, {"theta": theta}, rows=mine)
        kept = [state[name] for name in sorted(state) if name not in ("best", "waited")]
        return torch.zeros(len(theta)) if penalty is None else penalty, theta, torch.stack(stops).T, *kept

    together = outcome(slice(None))
    for run in range(RUNS):
        for whole, alone in zip(together, outcome(slice(run, run + 1)), strict=True):
            torch.testing.assert_close(whole[run : run + 1], alone, rtol=0, atol=0)


def test_hooks_do_nothing_unless_a_regularizer_says_otherwise():
    for regularizer in (Regularizer(), Dropout()):
        theta = THETA.clone()
        assert regularizer.penalty(theta, MASK) is None and regularizer.perturb(G, {}) is G
        assert [*map(id, regularizer.transform(THETA, G, 4))] == [id(THETA), id(G)]
        regularizer.decay(theta, MASK, LR)
        assert torch.equal(theta, THETA) and regularizer.init({"theta": theta}) == {}
        assert not regularizer.observe({}, torch.tensor([nan, inf, 0.0])).any()


def test_rows_are_the_keyword_only_arguments():
    def hook(a, b=1, *_, alpha, beta=2, **rest):
        return a, b, alpha, beta, rest

    assert keywords(hook) == {"alpha", "beta"}
    assert call(hook, 1, rows={"alpha": 3, "beta": 4, "other": 5}) == (1, 1, 3, 4, {})


EVERY = [name for name in choices("regularizer") if name != "none"]


@pytest.mark.parametrize("runs", [1, 3])
@pytest.mark.parametrize("order", [EVERY, EVERY[::-1]], ids=["a-z", "z-a"])
def test_all_together(runs, order, stack_of, train):
    rows = [[f"seed={i}", f"regularizer.mixup.alpha={i}", f"regularizer.augmentation.shift={i}"] for i in range(runs)]
    options = ["train_metrics=running", "architecture.hidden=[8]", "batch_size=500"]
    options += ["schedule=cosine_restarts", "schedule.period=1", "schedule.t_mult=1"]
    stack = stack_of(*options, "steps=6", f"regularizer=[{','.join(order)}]", rows=rows)
    start = stack.theta.clone()
    _, recorded = train(stack)
    assert stack.theta.isfinite().all() and (stack.theta != start).any(1).all()
    for run in recorded:
        assert run and all(torch.tensor(list(row.values())).isfinite().all() for row in run)


SHORT = ["dataset=iris", "precision=float64", "architecture.hidden=[8]", "batch_size=16", "steps=10", "lr=0.05"]
QUIET = {  # what draws noise, and the numbers at which the noise has no effect
    "mixup": ["alpha=0"],
    "gradient_noise": ["eta=0"],
    "augmentation": ["shift=0", "noise=0"],
}


def regularized(numbers):
    return [f"regularizer.{key}.{number}" for key in numbers for number in numbers[key]]


def quiet_row(scale):
    penalties = {"elastic_net": [f"alpha={0.02 * scale}", f"l1_ratio={0.3 * scale}"], "max_norm": [f"c={0.4 * scale}"]}
    return regularized(QUIET | penalties)


ALL_QUIET = f"regularizer=[{','.join([*QUIET, 'elastic_net', 'max_norm'])}]"


def test_rows_train_as_if_alone(stack_of, train):
    rows = [quiet_row(1), quiet_row(2), quiet_row(3)]
    together = stack_of(*SHORT, ALL_QUIET, rows=rows)
    train(together)
    for run, own in enumerate(rows):
        alone = stack_of(*SHORT, ALL_QUIET, *own)
        train(alone)
        torch.testing.assert_close(together.theta[run], alone.theta[0], rtol=0, atol=1e-9)
    weights = together.layout.views(together.theta)
    norms = torch.cat([w.norm(dim=2) for name, w in weights.items() if name.endswith("weight")], 1)
    assert (norms <= torch.tensor([[0.4], [0.8], [1.2]]) + 1e-12).all() and (norms[0] > 0.4 - 1e-9).any()


@pytest.mark.parametrize("name", QUIET)
def test_noise_without_effect_changes_nothing(name, stack_of, train):
    plain = stack_of(*SHORT, "train_metrics=running")
    quiet = stack_of(*SHORT, "train_metrics=running", f"regularizer={name}", *regularized({name: QUIET[name]}))
    (_, [expected]), (_, [rows]) = train(plain), train(quiet)
    torch.testing.assert_close(quiet.theta, plain.theta, rtol=0, atol=1e-12)
    for got, wanted in zip(rows, expected, strict=True):
        values = {key: value for key, value in wanted.items() if key != "seconds"}
        assert {key: got[key] for key in values} == pytest.approx(values, rel=1e-9)


def test_running_metrics_are_against_the_datas_own_targets(stack_of, train):
    runs = [train(stack_of(*SHORT, "train_metrics=running", *more)) for more in ([], ["regularizer=label_smoothing"])]
    first = [rows[0] for _, [rows] in runs]  # of the untrained network, on the first minibatch
    assert first[0]["train_loss"] == first[1]["train_loss"] and first[0]["grad_norm"] != first[1]["grad_norm"]


def test_noise_leaves_alone_what_a_phase_freezes(stack_of, train):
    stack = stack_of(
        "dataset=iris", "architecture=rbf", "architecture.phases=2", "steps=3", "regularizer=[gradient_noise,max_norm]"
    )
    start, trained = stack.theta.clone(), stack.phases[0]
    train(stack)
    assert torch.equal((stack.theta != start)[0], trained.bool()) and 0 < trained.sum() < len(trained)


@pytest.mark.slow
def test_compiled_steps_draw_the_same_noise(stack_of, train):
    if not (shutil.which("g++") or shutil.which("clang++")):
        pytest.skip("no C++ compiler on this machine")
    noisy = regularized({"gradient_noise": ["eta=1", "gamma=0"], "max_norm": ["c=1000"], "mixup": ["alpha=1"]})
    options = ["dataset=digits", "architecture=linear", "precision=float64", "steps=10", "optimizer=sgd", ALL_QUIET]
    rows = [[*quiet_row(1), "lr=0.1"], [*noisy, "lr=1", "clip_norm=1e-9", "regularizer.elastic_net.alpha=0"]]
    stack, reference = (
        stack_of(*options, "clip_norm=1000", f"compile={compiling}", rows=rows) for compiling in ("true", "false")
    )
    start = stack.theta.clone()
    train(stack), train(reference)
    torch.testing.assert_close(stack.theta, reference.theta, rtol=0, atol=1e-9)
    walk = (stack.theta - start)[1].numpy()  # ten steps of standard normal noise
    assert scipy.stats.kstest(walk, "norm", args=(0, 10**0.5)).pvalue > 0.001
