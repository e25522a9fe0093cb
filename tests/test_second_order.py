"""Second-order and line-search rules against plain loops of their papers, SciPy, numpy.linalg and closed forms."""

from __future__ import annotations

import inspect
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from hydra.utils import get_class
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save
from scipy.linalg import sqrtm
from scipy.optimize import brentq, least_squares, line_search, minimize, rosen, rosen_der, rosen_hess

from dlrun.errors import ConfigError
from dlrun.optimizers.line_search import EVALUATIONS, StrongWolfe
from dlrun.optimizers.newton import eigen, solve

CONF = Path(__file__).parent.parent / "conf" / "optimizer"


@pytest.fixture(autouse=True, scope="module")
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


class Function:
    """An objective made of a function of one row, or of its residuals, whose squares' mean it is then."""

    def __init__(self, value=None, residuals=None):
        self.f = value or (lambda row: residuals(row).square().mean())
        self.residuals = residuals
        self.evaluations = 0

    def at(self, theta):
        """Begin a step: the gradient at theta."""
        self.value, g = self.gradient(theta)
        return g

    def gradient(self, theta):
        self.evaluations += 1
        leaf = theta.detach().clone().requires_grad_()
        value = torch.stack([self.f(row) for row in leaf])
        return value.detach(), torch.autograd.grad(value.sum(), leaf)[0]

    def hessian(self, theta):
        return torch.stack([torch.autograd.functional.hessian(self.f, row) for row in theta])

    def gauss_newton(self, theta):
        J = torch.stack([torch.autograd.functional.jacobian(self.residuals, row) for row in theta])
        return 2 / J.shape[1] * J.mT @ J


def rule_and_hyper(name, **changes):
    """The rule of a YAML and its hyperparameters, some changed."""
    values = {**yaml.safe_load((CONF / f"{name}.yaml").read_text()), **changes}
    rule_class = get_class(values.pop("_target_"))
    options = [key for key in values if key in inspect.signature(rule_class).parameters]
    return rule_class(**{key: values.pop(key) for key in options}), values


def walk(name, function, start, steps, state=None, **changes):
    """theta (runs, params) after each of the steps, and the rule's memory."""
    rule, hyper = rule_and_hyper(name, **changes)
    assert rule.curvature or rule.searches
    theta = torch.as_tensor(start).clone()
    state = rule.init(theta) if state is None else state
    hyper = {key: theta.new_tensor(value).expand(len(theta), 1) for key, value in hyper.items()}
    path = []
    for _ in range(steps):
        rule.update(theta, function.at(theta), state, function, **hyper)
        path.append(theta.clone())
    return torch.stack(path), state


# The problems: Rosenbrock's valley in 4-D, which SciPy also differentiates; a small regression; a convex function
A = np.random.default_rng(0).normal(size=(12, 5))
INPUTS = np.linspace(-1, 2, 20)
TARGETS = 2 * np.tanh(1.5 * INPUTS - 0.5) + 0.3 + 0.1 * np.random.default_rng(1).normal(size=20)


def valley(row):
    return (100 * (row[1:] - row[:-1].square()).square() + (1 - row[:-1]).square()).sum()


def misfit(row, tanh=torch.tanh, x=torch.tensor(INPUTS), y=torch.tensor(TARGETS)):  # noqa: B008
    return row[0] * tanh(row[1] * x + row[2]) + row[3] - y


def misfit_with_numpy(row):
    return misfit(row, np.tanh, INPUTS, TARGETS)


def misfit_jacobian(row):
    h = np.tanh(row[1] * INPUTS + row[2])
    slope = row[0] * (1 - h**2)
    return np.stack([h, slope * INPUTS, slope, np.ones_like(h)], 1)


def bowl(row):
    return (torch.tensor(A) @ row - 1).cosh().log().sum() + 0.1 * row.square().sum()


def bowl_gradient(row):
    return A.T @ np.tanh(A @ row - 1) + 0.2 * row


def newton_loop(x, lr, damping):
    return x - lr * np.linalg.solve(rosen_hess(x) + damping * np.eye(len(x)), rosen_der(x))


def saddle_free_loop(x, lr, damping):
    H = rosen_hess(x)
    return x - lr * np.linalg.solve(sqrtm(H @ H).real + damping * np.eye(len(x)), rosen_der(x))


