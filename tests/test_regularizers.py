"""Regularizers against autograd of their penalties, torch's own, and plain loops; per-row numbers as separate calls."""

from __future__ import annotations

import inspect
from math import inf, nan

import pytest
import torch
import torch.nn.functional as F
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf

from dlrun.catalogue import choices, conf_dir
from dlrun.errors import ConfigError
from dlrun.regularizers import L1, L2, Dropout, EarlyStopping, LabelSmoothing, Regularizer, WeightDecay
from dlrun.rows import call, keywords

RUNS, PARAMS = 3, 6
_random = torch.Generator().manual_seed(0)
THETA = torch.randn(RUNS, PARAMS, generator=_random, dtype=torch.float64)
THETA[0, 0] = 0  # where the L1 norm has a kink, and autograd and sign take 0
G = torch.randn(RUNS, PARAMS, generator=_random, dtype=torch.float64)
MASK = torch.tensor([1, 1, 1, 0, 0, 1], dtype=torch.float64)
ALPHA = torch.tensor([[0.0], [0.3], [2.0]], dtype=torch.float64)
LR = torch.tensor([[0.1], [0.2], [0.5]], dtype=torch.float64)


@pytest.mark.parametrize(
    ("regularizer", "penalty"),
    [
        (L2(False), lambda theta, mask: ALPHA / 2 * (mask * theta.square()).sum(1, keepdim=True)),
        (L1(False), lambda theta, mask: ALPHA * (mask * theta.abs()).sum(1, keepdim=True)),
    ],
)
@pytest.mark.parametrize("mask", [MASK, torch.ones(PARAMS, dtype=torch.float64)])
def test_penalty(regularizer, penalty, mask):
    theta = THETA.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(penalty(theta, mask).sum(), theta)
    g = G.clone()
    torch.testing.assert_close(regularizer.penalize(g, THETA, mask, alpha=ALPHA), G + gradient)
    assert torch.equal(g, G)


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


@pytest.mark.parametrize("alpha", [0.0, 0.1, 1.0])
def test_label_smoothing(alpha):
    classes, k = torch.tensor([0, 2, 3, 3]), 4
    soft = LabelSmoothing().soften(classes, k, alpha=torch.tensor([alpha], dtype=torch.float64))
    # lecture 002: {0, 1} becomes {alpha / k, 1 - alpha (k - 1) / k}
    low, high = alpha / k, 1 - alpha * (k - 1) / k
    expected = [[high if j == c else low for j in range(k)] for c in classes.tolist()]
    torch.testing.assert_close(soft, torch.tensor(expected, dtype=torch.float64))
    logits = torch.randn(4, k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(F.cross_entropy(logits, soft), F.cross_entropy(logits, classes, label_smoothing=alpha))
    binary = LabelSmoothing().soften(torch.tensor([0.0, 1.0]), 1, alpha=torch.tensor([alpha]))
    torch.testing.assert_close(binary, torch.tensor([alpha / 2, 1 - alpha / 2]))


def test_label_smoothing_needs_classes():
    LabelSmoothing().fits("binary"), LabelSmoothing().fits("multiclass")
    with pytest.raises(ConfigError, match="label_smoothing needs classes"):
        LabelSmoothing().fits("regression")


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
    state, first = stopping.init(len(runs)), [None] * len(runs)
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
            names = keywords(cls.penalize) | keywords(cls.decay) | keywords(cls.observe)
            rows = {name: values[name] * factors for name in names}
            yield pytest.param(cls(**options), rows, id=key)


@pytest.mark.parametrize(("regularizer", "rows"), list(regularizers()))
def test_rows_are_as_separate_runs(regularizer, rows):
    def outcome(chosen):
        mine = {name: row[chosen] for name, row in rows.items()}
        theta, g, lr = THETA[chosen].clone(), G[chosen], LR[chosen]
        penalized = call(regularizer.penalize, g, theta, MASK, rows=mine)
        call(regularizer.decay, theta, MASK, lr, rows=mine)
        state, stops = regularizer.init(len(theta)), []
        for loss in torch.rand(30, RUNS, generator=torch.Generator().manual_seed(1), dtype=torch.float64):
            stops.append(call(regularizer.observe, state, loss[chosen], rows=mine))
        return penalized, theta, torch.stack(stops).T

    together = outcome(slice(None))
    for run in range(RUNS):
        for whole, alone in zip(together, outcome(slice(run, run + 1)), strict=True):
            torch.testing.assert_close(whole[run : run + 1], alone, rtol=0, atol=0)


def test_hooks_do_nothing_unless_a_regularizer_says_otherwise():
    for regularizer in (Regularizer(), Dropout(0.2, 0.5)):
        theta = THETA.clone()
        regularizer.fits("regression")
        assert regularizer.soften(G, 4) is G and regularizer.penalize(G, theta, MASK) is G
        regularizer.decay(theta, MASK, LR)
        assert torch.equal(theta, THETA) and regularizer.init(3) == {}
        assert not regularizer.observe({}, torch.tensor([nan, inf, 0.0])).any()


def test_rows_are_the_keyword_only_arguments():
    def hook(a, b=1, *_, alpha, beta=2, **rest):
        return a, b, alpha, beta, rest

    assert keywords(hook) == {"alpha", "beta"}
    assert call(hook, 1, rows={"alpha": 3, "beta": 4, "other": 5}) == (1, 1, 3, 4, {})
