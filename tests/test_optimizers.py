"""Every update rule against torch.optim, a plain loop of its formula, and the facts that lectures and papers state."""

from __future__ import annotations

import inspect
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from test_second_order import WALKS
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

from dlrun.errors import ConfigError
from dlrun.matrix.theta import Layout
from dlrun.optimizers.muon import orthogonalize
from dlrun.optimizers.torch_optim import TorchOptim
from dlrun.optimizers.yellowfin import single_step

CONF = Path(__file__).parent.parent / "conf" / "optimizer"
SHAPES = [(16, 8), (16,), (16, 16), (16,), (3, 16), (3,)]  # an MLP 8-16-16-3
SIZES = [int(np.prod(shape)) for shape in SHAPES]
LAYOUT = Layout(nn.Sequential(nn.Linear(8, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 3)))
STEPS = 50
_generator = torch.Generator().manual_seed(0)
INPUTS = torch.randn(200, 8, generator=_generator, dtype=torch.float64)
CLASSES = torch.randint(3, (200,), generator=_generator)
THETA = 0.3 * torch.randn(1, sum(SIZES), generator=_generator, dtype=torch.float64)


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def rule_and_hyper(name, **changes):
    """The rule of a YAML and its hyperparameters, some changed."""
    values = {**yaml.safe_load((CONF / f"{name}.yaml").read_text()), **changes}
    rule_class = get_class(values.pop("_target_"))
    values.pop("lr", None)
    flags = [key for key in values if key in inspect.signature(rule_class).parameters]
    return rule_class(**{key: values.pop(key) for key in flags}), values


def batch(step):
    rows = torch.arange(32 * step, 32 * step + 32) % len(INPUTS)
    return INPUTS[rows], CLASSES[rows]


def mlp_gradient(theta, step):
    theta = theta.detach().requires_grad_()
    x, y = batch(step)
    loss = torch.zeros(())
    for row in theta:
        W1, b1, W2, b2, W3, b3 = (p.view(shape) for p, shape in zip(row.split(SIZES), SHAPES, strict=True))
        logits = torch.tanh(torch.tanh(x @ W1.T + b1) @ W2.T + b2) @ W3.T + b3
        loss = loss + torch.nn.functional.cross_entropy(logits, y)
    return torch.autograd.grad(loss, theta)[0]


def train(rule, hyper, lrs, theta=THETA, gradient=mlp_gradient, layout=LAYOUT):
    """What the trainer does with a rule; a number in hyper and lrs goes to all rows."""
    theta = theta.clone()
    rule.bind(layout, theta)
    state = rule.init(theta)
    hyper = {key: torch.as_tensor(value).expand(len(theta), 1) for key, value in hyper.items()}
    for step, lr in enumerate(lrs):
        hyper["lr"] = torch.as_tensor(lr).expand(len(theta), 1)
        g = gradient(rule.point(theta, state, **hyper), step)
        rule.update(theta, g, state, **hyper)
    return theta, state


def train_with_torch(optimizer_class, lrs, **args):
    """The same network as torch.nn modules, its loss and its loop as PyTorch's users write them."""
    net = torch.nn.Sequential()
    for shape in SHAPES[::2]:
        net.extend([torch.nn.Linear(shape[1], shape[0]), torch.nn.Tanh()])
    net = net[:-1]
    torch.nn.utils.vector_to_parameters(THETA[0].clone(), net.parameters())
    optimizer = optimizer_class(net.parameters(), lr=lrs[0], **args)
    for step, lr in enumerate(lrs):
        optimizer.param_groups[0]["lr"] = lr
        x, y = batch(step)
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return torch.nn.utils.parameters_to_vector(net.parameters()).detach()[None]