def gauss_newton_loop(x, lr, damping):
    """Damped least squares as ordinary least squares with rows for the damping."""
    J, r = misfit_jacobian(x) * np.sqrt(2 / 20), misfit_with_numpy(x) * np.sqrt(2 / 20)
    rows = np.concatenate([J, np.sqrt(damping) * np.eye(4)]), np.concatenate([r, np.zeros(4)])
    return x - lr * np.linalg.lstsq(*rows, rcond=None)[0]


def each_step(step, x, steps, **hyper):
    path = []
    for _ in range(steps):
        path.append(x := step(x, **hyper))
    return path


def levenberg_marquardt_loop(x, steps, damping):
    """Nielsen's report, on half the sum of squares."""
    mu, nu, path = damping * (misfit_jacobian(x) ** 2).sum(0).max(), 2, []
    for _ in range(steps):
        J, r = misfit_jacobian(x), misfit_with_numpy(x)
        g = J.T @ r
        h = -np.linalg.solve(J.T @ J + mu * np.eye(4), g)
        rho = (r @ r - (new := misfit_with_numpy(x + h)) @ new) / (h @ (mu * h - g))
        if rho > 0:
            x, mu, nu = x + h, mu * max(1 / 3, 1 - (2 * rho - 1) ** 3), 2
        else:
            mu, nu = mu * nu, 2 * nu
        path.append(x)
    return path


def exact_step(x, d):
    """To where the slope along d is zero."""
    slope = lambda alpha: bowl_gradient(x + alpha * d) @ d  # noqa: E731
    return x + brentq(slope, 0, 100, xtol=1e-15, rtol=1e-14) * d


def bfgs_matrix(pairs):
    """The inverse Hessian of formula 6.17, multiplied out from scratch."""
    identity = np.eye(5)
    for i, (s, y) in enumerate(pairs):
        rho = 1 / (s @ y)
        H = H if i else identity / rho / (y @ y)  # noqa: F821
        H = (identity - rho * np.outer(s, y)) @ H @ (identity - rho * np.outer(y, s)) + rho * np.outer(s, s)
    return H


def lbfgs_matrix(pairs, history):
    """The same from the last pairs alone, started from the newest one's scale."""
    s, y = pairs[-1]
    scale, identity = s @ y / (y @ y), np.eye(5)
    H = scale * identity
    for s, y in pairs[-history:]:
        V = identity - np.outer(y, s) / (s @ y)
        H = V.T @ H @ V + np.outer(s, s) / (s @ y)
    return H


def quasi_newton_loop(x, steps, matrix):
    pairs, path = [], []
    for _ in range(steps):
        g = bowl_gradient(x)
        new = exact_step(x, -matrix(pairs) @ g if pairs else -g)
        pairs.append((new - x, bowl_gradient(new) - g))
        path.append(x := new)
    return path


def conjugate_gradient_loop(x, steps):
    path, restarts, g, d = [], [], bowl_gradient(x), -bowl_gradient(x)
    for _ in range(steps):
        x = exact_step(x, d)
        new = bowl_gradient(x)
        beta = max(0, new @ (new - g) / (g @ g))
        restarts.append(beta == 0 or abs(new @ g) >= 0.1 * (new @ new))
        d = -new + (not restarts[-1]) * beta * d
        g = new
        path.append(x)
    assert any(restarts) and not all(restarts)
    return path


EXACT = {"c1": 1e-12, "c2": 1e-11}  # a search that ends where the slope is as good as zero
HALF = {"lr": 0.5, "damping": 0.1}
FAR = np.array([1.0, 5.0, 3.0, 0.0])
SLOW, HERE, BOWL = np.array([-0.5, 0.3, 0.8, -0.2]), np.array([1.0, 1.0, 0.0, 0.0]), np.full(5, 2.0)
WALKS = {  # each name of conf/optimizer: problem, start, changes, the loop that one would write by hand
    "newton": (Function(valley), SLOW, HALF, lambda: each_step(newton_loop, SLOW, 8, **HALF)),
    "saddle_free_newton": (Function(valley), SLOW, HALF, lambda: each_step(saddle_free_loop, SLOW, 8, **HALF)),
    "gauss_newton": (Function(None, misfit), HERE, HALF, lambda: each_step(gauss_newton_loop, HERE, 8, **HALF)),
    "levenberg_marquardt": (
        Function(None, misfit), FAR, {"damping": 1e-6}, lambda: levenberg_marquardt_loop(FAR, 14, 1e-6),
    ),
    "bfgs": (Function(bowl), BOWL, EXACT, lambda: quasi_newton_loop(BOWL, 6, bfgs_matrix)),
    "lbfgs": (
        Function(bowl), BOWL, {"history": 2, **EXACT}, lambda: quasi_newton_loop(BOWL, 6, lambda p: lbfgs_matrix(p, 2)),
    ),
    "conjugate_gradient": (Function(bowl), BOWL, EXACT, lambda: conjugate_gradient_loop(BOWL, 6)),
}  # fmt: skip
SEARCHES = ["bfgs", "lbfgs", "conjugate_gradient"]


