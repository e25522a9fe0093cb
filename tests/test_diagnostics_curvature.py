"""Second derivatives against dense matrices made by backward passes of single runs, and against closed forms."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from fakes import composed, files, typed  # noqa: F401
from scipy.stats import ortho_group, wasserstein_distance
from torch import Tensor
from twins import gauss_newton_of_run, hessian_times, objective_of_run

from dlrun.config.catalogue import choices
from dlrun.diagnostics import products
from dlrun.diagnostics.diagnostic import Found, View
from dlrun.diagnostics.hessian import Hessian
from dlrun.diagnostics.lanczos import Lanczos
from dlrun.diagnostics.products import Products
from dlrun.diagnostics.spectrum import Spectrum
from dlrun.errors import ConfigError
from dlrun.folder.names import table_of
from dlrun.folder.records import write_rows
from dlrun.plots.diagnostics import hessian, spectrum
from dlrun.training.build import build
from dlrun.training.stack import Stack

LARGE = ("densenet", "resnet", "resnet18")
NORMALIZED = ("autoencoder", "cnn", "densenet", "mlp", "resnet", "resnet18", "stn")
QUICK = ("linear", "mlp", "point")
SMALL = [name for name in choices("architecture") if name not in (*LARGE, "stn")]


def slow_but(quick: Sequence[str], names: Sequence[str]) -> list[Any]:
    """The names as parameters of a test, of which it is slow but for these."""
    return [name if name in quick else pytest.param(name, marks=pytest.mark.slow) for name in names]


ARCHITECTURES = slow_but((*QUICK, "cnn", "rnn"), [*SMALL, "stn", *LARGE])
SAMPLES = 8


def stack_for(architecture: str, files: Path, *words: str, runs: int = 2) -> Stack:  # noqa: F811
    """Small networks of an architecture, off their initial values, with an L2 penalty, normalized by batches."""
    typed_words = typed(f"architecture={architecture}", *["normalization=batch"] * (architecture in NORMALIZED))
    configs = [composed([*typed_words, *words, f"seed={seed}"], files) for seed in range(runs)]
    for config in configs if architecture != "point" else []:
        config.regularizer.update(composed(["regularizer=l2"], files).regularizer)
    stack = build(configs)
    shifts = [torch.randn(stack.layout.params, generator=torch.Generator().manual_seed(run)) for run in range(runs)]
    stack.theta += 0.1 * torch.stack(shifts)
    for name in stack.averages:
        stack.buffers[name].add_(0.3)
    return stack


def directions(stack: Stack) -> Tensor:
    return torch.randn(stack.theta.shape, generator=torch.Generator().manual_seed(9), dtype=stack.theta.dtype)


def dense_of_run(stack: Stack, run: int, count: int = SAMPLES, matrix: str = "hessian") -> np.ndarray:
    if matrix == "gauss_newton":
        return gauss_newton_of_run(stack, run, "train", count).numpy()
    return torch.autograd.functional.hessian(*objective_of_run(stack, run, "train", count)).numpy()


def looked(stack: Stack, name: str, **keys: object) -> list[Found]:
    """What a diagnostic finds with these keys in place of its defaults."""
    node = composed([f"diagnostics={name}", *typed()[:2]], Path()).diagnostics[name]
    target = {"hessian": Hessian, "spectrum": Spectrum}[name]
    chosen = {**{str(key): value for key, value in node.items() if key != "_target_"}, "samples": SAMPLES, **keys}
    diagnostic = target(**chosen)
    diagnostic.fits(stack)
    return diagnostic.look(View(stack, 0, schedule=stack.schedule.init(stack.runs)))


def told(found: Found) -> dict[tuple[str, str], float]:
    return {(str(row["layer"]), str(row["quantity"])): float(row["value"]) for row in found.rows}


@pytest.mark.parametrize("statistics", ["batch", "running"])
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_products_are_those_of_backward_passes_of_single_runs(
    architecture: str,
    statistics: str,
    files: Path,  # noqa: F811
) -> None:
    stack = stack_for(architecture, files)
    count, v = min(SAMPLES, stack.train_size), directions(stack)
    theta, buffers = stack.theta.clone(), {name: buffer.clone() for name, buffer in stack.buffers.items()}
    hessian = Products("hessian", "train", count, statistics).at_theta(stack)(v)
    gauss_newton = Products("gauss_newton", "train", count, statistics).at_theta(stack)(v)
    assert torch.equal(stack.theta, theta)
    assert all(torch.equal(stack.buffers[name], buffer) for name, buffer in buffers.items())
    for run in range(stack.runs):
        objective, at = objective_of_run(stack, run, "train", count, statistics)
        torch.testing.assert_close(hessian[run], hessian_times(objective, at, v[run]), rtol=1e-9, atol=1e-9)
        if architecture != "resnet18":  # whose Jacobian takes half a minute
            exact = gauss_newton_of_run(stack, run, "train", count, statistics) @ v[run]
            torch.testing.assert_close(gauss_newton[run], exact, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("kept", [0, 2**30])
def test_samples_in_parts_give_the_same_as_together_and_theta_may_move(
    matrix: str,
    kept: int,
    files: Path,  # noqa: F811
    monkeypatch,
) -> None:
    monkeypatch.setattr(products, "KEPT", kept)
    stack = stack_for("mlp", files)
    together = Products(matrix, "train", 21, "running")
    together.at_theta(stack)  # recorded before the parts get small
    monkeypatch.setattr(products, "CHUNK", 4 * 5)  # numbers of 5 flowers
    parts = Products(matrix, "train", 21, "running")
    v, results = directions(stack), []
    for _ in range(2):
        expected, got = together.at_theta(stack)(v), parts.at_theta(stack)(v)
        assert [len(each.chunks) for each in (together, parts)] == [1, 5] and len(parts.programs) == 2
        torch.testing.assert_close(got, expected, rtol=1e-12, atol=1e-13)
        stack.theta += 0.2
        results.append(expected)
    assert not torch.allclose(*results)
    tied = Products(matrix, "train", 21, "batch")
    tied.at_theta(stack)
    assert len(tied.chunks) == 1  # by the statistics of all of them


@pytest.mark.parametrize("matrix", ["hessian", "gauss_newton"])
@pytest.mark.parametrize("architecture", slow_but((*QUICK, "rnn"), [*QUICK, "rnn", "cnn"]))
def test_eigenvalues_and_traces_are_those_of_the_dense_matrix(
    architecture: str,
    matrix: str,
    files: Path,  # noqa: F811
) -> None:
    stack = stack_for(architecture, files)
    if architecture == "point":
        stack = stack_for("point", files, "dataset=quadratic", "dataset.dimensions=40", "dataset.condition=50")
    count, params = min(SAMPLES, stack.train_size), stack.layout.params
    few = {"lanczos": params - 1, "tolerance": 1e-9, "samples": count, "matrix": matrix, "vectors": 200}
    by_lanczos = looked(stack, "hessian", **few, by_layer=True)
    by_columns = looked(stack, "hessian", **{**few, "lanczos": params}, by_layer=True)
    for run in range(stack.runs):
        dense = dense_of_run(stack, run, count, matrix)
        exact = np.linalg.eigvalsh(dense)
        size = np.abs(exact).max()
        whole, close = told(by_columns[run]), told(by_lanczos[run])
        for i in range(3):
            assert whole["all", f"eigenvalue_{i + 1}"] == pytest.approx(exact[-1 - i], abs=1e-10 * size)
            residual = close["all", f"residual_{i + 1}"]
            assert residual < 1e-6 * size
            assert np.abs(exact - close["all", f"eigenvalue_{i + 1}"]).min() <= residual + 1e-12 * size
        assert close["all", "eigenvalue_1"] == pytest.approx(exact[-1], rel=1e-6)
        assert close["all", "smallest"] == pytest.approx(exact[0], abs=1e-6 * size)
        assert whole["all", "smallest"] == pytest.approx(exact[0], abs=1e-10 * size)
        assert whole["all", "trace"] == pytest.approx(np.trace(dense), rel=1e-9)
        assert abs(close["all", "trace"] - np.trace(dense)) <= 4 * close["all", "trace_error"] + 1e-9 * size
        for name in {layer for layer, _ in whole} - {"all"}:
            own = [slot for slot in stack.layout.slots if (slot.name.rpartition(".")[0] or slot.name) == name]
            block = dense[own[0].start : own[-1].stop, own[0].start : own[-1].stop]
            for found in (whole, close):
                assert found[name, "eigenvalue_1"] == pytest.approx(np.linalg.eigvalsh(block)[-1], abs=1e-6 * size)
                assert found[name, "smallest"] == pytest.approx(np.linalg.eigvalsh(block)[0], abs=1e-6 * size)
            assert whole[name, "trace"] == pytest.approx(np.trace(block), abs=1e-9 * size)
            assert abs(close[name, "trace"] - np.trace(block)) <= 4 * close[name, "trace_error"] + 1e-9 * size


def symmetric(values: list[float], seed: int) -> Tensor:
    """A matrix with these eigenvalues, and random eigenvectors."""
    basis = ortho_group.rvs(len(values), random_state=seed)
    return torch.from_numpy(basis * values @ basis.T)


def times(matrices: Tensor) -> Callable[[Tensor], Tensor]:
    return lambda v: torch.stack([matrix.to(v.dtype) @ row for matrix, row in zip(matrices, v, strict=True)])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lanczos_ends_where_a_rows_space_does_and_the_others_go_on(dtype: torch.dtype) -> None:
    n = 30
    spectra = [list(np.geomspace(0.1, 90, n)), [2.0] * n, [0.0] * (n - 2) + [1.0, 7.0], [0.0] * n]
    matrices = torch.stack(
        [*(symmetric(values, seed) for seed, values in enumerate(spectra)), torch.full((n, n), torch.nan)]
    )
    start = torch.randn(5, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(dtype)
    space = Lanczos(times(matrices), start, 100)
    assert space.length == [n, 1, 3, 1, 0]
    near = 1e-4 if dtype == torch.float32 else 1e-11
    for row, expected in enumerate([spectra[0], [2.0], [0.0, 1.0, 7.0], [0.0], []]):
        values, vectors, residuals = space.of_row(row)
        np.testing.assert_allclose(values.numpy(), expected, atol=90 * near)
        assert residuals.numel() == 0 or residuals.max() < 90 * near
        basis = space.basis[row, : len(values)]
        np.testing.assert_allclose((basis @ basis.T).numpy(), np.eye(len(values)), atol=1e-13)
        lifted = basis.T @ vectors  # so residuals are those of vectors in the whole space
        off = matrices[row] @ lifted - lifted * values if len(values) else torch.zeros(1)
        assert off.norm() < 90 * near


def test_a_row_that_has_converged_is_as_if_it_were_alone() -> None:
    matrices = torch.stack([symmetric([*np.linspace(0, 1, 59), top], seed) for seed, top in enumerate((50, 1.2))])
    start = torch.randn(2, 60, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def converged(values: Tensor, residuals: Tensor) -> bool:
        return bool(residuals[-1] < 1e-8 * values[-1])

    both = Lanczos(times(matrices), start, 60, converged)
    assert both.length[0] < both.length[1]
    for row in (0, 1):
        alone = Lanczos(times(matrices[row : row + 1]), start[row : row + 1], 60, converged)
        assert alone.length[0] == both.length[row]
        for one, other in zip(alone.of_row(0), both.of_row(row), strict=True):
            assert torch.equal(one, other)


def test_standard_errors_of_traces_are_those_that_repetition_shows(files: Path) -> None:  # noqa: F811
    stack = stack_for("mlp", files, runs=1)
    stack = stack.select([0] * 300)
    stack.seeds = list(range(300))
    found = looked(stack, "hessian", lanczos=2, vectors=12)
    numbers = [told(each) for each in found]
    estimates = np.array([each["all", "trace"] for each in numbers])
    errors = np.array([each["all", "trace_error"] for each in numbers])
    exact = np.trace(dense_of_run(stack, 0))
    assert abs(estimates.mean() - exact) < 4 * estimates.std() / 300**0.5
    assert np.sqrt(np.square(errors).mean()) == pytest.approx(estimates.std(), rel=0.15)


@pytest.mark.slow
@pytest.mark.parametrize("architecture", ["mlp", "polynomial"])  # of the others a product is all that it asks for
def test_the_density_is_near_the_full_spectrum(architecture: str, files: Path) -> None:  # noqa: F811
    stack = stack_for(architecture, files)
    few = min(60, stack.layout.params - 1)
    found = looked(stack, "spectrum", full=0, lanczos=few, vectors=6_000 // stack.layout.params)
    for run, each in enumerate(found):
        exact = np.linalg.eigvalsh(dense_of_run(stack, run))
        nodes = np.array([[row["value"], row["weight"]] for row in each.rows if row["quantity"] == "node"])
        assert nodes[:, 1].sum() == pytest.approx(1, rel=1e-12)
        assert wasserstein_distance(nodes[:, 0], exact, nodes[:, 1]) < 0.01 * np.ptp(exact)
        assert each.summary["largest"] == pytest.approx(exact[-1], rel=1e-6)
        share = float(each.summary["negative_share"])
        error = max(float(each.summary["negative_share_error"]), 0.02)
        if np.abs(exact).min() > 1e-4 * np.abs(exact).max():  # else the many next to 0 have no sign to be seen
            assert abs(share - (exact < 0).mean()) < 4 * error
        grid = np.array([[row["value"], row["weight"]] for row in each.rows if row["quantity"] == "density"])
        assert np.trapezoid(grid[:, 1], grid[:, 0]) == pytest.approx(1, abs=1e-3)
        sigma = 0.005 * np.ptp(nodes[:, 0])
        kernels = np.exp(-(((grid[500, 0] - nodes[:, 0]) / sigma) ** 2) / 2) / sigma / np.sqrt(2 * np.pi)
        assert grid[500, 1] == pytest.approx(kernels @ nodes[:, 1], rel=1e-9, abs=1e-300)


def test_the_share_below_0_is_told_by_every_vector(files: Path, monkeypatch) -> None:  # noqa: F811
    places = torch.tensor([[-1.0, 1.0], [-1.0, 1.0]], dtype=torch.float64)
    weights = torch.tensor([[0.2, 0.8], [0.6, 0.4]], dtype=torch.float64)
    monkeypatch.setattr(
        "dlrun.diagnostics.spectrum.quadrature", lambda product, stack, *_: [(places, weights)] * stack.runs
    )
    found = looked(stack_for("linear", files), "spectrum", full=0, lanczos=3)[0]
    assert found.summary["negative_share"] == pytest.approx(0.4)
    assert found.summary["negative_share_error"] == pytest.approx(0.2)  # the mean's of 0.2 and 0.6
    nodes = [(row["value"], row["weight"]) for row in found.rows if row["quantity"] == "node"]
    np.testing.assert_allclose(nodes, [(-1, 0.1), (-1, 0.3), (1, 0.4), (1, 0.2)])


def test_a_whole_spectrum_and_what_is_counted_in_it(files: Path) -> None:  # noqa: F811
    stack = stack_for("mlp", files)
    for run, each in enumerate(looked(stack, "spectrum")):
        exact = np.linalg.eigvalsh(dense_of_run(stack, run))
        rows = [row for row in each.rows if row["quantity"] == "eigenvalue"]
        np.testing.assert_allclose([row["value"] for row in rows], exact, atol=1e-13)
        assert {row["weight"] for row in rows} == {1 / len(exact)}
        flat = np.abs(exact) < 1e-12  # of biases that a normalization takes away again, for one
        assert 0 < flat.sum() < len(exact)
        sure = np.abs(exact[~flat])
        assert each.summary["flat"] == flat.sum()
        assert each.summary["negative"] == (exact < -1e-12).sum() > 0
        assert each.summary["condition"] == pytest.approx(sure.max() / sure.min(), rel=1e-6)
        assert each.summary["trace"] == pytest.approx(exact.sum(), rel=1e-9)


def test_functions_whose_curvature_is_known(files: Path) -> None:  # noqa: F811
    bowl = stack_for("point", files, "dataset=quadratic", "dataset.dimensions=300", "dataset.condition=1000")
    [found, _] = looked(bowl, "spectrum", samples=None)
    values = [row["value"] for row in found.rows if row["quantity"] == "eigenvalue"]
    np.testing.assert_allclose(values, np.geomspace(1, 1000, 300), rtol=1e-12)
    assert found.summary["condition"] == pytest.approx(1000) and found.summary["negative"] == found.summary["flat"] == 0
    [found, _] = looked(bowl, "hessian", samples=None, lanczos=200, tolerance=1e-8)
    top = told(found)
    for i, value in enumerate(np.geomspace(1, 1000, 300)[:-4:-1]):
        assert top["all", f"eigenvalue_{i + 1}"] == pytest.approx(value, rel=1e-9)
    assert top["all", "trace"] == pytest.approx(np.geomspace(1, 1000, 300).sum(), rel=1e-12)  # of a diagonal: exact
    assert top["all", "trace_error"] == pytest.approx(0, abs=1e-9)

    [found, _] = looked(stack_for("point", files, "dataset=saddle"), "spectrum", samples=None)
    assert found.summary["negative"] == 1 and found.summary["negative_share"] == 0.5
    assert (found.summary["smallest"], found.summary["largest"]) == pytest.approx((-2, 2))


def test_a_linear_regression_has_the_covariance_of_its_inputs(files: Path) -> None:  # noqa: F811
    config = composed([*typed("architecture=linear", "dataset=diabetes"), "dataset.scale=none"], files)
    stack = build([config])
    x = stack.dataset.part("train")[0].numpy()
    X = np.column_stack([x, np.ones(len(x))])
    exact = np.linalg.eigvalsh(2 * X.T @ X / len(x))
    for matrix in ("hessian", "gauss_newton"):
        [found] = looked(stack, "spectrum", samples=None, matrix=matrix)
        values = [row["value"] for row in found.rows if row["quantity"] == "eigenvalue"]
        np.testing.assert_allclose(values, exact, rtol=1e-9, atol=1e-12)


def test_the_rate_beside_the_sharpness_is_that_of_the_next_step(files: Path) -> None:  # noqa: F811
    words = ["schedule=linear", "schedule.final_factor=0", "steps=4", "optimizer=sgd"]
    configs = [composed([*typed("architecture=linear"), *words, f"optimizer.lr={lr}"], files) for lr in (0.1, 0.4)]
    stack = build(configs)
    node = composed(["diagnostics=hessian", *typed()[:2]], files).diagnostics.hessian
    diagnostic = Hessian(**{**{str(key): node[key] for key in node if key != "_target_"}, "k": 1})
    for step, factor in ((0, 1), (1, 0.75), (3, 0.25), (4, 0.25)):
        found = diagnostic.look(View(stack, step, schedule=stack.schedule.init(2)))
        assert [told(each)["all", "2/lr"] for each in found] == pytest.approx([2 / 0.1 / factor, 2 / 0.4 / factor])
    assert ("all", "2/lr") not in told(diagnostic.look(View(stack, 4))[0])  # nobody trains it


def test_an_optimizer_that_finds_its_steps_has_no_rate_to_compare(files: Path) -> None:  # noqa: F811
    stack = build([composed(typed("optimizer=lbfgs"), files)])
    assert ("all", "2/lr") not in told(looked(stack, "hessian", samples=8)[0])


@pytest.mark.slow
def test_runs_taken_a_few_at_a_time_and_rows_that_are_not_finite(files: Path, monkeypatch) -> None:  # noqa: F811
    stack = stack_for("mlp", files, runs=3)
    for name, keys in (("hessian", {"lanczos": 20}), ("spectrum", {}), ("spectrum", {"full": 0, "lanczos": 20})):
        together = looked(stack, name, **keys)
        with monkeypatch.context() as patch:
            patch.setattr(products, "MEMORY", 1)
            one_by_one = looked(stack, name, **keys)
        for one, other in zip(one_by_one, together, strict=True):
            assert told(one).keys() == told(other).keys()
            for key, value in told(one).items():
                assert value == pytest.approx(told(other)[key], rel=1e-6, abs=1e-9)
        broken = stack.select([0, 1, 2])
        broken.theta[1] = torch.nan
        found = looked(broken, name, **keys)
        assert repr(found[0]) == repr(together[0]) and repr(found[2]) == repr(together[2])
        assert np.isnan([value for key, value in told(found[1]).items() if key[1] != "2/lr"]).all()
        assert not any(row["quantity"] == "density" for row in found[1].rows)


def test_runs_that_are_taken_together_are_those_of_their_places(files: Path, monkeypatch) -> None:  # noqa: F811
    stack = stack_for("mlp", files, runs=5)
    monkeypatch.setattr(products, "MEMORY", 2 * 8 * 100)
    parts = list(products.few(stack, 100))
    assert [stack.seeds[places] for places, _ in parts] == [part.seeds for _, part in parts]
    assert [len(part.seeds) for _, part in parts] == [2, 2, 1]


def written(folder: Path, name: str, founds: list[Found]) -> Path:
    """A run's folder with a diagnostic's table, and no summary."""
    write_rows(folder / table_of(name), [row for found in founds for row in found.rows])
    return folder


def test_pictures_show_what_the_tables_say(files: Path, tmp_path: Path) -> None:  # noqa: F811
    stack = stack_for("mlp", files, runs=1)
    keys = {
        str(k): v for k, v in composed(["diagnostics=hessian"], files).diagnostics.hessian.items() if k != "_target_"
    }
    diagnostic, views = Hessian(**{**keys, "samples": 8, "k": 9, "by_layer": True}), []
    for step, lr in ((0, 1.0), (1, 1.0), (2, 0.5)):
        stack.rates["lr"][:] = lr
        views.append(diagnostic.look(View(stack, step, schedule=stack.schedule.init(1)))[0])
        stack.theta.mul_(2 if step < 1 else torch.nan)
    largest, smallest, trace, layers = hessian.figure(written(tmp_path, "hessian", views)).axes[:4]
    numbers = [told(view) for view in views]
    lines = {line.get_label(): line for line in largest.get_lines()}
    assert [text.get_text() for text in largest.get_legend().get_texts()] == ["1", "9", "2/lr"]
    np.testing.assert_array_equal(lines["2/lr"].get_ydata(), [2, 2, 4])
    for axes, line, name in [
        (largest, lines["1"], "eigenvalue_1"),
        (smallest, None, "smallest"),
        (trace, None, "trace"),
    ]:
        shown = (line or axes.get_lines()[0]).get_ydata()
        np.testing.assert_array_equal(shown, [each["all", name] for each in numbers])
        assert np.isfinite(shown[:2]).all() and np.isnan(shown[2])
    assert [line.get_label() for line in layers.get_lines()] == ["1", "2", "4"]

    [found] = looked(stack_for("mlp", files, runs=1), "spectrum")
    density, layers = spectrum.figure(written(tmp_path, "spectrum", [found])).axes
    curve, ticks = density.get_lines()
    rows = [row for row in found.rows if row["quantity"] == "density"]
    np.testing.assert_array_equal(curve.get_ydata(), [row["weight"] for row in rows])
    values = [row["value"] for row in found.rows if row["quantity"] == "eigenvalue"]
    np.testing.assert_array_equal(ticks.get_xdata(), values)
    bars = [bar.get_height() for bar in layers.patches]
    assert bars == [told(found)[layer, name] for name in ("largest", "smallest") for layer in ("1", "2", "4")]
    [broken] = looked(stack, "spectrum")
    density, _ = spectrum.figure(written(tmp_path, "spectrum", [broken])).axes
    assert [text.get_text() for text in density.texts] == ["the matrix is not finite"]


def test_what_has_no_second_derivatives_or_no_room_is_refused(files: Path, monkeypatch) -> None:  # noqa: F811
    stack = stack_for("mlp", files)
    with pytest.raises(ConfigError, match="a single sample's own statistics: statistics=running, or more"):
        looked(stack, "hessian", samples=1)
    looked(stack, "hessian", samples=1, statistics="running")
    with monkeypatch.context() as patch:
        patch.setattr(products, "LARGEST", 2**15)
        with pytest.raises(ConfigError, match=r"for 63 parameters, and its limit is .*: give a smaller lanczos"):
            looked(stack, "hessian")

    def distance(stack: Stack, theta: Tensor) -> Tensor:
        return torch.cdist(theta[:, None], torch.ones_like(theta)[:, None], p=3)[:, 0, 0]

    monkeypatch.setattr(Stack, "penalty", distance)
    with pytest.raises(ConfigError, match=r"second derivatives.*_cdist_backward.*leave it out"):
        looked(stack, "spectrum")