def falling(lr):
    return [lr] * (STEPS // 2) + [lr / 10] * (STEPS // 2)


TORCH_FORM = {"momentum": 0.9, "velocity": "torch"}
AGAINST_TORCH = [  # name in conf/optimizer, changes, its twin in torch.optim, the twin's arguments, rates
    ("sgd", {}, torch.optim.SGD, {}, falling(0.5)),
    ("momentum", TORCH_FORM, torch.optim.SGD, {"momentum": 0.9}, falling(0.1)),
    ("nesterov", TORCH_FORM, torch.optim.SGD, {"momentum": 0.9, "nesterov": True}, falling(0.1)),
    ("adagrad", {}, torch.optim.Adagrad, {"eps": 1e-7}, falling(0.05)),
    ("rmsprop", {}, torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-7}, falling(0.005)),
    ("rmsprop", {"rho": 0.99, "centered": True}, torch.optim.RMSprop, {"eps": 1e-7, "centered": True}, falling(0.005)),
    # torch keeps lr out of RMSprop's velocity, Graves does not: equal at a constant lr.
    ("rmsprop", {"momentum": 0.8}, torch.optim.RMSprop, {"alpha": 0.9, "eps": 1e-7, "momentum": 0.8}, [0.002] * STEPS),
    ("adam", {}, torch.optim.Adam, {}, falling(0.01)),
    (
        "adam",
        {"beta1": 0.5, "beta2": 0.9, "eps": 1e-3},
        torch.optim.Adam,
        {"betas": (0.5, 0.9), "eps": 1e-3},
        falling(0.01),
    ),
    ("adamw", {}, torch.optim.AdamW, {}, falling(0.01)),
    ("adamw", {"weight_decay": 0.3}, torch.optim.AdamW, {"weight_decay": 0.3}, falling(0.01)),
    ("amsgrad", {"bias_correction": True}, torch.optim.Adam, {"amsgrad": True}, falling(0.01)),
    ("nadam", {}, torch.optim.NAdam, {}, falling(0.01)),
    ("nadam", {"momentum_decay": 0.1}, torch.optim.NAdam, {"momentum_decay": 0.1}, falling(0.01)),
    ("adadelta", {}, torch.optim.Adadelta, {"rho": 0.95}, falling(1.0)),
    ("adadelta", {"rho": 0.9, "eps": 1e-3}, torch.optim.Adadelta, {"eps": 1e-3}, falling(0.5)),
]
AGAINST_LOOPS = [("momentum", {}), ("nesterov", {}), ("amsgrad", {}), ("lion", {}), ("muon", {}), ("yellowfin", {})]
RULES = [(name, changes) for name, changes, *_ in AGAINST_TORCH] + AGAINST_LOOPS


@pytest.mark.parametrize(("name", "changes", "twin", "args", "lrs"), AGAINST_TORCH)
def test_equals_torch(name, changes, twin, args, lrs):
    rule, hyper = rule_and_hyper(name, **changes)
    theta, _ = train(rule, hyper, lrs)
    expected = train_with_torch(twin, lrs, **args)
    assert (theta - expected).abs().max() <= 1e-10
    assert (expected - THETA).abs().max() > 1e-2


def test_every_optimizer_has_a_reference():
    assert {path.stem for path in CONF.glob("*.yaml")} == {name for name, _ in RULES} | {"torch"} | WALKS.keys()


def options(rule):
    return {key: options(value) if hasattr(value, "__dict__") else value for key, value in vars(rule).items()}


@pytest.mark.parametrize("name", sorted({path.stem for path in CONF.glob("*.yaml")} - {"torch"}))
def test_a_rule_made_without_options_is_that_of_its_yaml(name):
    rule, _ = rule_and_hyper(name)
    assert options(type(rule)()) == options(rule)


def papers_loop(name, theta, gradient, lrs, mu=0.9, rho=0.9, beta1=0.9, beta2=0.999, eps=1e-4, decay=0.1):
    """The boxes of the lectures and the papers, line by line."""
    v, r, s, m, r_max = (np.zeros_like(theta) for _ in range(5))
    for t, lr in enumerate(lrs, start=1):
        if name == "nesterov":  # lecture 003's box, which ends with the gradient alone
            theta = theta + mu * v
            g = gradient(theta, t - 1)
            v = mu * v - lr * g
            theta = theta - lr * g
            continue
        g = gradient(theta, t - 1)
        if name == "momentum":
            v = mu * v - lr * g
            theta = theta + v
        elif name == "adagrad":
            r = r + g**2
            theta = theta - lr / np.sqrt(r + eps) * g
        elif name == "rmsprop":
            r = rho * r + (1 - rho) * g**2
            theta = theta - lr / np.sqrt(r + eps) * g
        elif name == "graves":
            r = rho * r + (1 - rho) * g**2
            m = rho * m + (1 - rho) * g
            v = mu * v - lr * g / np.sqrt(r - m**2 + eps)
            theta = theta + v
        elif name == "amsgrad":
            m, r = beta1 * m + (1 - beta1) * g, beta2 * r + (1 - beta2) * g**2
            r_max = np.maximum(r_max, r)
            theta = theta - lr * m / (np.sqrt(r_max) + eps)
        elif name == "lion":
            c = beta1 * m + (1 - beta1) * g
            theta = theta - lr * (np.sign(c) + decay * theta)
            m = beta2 * m + (1 - beta2) * g
        elif name == "adam without correction":
            s, r = beta1 * s + (1 - beta1) * g, beta2 * r + (1 - beta2) * g**2
            theta = theta - lr * s / (np.sqrt(r) + eps)
        else:
            s, r = beta1 * s + (1 - beta1) * g, beta2 * r + (1 - beta2) * g**2
            theta = theta - lr / np.sqrt(r / (1 - beta2**t) + eps) * (s / (1 - beta1**t))
    return theta