@pytest.mark.parametrize("name", WALKS)
def test_walks_the_path_of_its_papers_loop(name):
    function, start, changes, loop = WALKS[name]
    expected = np.stack(loop())
    path, _ = walk(name, function, start[None], len(expected), **changes)
    np.testing.assert_allclose(path[:, 0], expected, rtol=0, atol=1e-7 if name in SEARCHES else 1e-9)
    assert np.abs(expected - start).max() > 0.1


def test_levenberg_marquardts_walk_refuses_steps_in_a_row_and_takes_others():
    path = np.stack([FAR, *WALKS["levenberg_marquardt"][3]()])
    still = (np.diff(path, axis=0) == 0).all(1)
    assert (still[1:] & still[:-1]).any() and (~still).sum() > 5


def test_levenberg_marquardts_damping_follows_the_gain():
    """One step of rows with dampings of their own, one of which is not finite, by the formulas."""
    random = np.random.default_rng(5)
    starts = np.concatenate([np.full((1, 4), np.nan), random.normal(scale=1.5, size=(60, 4))])
    mus = 10.0 ** random.uniform(-3, 0, 61)
    state = {"mu": torch.tensor(mus)[:, None].clone(), "nu": torch.full((61, 1), 8.0)}
    [path], state = walk("levenberg_marquardt", Function(None, misfit), starts, 1, state=state, lr=0.7)
    assert path[0].isnan().all()
    gains = []
    for row in range(1, 61):
        x, mu = starts[row], mus[row]
        J, r = misfit_jacobian(x), misfit_with_numpy(x)
        G, g = 2 / 20 * J.T @ J, 2 / 20 * J.T @ r
        p = -0.7 * np.linalg.solve(G + mu * np.eye(4), g)
        fall = np.square(r).mean() - np.square(misfit_with_numpy(x + p)).mean()
        rho = fall / (-g @ p - p @ G @ p / 2)
        easier = mu * max(1 / 3, 1 - (2 * rho - 1) ** 3)
        expected = (x + p, easier, 2) if rho > 0 else (x, 8 * mu, 16)
        for got, wanted in zip((path[row], state["mu"][row], state["nu"][row]), expected, strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-7)
        gains.append(rho)
    assert min(np.histogram(gains, [-np.inf, 0, 0.5, 0.9, np.inf])[0]) >= 3  # refused, poor, fair and good


def test_levenberg_marquardt_comes_back_after_however_many_refusals():
    function = Function(None, misfit)
    honest, function.gradient = function.gradient, lambda theta: (torch.tensor([1e9]), honest(theta)[1])
    still, state = walk("levenberg_marquardt", function, HERE[None], 200)
    assert (still == torch.tensor(HERE)).all() and all(memory.isfinite().all() for memory in state.values())
    del function.gradient
    path, _ = walk("levenberg_marquardt", function, still[-1], 80, state=state)
    theirs = least_squares(misfit_with_numpy, HERE, method="lm", xtol=1e-12, ftol=1e-12)
    np.testing.assert_allclose(path[-1, 0], theirs.x, atol=1e-6)


def test_on_a_quadratic_exact_searches_walk_linear_conjugate_gradients():
    """Nocedal & Wright's theorem 6.4 and section 5.2: all three methods are one there."""
    B = np.random.default_rng(3).normal(size=(6, 6))
    Q, b = B @ B.T + np.eye(6), np.arange(6.0)
    x, path = np.zeros(6), []
    r, p = b, b
    for _ in range(6):  # Hestenes & Stiefel 1952
        alpha = r @ r / (p @ Q @ p)
        x, new = x + alpha * p, r - alpha * Q @ p
        p, r = new + new @ new / (r @ r) * p, new
        path.append(x)
    function = Function(lambda row: row @ torch.tensor(Q) @ row / 2 - torch.tensor(b) @ row)
    for name in SEARCHES:
        np.testing.assert_allclose(walk(name, function, np.zeros((1, 6)), 6, **EXACT)[0][:, 0], path, atol=1e-8)
    np.testing.assert_allclose(path[-1], np.linalg.solve(Q, b), atol=1e-8)


