"""Which axis matters: shares of the variance against closed forms, plain loops and analytic indices."""

from __future__ import annotations

import io
from itertools import combinations, product
from math import isnan, pi
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from sklearn.tree import DecisionTreeRegressor
from test_report import findings, write_run

from dlrun.report.effects import Effects, _leaves, _of_forest, _of_grid, decomposed, effects, of_leaves
from dlrun.report.report import report


def slow(f: np.ndarray) -> dict[tuple[int, ...], float]:
    """The definition, value by value."""
    axes, found = range(f.ndim), {}
    mean = f.mean()

    def given(fixed: dict[int, int]) -> float:
        return float(np.mean([f[at] for at in np.ndindex(f.shape) if all(at[k] == v for k, v in fixed.items())]))

    alone = {(i, a): given({i: a}) - mean for i in axes for a in range(f.shape[i])}
    for i in axes:
        found[i,] = np.mean([alone[i, a] ** 2 for a in range(f.shape[i])])
    for i, j in combinations(axes, 2):
        pairs = product(range(f.shape[i]), range(f.shape[j]))
        found[i, j] = np.mean([(given({i: a, j: b}) - alone[i, a] - alone[j, b] - mean) ** 2 for a, b in pairs])
    return found


def test_parts_equal_the_definition_and_those_of_a_tree_that_knows_each_cell() -> None:
    f = np.random.default_rng(0).normal(size=(3, 2, 4))
    expected = slow(f)
    assert {at: each[0] for at, each in decomposed(f[None]).items()} == pytest.approx(expected)
    cells = np.array(list(np.ndindex(f.shape)))
    found = of_leaves(*_leaves(DecisionTreeRegressor().fit(cells, f.ravel()).tree_, f.shape), [(0, 1), (0, 2), (1, 2)])
    assert found.squares == pytest.approx(expected) and found.total == pytest.approx(f.var())
    assert found.means[2] == pytest.approx(f.mean((0, 1)))


def swept(folder: Path, values: dict[tuple[str, ...], list[float]], *keys: str, **status: Any) -> Effects | None:
    """The effects on the test values of runs: a setting's keys, and a value for each seed; of nan it diverged."""
    for number, (setting, own) in enumerate(values.items()):
        for seed, value in enumerate(own):
            typed = [f"{key}={each}" for key, each in zip(keys, setting, strict=True)]
            how = "diverged" if isnan(value) else "finished"
            write_run(folder / f"{number}-{seed}", *typed, f"seed={seed}", test=value, accuracy=value, status=how)
    return effects(findings(folder))


def test_sums_have_no_interaction_and_products_nothing_else(tmp_path: Path) -> None:
    a, b = {"0.1": 0.0, "1": 0.2}, {"sgd": 0.1, "adam": 0.3, "lion": 0.5}
    sums = {(x, y): [a[x] + b[y]] for x, y in product(a, b)}
    found = swept(tmp_path / "s", sums, "lr", "optimizer")
    assert found and found.exact and found.settings == found.runs == 6
    variances = np.var(list(a.values())), np.var(list(b.values()))
    shares = {each.name: each.share for each in found.effects}
    assert shares == pytest.approx(
        {"optimizer": variances[1] / sum(variances), "lr": variances[0] / sum(variances), "lr × optimizer": 0}
    )
    assert all(isnan(each.low) for each in found.effects) and isnan(found.noise)
    assert "one run of each setting" in found.said[0]
    assert found.means["optimizer"] == [
        ("adam", pytest.approx(0.4)),
        ("lion", pytest.approx(0.6)),
        ("sgd", pytest.approx(0.2)),
    ]
    products = {
        (x, y): [0.5 + 0.1 * i * j]
        for (x, i), (y, j) in product({"0.1": -1, "1": 1}.items(), {"a": -1, "b": 1}.items())
    }
    found = swept(tmp_path / "p", products, "lr", "optimizer")
    assert found and {each.name: each.share for each in found.effects} == pytest.approx(
        {"lr × optimizer": 1, "lr": 0, "optimizer": 0}
    )


