"""What diagnostics tell of a network while it trains, against plain loops over modules of single runs."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from conftest import Rows, config
from torch.utils._python_dispatch import TorchDispatchMode
from twins import loss_of, module_of, outputs_kept, samples_of

from dlrun.architectures.units import hidden_units
from dlrun.diagnostics.activations import Activations
from dlrun.diagnostics.diagnostic import Diagnostic, Found, View
from dlrun.diagnostics.during import During
from dlrun.diagnostics.gradient_noise import GradientNoise
from dlrun.diagnostics.gradient_norm import GradientNorm
from dlrun.diagnostics.gradients import Gradients
from dlrun.diagnostics.lags import Lags
from dlrun.diagnostics.moments import Moments
from dlrun.diagnostics.spread import (
    LARGEST,
    _flat,
    _flat_by_numpy,
    _some,
    _spread,
    _spread_by_numpy,
    quantities,
    spread,
)
from dlrun.diagnostics.updates import Updates
from dlrun.diagnostics.weights import Weights
from dlrun.errors import ConfigError
from dlrun.training.build import build
from dlrun.training.stack import Stack
from dlrun.training.state import State
from dlrun.training.train import fit

NETWORKS = {
    "mlp": ["architecture.hidden=[7,5]", "architecture.activation=sigmoid", "regularizer=[l2,dropout]"],
    "prelu and batch norm": ["architecture.hidden=[7,5]", "architecture.activation=prelu", "normalization=batch"],
    "identity": ["architecture.hidden=[7]", "architecture.activation=identity"],
    "cnn": ["dataset=digits", "architecture=cnn", "architecture.channels=[3]", "architecture.hidden=[6]"],
    "rnn": ["dataset=sequences", "dataset.length=6", "architecture=rnn", "architecture.hidden=5"],
    "lstm": ["dataset=sequences", "dataset.length=6", "architecture=lstm", "architecture.hidden=5"],
    "rbf": ["architecture=rbf", "architecture.kernels=6"],
}
RUN = 1  #: of the three of a stack, the one compared


def stack_of(*words: str, runs: int = 3) -> Stack:
    return build([config("dataset=iris", "precision=float64", *words, f"seed={seed}") for seed in range(runs)])


def table(found: Found) -> dict[tuple[str, str], float]:
    """Values by layer and quantity."""
    return {(str(row["layer"]), str(row["quantity"])): float(row["value"]) for row in found.rows}


def statistics(values: Any) -> dict[str, float]:
    """By NumPy: a percentile is the least number that so many per cent do not exceed."""
    flat = np.asarray(values, float).ravel()
    ranks = np.sort(flat)
    of = {f"p{p}": ranks[max(1, math.ceil(p / 100 * len(flat))) - 1] for p in (15, 50, 85)}
    return {"mean": flat.mean(), "std": flat.std(), **of}


@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
def test_activations_are_what_hooks_on_a_module_see(words: list[str]) -> None:
    stack, samples = stack_of(*words), 20
    diagnostic = Activations(None, "val", samples, "batch")
    diagnostic.fits(stack)
    got = table(diagnostic.look(View(stack, 0))[RUN])

    model, (x, _) = module_of(stack, RUN), samples_of(stack, RUN, "val", samples)
    with outputs_kept(hidden_units(model)) as kept:
        output = model(x)
    wanted = {("output", quantity): value for quantity, value in statistics(output.detach()).items()}
    for name, calls in kept.items():
        outputs = np.stack([out.detach().numpy() for _, out in calls])
        wanted |= {(name, quantity): value for quantity, value in statistics(outputs).items()}
        module = hidden_units(model)[name]
        if name.split()[1] in ("LSTMLayer", "Kernels"):
            continue
        given = np.stack([z.detach().numpy() for z, _ in calls])
        wanted |= {(name, f"input_{quantity}"): value for quantity, value in statistics(given).items()}
        slopes, h = [], 1e-6
        for z, _ in calls:
            slopes.append((module(z.detach() + h) - module(z.detach() - h)).detach().numpy() / (2 * h))
        flat = np.abs(np.stack(slopes)) < 0.05 * STEEPEST[type(module).__name__]
        wanted[name, "saturated"] = flat.mean()
        units = 2 if flat.ndim == 5 else -1  # (calls, samples, channels, height, width)
        wanted[name, "dead"] = np.moveaxis(flat, units, 0).reshape(flat.shape[units], -1).all(1).mean()
    assert got == pytest.approx(wanted, rel=1e-9, abs=1e-12)


@pytest.mark.parametrize("name", ["cnn", "lstm"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_network_alone_shows_what_its_row_in_a_stack_does(name: str, precision: str) -> None:
    """By PyTorch's kernels for one network, of which some are for single precision."""
    words = [*NETWORKS[name], f"precision={precision}"]
    alone, beside = stack_of(*words, runs=1), stack_of(*words)
    for diagnostic in (
        Activations(None, "val", 20, "batch"),
        Gradients(None, "train", 20, "batch"),
        GradientNoise(None, "train", 20, 5, "running"),
    ):
        diagnostic.fits(alone)
        got, wanted = (table(diagnostic.look(View(stack, 0))[0]) for stack in (alone, beside))
        rel, tolerance = (1e-8, 1e-12) if precision == "float64" else (1e-3, 1e-5)
        assert got == pytest.approx(wanted, rel=rel, abs=tolerance, nan_ok=True)