def test_a_quadratic_takes_newton_one_step_and_lbfgs_fifteen():
    eigenvalues = torch.linspace(1, 4, 10)
    function = Function(lambda row: (eigenvalues * (row - 1).square()).sum() / 2)
    start = torch.linspace(-2, 2, 10)[None]
    for name, steps in {"newton": 1, "lbfgs": 15, "bfgs": 15, "conjugate_gradient": 15}.items():
        assert (walk(name, function, start, steps)[0][-1] - 1).abs().max() < 1e-8


def test_newton_goes_to_the_saddle_and_saddle_free_newton_away_from_it():
    saddle = Function(lambda row: row[0] ** 2 - row[1] ** 2)
    start = torch.tensor([[3.0, 0.01]])
    assert walk("newton", saddle, start, 1)[0].abs().max() < 1e-15
    path, _ = walk("saddle_free_newton", saddle, start, 10, damping=0.0)
    torch.testing.assert_close(path[:, 0, 1], 0.01 * 2.0 ** torch.arange(1, 11))
    assert path[:, 0, 0].abs().max() < 1e-15


@pytest.mark.parametrize("name", ["newton", "saddle_free_newton", "gauss_newton"])
def test_directions_without_curvature_are_left_alone(name):
    B = torch.tensor(np.random.default_rng(4).normal(size=(3, 6)))  # three residuals, six parameters
    function = Function(None, lambda row: B @ row - 1)
    start = torch.linspace(-1, 1, 6)[None]
    path, _ = walk(name, function, start, 1, damping=0.0)
    expected = start[0].numpy() + np.linalg.pinv(B.numpy()) @ (1 - B.numpy() @ start[0].numpy())
    np.testing.assert_allclose(path[0, 0], expected, atol=1e-10)


def test_systems_are_solved_by_the_pseudo_inverse_each_in_a_unit_of_its_own():
    B = np.random.default_rng(6).normal(size=(5, 3, 6))
    ranks = np.array([3, 2, 1, 3, 0])[:, None] > np.arange(3)
    matrices = torch.tensor(np.einsum("rki,rk,rkj->rij", B, ranks, B))
    matrices *= torch.tensor([1.0, 1e12, 1e-12, -1e-6, 1.0])[:, None, None]
    g = torch.tensor(np.random.default_rng(7).normal(size=(5, 6)))
    expected = np.einsum("rij,rj->ri", np.linalg.pinv(matrices.numpy(), rcond=1e-12), g.numpy())
    solution = solve(*eigen(matrices), g).numpy()
    for got, wanted in zip(solution, expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=1e-9 * np.abs(wanted).max())
    assert (solution[4] == 0).all() and (expected[:4] != 0).all()


@pytest.mark.parametrize(
    ("name", "method", "size"),
    [
        ("bfgs", "BFGS", 2), ("lbfgs", "L-BFGS-B", 2), ("conjugate_gradient", "CG", 2),
        ("bfgs", "BFGS", 5), ("lbfgs", "L-BFGS-B", 5), ("conjugate_gradient", "CG", 5),
    ],
)  # fmt: skip
def test_rosenbrocks_valley_takes_about_as_many_steps_and_evaluations_as_in_scipy(name, method, size):
    start, function = np.full(size, -0.5), Function(valley)
    theirs = minimize(rosen, start, jac=rosen_der, method=method, options={"gtol": 1e-5})
    changes = {"c2": 0.4} if method == "CG" else {}  # as SciPy has it
    theta, state, steps, values = torch.tensor(start)[None], None, 0, [rosen(start)]
    while np.abs(rosen_der(theta[0].numpy())).max() >= 1e-5 and steps < 2 * theirs.nit:
        [theta], state = walk(name, function, theta, 1, state=state, **changes)
        values.append(rosen(theta[0].numpy()))
        steps += 1
    np.testing.assert_allclose(theta[0], theirs.x, atol=1e-4)
    assert steps <= 1.2 * theirs.nit
    assert function.evaluations - steps <= 1.2 * theirs.nfev  # each step is told the gradient where it starts
    assert (np.diff(values) < 0).all()


