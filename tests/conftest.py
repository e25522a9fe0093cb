"""What several test files need: configs composed as the command line composes them, and a training without a folder."""

from __future__ import annotations

import os
import random
import re
import time
from collections.abc import Callable
from copy import deepcopy
from functools import cache

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.plugins import Plugins
from hypothesis import HealthCheck, settings
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from dlrun.config import typed
from dlrun.config.catalogue import conf_dir, groups
from dlrun.matrix.noise import Noise
from dlrun.matrix.trace import Recording
from dlrun.training.build import build
from dlrun.training.evaluation import Row
from dlrun.training.stack import Stack
from dlrun.training.train import fit
from dlrun.training.watching import Outcome

# What an example takes is the machine's affair, and that of what else it does.
settings.register_profile("dlrun", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("dlrun")
PLAIN = re.compile(r"\w+(\.\w+)*=[\w.+-]*")  #: a number, a word or null, and no list
GROUPS = groups()
BEGUN = time.monotonic()
# Hydra runs plugins' modules anew when it first looks for them: after tests imported some, classes would be twofold.
Plugins.instance()
torch.set_num_threads(1)  # several threads on small tensors wait for each other more than they work


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--slow", action="store_true", help="run the slow tests, which are left out otherwise, and no others"
    )
    parser.addoption(
        "--within",
        type=float,
        metavar="SECONDS",
        help="skip, and say so, what has not begun after so long; files come in random order",
    )


def pytest_runtest_setup(item: pytest.Item) -> None:
    within = item.config.getoption("within")
    if within is not None and time.monotonic() - BEGUN > within:
        pytest.skip("no time was left for these tests (--within)")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without --slow the slow tests are left out; with it all others are. A test that is named runs anyway."""
    wanted = config.getoption("slow")
    named = {argument.split("[")[0] for argument in config.args if "::" in argument}
    out = [
        item
        for item in items
        if ("slow" in item.keywords) != wanted and not any(item.nodeid.startswith(name) for name in named)
    ]
    config.hook.pytest_deselected(items=out)
    items[:] = [item for item in items if item not in set(out)]
    if config.getoption("within") is not None:  # of those that no time is left for, others each time
        draw = random.Random(os.environ.get("PYTEST_XDIST_TESTRUNUID"))  # all workers have one order
        files = list(dict.fromkeys(item.path for item in items))
        turn = {path: place for place, path in enumerate(draw.sample(files, len(files)))}
        items.sort(key=lambda item: turn[item.path])


def pytest_report_header(config: pytest.Config) -> str:
    return "the slow tests alone" if config.getoption("slow") else "slow tests are left out: pytest --slow runs them"


@pytest.fixture(autouse=True)
def nothing_typed() -> None:
    """What a test before this one typed, such as whose code may run, is not this one's."""
    typed.take([])


def config(*overrides: str) -> DictConfig:
    """What Hydra composes of the overrides; of those that differ by plain values alone it composes one."""
    plain = [word for word in overrides if PLAIN.fullmatch(word) and word.partition("=")[0] not in GROUPS]
    config = deepcopy(_composed(tuple(word for word in overrides if word not in plain)))
    for word in plain:
        key, _, value = word.partition("=")
        OmegaConf.update(config, key, _value(value))
    return config


@cache
def _composed(overrides: tuple[str, ...]) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("dlrun", [*overrides, "name=test"])


@cache
def _value(text: str) -> str | int | float | bool | None:
    return OverridesParser.create().parse_overrides([f"key={text}"])[0].value()  # type: ignore[return-value]


class Rows:
    """An observer that keeps the rows of every run."""

    def __init__(self, runs: int) -> None:
        self.rows: list[list[Row]] = [[] for _ in range(runs)]

    def row(self, run: int, row: Row) -> None:
        self.rows[run].append(row)

    def trace(self, run: int, steps: list[Row]) -> None:
        pass

    def due(self) -> bool:
        return False

    def step(self, done: int, loss: float, lr: float) -> None:
        raise AssertionError("never due")


def replayed(fn: Callable[..., tuple[Tensor, ...]], *moving: Tensor, step: int = 1) -> tuple[Tensor, ...]:
    """What fn gives of tensors (runs, ...) where it was recorded at another step than it is replayed at."""
    noise = Noise(range(len(moving[0])), (), 1, every=False, step=step - 1)
    program = Recording(fn, [torch.zeros_like(each) for each in moving], noise=noise).program()
    return tuple(noise.before(program, lambda: step)(*moving))


@pytest.fixture(scope="session")
def stack_of() -> Callable[..., Stack]:
    """Overrides shared by all rows, and one list of further overrides per row."""

    def make(*overrides: str, rows: list[list[str]] | None = None) -> Stack:
        return build([config(*overrides, *row) for row in (rows or [[]])])

    return make


@pytest.fixture(scope="session")
def train() -> Callable[[Stack], tuple[Outcome, list[list[Row]]]]:
    def training(stack: Stack) -> tuple[Outcome, list[list[Row]]]:
        rows = Rows(stack.runs)
        return fit(stack, rows), rows.rows

    return training