STEEPEST = {"Sigmoid": 0.25, "PReLU": 1, "Same": 1, "ReLU": 1, "Tanh": 1}


def test_units_that_never_answer_are_dead() -> None:
    stack = stack_of("architecture.hidden=[4]", runs=2)
    views = stack.layout.views(stack.theta)
    views["1.bias"][0, :3] = -1000
    views["1.bias"][1, :] = 1000
    diagnostic = Activations(None, "train", None, "batch")
    diagnostic.fits(stack)
    one, other = map(table, diagnostic.look(View(stack, 0)))
    assert one["3 ReLU", "dead"] == 0.75 <= one["3 ReLU", "saturated"] < 1
    assert other["3 ReLU", "dead"] == other["3 ReLU", "saturated"] == 0


def test_of_a_network_that_is_lost_no_shares_are_told() -> None:
    stack = stack_of("architecture.hidden=[4]", runs=2)
    stack.theta[1] = torch.nan
    diagnostic = Activations(None, "train", None, "batch")
    diagnostic.fits(stack)
    one, other = map(table, diagnostic.look(View(stack, 0)))
    assert all(math.isfinite(value) for value in one.values())
    assert all(math.isnan(value) for value in other.values())


@pytest.mark.parametrize("words", NETWORKS.values(), ids=NETWORKS)
@pytest.mark.parametrize("mode", ["batch", "running"])
def test_gradients_are_those_of_backward(words: list[str], mode: Any) -> None:
    stack, samples = stack_of(*words), 20
    got = table(Gradients(None, "train", samples, mode).look(View(stack, 0))[RUN])

    model, (x, y) = module_of(stack, RUN, mode), samples_of(stack, RUN, "train", samples)
    with outputs_kept(hidden_units(model)) as kept:
        loss = loss_of(stack, model, x, y)
    for key, part in zip([name for name, _ in model.named_parameters()], model.parameters(), strict=True):
        if "regularizer=[l2,dropout]" in words and key.endswith("weight"):
            loss = loss + 0.5e-4 * part.square().sum()
    loss.backward()
    parts = {name: parameter.grad for name, parameter in model.named_parameters()}
    parts |= {name: torch.stack([out.grad for _, out in calls]) * samples for name, calls in kept.items()}  # type: ignore[misc]
    wanted = {}
    for name, gradient in parts.items():
        assert gradient is not None
        of = {**statistics(gradient), "norm": gradient.norm().item(), "zero": (gradient == 0).double().mean().item()}
        wanted |= {(name, quantity): value for quantity, value in of.items()}
    rounded = {key for key in wanted if key[1] == "zero" and wanted[key[0], "norm"] < 1e-12}
    assert got.keys() == wanted.keys()
    assert {key: got[key] for key in got.keys() - rounded} == pytest.approx(
        {key: wanted[key] for key in wanted.keys() - rounded}, rel=1e-8, abs=1e-13
    )