def test_levenberg_marquardt_finds_what_minpack_finds():
    path, _ = walk("levenberg_marquardt", Function(None, misfit), HERE[None], 40)
    theirs = least_squares(misfit_with_numpy, HERE, method="lm", xtol=1e-12, ftol=1e-12)
    np.testing.assert_allclose(path[-1, 0], theirs.x, atol=1e-6)
    banana = Function(None, lambda row: torch.stack([10 * (row[1] - row[0] ** 2), 1 - row[0]]))
    for name, steps in {"levenberg_marquardt": 25, "gauss_newton": 2}.items():  # Gauss-Newton's second step is exact
        path, _ = walk(name, banana, torch.tensor([[-1.2, 1.0]]), steps, damping=1e-3 * (name[0] == "l"))
        np.testing.assert_allclose(path[-1, 0], 1, atol=1e-6)


NEWTONS = ["newton", "saddle_free_newton", "gauss_newton", "levenberg_marquardt"]
STARTS = torch.tensor(np.array([[1.0, 1.0, 0.0, 0.0], [2.0, -1.0, 0.5, 0.0], [np.nan] * 4, [0.5, 2.0, 0.1, 0.3]]))


@pytest.mark.parametrize("name", NEWTONS)
def test_a_row_of_a_stack_is_the_row_alone_and_one_that_is_not_finite_harms_nobody(name):
    function = Function(None, misfit)
    changes = {"damping": 0.3, "lr": 0.5}
    together, state = walk(name, function, STARTS, 6, **changes)
    for i, start in enumerate(STARTS):
        alone, own = walk(name, function, start[None], 6, **changes)
        torch.testing.assert_close(together[:, i], alone[:, 0], rtol=0, atol=1e-10, equal_nan=True)
        for key, memory in own.items():
            torch.testing.assert_close(state[key][i], memory[0], rtol=1e-8, atol=1e-10, equal_nan=True)
    assert together[:, 2].isnan().all() and together[:, [0, 1, 3]].isfinite().all()


@pytest.mark.parametrize("name", NEWTONS)
@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_curvature_that_is_not_finite_shows_in_theta(name, bad):
    function = Function(None, misfit)
    function.hessian = function.gauss_newton = lambda theta: torch.full((1, 4, 4), bad)
    path, _ = walk(name, function, HERE[None], 1)
    assert not path.isfinite().any()


@pytest.mark.parametrize("name", WALKS)
def test_a_run_goes_on_from_what_was_saved_as_if_it_had_not_stopped(name):
    function, start, _, _ = WALKS[name]
    whole, end = walk(name, function, start[None], 8)
    first, state = walk(name, function, start[None], 4)
    assert all(len(tensor) == 1 for tensor in state.values())
    rest, state = walk(name, function, first[-1], 4, state=load(save(state)))
    assert torch.equal(torch.cat([first, rest]), whole)
    assert all(torch.equal(state[key], end[key]) for key in end)


@pytest.mark.parametrize("name", ["levenberg_marquardt", *SEARCHES])
def test_long_after_the_end_in_single_precision_nothing_moves_uphill_or_overflows(name):
    function = Function(None, lambda row: misfit(row, x=torch.tensor(INPUTS).float(), y=torch.tensor(TARGETS).float()))
    first, state = walk(name, function, torch.tensor(HERE, dtype=torch.float32)[None], 60)
    function.evaluations = 0
    rest, state = walk(name, function, first[-1], 40, state=state)
    assert function.evaluations <= 40 * 4  # the gradient that a step is told is one of them
    path = torch.cat([first, rest])
    theirs = least_squares(misfit_with_numpy, HERE, method="lm")
    values = torch.stack([function.f(row) for row in path[:, 0]])
    assert path.dtype == torch.float32 and (values.diff() <= 0).all()
    assert values[-1].item() == pytest.approx(2 * theirs.cost / 20, rel=1e-4)
    assert all(tensor.dtype == torch.float32 and tensor.isfinite().all() for tensor in state.values())


# The line search


class Line(Function):
    """A function of the step length alone, from 0 along (1,)."""

    def __init__(self, value):
        super().__init__(lambda row: value(row[0]))

    def search(self, first, c1=1e-4, c2=0.9):
        theta = torch.zeros(1, 1)
        g = self.at(theta)
        self.evaluations = 0
        found = StrongWolfe(c1, c2)(self, theta, g, torch.ones(1, 1), first)
        self.spent = self.evaluations
        assert self.spent <= EVALUATIONS and found.theta.item() == found.alpha
        value, slope = self.gradient(found.theta)
        if value.isfinite():
            assert (found.value, found.slope) == (value.item(), slope.item()) and torch.equal(found.g, slope)
        enough = self.value + c1 * found.alpha * g  # the conditions themselves, for the tests to assert
        return found, bool(value <= enough), bool(slope.abs() <= c2 * g.abs())