@pytest.mark.parametrize(
    ("box", "name", "changes"),
    [
        ("momentum", "momentum", {}),
        ("nesterov", "nesterov", {}),
        ("adagrad", "adagrad", {"eps": 1e-4, "eps_inside_sqrt": True}),
        ("rmsprop", "rmsprop", {"eps": 1e-4, "eps_inside_sqrt": True}),
        ("graves", "rmsprop", {"eps": 1e-4, "eps_inside_sqrt": True, "centered": True, "momentum": 0.9}),
        ("adam", "adam", {"eps": 1e-4, "eps_inside_sqrt": True}),
        ("adam without correction", "adam", {"eps": 1e-4, "bias_correction": False}),
        ("amsgrad", "amsgrad", {"eps": 1e-4}),
        ("lion", "lion", {"beta2": 0.999, "weight_decay": 0.1}),
    ],
)
def test_equals_the_papers_loop(box, name, changes):
    lrs = falling(0.02)
    rule, hyper = rule_and_hyper(name, **changes)
    theta, _ = train(rule, hyper, lrs)
    expected = papers_loop(box, THETA.numpy(), lambda theta, t: mlp_gradient(torch.tensor(theta), t).numpy(), lrs)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-10)


BETAS = [0.95 - 0.3 * min(t, STEPS - 1 - t) / STEPS for t in range(STEPS)]  # as one_cycle and cyclic move beta1


def train_with_moving_beta1(name, **changes):
    rule, hyper = rule_and_hyper(name, **changes)
    theta = THETA.clone()
    state = rule.init(theta)
    for step, beta1 in enumerate(BETAS):
        rows = {key: torch.tensor([[value]]) for key, value in {**hyper, "beta1": beta1, "lr": 0.01}.items()}
        rule.update(theta, mlp_gradient(theta, step), state, **rows)
    return theta


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("adam", {}),
        ("adam", {"eps_inside_sqrt": True}),
        ("adamw", {"weight_decay": 0.3}),
        ("adamw", {"weight_decay": 0.3, "eps_inside_sqrt": True}),
        ("amsgrad", {"bias_correction": True}),
    ],
)
def test_bias_correction_of_a_moving_beta1_makes_a_weighted_mean(name, changes):
    """A plain loop that keeps every gradient with its weight in the moving average, and divides by their sum."""
    theta, gradients, weights, squares, r_max = THETA.numpy(), [], np.zeros(0), [], np.zeros(THETA.shape)
    for step, beta1 in enumerate(BETAS):
        gradients.append(mlp_gradient(torch.tensor(theta), step).numpy())
        weights = np.append(beta1 * weights, 1 - beta1)
        first = np.average(gradients, axis=0, weights=weights)
        squares = np.append(0.999 * np.array(squares), 0.001)
        r_max = np.maximum(r_max, np.tensordot(squares, np.square(gradients), 1))
        second = (r_max if name == "amsgrad" else np.tensordot(squares, np.square(gradients), 1)) / squares.sum()
        theta = theta * (1 - 0.01 * changes.get("weight_decay", 0))
        root = np.sqrt(second + 1e-8) if changes.get("eps_inside_sqrt") else np.sqrt(second) + 1e-8
        theta = theta - 0.01 * first / root
    np.testing.assert_allclose(train_with_moving_beta1(name, **changes), theta, rtol=0, atol=1e-9)


def test_nadam_of_a_moving_beta1_is_torchs():
    parameter = torch.nn.Parameter(THETA.clone())
    twin = torch.optim.NAdam([parameter], lr=0.01)
    for step, beta1 in enumerate(BETAS):
        twin.param_groups[0]["betas"] = (beta1, 0.999)
        parameter.grad = mlp_gradient(parameter, step)
        twin.step()
    torch.testing.assert_close(train_with_moving_beta1("nadam"), parameter.detach(), rtol=0, atol=1e-10)


@pytest.mark.parametrize("name", ["momentum", "nesterov"])
def test_velocity_forms_differ_once_the_rate_changes(name):
    ends = {}
    for lrs in ([0.1] * STEPS, falling(0.1)):
        for velocity in ("lectures", "torch"):
            rule, hyper = rule_and_hyper(name, velocity=velocity)
            theta, state = train(rule, hyper, lrs)
            if (name, velocity) == ("nesterov", "lectures"):
                theta = rule.point(theta, state, momentum=torch.tensor([[0.9]]))  # torch's theta is this point
            ends[lrs[-1], velocity] = theta
    assert (ends[0.1, "lectures"] - ends[0.1, "torch"]).abs().max() <= 1e-12
    assert (ends[0.01, "lectures"] - ends[0.01, "torch"]).abs().max() > 1e-2


