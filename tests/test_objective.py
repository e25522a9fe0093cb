"""What second-order rules ask of the trainer, against PyTorch's own derivatives of a network written by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.func import functional_call

from dlrun.errors import ConfigError
from dlrun.optimizers.rule import Objective, Rule
from dlrun.training.stack import Stack
from dlrun.training.state import State
from dlrun.training.step import prepare

RUNS = 2
ALPHA = 0.3


def iris(stack_of: Callable[..., Stack], *overrides: str) -> Stack:
    common = ["dataset=iris", "architecture.hidden=[4]", "architecture.activation=tanh", "precision=float64"]
    penalties = ["regularizer=[l2,l1]", f"regularizer.l2.alpha={ALPHA}", "regularizer.l1.alpha=0.2"]
    rows = [[f"seed={i}"] for i in range(RUNS)]
    return stack_of(*common, *penalties, "batch_size=full", *overrides, rows=rows)


def outputs(theta: Tensor, x: Tensor) -> Tensor:
    W, b, V, c = theta.split([16, 4, 12, 3])
    return torch.tanh(x @ W.view(4, 4).T + b) @ V.view(3, 4).T + c


WEIGHTS = torch.cat([torch.ones(16), torch.zeros(4), torch.ones(12), torch.zeros(3)]).double()


def objective(theta: Tensor, x: Tensor, y: Tensor) -> Tensor:
    penalty = ALPHA / 2 * (WEIGHTS * theta.square()).sum() + 0.2 * (WEIGHTS * theta.abs()).sum()
    return F.cross_entropy(outputs(theta, x), y) + penalty


class Asking(Rule):
    """Keeps what the trainer gives it."""

    traceable, curvature = False, True

    def update(self, theta: Tensor, g: Tensor, state: dict[str, Tensor], objective: Objective, *, lr: Tensor) -> None:
        self.objective = objective


def of_step(stack: Stack) -> Objective:
    stack.rule = rule = Asking()
    batch = torch.arange(stack.train_size).expand(RUNS, -1).contiguous()
    moving = [torch.ones(RUNS, 1).double()]
    with torch.no_grad():
        step, _, _ = prepare(stack, State(stack), batch, moving, compiling=False)
        step(batch, *moving)
    return rule.objective


def test_values_gradients_and_hessians(stack_of) -> None:
    stack = iris(stack_of, "optimizer=newton")
    asked = of_step(stack)
    x, y = stack.dataset.part("train")
    start = stack.theta.clone()
    point = start + 0.1
    with torch.no_grad():
        value, g = asked.gradient(point)
    assert torch.equal(stack.theta, start)
    hessian = asked.hessian(point)
    for run in range(RUNS):
        leaf = point[run].clone().requires_grad_()
        expected = objective(leaf, x, y)
        assert value[run].item() == pytest.approx(expected.item(), rel=1e-12)
        assert asked.value[run].item() == pytest.approx(objective(start[run], x, y).item(), rel=1e-12)
        torch.testing.assert_close(g[run], torch.autograd.grad(expected, leaf)[0], rtol=1e-9, atol=1e-12)
        exact = torch.autograd.functional.hessian(lambda t: objective(t, x, y), point[run])
        torch.testing.assert_close(hessian[run], exact, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("normalization", ["group", "layer", "batch"])
def test_hessians_through_normalization(normalization, stack_of) -> None:
    groups = ["normalization.groups=2"] if normalization == "group" else []
    stack = iris(stack_of, "optimizer=newton", f"normalization={normalization}", *groups)
    x, y = stack.dataset.part("train")
    hessian = of_step(stack).hessian(stack.theta)

    def loss(theta: Tensor) -> Tensor:
        parameters = {name: view[0] for name, view in stack.layout.views(theta[None]).items()}
        buffers = {name: buffer[0].clone() for name, buffer in stack.buffers.items()}
        penalties = ALPHA / 2 * (weights * theta.square()).sum() + 0.2 * (weights * theta.abs()).sum()
        return F.cross_entropy(functional_call(stack.model.train(), {**parameters, **buffers}, (x,)), y) + penalties

    weights = stack.layout.mask("weight").double()
    for run in range(RUNS):
        exact = torch.autograd.functional.hessian(loss, stack.theta[run])
        torch.testing.assert_close(hessian[run], exact, rtol=1e-7, atol=1e-9)


def test_gauss_newton_matrix_by_its_definition(stack_of, monkeypatch) -> None:
    monkeypatch.setattr("dlrun.training.objective.BLOCK", 500)  # several blocks of samples
    stack = iris(stack_of, "optimizer=gauss_newton")
    asked = of_step(stack)
    x, _ = stack.dataset.part("train")
    matrix = asked.gauss_newton(stack.theta)
    for run in range(RUNS):
        jacobian = torch.autograd.functional.jacobian(lambda t: outputs(t, x), stack.theta[run])  # (n, 3, params)
        p = outputs(stack.theta[run], x).softmax(1)
        curvature = torch.diag_embed(p) - p[:, :, None] * p[:, None]  # of cross-entropy in the logits
        expected = torch.einsum("nip,nij,njq->pq", jacobian, curvature, jacobian) / len(x)
        torch.testing.assert_close(matrix[run], expected + ALPHA * WEIGHTS.diag(), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            ["optimizer=newton", "dataset=digits"],
            r"keeps a matrix .* 2,603 MiB for 26,122 parameters, .* limit is 4,096",
        ),
        (["optimizer=bfgs", "batch_size=16"], "compares losses from step to step.*: set batch_size=full"),
        (["optimizer=lbfgs", "regularizer=dropout"], "more than once in a step, which dropout, .* leave them out"),
        (["optimizer=newton", "regularizer=gradient_noise"], "more than once in a step"),
        (["optimizer=lbfgs", "clip_norm=1"], "finds the length of its steps itself"),
        (["optimizer=gauss_newton", "normalization=batch"], "batch normalization"),
        (["optimizer=newton", "regularizer=weight_decay"], "regularizer=l2 adds the same penalty"),
        (["optimizer=bfgs", "architecture=rbf", "architecture.phases=2"], "set architecture.phases=1"),
    ],
)
def test_what_such_rules_cannot_train_with(overrides, message, stack_of) -> None:
    hidden = [] if "architecture=rbf" in overrides else ["architecture.hidden=[4]"]
    small = [] if "dataset=digits" in overrides else [*hidden, "dataset=iris"]
    with pytest.raises(ConfigError, match=message):
        stack_of("batch_size=full", *small, *overrides)


def test_a_single_phase_of_everything_is_no_phase(stack_of) -> None:
    small = ["architecture=rbf", "architecture.kernels=4", "dataset=iris", "batch_size=full", "optimizer=bfgs"]
    assert stack_of(*small).moving == ["lr"]


def test_an_autoencoder_is_trained_to_give_back_its_inputs(stack_of, train) -> None:
    stack = stack_of("architecture=autoencoder", "architecture.widths=[8]", "epochs=2", "precision=float64")
    x, _ = stack.dataset.part("val")
    _, [rows] = train(stack)
    views = stack.layout.views(stack.theta)
    W, b, V, c = (views[name][0] for name in views)
    back = torch.relu(x.flatten(1) @ W.T + b) @ V.T + c
    assert rows[-1]["val_loss"] == pytest.approx(F.mse_loss(back, x.flatten(1)).item(), rel=1e-9)
    assert rows[-1]["val_loss"] < rows[0]["val_loss"] and "val_r2" in rows[0]


def distance(theta: Tensor) -> Tensor:
    """A value of theta, (runs,), whose gradient PyTorch cannot differentiate."""
    return torch.cdist(theta[:, None], torch.ones_like(theta)[:, None], p=3)[:, 0, 0]


@pytest.mark.parametrize("optimizer", ["newton", "saddle_free_newton"])
def test_a_network_without_second_derivatives_is_refused_before_it_trains(optimizer, stack_of, monkeypatch) -> None:
    linear = ["dataset=iris", "architecture=linear"]
    assert stack_of(*linear, f"optimizer={optimizer}").rule.curvature
    monkeypatch.setattr(Stack, "penalty", lambda stack, theta: distance(theta))
    with pytest.raises(ConfigError, match=r"second derivatives.*_cdist_backward.*gauss_newton or lbfgs"):
        stack_of(*linear, f"optimizer={optimizer}")
    stack_of(*linear, "optimizer=gauss_newton")