def yanai(beta1, beta2):
    a1, a2 = ((1 + b**2) ** 0.5 - b for b in (beta1, beta2))
    return lambda x: a1 * ((1 - x) ** 2 + beta2**2).sqrt() + a2 * (x**2 + beta1**2).sqrt()


def broken(x, beta=0.01, waves=39):
    middle = (x - 1) ** 2 / (2 * beta) + beta / 2
    line = torch.where(x <= 1 - beta, 1 - x, torch.where(x >= 1 + beta, x - 1, middle))
    return line + 2 * (1 - beta) / (waves * np.pi) * torch.sin(waves * np.pi / 2 * x)


MORE_THUENTE = {  # the six functions of Moré & Thuente 1994, with their constants
    1: (lambda x: -x / (x**2 + 2), 1e-3, 1e-1),
    2: (lambda x: (x + 0.004) ** 5 - 2 * (x + 0.004) ** 4, 1e-1, 1.1e-1),
    3: (broken, 1e-1, 1.1e-1),
    4: (yanai(0.001, 0.001), 1e-3, 1.1e-3),
    5: (yanai(0.01, 0.001), 1e-3, 1.1e-3),
    6: (yanai(0.001, 0.01), 1e-3, 1.1e-3),
}


@pytest.mark.parametrize("number", MORE_THUENTE)
@pytest.mark.parametrize("first", [1e-3, 1e-1, 1e1, 1e3])
def test_searches_end_where_both_conditions_hold_from_whatever_first_step(number, first):
    value, c1, c2 = MORE_THUENTE[number]
    found, falls, flattens = Line(value).search(first, c1, c2)
    assert falls and flattens and found.alpha > 0


@pytest.mark.filterwarnings("ignore:The line search algorithm did not converge")
@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.floats(-3, 3), min_size=3, max_size=3), st.floats(0.1, 20), st.floats(-3, 3), st.floats(-6, 6),
    st.sampled_from([0.1, 0.9]),
)  # fmt: skip
def test_on_any_smooth_line_the_conditions_hold_as_scipy_has_them(a, w, shift, exponent, c2):
    def value(x):
        return a[0] * torch.sin(w * x) + a[1] * x + a[2] * torch.cos(x) + 0.3 * (x - shift) ** 2

    line = Line(value)
    found, falls, flattens = line.search(10.0**exponent, c2=c2)
    slope = line.gradient(torch.zeros(1, 1))[1].item()
    if slope >= 0:
        assert found.alpha == 0
        return
    assert falls
    theirs, *_ = line_search(
        lambda x: value(torch.tensor(x[0])).item(), lambda x: line.gradient(torch.tensor(x)[None])[1][0].numpy(),
        np.zeros(1), np.ones(1), c1=1e-4, c2=c2,
    )  # fmt: skip
    assert (found.alpha > 0 and flattens) or theirs is None or slope > -1e-6


def test_an_exact_search_finds_the_minimum_that_scipy_finds():
    def value(x):
        return (x - 0.7).cosh() + 0.1 * x

    found, *_ = Line(value).search(5.0, 1e-12, 1e-6)
    theirs, *_ = line_search(
        lambda x: np.cosh(x[0] - 0.7) + 0.1 * x[0], lambda x: np.sinh(x - 0.7) + 0.1, np.zeros(1), np.ones(1),
        c1=1e-12, c2=1e-6, maxiter=100,
    )  # fmt: skip
    assert found.alpha == pytest.approx(0.7 - np.arcsinh(0.1), rel=1e-6) and theirs == pytest.approx(
        found.alpha, rel=1e-5
    )


def test_a_cubic_and_a_quadratic_are_searched_with_one_interpolation():
    for value, minimum in ((lambda x: x**3 - 3 * x, 1), (lambda x: (x - 3) ** 2, 3)):
        line = Line(value)
        found, *_ = line.search(minimum * 1.9, c2=1e-3)
        assert found.alpha == pytest.approx(minimum) and line.spent == 2