@pytest.mark.parametrize(("name", "changes"), RULES)
def test_rows_train_as_if_alone(name, changes):
    rule, hyper = rule_and_hyper(name, **changes)
    runs = 4
    thetas = THETA * torch.tensor([[1.0], [0.5], [-1.0], [2.0]])
    lr = torch.tensor([[0.001], [0.003], [0.01], [0.03]])
    factor = torch.linspace(0, 1, runs)[:, None]
    rows = {key: value * factor if not key.endswith("eps") else value * (1 + factor) for key, value in hyper.items()}
    together, _ = train(rule, rows, [lr] * 10, thetas)
    for i in range(runs):
        alone, _ = train(rule, {key: value[i] for key, value in rows.items()}, [lr[i]] * 10, thetas[i : i + 1])
        assert (together[i] - alone[0]).abs().max() <= 1e-12


@pytest.mark.parametrize(("name", "changes"), RULES)
def test_updates_in_place_and_replays_when_traced(name, changes):
    rule, hyper = rule_and_hyper(name, **changes)
    rows = {key: torch.full((1, 1), float(value)) for key, value in {**hyper, "lr": 0.01}.items()}
    eager, traced = THETA.clone(), THETA.clone()
    rule.bind(LAYOUT, eager)
    state, traced_state = rule.init(eager), rule.init(traced)
    step = make_fx(lambda theta, g, state, hyper: rule.update(theta, g, state, **hyper))(
        THETA.clone(), THETA, rule.init(THETA), rows
    )
    memory = [eager.data_ptr(), *(value.data_ptr() for value in state.values())]
    for t in range(4):
        g = mlp_gradient(eager, t)
        kept = g.clone()
        rule.update(eager, g, state, **rows)
        step(traced, g, traced_state, rows)
        assert torch.equal(g, kept)
    assert not any(torch.equal(state[key], fresh) for key, fresh in rule.init(eager).items())  # no memory lies idle
    assert torch.equal(eager, traced) and not torch.equal(eager, THETA)
    assert memory == [eager.data_ptr(), *(value.data_ptr() for value in state.values())]


GRADIENT = torch.tensor([[3.0, -0.02, 1e-5, -700.0]], dtype=torch.float64)  # the same at every step, in the facts below


def path(name, steps, lr=0.01, **changes):
    """theta and the memory after each of some steps with a constant gradient, from 0."""
    rule, hyper = rule_and_hyper(name, **changes)
    hyper = {key: torch.tensor([[float(value)]]) for key, value in {**hyper, "lr": lr}.items()}
    theta = torch.zeros_like(GRADIENT)
    state = rule.init(theta)
    for _ in range(steps):
        rule.update(theta, GRADIENT, state, **hyper)
        yield theta.clone(), {key: value.clone() for key, value in state.items()}


def test_rmsprop_first_step_is_too_long():
    ((theta, _),) = path("rmsprop", 1, rho=0.9, eps=1e-300)
    torch.testing.assert_close(theta, -0.01 * GRADIENT.sign() / np.sqrt(1 - 0.9), rtol=1e-12, atol=0)
    assert abs(theta[0, 0]) / 0.01 == pytest.approx(3.162, abs=5e-4)


def test_adam_first_step_is_lr():
    ((theta, _),) = path("adam", 1, eps=1e-300)
    torch.testing.assert_close(theta, -0.01 * GRADIENT.sign(), rtol=1e-12, atol=0)


def test_momentum_velocity_with_a_constant_gradient():
    for t, (_, state) in enumerate(path("momentum", 30, momentum=0.9), start=1):
        torch.testing.assert_close(state["v"], -0.01 * GRADIENT * (1 - 0.9**t) / (1 - 0.9), rtol=1e-12, atol=0)


def test_adagrad_steps_fall_as_one_over_sqrt_t():
    thetas = torch.cat([theta for theta, _ in path("adagrad", 30, eps=1e-300)])
    steps = thetas.diff(dim=0, prepend=torch.zeros_like(GRADIENT))
    expected = -0.01 * GRADIENT.sign() / torch.arange(1, 31)[:, None].sqrt()
    torch.testing.assert_close(steps, expected, rtol=1e-10, atol=0)


def test_adamw_decays_without_a_gradient():
    rule, hyper = rule_and_hyper("adamw", weight_decay=0.1)
    theta, _ = train(rule, hyper, [0.5] * 10, gradient=lambda theta, _: torch.zeros_like(theta))
    torch.testing.assert_close(theta, THETA * (1 - 0.5 * 0.1) ** 10, rtol=1e-12, atol=0)


