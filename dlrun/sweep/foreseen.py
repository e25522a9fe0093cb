"""How good a plan was: what `--plan` foresaw of a sweep is kept in the user's cache, and told once that is trained."""

from __future__ import annotations

import hashlib
import os
import platform
import time
from math import fsum
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dlrun.files.kept import in_cache, keep, read_kept
from dlrun.sweep import beginning
from dlrun.terminal.console import duration

KEPT = 100  #: plans, the last ones
#: words that change nothing of how long a sweep takes, or that leave off what its plan counts
ASIDE = ("hydra.sweep.dir=", "hydra.sweep.subdir=", "name=")
LESS = ("max_time", "prune")  #: the sweeper's options with which a plan is only the most that it may be


def remember(config: DictConfig) -> None:
    """Keep what this command, a plan, foresaw of the sweep; of one that may leave off some of its runs, nothing."""
    seconds = [part.seconds for part in beginning.parts]
    if seconds and not any(config.hydra.sweeper.get(key) is not None for key in LESS):
        file, key = _file(), _key(config)
        others = [(name, kept) for name, kept in read_kept(file).items() if name != key]
        keep(file, {**dict(others[1 - KEPT :]), key: [_runs(), fsum(seconds)]})


def compared(config: DictConfig, started: float) -> str | None:
    """What the sweep took beside what its plan foresaw; nothing where no plan was told of as many runs.

    started: `time.perf_counter()` at the command's beginning.
    """
    match read_kept(_file()).get(_key(config)):
        case [int(runs), float(seconds)] if runs == _runs():
            return f"{duration(time.perf_counter() - started)} in all; its plan foresaw {duration(seconds)}"
    return None


def _runs() -> int:
    return sum(part.runs for part in beginning.parts)


def _key(config: DictConfig) -> str:
    """Of the same command, typed in the same folder of the same machine."""
    overrides: Any = OmegaConf.to_container(config.hydra.overrides)  # `${...}` as it was typed
    words = sorted(word.lstrip("+") for word in [*overrides["task"], *overrides["hydra"]])
    own = [word for word in words if not word.startswith(ASIDE)]
    return hashlib.sha256(repr((platform.node(), os.getcwd(), own)).encode()).hexdigest()[:32]


def _file() -> Path:
    return in_cache("plans.json")