def test_lengths_that_a_search_tries():
    """Between two and ten times the last one while a good length lies beyond it, then inside, away from both ends."""

    def lengths(value, first, **constants):
        line, tried = Line(lambda x: tried.append(x.item()) or value(x)), []
        line.search(first, **constants)
        return tried[1 : 1 + line.spent]  # the first is of where the line begins

    def parabola(x):
        return (x - 3).square()

    narrow = {"c2": 1e-3}
    assert lengths(parabola, 1.0, **narrow) == pytest.approx([1, 3])  # the minimum of the cubic
    assert lengths(parabola, 2.7, **narrow) == pytest.approx([2.7, 5.4, 3])  # at least twice the last
    assert lengths(parabola, 0.03, **narrow) == pytest.approx([0.03, 0.3, 3])  # at most ten times the last
    assert lengths(lambda x: -x, 1.0)[:3] == [1, 10, 100]  # without a minimum as far
    assert lengths(parabola, 3.2, c1=0.49, c2=0.5) == pytest.approx([3.2, 0.9 * 3.2])  # it is 15/16 of the way
    assert lengths(parabola, 3.1, **narrow)[:2] == pytest.approx([3.1, 0.9 * 3.1])  # and so backwards
    # f(1) = f'(1) = -1/2, too little a fall for c1, and the cubic between has no minimum: the middle
    assert lengths(lambda x: -x + x**2 - x**3 / 2, 1.0, c1=0.6) == [1, 0.5]


def test_a_search_takes_what_fulfils_its_conditions_barely():
    line = Line(lambda x: x**2 - x)  # at 3/4: a fall of 1/4 and a slope of 1/2 of what the start promises
    found, falls, flattens = line.search(0.75, c1=0.25, c2=0.5)
    assert found.alpha == 0.75 and line.spent == 1 and falls and flattens


def test_a_search_ends_where_rounding_hides_what_is_left_to_gain():
    line = Line(lambda x: 1e10 + (x - 1).abs())  # whose slope is nowhere flat
    found, *_ = line.search(0.3)
    assert abs(found.alpha - 1) < 1e-5 and line.spent < EVALUATIONS


def test_where_the_loss_is_not_finite_the_search_comes_back():
    for first in (1e12, 0.999):
        found, falls, flattens = Line(lambda x: -x - 0.1 * (1 - x).log()).search(first, c2=0.1)  # NaN from 1 on
        assert falls and flattens and found.alpha == pytest.approx(0.9, abs=0.02)
    found, falls, _ = Line(lambda x: torch.exp(x.square()) - x).search(1e6)  # infinite from 27 on
    assert falls and found.alpha > 0


def test_without_a_flat_place_the_lowest_point_tried_is_taken():
    for first in (0.3, 0.8, 5.0):
        values = []
        found, falls, flattens = Line(lambda x: values.append((x - 1).abs()) or values[-1]).search(first)  # noqa: B023
        assert falls and not flattens and found.value == pytest.approx(0, abs=1e-3)
        assert found.value == min(value.item() for value in values)
    found, falls, flattens = Line(lambda x: -x).search(1.0)  # falls for ever
    assert falls and not flattens and np.isfinite(found.alpha) and found.alpha > 1e6


@pytest.mark.parametrize("value", [lambda x: x, lambda x: 0 * x, lambda x: x / 0, lambda x: (x - 1).log()])
def test_a_line_that_does_not_descend_is_not_gone(value):
    assert Line(value).search(1.0)[0].alpha == 0


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_that_finds_nothing_leaves_theta_and_the_memory_starts_afresh(name):
    function = Function(bowl)
    path, state = walk(name, function, BOWL[None], 3)
    honest, function.gradient = function.gradient, lambda theta: (torch.tensor([1e9]), honest(theta)[1])
    function.at = lambda theta: (setattr(function, "value", honest(theta)[0]), honest(theta)[1])[1]
    still, state = walk(name, function, path[-1], 1, state=state)
    assert torch.equal(still[0], path[-1])
    del function.gradient, function.at
    next_one, _ = walk(name, function, still[0], 1, state=state)
    first, _ = walk(name, function, still[0], 1)
    assert torch.equal(next_one, first) and not torch.equal(first, still)


@pytest.mark.parametrize("name", SEARCHES)
def test_a_memory_that_points_uphill_is_forgotten(name):
    function = Function(bowl)
    path, state = walk(name, function, BOWL[None], 3)
    for key in {"H", "y"} & state.keys():
        state[key].neg_()
    if name == "conjugate_gradient":
        g = function.gradient(path[-1])[1]
        state["d"].copy_(1e9 * g)
        state["g"].copy_(g.roll(1, 1) - (g.roll(1, 1) * g).sum() / (g * g).sum() * g)  # orthogonal to g
    onward, _ = walk(name, function, path[-1], 1, state=state)
    assert torch.equal(onward, walk(name, function, path[-1], 1)[0])


