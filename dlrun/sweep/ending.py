"""What any sweep has, whichever its launcher and sweeper: a beginning, and an end when all its batches are over."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from hydra.core.override_parser.types import Quote, QuotedString
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write

OPTUNA = "hydra_plugins.hydra_optuna_sweeper.optuna_sweeper.OptunaSweeper"
OWN = "hydra_plugins.dlrun_stack."

#: the folders of the runs that the command asked for and that have ended, by their sweep's folder
ended: dict[Path, list[Path]] = {}
_begun: list[tuple[DictConfig, float]] = []  #: the sweep of this command, and when it began


class Beginning(Callback):
    """Stands in Hydra's callbacks."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Take note of the sweep, give it one folder, and put dlrun between Optuna's sweeper and the launcher."""
        _begun[:] = [(config, time.perf_counter())]
        if OmegaConf.is_interpolation(config.hydra.sweep, "dir"):
            # The name in it holds choices, which differ from job to job, and Hydra composes each job anew.
            folder = QuotedString(str(config.hydra.sweep.dir), Quote.single).with_quotes()
            with read_write(config.hydra):
                config.hydra.overrides.hydra.append(f"hydra.sweep.dir={folder}")
                config.hydra.sweep.dir = str(config.hydra.sweep.dir)
        if config.hydra.sweeper._target_ == OPTUNA:
            options = OmegaConf.to_container(config.hydra.sweeper)
            own = {"_target_": f"{OWN}optuna.Optuna", "_recursive_": False, "options": options}
            with read_write(config.hydra):
                config.hydra.sweeper = OmegaConf.create(own)


def forget() -> None:
    """No sweep has begun."""
    ended.clear()
    _begun.clear()


def complete_all() -> None:
    """Complete the folders of the sweep that has come to its end; of none, nothing.

    Where launcher and sweeper are both of others, all runs that are there are taken.
    """
    for config, started in _begun:
        from dlrun.report.collect import find
        from dlrun.sweep.launch import complete
        from dlrun.sweep.tuning import FINAL, TUNING, common_target

        if not any(config.hydra[part]._target_.startswith(OWN) for part in ("launcher", "sweeper")):
            folder = Path(config.hydra.sweep.dir).absolute()
            ended[folder] = list(find([folder]).values())
        for folder, runs in ended.items():
            tuned = folder.name == FINAL and folder.with_name(TUNING) in ended
            complete(folder, runs, started, common_target(runs) if tuned else None)