def test_what_a_seed_changes_everywhere_is_no_noise_and_noise_is_taken_off(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    a, b = {"0.1": 0.0, "1": 0.2}, {"sgd": 0.2, "adam": 0.3}
    shift = random.normal(0, 0.1, 4)
    same = {(x, y): list(a[x] + b[y] + shift) for x, y in product(a, b)}
    found = swept(tmp_path / "s", same, "lr", "optimizer")
    assert found and found.noise == pytest.approx(0, abs=1e-9) and found.effects[0].share == pytest.approx(0.8)
    assert found.effects[0].low == pytest.approx(0.8) and found.runs == 16
    y = np.array([[0.1, 0.2, 0.3], [0.2, 0.2, 0.5], [0.4, 0.5, 0.3], [0.6, 0.9, 0.6]])
    y += np.array([0, 0.1, -0.1])  # by seed
    found = swept(tmp_path / "n", dict(zip(product(a, b), y.tolist(), strict=True)), "lr", "optimizer")
    rest = y - y.mean(1, keepdims=True) - y.mean(0) + y.mean()  # two-way, of (4 - 1) (3 - 1) degrees of freedom
    of_one = (rest**2).sum() / 6 / 3 / 4
    assert found and found.noise == pytest.approx(3 * of_one / y.mean(1).var())
    parts = {at: each - of_one for at, each in slow(y.mean(1).reshape(2, 2)).items()}
    shares = {"lr": parts[0,], "optimizer": parts[1,], "lr × optimizer": parts[0, 1]}
    total = sum(max(0, part) for part in parts.values())
    assert {each.name: each.share for each in found.effects} == pytest.approx(
        {name: max(0, part) / total for name, part in shares.items()}
    )


def test_lost_runs_are_told_and_a_value_that_lost_all_of_its_is_left_out(tmp_path: Path) -> None:
    values = {(x, y): [0.1 * float(x) + 0.3 * (y == "adam"), 0.5] for x, y in product(("1", "2"), ("sgd", "adam"))}
    values |= {("9", y): [np.nan, np.nan] for y in ("sgd", "adam")}
    found = swept(tmp_path / "s", values, "lr", "optimizer")
    assert found and found.exact and found.settings == 4
    assert found.said == ["Not in the effects: 4 runs without a value (4 diverged), among them all with lr=9."]
    values = {
        ("1", "sgd"): [0.1, 0.2],
        ("1", "adam"): [0.3, 0.4],
        ("2", "sgd"): [np.nan, np.nan],
        ("2", "adam"): [0.1, 0.2],
    }
    assert swept(tmp_path / "few", values, "lr", "optimizer") is None  # neither a grid nor enough for a forest


@pytest.mark.slow
def test_incomplete_grids_take_a_forest_which_says_how_little_it_knows(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    points = {(f"{x:.6f}", f"{y:.6f}"): [0.5 + 0.4 * x] for x, y in random.uniform(0, 1, (12, 2))}
    found = swept(tmp_path / "s", points, "lr", "optimizer.momentum")
    assert found and not found.exact and found.effects[0].axes == ("lr",) and found.effects[0].share > 0.6
    assert found.effects[0].low <= found.effects[0].share <= found.effects[0].high and isnan(found.noise)
    assert any("12 settings, which are few" in said for said in found.said)
    random = np.random.default_rng(1)
    points = {(f"{x:.6f}", f"{y:.6f}"): [random.uniform(0.4, 0.6)] for x, y in random.uniform(0, 1, (12, 2))}
    found = swept(tmp_path / "noise", points, "lr", "optimizer.momentum")
    assert found and found.explained < 0.5 and "do not rely on these shares" in found.said[-1]


def test_axes_that_change_together_are_one(tmp_path: Path) -> None:
    pairs = (("0.1", "32"), ("0.2", "64"))
    values = {(x, y, z): [float(x) + 0.3 * (z == "adam")] for (x, y), z in product(pairs, ("sgd", "adam"))}
    found = swept(tmp_path / "s", values, "lr", "batch_size", "optimizer")
    assert found and found.exact and [each.name for each in found.effects][:2] == ["optimizer", "lr, batch_size"]


@pytest.mark.slow
def test_losses_over_decades_are_taken_by_their_logarithm_and_the_report_shows_it(tmp_path: Path) -> None:
    for number, (lr, optimizer, seed) in enumerate(product((1, 2, 3), ("sgd", "adam"), range(2))):
        typed = [f"lr={lr}", f"optimizer={optimizer}", f"seed={seed}", "dataset=iris"]
        loss = 10.0 ** -(lr + 0.5 * (optimizer == "adam") + 0.01 * seed * lr)
        write_run(tmp_path / "s" / str(number), *typed, test=1 - loss, accuracy=0.5)
    found = effects(findings(tmp_path / "s", metric="loss"))
    assert found and found.metric == "log10 test_loss"
    assert found.means["lr"][0][1] == pytest.approx(-1.255) and found.effects[0].share > 0.9
    console = Console(file=io.StringIO(), width=300)
    report([tmp_path / "s"], metric="loss", console=console)
    said = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    page = (tmp_path / "s" / "report.html").read_text()
    for text in (said, page):
        assert "Which axis matters: shares of the variance of log10 test_loss" in text and "12 runs in all" in text
    assert (tmp_path / "s" / "effects.png").exists() and 'alt="effects"' in page


@pytest.mark.slow
def test_a_forest_finds_the_indices_of_ishigamis_function() -> None:
    """Analytic (Sobol' & Levitan 1999): S1 = 0.314, S2 = 0.442, S13 = 0.244, all others 0."""
    x = np.random.default_rng(0).uniform(-pi, pi, (1500, 3))
    y = np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])
    shares, rest, _, explained = _of_forest(x.argsort(0).argsort(0), [1500] * 3, y)
    found = {at: share for at, (share, *_) in shares.items()}
    expected = {(0,): 0.314, (1,): 0.442, (2,): 0, (0, 1): 0, (0, 2): 0.244, (1, 2): 0}
    assert found == pytest.approx(expected, abs=0.08) and rest < 0.08 and explained > 0.9


@pytest.mark.slow
@pytest.mark.parametrize("sigma", [0.1, 0.4])
def test_shares_of_a_grid_are_right_on_average_and_their_intervals_cover(sigma: float) -> None:
    random = np.random.default_rng(0)
    a, b = np.linspace(-1, 1, 4), np.array([0, 0.5, -0.5])
    f = a[:, None] + 0.7 * b + 0.5 * np.outer(a, b)
    true = {at: each[0] / f.var() for at, each in decomposed(f[None]).items()}
    cell, blocks = np.repeat(np.arange(12), 3), np.tile(np.arange(3), 12)
    found = []
    for _ in range(200):
        y = f[..., None] + random.normal(size=3) + sigma * random.normal(size=(4, 3, 3))
        found.append(_of_grid(y.mean(-1), cell, y.ravel(), blocks)[0])
    for at, share in true.items():
        assert np.mean([each[at][0] for each in found]) == pytest.approx(share, abs=0.02)
        assert np.mean([each[at][1] <= share <= each[at][2] for each in found]) > 0.85