def test_centered_rmsprop_survives_a_constant_gradient():
    rule, hyper = rule_and_hyper("rmsprop", centered=True, rho=0.5)  # where rounding soon matters
    theta, g = torch.zeros(1, 1000, dtype=torch.float32), torch.randn(1, 1000, dtype=torch.float32)
    hyper = {key: torch.tensor([[float(value)]], dtype=torch.float32) for key, value in {**hyper, "lr": 0.01}.items()}
    state = rule.init(theta)
    for _ in range(100):
        rule.update(theta, g, state, **hyper)
    assert theta.isfinite().all()


def test_adadelta_first_step_is_the_root_of_eps():
    ((theta, _),) = path("adadelta", 1, lr=1.0, rho=0.95, eps=1e-6)
    expected = -GRADIENT * 1e-3 / (0.05 * GRADIENT**2 + 1e-6).sqrt()
    torch.testing.assert_close(theta, expected, rtol=1e-12, atol=0)


def test_lion_moves_every_parameter_by_lr():
    thetas = torch.cat([theta for theta, _ in path("lion", 30)])
    steps = thetas.diff(dim=0, prepend=torch.zeros_like(GRADIENT))
    torch.testing.assert_close(steps, -0.01 * GRADIENT.sign().expand(30, -1), rtol=1e-12, atol=0)


@pytest.mark.parametrize(("name", "end"), [("adam", 1.0), ("amsgrad", -1.0)])
def test_amsgrad_solves_the_problem_that_adam_gets_wrong(name, end):
    """Reddi et al., section 3: the sum of C x, -x, -x, ... on [-1, 1] is least at -1, where Adam does not go."""
    C = 3.0
    rule, hyper = rule_and_hyper(name, beta1=0.0, beta2=1 / (1 + C**2))
    hyper = {key: torch.tensor([[value]]) for key, value in hyper.items()}
    theta = torch.zeros(1, 1)
    state = rule.init(theta)
    for t in range(3000):
        g = torch.tensor([[C if t % 3 == 0 else -1.0]])
        rule.update(theta, g, state, lr=torch.tensor([[0.5 / np.sqrt(t + 1)]]), **hyper)
        theta.clamp_(-1, 1)
    assert theta.item() == pytest.approx(end, abs=0.1)


def test_nadam_with_a_warm_momentum_is_adam_that_looks_ahead():
    """With mu = beta1 from the start: Adam's step of beta1 s + (1 - beta1) g, each corrected for its own start."""
    for t, (_, state) in enumerate(path("nadam", 5, momentum_decay=1e9), start=1):
        assert state["product"].item() == pytest.approx(0.9**t, rel=1e-12)
    thetas = torch.cat([theta for theta, _ in path("nadam", 5, momentum_decay=1e9, eps=1e-300)])
    steps = thetas.diff(dim=0, prepend=torch.zeros_like(GRADIENT))
    t = torch.arange(1, 6)[:, None]
    look_ahead = 0.9 * (1 - 0.9**t) / (1 - 0.9 ** (t + 1)) + 0.1 / (1 - 0.9**t)
    torch.testing.assert_close(steps, -0.01 * look_ahead * GRADIENT.sign(), rtol=1e-10, atol=0)


def muon_loop(theta, gradient, lrs, momentum=0.95, decay=0.1, ratio=0.015, beta1=0.9, beta2=0.95, eps=1e-10):
    """Jordan's loop for the two hidden matrices and AdamW's for the rest, on a list of arrays."""
    hidden = (0, 2)
    parameters = [p.numpy().copy() for p in parameters_of(theta)]
    memory = [(np.zeros_like(p), np.zeros_like(p)) for p in parameters]
    for t, lr in enumerate(lrs, start=1):
        flat = torch.tensor(np.concatenate([p.ravel() for p in parameters]))[None]
        for i, g in enumerate(p.numpy() for p in parameters_of(gradient(flat, t - 1))):
            p, (m, r) = parameters[i], memory[i]
            if i in hidden:
                m[:] = momentum * m + (1 - momentum) * g
                X = (1 - momentum) * g + momentum * m
                X = X / np.linalg.norm(X)
                for _ in range(5):
                    X = 3.4445 * X - 4.7750 * X @ X.T @ X + 2.0315 * X @ X.T @ X @ X.T @ X
                p *= 1 - lr * decay
                p -= lr * max(1, p.shape[0] / p.shape[1]) ** 0.5 * X
            else:
                m[:], r[:] = beta1 * m + (1 - beta1) * g, beta2 * r + (1 - beta2) * g**2
                p -= ratio * lr * m / (1 - beta1**t) / (np.sqrt(r / (1 - beta2**t)) + eps)
    return np.concatenate([p.ravel() for p in parameters])[None]


def test_muon_is_its_authors_loop():
    lrs = falling(0.02)
    rule, hyper = rule_and_hyper("muon", weight_decay=0.1)
    theta, _ = train(rule, hyper, lrs)
    np.testing.assert_allclose(theta, muon_loop(THETA, mlp_gradient, lrs), rtol=0, atol=1e-10)