@pytest.mark.parametrize("words", [NETWORKS[name] for name in ("mlp", "cnn", "rnn", "lstm", "rbf")])
@pytest.mark.parametrize("groups", [20, 5])
def test_noise_is_the_covariance_of_single_gradients(words: list[str], groups: int) -> None:
    """Of groups of one sample, tr(Sigma) is the trace of the sample covariance; signal is the mean's square less it."""
    stack, samples = stack_of(*words), 20
    diagnostic = GradientNoise(None, "train", samples, groups, "running")
    diagnostic.fits(stack)
    got = table(diagnostic.look(View(stack, 0))[RUN])
    model, (x, y) = module_of(stack, RUN, "running"), samples_of(stack, RUN, "train", samples)
    size, total = samples // groups, np.zeros(2)
    rows: dict[str, list[np.ndarray]] = {name: [] for name, _ in model.named_parameters()}
    for start in range(0, samples, size):
        model.zero_grad()
        loss_of(stack, model, x[start : start + size], y[start : start + size]).backward()
        for name, parameter in model.named_parameters():
            rows[name].append(parameter.grad.ravel().numpy().copy())  # type: ignore[union-attr]
    for name, gradients in rows.items():
        matrix = np.stack(gradients)
        noise = size * np.trace(np.atleast_2d(np.cov(matrix.T)))
        signal = np.square(matrix.mean(0)).sum() - noise / samples
        assert [got[name, "noise"], got[name, "signal"]] == pytest.approx([noise, signal], rel=1e-9, abs=1e-14)
        total += noise, signal
    noise, signal = total
    assert got["all", "noise"] == pytest.approx(noise, rel=1e-9)
    assert got["all", "noise_scale"] == pytest.approx(noise / signal if signal > 0 else math.nan, nan_ok=True)
    assert got["all", "snr"] == pytest.approx(signal / noise)


def test_the_noise_scale_of_a_linear_problem_is_the_one_known() -> None:
    """Each sample's gradient is 2 (w x + b - y) (x, 1), so that signal and noise are moments of the data."""
    stack = stack_of(
        "dataset=linear", "architecture=linear", "dataset.scale=none", "dataset.scale_target=false", runs=1
    )
    stack.theta.copy_(torch.tensor([[10.0, 5.0]]))
    (x, y), size = stack.dataset.part("train"), stack.train_size
    got = table(GradientNoise(None, "train", None, size, "running").look(View(stack, 0))[0])
    g = np.stack([2 * (10 * x + 5 - y).numpy()[:, 0] * x.numpy()[:, 0], 2 * (10 * x + 5 - y).numpy()[:, 0]])
    noise = g.var(1, ddof=1).sum()
    assert got["all", "noise"] == pytest.approx(noise)
    assert got["all", "signal"] == pytest.approx(np.square(g.mean(1)).sum() - noise / size)


@pytest.mark.parametrize(
    "samples, groups, own, needed",
    [(7, 8, [], 1), (16, 16, ["normalization=batch", "architecture.hidden=[4]"], 2)],
)
def test_groups_without_samples_are_refused(samples: int, groups: int, own: list[str], needed: int) -> None:
    with pytest.raises(ConfigError, match=f"groups={groups} of {samples} samples leave .*, and {needed} or more"):
        GradientNoise(None, "train", samples, groups, "batch").fits(stack_of(*own, runs=1))


