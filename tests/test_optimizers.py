"""Every update rule against torch.optim, a plain loop of its formula, and the facts that the lectures state."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_class
from torch.fx.experimental.proxy_tensor import make_fx

from dlrun.errors import ConfigError
from dlrun.optimizers.torch_optim import TorchOptim

CONF = Path(__file__).parent.parent / "conf" / "optimizer"
SHAPES = [(16, 8), (16,), (16, 16), (16,), (3, 16), (3,)]  # an MLP 8-16-16-3
SIZES = [int(np.prod(shape)) for shape in SHAPES]
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


def train(rule, hyper, lrs, theta=THETA, gradient=mlp_gradient):
    """What the trainer does with a rule; a number in hyper and lrs goes to all rows."""
    theta = theta.clone()
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
]
RULES = [(name, changes) for name, changes, *_ in AGAINST_TORCH] + [("momentum", {}), ("nesterov", {})]


@pytest.mark.parametrize(("name", "changes", "twin", "args", "lrs"), AGAINST_TORCH)
def test_equals_torch(name, changes, twin, args, lrs):
    rule, hyper = rule_and_hyper(name, **changes)
    theta, _ = train(rule, hyper, lrs)
    expected = train_with_torch(twin, lrs, **args)
    assert (theta - expected).abs().max() <= 1e-10
    assert (expected - THETA).abs().max() > 1e-2


def test_every_optimizer_has_a_reference():
    assert {path.stem for path in CONF.glob("*.yaml")} == {name for name, _ in RULES} | {"torch"}


def lecture_loop(name, theta, gradient, lrs, mu=0.9, rho=0.9, beta1=0.9, beta2=0.999, eps=1e-4):
    """The lectures' and Graves's boxes, line by line."""
    v, r, s, m = (np.zeros_like(theta) for _ in range(4))
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
    ],
)
def test_equals_the_lectures_loop(box, name, changes):
    lrs = falling(0.02)
    rule, hyper = rule_and_hyper(name, **changes)
    theta, _ = train(rule, hyper, lrs)
    expected = lecture_loop(box, THETA.numpy(), lambda theta, t: mlp_gradient(torch.tensor(theta), t).numpy(), lrs)
    np.testing.assert_allclose(theta, expected, rtol=0, atol=1e-10)


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
    rows = {key: value * factor if key != "eps" else value * (1 + factor) for key, value in hyper.items()}
    together, _ = train(rule, rows, [lr] * 10, thetas)
    for i in range(runs):
        alone, _ = train(rule, {key: value[i] for key, value in rows.items()}, [lr[i]] * 10, thetas[i : i + 1])
        assert (together[i] - alone[0]).abs().max() <= 1e-12


@pytest.mark.parametrize(("name", "changes"), RULES)
def test_updates_in_place_and_replays_when_traced(name, changes):
    rule, hyper = rule_and_hyper(name, **changes)
    rows = {key: torch.full((1, 1), float(value)) for key, value in {**hyper, "lr": 0.01}.items()}
    eager, traced = THETA.clone(), THETA.clone()
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


def parameters_of(theta):
    return [p.view(shape) for p, shape in zip(theta[0].split(SIZES), SHAPES, strict=True)]


def train_with_torch_rule(name, args, lrs):
    rule, theta = TorchOptim(name, args), THETA.clone()
    rule.bind(parameters_of(theta))
    state = rule.init(theta)
    for step, lr in enumerate(lrs):
        rule.update(theta, mlp_gradient(theta, step), state, lr=torch.tensor([[lr]]))
        if step == len(lrs) // 2:  # the run is killed here, and resumed from what a checkpoint holds
            theta, state = theta.clone(), {key: value.clone() for key, value in state.items()}
            rule = TorchOptim(name, args)
            rule.bind(parameters_of(theta))
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
    rule.bind([theta[0].view(4, 3)])
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
        TorchOptim("Muon").bind([torch.zeros(3)])
