"""How any sweep begins, whichever its launcher and sweeper: it gets one folder, and its runs are remembered."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from dlrun.config import typed
from dlrun.config.escapes import escaped, quoted
from dlrun.terminal.exits import refusing

BASIC = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"
OWN = "hydra_plugins.dlrun_stack."
NAMED = 3  #: choices that a sweep's name holds at most
resuming = False  #: whether the command is `dlrun resume`
#: the folders of the runs that the command asked for and that have ended, by their sweep's folder
ended: dict[Path, list[Path]] = {}
begun: list[tuple[DictConfig, float]] = []  #: the sweep of this command, and when it began


class Part(NamedTuple):
    """What a launcher was given to train, or to plan."""

    runs: int
    seconds: float = 0.0  #: that it takes, as the plan says


parts: list[Part] = []  #: of this command


class Beginning(Callback):
    """Stands in Hydra's callbacks."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take note of the sweep, and give it one folder."""
        begun[:] = [(config, time.perf_counter())]
        with refusing():
            self._prepare(config)

    def _prepare(self, config: DictConfig) -> None:
        if OmegaConf.is_interpolation(config.hydra.sweep, "dir"):
            # The name in it holds choices, which differ from job to job, and Hydra composes each job anew.
            raw: Any = OmegaConf.to_container(config, resolve=False)
            one, own = raw["name"], raw["hydra"]["sweeper"].get("params") or {}
            swept = [*(f"{key}={value}" for key, value in own.items()), *raw["hydra"]["overrides"]["task"]]
            with open_dict(config):
                config.name = of_all(str(one), swept)
                path = str(config.hydra.sweep.dir)
                config.name = one
            typed.add(place := f"hydra.sweep.dir={quoted(path)}")
            with read_write(config.hydra):
                config.hydra.overrides.hydra.append(place)
                config.hydra.sweep.dir = escaped(path)
        if config.hydra.sweeper._target_ == BASIC:  # which with a launcher of Hydra's would overwrite what is there
            with read_write(config.hydra):
                config.hydra.sweeper._target_ = f"{OWN}sweeper.Sweeper"


def of_all(name: str, overrides: Sequence[str]) -> str:
    """The name of a run, with its interpolations, as that of a sweep: for a choice that is swept, all of its choices,
    or how many there are."""
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    for group, override in {override.get_key_element().lstrip("+"): override for override in parsed}.items():
        choice = f"${{hydra:runtime.choices.{group}}}"
        if choice in name and override.is_sweep_override():
            choices = list(override.sweep_string_iterator()) if isinstance(override.value(), ChoiceSweep) else []
            few = "+".join(choices) if 0 < len(choices) <= NAMED else f"{len(choices) or 'some'}-{group}s"
            name = name.replace(choice, few)
    return name


def begun_at() -> float:
    """When the sweep of this command began, by `time.perf_counter`; of none, now."""
    return begun[0][1] if begun else time.perf_counter()


def forget(going_on: bool = False) -> None:
    """No sweep has begun. going_on: the command is `dlrun resume`, which begins nothing new."""
    global resuming
    resuming = going_on
    ended.clear()
    begun.clear()
    parts.clear()