@pytest.mark.parametrize("name", ["bfgs", "conjugate_gradient"])
def test_a_memory_that_points_nowhere_is_forgotten(name):
    """The direction that it makes is zero, so that its slope is exactly that, and no fall."""
    memory = {
        "bfgs": {"H": torch.zeros(1, 2, 2), "pairs": torch.ones(1, 1)},
        "conjugate_gradient": {
            "g": torch.tensor([[0.0, 2.0]]), "d": torch.tensor([[2.0, 0.0]]),  # beta = 1, and the gradient is (2, 0)
            "alpha": torch.ones(1, 1), "slope": -torch.ones(1, 1),
        },
    }  # fmt: skip
    function = Function(lambda row: row[0].square() + 0 * row[1])
    onward, _ = walk(name, function, [[1.0, 0.0]], 1, state=memory[name])
    assert torch.equal(onward, walk(name, function, [[1.0, 0.0]], 1)[0]) and (onward[0, 0] != 1).any()


@pytest.mark.parametrize(("last", "expected"), [([0.0, 1.0], [-3.0, -1.0]), ([0.0, 0.5], [-41.0, -1.0])])
def test_conjugate_gradients_restart_where_two_gradients_are_a_tenth_from_orthogonal(last, expected):
    """At g = (3, 1), whose square is 10: g last = 1 is a tenth of it; with 0.5, beta = (10 - 0.5) / 0.25."""
    memory = {"alpha": torch.ones(1, 1), "slope": -torch.ones(1, 1), "g": [last], "d": [[-1.0, 0.0]]}
    memory = {key: torch.as_tensor(value) for key, value in memory.items()}
    _, state = walk("conjugate_gradient", Function(lambda row: row.square().sum() / 2), [[3.0, 1.0]], 1, state=memory)
    assert state["d"].tolist() == [expected]


class Told(Function):
    """Keeps where it was asked for a gradient, beginning with that of the step itself, and what it said."""

    def gradient(self, theta):
        value, g = super().gradient(theta)
        self.told.append((theta.clone(), g))
        return value, g

    def step(self, name, theta, **options):
        self.told = []
        return walk(name, self, theta, 1, **options)


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("unit", [0.01, 100.0])  # gradients much shorter than 1, and much longer
def test_the_length_that_a_search_tries_first(name, unit):
    """lr min(1, 1/||g||) along -g, then lr along -H g, or what the last change of the loss takes, to first order."""
    function, start = Told(lambda row: unit * bowl(row)), torch.tensor(BOWL[None])
    [theta], state = function.step(name, start, lr=0.3)
    (_, g), (first, _), *_ = function.told
    torch.testing.assert_close(first, start - 0.3 * min(1, 1 / g.norm().item()) * g)

    _, state = function.step(name, theta, state=state, lr=0.3)
    (_, new), (first, _), *_ = function.told
    s, y = theta - start, new - g
    if name == "conjugate_gradient":
        step = (s * g).sum() / (new * state["d"]).sum() * state["d"]
    else:
        step = -new @ torch.tensor(bfgs_matrix([(s[0].numpy(), y[0].numpy())]))
    torch.testing.assert_close(first, theta + 0.3 * step)


@pytest.mark.parametrize("name", ["bfgs", "lbfgs"])
def test_curvature_teaches_whatever_the_unit_of_the_loss(name):
    for unit in (1e-9, 1.0, 1e9):
        _, state = walk(name, Function(lambda row: unit * row.square().sum()), np.ones((1, 3)), 1)  # noqa: B023
        assert state["pairs"] == 1


@pytest.mark.parametrize("name", ["bfgs", "lbfgs"])
def test_a_slope_without_curvature_teaches_nothing(name):
    path, state = walk(name, Function(lambda row: -row.sum()), np.zeros((1, 2)), 1)
    assert (path > 1).all() and state["pairs"] == 0 and all(memory.isfinite().all() for memory in state.values())


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize(("c1", "c2"), [(0.95, 0.9), (0.5, 0.5), (0.0, 0.5), (0.5, 1.0)])
def test_the_constants_of_a_search_have_an_order(name, c1, c2):
    with pytest.raises(ConfigError, match=rf"optimizer.c1={c1} and optimizer.c2={c2}: a line search wants 0 < c1 < c2"):
        rule_and_hyper(name, c1=c1, c2=c2)