def test_weights_and_their_percentiles() -> None:
    stack = stack_of("architecture.hidden=[300]", "dataset=digits")
    got = table(Weights(None).look(View(stack, 0))[RUN])
    weight = stack.layout.views(stack.theta)["1.weight"][RUN].numpy()
    assert weight.size > LARGEST
    assert got["1.weight", "norm"] == pytest.approx(np.linalg.norm(weight))
    assert [got["1.weight", "min"], got["1.weight", "max"]] == [weight.min(), weight.max()]
    assert [got["1.bias", "zero"], got["1.weight", "zero"]] == [1, 0]
    for p in (1, 5, 15, 50, 85, 95, 99):  # of 10,000 among them: within what a sample of these tells
        below = (weight <= got["1.weight", f"p{p}"]).mean()
        assert below == pytest.approx(p / 100, abs=0.015)


def test_percentiles_are_of_all_numbers_where_these_are_few() -> None:
    values = torch.randperm(1000).double()[None] + 1
    ranks = (1, 15, 50, 85, 99)
    got = dict(zip(quantities(ranks), spread([values], ranks)[0].tolist(), strict=True))
    assert {name: value for name, value in got.items() if name[0] == "p"} == {
        "p1": 10, "p15": 150, "p50": 500, "p85": 850, "p99": 990
    }  # fmt: skip