def test_muon_equals_torch_on_matrices(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor)  # torch orthogonalises in half precision
    net = nn.Sequential(nn.Linear(6, 10, bias=False), nn.Linear(10, 4, bias=False), nn.Linear(4, 3, bias=False))
    start = torch.nn.utils.parameters_to_vector(net.parameters()).detach()[None].clone()
    gradients = torch.randn(STEPS, 1, start.numel(), generator=torch.Generator().manual_seed(1))
    rule, hyper = rule_and_hyper("muon", weight_decay=0.1, adamw_weight_decay=0.2)
    theta, _ = train(rule, hyper, falling(0.02), start, lambda theta, t: gradients[t] + theta, Layout(net))

    *hidden, output = net.parameters()
    twins = [
        torch.optim.Muon(hidden, lr=0.02, weight_decay=0.1),
        torch.optim.AdamW([output], lr=3e-4, betas=(0.9, 0.95), eps=1e-10, weight_decay=0.2),
    ]
    for t, lr in enumerate(falling(0.02)):
        flat = torch.nn.utils.parameters_to_vector(net.parameters()).detach()
        parts = (gradients[t, 0] + flat).split([p.numel() for p in net.parameters()])
        for parameter, part in zip(net.parameters(), parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()
        for twin, factor in zip(twins, (1, 0.015), strict=True):
            twin.param_groups[0]["lr"] = lr * factor
            twin.step()
    expected = torch.nn.utils.parameters_to_vector(net.parameters()).detach()[None]
    assert (theta - expected).abs().max() <= 1e-10 and (theta - start).abs().max() > 0.1


@pytest.mark.parametrize("shape", [(16, 8), (8, 16), (16, 16), (1, 5)])
def test_orthogonalised_matrices_keep_their_directions_and_lose_their_lengths(shape):
    lengths = torch.tensor([1e-3, 1.0, 1e3])[:, None, None]
    matrices = lengths * torch.randn(3, *shape, generator=torch.Generator().manual_seed(2))
    U, S, V = torch.linalg.svd(matrices, full_matrices=False)
    inside = U.mT @ orthogonalize(matrices, 5) @ V.mT  # diagonal: the same singular vectors
    torch.testing.assert_close(inside, torch.diag_embed(inside.diagonal(dim1=1, dim2=2)), rtol=0, atol=1e-8)
    well = S / torch.linalg.vector_norm(S, dim=1, keepdim=True) > 0.01  # smaller ones would want more steps
    values = inside.diagonal(dim1=1, dim2=2)[well]
    assert (values > 0.6).all() and (values < 1.3).all() and well.float().mean() > 0.9
    assert torch.equal(orthogonalize(torch.zeros(1, *shape), 5), torch.zeros(1, *shape))


def test_muon_flattens_kernels_and_leaves_the_output_to_adamw():
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.LayerNorm((3, 3)), nn.Conv2d(4, 5, 3), nn.Flatten(), nn.Linear(5, 3))
    layout = Layout(net)
    theta = torch.randn(2, layout.params, generator=torch.Generator().manual_seed(4))
    rule, hyper = rule_and_hyper("muon", adamw_ratio=1e-3)
    moved, _ = train(rule, hyper, [1.0], theta, lambda theta, _: theta, layout)
    for slot in layout.slots:
        step = (theta - moved)[:, slot.start : slot.stop]
        if slot.name in ("0.weight", "2.weight"):
            values = torch.linalg.svdvals(step.view(2, slot.shape[0], -1))
            assert (values > 0.6).all() and (values < 1.3).all()
        else:  # AdamW's first step is its rate
            torch.testing.assert_close(step, 1e-3 * theta[:, slot.start : slot.stop].sign(), rtol=1e-6, atol=0)


def test_muon_refuses_a_network_without_hidden_weights():
    rule, _ = rule_and_hyper("muon")
    with pytest.raises(ConfigError, match=r"optimizer=muon .* has none: add a hidden layer"):
        rule.bind(Layout(nn.Linear(3, 2)), torch.zeros(1, 8))


def cubic_root(p):
    """sqrt(mu) in [0, 1] with p x = (1 - x)^3."""
    roots = np.roots([1, -3, 3 + p, -1])
    return roots[np.abs(roots.imag).argmin()].real


