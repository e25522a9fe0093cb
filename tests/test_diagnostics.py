"""What every diagnostic keeps to, on every architecture: nothing changes, and stacks and resumed runs look alike."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from copy import deepcopy
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from conftest import Rows
from fakes import composed, files, typed  # noqa: F401
from omegaconf import DictConfig
from torch import nn

from dlrun.config.catalogue import choices
from dlrun.diagnostics.diagnostic import Found, Keeping, View
from dlrun.diagnostics.diagnostic import Row as TableRow
from dlrun.diagnostics.during import During
from dlrun.diagnostics.finished import of_finished
from dlrun.errors import ConfigError
from dlrun.folder.checkpoint import Checkpoint, Record
from dlrun.training.build import build
from dlrun.training.evaluation import Row
from dlrun.training.state import Tensors
from dlrun.training.train import fit
from dlrun.training.watching import NOBODY

COSTLY = ("hessian", "spectrum", "jacobian", "linear_regions")  #: on large networks, which their own tests have, too
QUICK = ("mlp", "point")
LARGE = ("cnn", "densenet", "resnet", "resnet18", "stn")
ARCHITECTURES = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in choices("architecture")
]
DIAGNOSTICS = [name for name in choices("diagnostics") if name != "none"]
EXTRA = {  #: what a diagnostic is given to be quick
    "activations": {"samples": 16},
    "gradients": {"samples": 16, "every": "1step"},
    "gradient_noise": {"samples": 16, "groups": 4, "statistics": "batch"},
    "interpolation": {"points": 3, "samples": 16},
    "landscape": {"points": 3, "samples": 16},
    "decision_boundary": {"points": 3},
    "hessian": {"samples": 16, "every": "2steps", "lanczos": 12, "vectors": 3},
    "spectrum": {"samples": 16, "full": 40, "lanczos": 12, "vectors": 2},
    "fit": {"points": 3},
    "linear_regions": {"samples": 16, "lines": 3},
}
ALIKE = ("cifar100", "fashion_mnist", "kmnist")  #: their files are those of cifar10 and mnist, with other images
STEPS = 4
SEEDS = (0, 1, 2)


class Killed(Exception):
    """The training ends in the middle."""


class Watch(Rows):
    """Rows without the time they took, and what diagnostics told of each run."""

    def __init__(self, runs: int) -> None:
        super().__init__(runs)
        self.tables: list[dict[str, list[TableRow]]] = [{} for _ in range(runs)]

    def row(self, run: int, row: Row) -> None:
        super().row(run, {**row, "seconds": 0.0})

    def found(self, run: int, name: str, found: Found) -> None:
        kept: list[TableRow] = []
        if found.kept:
            step, theta = found.kept
            kept = [{"step": step, **{str(i): number for i, number in enumerate(theta.tolist())}}]
        self.tables[run].setdefault(name, []).extend([*found.rows, *kept])


class Kept:
    """Keeps a checkpoint after some step, and has the training end at the next one."""

    begun: Checkpoint | None = None
    at_the_end = False
    over = NOBODY.over

    def __init__(self, step: int | None = None) -> None:
        self.step = step

    def due(self, step: int) -> bool:
        if self.step is not None and step == self.step + 1:
            raise Killed
        return step == self.step

    def keep(self, tensors: Tensors, record: Record) -> None:
        own = json.loads(json.dumps(record))  # as in a file: what is told later does not reach it
        self.begun = Checkpoint({name: tensor.clone() for name, tensor in tensors.items()}, own)


@cache
def words_of(architecture: str) -> list[str]:
    """The architecture at its smallest, with batch normalization, dropout and a penalty where it takes them."""
    normalized = architecture in ("autoencoder", "cnn", "densenet", "mlp", "resnet", "resnet18", "stn")
    words = typed(f"architecture={architecture}", *["normalization=batch"] * normalized)
    return [*words, f"steps={STEPS}", "eval_every=0.3", "optimizer=momentum", "lr=0.01", "initializer.bias=0.1"]


def config_of(architecture: str, names: Sequence[str], seed: int, files: Path) -> DictConfig:  # noqa: F811
    """A small training of the architecture with these diagnostics."""
    config = composed([*words_of(architecture), f"seed={seed}"], files)
    for name in ("l2", "dropout") if architecture != "point" else ():
        config.regularizer.update(composed([f"regularizer={name}"], files).regularizer)
    return looked_at(config, names, files)


def looked_at(config: DictConfig, names: Sequence[str], files: Path) -> DictConfig:  # noqa: F811
    """The config with these diagnostics."""
    config = deepcopy(config)
    for name in names:
        own = composed([f"diagnostics={name}", "dataset=iris", "architecture=mlp"], files).diagnostics
        config.diagnostics.update(own)
        config.diagnostics[name].update(EXTRA.get(name, {}))
    return config


def fitting(config: DictConfig, files: Path) -> list[str]:  # noqa: F811
    """The diagnostics that there is something to be seen for; the others say why not."""
    found = []
    for name in DIAGNOSTICS:
        try:
            build([looked_at(config, [name], files)], initialize=False)
            found.append(name)
        except ConfigError as problem:
            assert str(problem).startswith(f"diagnostics={name}: ")
    return found


def trained(configs: list[DictConfig], keeper: Kept | None = None) -> tuple[torch.Tensor, Watch, list[list[Found]]]:
    """Final theta, what was told on the way, and what the diagnostics of finished networks found."""
    stack, watch = build(configs, initialize=not (keeper and keeper.begun)), Watch(len(configs))
    outcome = fit(stack, watch, keeper or Kept(), looks=During(stack.diagnostics, stack, watch.found))
    theta, buffers = stack.theta.clone(), {name: buffer.clone() for name, buffer in stack.buffers.items()}
    outcome.best.restore()
    best = stack.theta.clone()
    found = [each.look(View(stack, STEPS)) for each in of_finished(stack.diagnostics).values()]
    assert torch.equal(stack.theta, best)
    outcome.last.restore()
    assert all(torch.equal(stack.buffers[name], buffer) for name, buffer in buffers.items())
    return theta, watch, found


def idle(configs: list[DictConfig]) -> set[str]:
    """The biases that batch normalization takes out again: their gradients, and ratios of these, are rounding."""
    model = build(configs, initialize=False).model
    layers = [(name, module) for name, module in model.named_modules() if not list(module.children())]
    norm = nn.modules.batchnorm._BatchNorm
    return {f"{name}.bias" for (name, _), (_, after) in pairwise(layers) if isinstance(after, norm)}


def assert_same(
    rows: Sequence[TableRow], wanted: Sequence[TableRow], exactly: bool, idle: Collection[str] = ()
) -> None:
    """Rows with the same words and the same numbers, or nearly so."""
    if rows and "seconds" in rows[0]:  # what was measured, of which a slow machine measures less
        assert all(float(row["seconds"]) > 0 for row in (*rows, *wanted))
        return
    assert len(rows) == len(wanted)
    for row, other in zip(rows, wanted, strict=True):
        assert row.keys() == other.keys()
        for key, value in row.items():
            if exactly or isinstance(value, str):
                assert repr(value) == repr(other[key]), (row, other)
            elif row.get("quantity") in ("noise_scale", "snr") and row["layer"] in idle:
                continue
            elif row.get("quantity") not in ("zero", "node"):  # exact zeros, and nodes next to each other, are rounding
                assert value == pytest.approx(other[key], rel=1e-6, abs=1e-9, nan_ok=True), (row, other)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_diagnostics_change_nothing_and_see_the_same_alone_in_stacks_and_resumed(
    architecture: str,
    files: Path,  # noqa: F811
) -> None:
    costly = COSTLY if architecture in LARGE else ()
    names = [name for name in fitting(config_of(architecture, [], 0, files), files) if name not in costly]
    assert {"weights", "updates", "gradient_norm", "gradients"} <= set(names)
    plain = [config_of(architecture, [], SEEDS[0], files)]
    looking = [config_of(architecture, names, seed, files) for seed in SEEDS]

    theta, watch, _ = trained(plain)
    same, alone, finished = trained(looking[:1])
    assert torch.equal(theta, same)
    assert watch.rows == alone.rows
    assert set(alone.tables[0]) == set(names) - set(of_finished(build(looking[:1], initialize=False).diagnostics))
    for name, rows in alone.tables[0].items():
        assert rows and all(isinstance(value, float | int | str) for row in rows for value in row.values()), name

    every = build(looking[:1], initialize=False).eval_every
    for step in (1, 2) if architecture in QUICK else (2,):
        keeper = Kept(step)
        with pytest.raises(Killed):
            trained(looking[:1], keeper)
        keeper.step = None
        again, rest, finished_again = trained(looking[:1], keeper)
        assert torch.equal(again, same)
        for name, rows in alone.tables[0].items():
            # gradient_norm tells at an evaluation of the steps since the one before
            told = step - step % every if name == "gradient_norm" else step
            assert_same(rest.tables[0][name], [row for row in rows if row["step"] > told], True)  # type: ignore[operator]
        for one, other in zip(finished, finished_again, strict=True):
            assert_same(one[0].rows, other[0].rows, True)

    lost = idle(looking[:1])
    _, together, all_finished = trained(looking)
    for name, rows in alone.tables[0].items():
        assert_same(together.tables[0][name], rows, False, lost)
    for in_stack, by_itself in zip(all_finished, finished, strict=True):
        assert_same(in_stack[0].rows, by_itself[0].rows, False)
    _, last, finished_last = trained(looking[2:])
    for name, rows in last.tables[0].items():
        assert_same(together.tables[2][name], rows, False, lost)
    for in_stack, by_itself in zip(all_finished, finished_last, strict=True):
        assert_same(in_stack[2].rows, by_itself[0].rows, False)


@pytest.mark.slow
@pytest.mark.parametrize("dataset", [name for name in choices("dataset") if name not in ALIKE])
def test_on_every_dataset_diagnostics_see_something_or_say_why_not(dataset: str, files: Path) -> None:  # noqa: F811
    config = composed([*typed(f"dataset={dataset}"), "lr=0.001", "batch_size=8"], files)
    names = fitting(config, files)
    assert {"weights", "updates", "gradient_norm", "gradients", "trajectory", "interpolation"} <= set(names)
    _, watch, finished = trained([looked_at(config, names, files)])
    during = set(names) - set(of_finished(build([looked_at(config, names, files)], initialize=False).diagnostics))
    assert set(watch.tables[0]) == during and all(watch.tables[0].values())
    assert all(each[0].rows for each in finished)


def test_a_network_that_is_lost_is_looked_at_to_the_end(files: Path) -> None:  # noqa: F811
    """Of numbers that are none, tables say so, or a diagnostic says that there is nothing to be seen."""
    config = config_of("mlp", [], 0, files)
    stack = build([looked_at(config, fitting(config, files), files)])
    stack.theta.fill_(torch.nan)
    for name, each in stack.diagnostics.items():
        if name == "updates" or isinstance(each, Keeping):  # of steps that there are not
            continue
        try:
            assert each.look(View(stack, 1))[0].rows or name == "gradient_norm"
        except ConfigError as problem:
            assert str(problem)