def test_percentiles_are_of_the_same_numbers_however_they_lie_in_memory() -> None:
    values = torch.randn(20, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    lying = values[None], values.to(memory_format=torch.channels_last)[None], values.permute(3, 1, 0, 2).clone()
    got, last, turned = (spread([each])[0, 2:].tolist() for each in (*lying[:2], lying[2].permute(2, 1, 3, 0)[None]))
    numbers = np.sort(values.flatten().numpy()[np.linspace(0, 40_959, LARGEST).round().astype(int)])
    assert got == last == turned == numbers[[1499, 4999, 8499]].tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("of", [_spread, _spread_by_numpy], ids=["on other devices", "on a CPU"])
def test_statistics_are_those_of_plain_loops(dtype: torch.dtype, of: Any) -> None:
    values = torch.tensor([[3, 0, torch.inf, -2, 0, -0.0], [torch.nan, 1, 1, 0, -torch.inf, 7]], dtype=dtype)
    for given in (values, values.T.contiguous().T):
        got = of([given], [_some((6,), (1,))], [1, 50, 75, 99], True)
        assert got.dtype == torch.float64
        assert got[0, 2:6].tolist() == [-2, 0, 3, math.inf]
        assert got[1, 2:5].tolist() == [-math.inf, 1, 7] and math.isnan(got[1, 5])
        assert got[:, -1].tolist() == [3 / 6, 1 / 6]
        assert got[0, 0] == math.inf and all(map(math.isnan, got[1, :2].tolist()))
    many = 1e3 + torch.randn(2, 3 * LARGEST + 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    places = [_some((size,), (1,)) for size in (many.shape[1], 9)]
    got = of([many.to(dtype), many[:, :9].to(dtype)], places, (15, 50, 85), True)
    for row, numbers in zip(got.tolist(), many.to(dtype).double().numpy(), strict=True):
        for told, some in ((row[:7], numbers), (row[7:], numbers[:9])):
            wanted = [some.mean(), some.std(), np.linalg.norm(some)]
            assert [told[0], told[1], told[5]] == pytest.approx(wanted, rel=1e-12 if dtype == torch.float64 else 1e-4)
            for p, percentile in zip((15, 50, 85), told[2:5], strict=True):
                assert (some <= percentile).mean() == pytest.approx(p / 100, abs=0.015 if len(some) > 9 else 0.1)


@pytest.mark.parametrize("of", [_flat, _flat_by_numpy], ids=["on other devices", "on a CPU"])
def test_a_unit_is_dead_where_it_is_flat_for_all_samples(of: Any) -> None:
    """Of three samples and two units, last or as channels; one run has a number that is none."""
    slope = torch.tensor([[0.01, 1], [-0.01, 0], [0, 0.5]])
    of_units, of_channels = slope[None].repeat(2, 1, 1), slope[None, :, :, None, None].repeat(2, 1, 1, 2, 2)
    of_channels[0, 1, 0, 1, 1] = -3  # at one place of one sample the first unit, too, is steep
    given = torch.zeros(2, 3, 2)
    given[1, 2, 1] = torch.nan
    got = of([of_units, of_channels], [given, given], [0.05, 0.05])
    assert got[0].tolist() == pytest.approx([4 / 6, 1 / 2, 15 / 24, 0])
    assert got[1].isnan().all()


def test_numbers_are_those_of_all_axes_however_they_lie_in_memory() -> None:
    values = torch.randn(2, 3, 4, 5, dtype=torch.float64)
    for given in (
        values,
        values.movedim(1, 3).contiguous().movedim(3, 1),
        values[:, :, ::2],
        values[:1].expand(2, 3, 4, 5),
    ):
        for run in range(2):
            got = dict(zip(quantities(), spread([given])[run].tolist(), strict=True))
            assert got == pytest.approx(statistics(given[run]), rel=1e-12)


class Passes(TorchDispatchMode):
    """Counts the transfer functions that are computed."""

    relus = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.relus += func.name().startswith("aten::relu")
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "diagnostics",
    [
        [Activations(None, "train", 20, "batch")],
        [Gradients(None, "train", 20, "batch")],
        [GradientNoise(None, "train", 20, 5, "batch")],
        [
            GradientNoise(None, "train", 20, 5, "running"),
            Activations(None, "train", 20, "batch"),
            Gradients(None, "train", 20, "batch"),
        ],
    ],
    ids=lambda each: "+".join(type(one).__name__ for one in each),
)
def test_looks_at_a_moment_go_through_the_network_once(diagnostics: list[Any]) -> None:
    stack = stack_of("architecture.hidden=[7,5]")
    for each in diagnostics:
        each.fits(stack)
    looks = During({str(i): each for i, each in enumerate(diagnostics)}, stack, lambda run, name, found: None)
    looks.look(stack, State(stack))
    with Passes() as passes:
        looks.look(stack, State(stack))
    # that of the slopes is another where the pass is by groups
    assert passes.relus == (4 if len(diagnostics) > 1 else 2)


SHARING = {
    **{name: NETWORKS[name] for name in ("mlp", "cnn", "lstm")},
    "batch norm": ["architecture.hidden=[7,5]", "normalization=batch"],
    "a sample is left over": ["architecture.hidden=[5]"],
}


@pytest.mark.parametrize("name", SHARING)
def test_what_is_computed_together_is_what_each_computes_alone(name: str) -> None:
    """Batch normalization by the samples' own statistics has no groups, and samples left over have none either."""
    stack, samples = stack_of(*SHARING[name]), 21 if name == "a sample is left over" else 20
    recurrent = {"lags": (Lags, ("train", samples))} if name == "lstm" else {}
    kinds = {
        "activations": (Activations, ("train", samples, "batch")),
        "noise": (GradientNoise, ("train", samples, 5, "running")),
        "noise of batches": (GradientNoise, ("train", samples, 5, "batch")),
        "gradients": (Gradients, ("train", samples, "batch")),
        "others": (Activations, ("val", samples, "batch")),
        **recurrent,
    }
    got: dict[str, dict[int, Found]] = {each: {} for each in kinds}
    together = {each: kind(None, *keys) for each, (kind, keys) in kinds.items()}  # type: ignore[operator]
    for diagnostic in together.values():
        diagnostic.fits(stack)
    During(together, stack, lambda run, which, found: got[which].update({run: found})).look(stack, State(stack))
    for each, (kind, keys) in kinds.items():
        for run, found in enumerate(kind(None, *keys).look(View(stack, 0))):  # type: ignore[operator]
            assert got[each][run].rows[0].keys() == found.rows[0].keys()
            for row, wanted in zip(got[each][run].rows, found.rows, strict=True):
                for key, value in row.items():
                    other = wanted[key] if isinstance(value, str) else pytest.approx(wanted[key], 1e-8, 1e-14, True)
                    assert value == other, (each, row, wanted)


class Told(Rows):
    """What diagnostics tell."""

    def __init__(self, runs: int) -> None:
        super().__init__(runs)
        self.found: list[list[Found]] = [[] for _ in range(runs)]

    def tell(self, run: int, name: str, found: Found) -> None:
        if found.rows:
            self.found[run].append(found)


def looked_at(stack: Stack, diagnostic: Diagnostic) -> Told:
    told = Told(stack.runs)
    fit(stack, told, looks=During({"it": diagnostic}, stack, told.tell))
    return told


def test_updates_of_plain_gradient_descent_are_lr_times_the_gradient() -> None:
    """With full batches the step's gradient is the one at the probe of all training samples."""
    words = ("optimizer=sgd", "lr=0.3", "batch_size=full", "steps=3", "architecture.hidden=[5]")
    stack = stack_of(*words, runs=2)
    thetas = [stack.theta.clone()]

    class Kept(Updates):
        def look(self, view: View) -> list[Found]:
            thetas.append(view.stack.theta.clone())
            return super().look(view)

    told = looked_at(stack, Kept("1step"))
    for run in range(2):
        assert [found.rows[0]["step"] for found in told.found[run]] == [1, 2, 3]
        for found, before, after in zip(told.found[run], thetas[1:], thetas[2:], strict=False):
            got = table(found)
            assert got["all", "effective_lr"] == pytest.approx(0.3, rel=1e-9)
            moved, norm = (after - before)[run].norm().item(), before[run].norm().item()
            assert [got["all", name] for name in ("update_norm", "norm", "ratio")] == pytest.approx(
                [moved, norm, moved / norm], rel=1e-12
            )
            view = stack.layout.views(before)["1.weight"][run]
            assert got["1.weight", "norm"] == pytest.approx(view.norm().item())


def test_a_parameter_of_length_0_has_no_ratio() -> None:
    told = looked_at(stack_of("steps=1", "batch_size=full", runs=1), Updates("1step"))
    assert math.isnan(table(told.found[0][0])["1.bias", "ratio"])


def test_gradient_norms_are_each_steps_and_their_mean_is_in_metrics() -> None:
    stack = stack_of("epochs=3", "batch_size=16", "eval_every=0.5", runs=2)
    told = looked_at(stack, GradientNorm())
    for run in range(2):
        rows = [row for found in told.found[run] for row in found.rows]
        assert [row["step"] for row in rows] == list(range(1, stack.steps + 1))
        assert [row["epoch"] for row in rows] == pytest.approx(
            [s / stack.steps_per_epoch for s in range(1, stack.steps + 1)]
        )
        steps = [int(row["step"]) for row in told.rows[run]]
        for before, row in zip(steps, told.rows[run][1:], strict=False):
            mean = np.mean([float(r["grad_norm"]) for r in rows[before : int(row["step"])]])
            assert row["grad_norm"] == pytest.approx(mean, rel=1e-6)


@pytest.mark.parametrize(
    "every, steps",
    [
        (None, [0, 4, 8, 12, 14]),
        (0.5, [0, 4, 8, 12]),
        (1, [0, 7, 14]),
        ("3steps", [0, 3, 6, 9, 12]),
        ("5 steps", [0, 5, 10]),
    ],
)
def test_when_a_diagnostic_looks(every: Any, steps: list[int]) -> None:
    """105 training samples in batches of 16 are 7 steps an epoch; half an epoch is 4 of them, rounded."""
    stack = stack_of("epochs=2", "batch_size=16", "eval_every=0.5", runs=1)
    told = looked_at(stack, Weights(every))
    assert [found.rows[0]["step"] for found in told.found[0]] == steps


@pytest.mark.parametrize("every", ["0steps", "often", "3 epochs"])
def test_a_time_that_is_none_is_refused(every: str) -> None:
    with pytest.raises(ConfigError, match=f"diagnostics=weights: every={every}: "):
        stack_of("diagnostics=[weights]", f"diagnostics.weights.every='{every}'", runs=1)


def test_runs_that_have_ended_are_not_looked_at_any_more() -> None:
    words = ("optimizer=sgd", "batch_size=full", "steps=30", "eval_every=1", "architecture.activation=identity")
    stack = build([config("dataset=diabetes", *words, f"lr={lr}") for lr in (1e-3, 1e6)])
    told = looked_at(stack, Weights(None))
    ends = [found[-1].rows[0]["step"] for found in told.found]
    assert ends[0] == 30 and ends[1] < 30
    assert ends[1] == told.rows[1][-1]["step"]


ROWS = ["dataset=digits", "architecture=gru", "architecture.hidden=5", "architecture.rows=true"]


@pytest.mark.parametrize("words", [NETWORKS["rnn"], NETWORKS["lstm"], ROWS], ids=["rnn", "lstm", "rows"])
def test_gradients_by_lag_are_those_of_backward_for_each_sample(words: list[str]) -> None:
    stack, samples = stack_of(*words), 12
    found = Lags(None, "train", samples).look(View(stack, 0))[RUN].rows
    model, (x, y) = module_of(stack, RUN, "running"), samples_of(stack, RUN, "train", samples)
    norms = []
    for one, target in zip(x, y, strict=True):
        leaf = one.clone().requires_grad_()
        loss_of(stack, model, leaf[None], target[None]).backward()
        assert leaf.grad is not None
        norms.append([part.norm().item() for part in reversed(leaf.grad.unbind(-2))])
    wanted = np.mean(norms, 0).tolist()
    assert [row["lag"] for row in found] == list(range(len(wanted)))
    assert [row["norm"] for row in found] == pytest.approx(wanted, rel=1e-8)


def test_without_recurrent_layers_there_are_no_lags() -> None:
    with pytest.raises(ConfigError, match="no recurrent layers"):
        Lags(None, "train", None).fits(stack_of(*NETWORKS["mlp"]))


NORMALIZED = ["dataset=digits", "architecture=cnn", "architecture.channels=[4,8]", "architecture.hidden=[12]"]


@pytest.mark.parametrize("kind", ["batch", "layer", "instance", "group"])
def test_moments_are_those_of_loops_over_the_sets(kind: str) -> None:
    stack, samples = stack_of(*NORMALIZED, f"normalization={kind}"), 12
    views = stack.layout.views(stack.theta)
    for name in views:  # other scales and shifts than those at first
        views[name].add_(0.1 * torch.randn(views[name].shape, generator=torch.Generator().manual_seed(1)).double())
    diagnostic = Moments(None, "train", samples, "batch", 2)
    diagnostic.fits(stack)
    got = table(diagnostic.look(View(stack, 0))[RUN])
    model, (x, _) = module_of(stack, RUN), samples_of(stack, RUN, "train", samples)
    norms = {f"{n} {type(m).__name__}": m for n, m in model.named_modules() if "Norm" in type(m).__name__}
    with outputs_kept(norms) as kept:
        model(x)
    wanted = {}
    for name, [(_, output)] in kept.items():
        scale, shift = (
            each.detach().numpy().reshape(-1, *[1] * (output.ndim - 2)) for each in norms[name].parameters()
        )
        y = (output.detach().numpy() - shift) / scale
        n, c = y.shape[:2]
        sets = {
            "batch": [y[:, i] for i in range(c)],
            "layer": [y[i] for i in range(n)],
            "group": [y[i, half] for i in range(n) for half in (slice(0, c // 2), slice(c // 2, c))],
        }
        if y.ndim == 4:
            sets["instance"] = [y[i, j] for i in range(n) for j in range(c)]
        for of, values in sets.items():
            wanted[name, f"{of}_mean"] = max(abs(each.mean()) for each in values)
            wanted[name, f"{of}_variance"] = max(abs(each.var() - 1) for each in values)
    assert len(kept) == (2 if kind == "instance" else 3)
    assert got == pytest.approx(wanted, rel=1e-8, abs=1e-12)


def test_without_normalization_there_are_no_moments() -> None:
    with pytest.raises(ConfigError, match="no normalization"):
        Moments(None, "train", None, "batch", 4).fits(stack_of(*NETWORKS["mlp"]))