def yellowfin_loop(theta, gradient, steps, beta=0.999, w=20):
    """Algorithms 1 to 4 of the paper, with its zero-debias, slow start and clipping."""
    window = []
    h_max = h_min = g_mean = g2_mean = norm_mean = h_mean = D_mean = v = 0.0
    for t in range(1, steps + 1):
        g = gradient(theta, t - 1)
        unbias = 1 / (1 - beta**t)
        h = np.sum(g**2)  # Algorithm 2
        window = [*window, h][-w:]
        h_max = beta * h_max + (1 - beta) * max(window)
        h_min = beta * h_min + (1 - beta) * min(window)
        g2_mean = beta * g2_mean + (1 - beta) * g**2  # Algorithm 3
        g_mean = beta * g_mean + (1 - beta) * g
        C = np.sum(g2_mean * unbias - (g_mean * unbias) ** 2)
        norm_mean = beta * norm_mean + (1 - beta) * np.sqrt(h)  # Algorithm 4
        h_mean = beta * h_mean + (1 - beta) * h
        D_mean = beta * D_mean + (1 - beta) * norm_mean / h_mean
        high, low, D = h_max * unbias, h_min * unbias, D_mean * unbias
        bound = ((np.sqrt(high / low) - 1) / (np.sqrt(high / low) + 1)) ** 2  # SingleStep
        x = cubic_root(D**2 * low**2 / (2 * C)) if C > 1e-30 else 0.0
        mu = max(x**2, bound)
        alpha = (1 - np.sqrt(mu)) ** 2 / low
        v = mu * v - min(alpha, t * alpha / (10 * w)) * g * min(1, np.sqrt(high) / np.sqrt(h))
        theta = theta + v
    return theta


def test_yellowfin_is_the_papers_algorithms():
    rule, hyper = rule_and_hyper("yellowfin", window=5)
    theta, _ = train(rule, hyper, [1.0] * 60)
    expected = yellowfin_loop(THETA.numpy(), lambda theta, t: mlp_gradient(torch.tensor(theta), t).numpy(), 60, w=5)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-10)
    assert np.abs(expected - THETA.numpy()).max() > 1e-2


def test_yellowfin_clips_the_step_of_a_gradient_that_explodes():
    def gradient(theta, t):
        return theta * (1e6 if t == 30 else 1)

    start = torch.tensor([[1.0, -2.0]])
    rule, hyper = rule_and_hyper("yellowfin")
    theta, _ = train(rule, hyper, [1.0] * 60, start, gradient)
    expected = yellowfin_loop(start.numpy(), lambda theta, t: gradient(theta, t), 60)
    np.testing.assert_allclose(theta, expected, rtol=1e-9)


positive = st.floats(1e-3, 1e3)


@settings(deadline=None, max_examples=60)
@given(C=positive, D=positive, h_min=positive, kappa=st.floats(1, 1e4))
def test_yellowfins_single_step_is_the_least_expected_distance(C, D, h_min, kappa):
    mu, alpha = (float(x) for x in single_step(*(torch.tensor(x) for x in (C, D, kappa * h_min, h_min))))
    bound = (np.sqrt(kappa) - 1) / (np.sqrt(kappa) + 1)
    assert np.sqrt(mu) >= bound - 1e-12
    assert alpha == pytest.approx((1 - np.sqrt(mu)) ** 2 / h_min, rel=1e-6)

    def expected_distance(x):  # x = sqrt(mu)
        return x**2 * D**2 + (1 - x) ** 4 / h_min**2 * C

    best = minimize_scalar(expected_distance, bounds=(bound, 1), method="bounded", options={"xatol": 1e-12})
    assert expected_distance(np.sqrt(mu)) <= best.fun * (1 + 1e-9)


def test_yellowfins_single_step_at_its_limits_in_single_precision():
    """Without noise the step of Newton, whatever the distance; where there is noise alone, none."""
    h = torch.tensor([[1e-6], [1.0], [1e6]], dtype=torch.float32)
    zero, far, near = (torch.full_like(h, value) for value in (0, 1e6, 1e-25))
    mu, alpha = single_step(zero, far, h, h)
    assert mu.abs().max() < 1e-12
    torch.testing.assert_close(alpha, 1 / h)
    for distance in (zero, near):
        mu, alpha = single_step(torch.full_like(h, 1e20), distance, h, h)
        torch.testing.assert_close(mu, torch.ones_like(h))
        assert (alpha >= 0).all() and (alpha * h).max() < 1e-12


def test_yellowfin_converges_on_a_noisy_quadratic_within_the_robust_region():
    curvatures = torch.logspace(0, 2, 10)  # kappa = 100
    noise = 0.01 * torch.randn(3000, 1, 10, generator=torch.Generator().manual_seed(3))
    rule, hyper = rule_and_hyper("yellowfin")
    hyper = {key: torch.tensor([[value]]) for key, value in {**hyper, "lr": 1.0}.items()}
    theta = torch.ones(1, 10)
    state = rule.init(theta)
    losses = [curvatures.sum()]
    for t, epsilon in enumerate(noise, start=1):
        g, before = theta * curvatures + epsilon, state["v"].clone()
        rule.update(theta, g, state, **hyper)
        if t % 500 == 0:
            losses.append((curvatures * theta**2).sum())
        if t % 10 == 0:  # v = mu v - (rate) g: two unknowns, ten equations
            mu, _ = torch.linalg.lstsq(torch.cat([before, -g]).T, state["v"].T).solution[:, 0]
            root_kappa = (state["h_max"] / state["h_min"]).sqrt()
            assert mu >= ((root_kappa - 1) / (root_kappa + 1)).square() - 1e-6
    assert all(after < before / 2 for before, after in pairwise(losses)) and losses[-1] < 1e-3 * losses[0]


