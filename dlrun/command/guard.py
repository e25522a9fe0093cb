"""Ends the program before Hydra makes a folder, where a command or its config is wrong or has nothing left to do."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, NoReturn

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, read_write

from dlrun.command.arguments import SUMMARY
from dlrun.config import typed
from dlrun.config.check import check, resolved
from dlrun.config.options import BASIC, OWN, check_single, check_sweep, estimating
from dlrun.errors import ConfigError
from dlrun.files.opening import refuse_any_link, refuse_links
from dlrun.folder.clearing import refuse_foreign_files, refuse_foreign_sweep, refuse_present
from dlrun.folder.names import LOCK, PLAN, curves_of, holds_run
from dlrun.folder.resume import COMPLETE, standing, told_of_complete
from dlrun.terminal.console import say
from dlrun.terminal.exits import refusing
from dlrun.training.torchrun import processes

#: what is written into a sweep's folder as it stands, and not put in the place of what was there
SWEEPS = ("multirun.yaml", "sweep.csv", LOCK, ".slurm", ".submitit", "tuning", "final")


class Guard(Callback):
    """Stands in Hydra's callbacks: a wrong config ends the program with 2 before Hydra makes the run's folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with refusing():
            if processes() > 1:
                raise ConfigError(
                    "a sweep finds its processes itself: start dlrun -m, without torchrun, which is for a single run"
                )
            HydraConfig.instance().set_config(config)  # for ${hydra:...} in the sweep's folder
            check_sweep(config)
            if estimating() and config.hydra.sweeper._target_ not in (BASIC, f"{OWN}sweeper.Sweeper"):
                raise ConfigError(
                    f"--plan: hydra/sweeper={config.hydra.runtime.choices['hydra/sweeper']} finds its runs as it goes; "
                    "what can be told before are sweeps whose runs are known"
                )
            _refuse_interpolation("hydra.sweep.dir", config.hydra.sweep.dir)
            folder = Path(config.hydra.sweep.dir)
            if holds_run(folder):
                raise ConfigError(f"the folder {folder} holds a run that is no sweep's: choose another hydra.sweep.dir")
            refuse_links(folder, *SWEEPS)
            refuse_foreign_sweep(folder)
            if not any(config.hydra[part]._target_.startswith(OWN) for part in ("launcher", "sweeper")):
                refuse_any_link(folder)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with refusing():
            HydraConfig.instance().set_config(config)  # for ${hydra:...} in the config
            check_single(config.hydra)
            _refuse_interpolation("hydra.run.dir", config.hydra.run.dir)
            check(config, config.hydra)
            if SUMMARY in typed.words:
                _outline(config)
            if estimating():
                _estimate(config)
            folder = Path(config.hydra.run.dir)
            if (folder / PLAN).exists():
                raise ConfigError(
                    f"hydra.run.dir={folder}: a sweep is there, whose folder is no run's: choose another, or add a run "
                    f"to it by dlrun -m ... hydra.sweep.dir={folder}"
                )
            refuse_foreign_files(folder)
            status = standing(folder, values := resolved(config))
            if status == "new":
                refuse_present(folder, values.get("diagnostics") or (), values.get("regularizer") or ())
        if status in COMPLETE and (config.plots == "none" or (folder / curves_of(values)).exists()):
            say(told_of_complete(folder))
            sys.exit(1 if status == "diverged" else 0)
        if status != "new" and (folder / ".hydra").is_dir():
            with read_write(config.hydra):
                config.hydra.output_subdir = None  # Hydra's record stays what was typed at first


def _outline(config: DictConfig) -> NoReturn:
    """What `dlrun --summary` asks for, and the end of the program."""
    if processes() > 1:
        raise ConfigError("--summary trains nothing, and takes one process: start it without torchrun")
    from dlrun.job.outline import outline

    outline(config)
    sys.exit(0)


def _estimate(config: DictConfig) -> NoReturn:
    """What `dlrun --plan` asks for, and the end of the program."""
    if processes() > 1:
        raise ConfigError("--plan trains nothing, and takes one process: start it without torchrun")
    from dlrun.sweep.estimate import tell_run

    tell_run(resolved(config))
    sys.exit(0)


def _refuse_interpolation(key: str, folder: str) -> None:
    """Raise ConfigError for a folder that Hydra, which writes its name into configs, would take for a reference."""
    if "${" in folder:
        raise ConfigError(f"{key}={folder}: a folder's name may not hold ${{")