def parameters_of(theta):
    return [p.view(shape) for p, shape in zip(theta[0].split(SIZES), SHAPES, strict=True)]


def train_with_torch_rule(name, args, lrs):
    rule, theta = TorchOptim(name, args), THETA.clone()
    rule.bind(LAYOUT, theta)
    state = rule.init(theta)
    for step, lr in enumerate(lrs):
        rule.update(theta, mlp_gradient(theta, step), state, lr=torch.tensor([[lr]]))
        if step == len(lrs) // 2:  # the run is killed here, and resumed from what a checkpoint holds
            theta, state = theta.clone(), {key: value.clone() for key, value in state.items()}
            rule = TorchOptim(name, args)
            rule.bind(LAYOUT, theta)
    return theta


def train_with_torch_alone(name, args, lrs):
    parameters = [p.clone() for p in parameters_of(THETA)]
    optimizer = getattr(torch.optim, name)(parameters, **args)
    for step, lr in enumerate(lrs):
        optimizer.param_groups[0]["lr"] = lr
        theta = torch.cat([p.flatten() for p in parameters])[None]
        for parameter, grad in zip(parameters, parameters_of(mlp_gradient(theta, step)), strict=True):
            parameter.grad = grad
        optimizer.step()
    return torch.cat([p.flatten() for p in parameters])[None]


@pytest.mark.parametrize(
    ("name", "args"),
    [
        ("SGD", {"momentum": 0.9, "dampening": 0.1}),
        ("Adam", {"betas": [0.8, 0.99], "amsgrad": True}),
        ("Adagrad", {"lr_decay": 0.1}),
        ("NAdam", {}),
        ("RAdam", {}),
        ("Adamax", {}),
        ("Adadelta", {}),
        ("Rprop", {}),
        ("Adafactor", {}),
        ("ASGD", {"t0": 5}),
    ],
)
def test_torch_rule_is_torch_optim_and_resumes(name, args):
    lrs = falling(0.01)
    theta = train_with_torch_rule(name, args, lrs)
    assert torch.equal(theta, train_with_torch_alone(name, args, lrs)) and not torch.equal(theta, THETA)


def test_torch_rule_sees_a_matrix_as_a_matrix():
    start, g = THETA[:, :12], THETA[:, 12:24]
    theta, matrix = start.clone(), start.clone().view(4, 3)
    rule = TorchOptim("Muon", {"momentum": 0.8})
    rule.bind(Layout(nn.Linear(3, 4, bias=False)), theta)
    rule.update(theta, g, rule.init(theta), lr=torch.tensor([[0.1]]))
    matrix.grad = g.view(4, 3)
    torch.optim.Muon([matrix], lr=0.1, momentum=0.8).step()
    assert torch.equal(theta.view(4, 3), matrix) and not torch.equal(theta, start)


@pytest.mark.parametrize(
    ("name", "args", "message"),
    [
        ("adam", {}, "did you mean Adam?"),
        ("SDG", {}, "did you mean SGD?"),
        ("Optimizer", {}, "torch.optim has no such class"),
        ("xyz", {}, "choose one of ASGD, .*SGD"),
        ("LBFGS", {}, "evaluates the loss several times"),
        ("SparseAdam", {}, "sparse gradients only"),
        ("Adam", {"beta": 0.9}, r"optimizer\.args\.beta: torch\.optim\.Adam accepts betas, eps, weight_decay"),
        ("Adam", {"lr": 0.1}, r"optimizer\.args\.lr: the rate is the top-level key"),
        ("Adam", {"betas": [0.9, 2]}, "name=Adam .*Invalid beta parameter"),
        ("SGD", {"momentum": "much"}, "name=SGD"),
        ("SGD", 0.9, r"optimizer\.args=0\.9: write keyword arguments"),
    ],
)
def test_torch_rule_refuses(name, args, message):
    with pytest.raises(ConfigError, match=message):
        TorchOptim(name, args)


def test_torch_rule_refuses_parameters_that_its_class_cannot_train():
    with pytest.raises(ConfigError, match=r"Muon .*2D"):
        TorchOptim("Muon").bind(LAYOUT, THETA.clone())
