"""What key=value words ask for: a run or a sweep, which Hydra composes."""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from pathlib import Path
from typing import cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from dlrun.command.arguments import arranged
from dlrun.command.mistakes import readable
from dlrun.config.catalogue import conf_dir
from dlrun.config.check import check
from dlrun.errors import ConfigError
from dlrun.files.surroundings import working_directory
from dlrun.folder.clearing import discard
from dlrun.folder.names import SUMMARY, begun, holds_run, shell_command
from dlrun.folder.records import write_summary
from dlrun.sweep.beginning import forget
from dlrun.sweep.ending import complete_all
from dlrun.terminal.console import error, say
from dlrun.terminal.exits import EXIT_CODES, statuses
from dlrun.terminal.signals import Ended, in_a_job, obeyed, unconverted
from dlrun.terminal.streams import unbreakable

_full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"


def train(verbs: Collection[str], resuming: bool = False) -> int:
    """What the overrides in sys.argv ask for; returns the exit code.

    verbs: what may have been meant by a word that is no override. resuming: whether the command is `dlrun resume`.
    """
    statuses.clear()
    forget(resuming)
    HydraConfig.instance().cfg = None  # of a command before this one in the same process
    try:
        from dlrun.config.loader import guarded

        sys.argv[1:] = arranged(sys.argv[1:], verbs)
        if not working_directory():
            raise ConfigError("the working directory has been deleted: change into another")
        with unconverted():
            with _hydra_raises(), guarded(), _shown_by_dlrun():
                _app()
            complete_all()
    except (HydraException, OmegaConfBaseException, ConfigError) as mistake:
        if _full_error:
            raise
        error(readable(mistake))
        return 2
    except OSError as problem:
        if _full_error:
            raise
        error(_unwritten(problem))
        return 1
    except Ended as ended:
        error(f"ended by {signal.Signals(ended.signum).name}{going_on()}")
        raise
    except KeyboardInterrupt:
        error(f"interrupted{going_on()}")
        return EXIT_CODES["interrupted"]
    return max((EXIT_CODES[status] for status in statuses), default=0)


@contextmanager
def _shown_by_dlrun() -> Iterator[None]:
    """What Hydra only shows (--help, --cfg, --info) may hold control codes of a stranger's, and has very long lines."""
    if not any(re.match("-[hci]|--(h|i|cf)", word) for word in sys.argv):
        yield
        return
    told = StringIO()
    try:
        with redirect_stdout(told):
            yield
    finally:
        say(told.getvalue(), indent=2)


@contextmanager
def _hydra_raises() -> Iterator[None]:
    """Lets Hydra raise its errors, to be told in dlrun's own words, instead of printing them and exiting."""
    before = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ["HYDRA_FULL_ERROR"]
        else:
            os.environ["HYDRA_FULL_ERROR"] = before


@hydra.main(config_path=str(conf_dir()), config_name="dlrun", version_base="1.3")
def _app(config: DictConfig) -> None:
    context = HydraConfig.get()
    folder = Path(context.runtime.output_dir)
    sweeping = context.mode == RunMode.MULTIRUN
    # Of joblib's and Ray's processes many share the terminal and the cores.
    crowded = sweeping and (multiprocessing.parent_process() is not None or "ray" in sys.modules)
    unbreakable()
    try:
        with unconverted():
            if sweeping:
                check(config, cast(DictConfig, context))
            from dlrun.job.run import run

            if crowded:
                config.threads = 1 if config.threads == "auto" else config.threads
                with in_a_job(), redirect_stdout(StringIO()), obeyed():
                    statuses.append(run(config, folder, sweeping))
                say(f"run {context.job.num}: {statuses[-1].replace('_', ' ')}")
            else:
                statuses.append(run(config, folder, sweeping))
            if sweeping and statuses[-1] == "interrupted":
                raise KeyboardInterrupt
    except KeyboardInterrupt:
        discard(folder)
        raise
    except ConfigError as mistake:
        discard(folder)
        error(f"run {context.job.num}: {mistake}" if sweeping else str(mistake))
        statuses.append("failed" if sweeping else "refused")
        if sweeping and not holds_run(folder):
            _fail(folder, config, str(mistake))
    except OSError as problem:
        if _full_error or sweeping:
            raise
        error(_unwritten(problem))
        statuses.append("failed")
    except Exception as problem:
        if _full_error:
            raise
        from dlrun.training.components import blamed

        logging.getLogger("dlrun").exception("the run failed")
        error(f"the run failed, {folder / 'dlrun.log'} has the details: {blamed(problem)}")
        statuses.append("failed")
        if sweeping:
            _fail(folder, config, blamed(problem))


def _fail(folder: Path, config: DictConfig, why: str) -> None:
    """What other processes read of a run of a sweep that failed before it had a folder."""
    if not (folder / SUMMARY).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_summary(folder, {"status": "failed", "name": config.name, "error": why})


def _unwritten(problem: OSError) -> str:
    """What the file system refused in the middle of a command, and how to go on."""
    folder = folder_of_command()
    again = f"`{shell_command('resume', folder)}` goes on" if folder and begun(folder) else "give the command again"
    why = f"{problem.strerror or problem}: {problem.filename or folder}"
    kept = "what was written before is there, and " if folder and folder.exists() else ""
    return f"{why}; {kept}once this is mended, {again}"


def folder_of_command() -> Path | None:
    """That of the command's run or sweep, once it is known."""
    try:
        hydra = HydraConfig.get()
        return Path(hydra.sweep.dir if hydra.mode == RunMode.MULTIRUN else hydra.run.dir)
    except (ValueError, AttributeError, OmegaConfBaseException):
        return None


def going_on() -> str:
    """How to go on after the end of a command that was not its own."""
    folder = folder_of_command()
    return f"; `{shell_command('resume', folder)}` goes on" if folder and begun(folder) else ""
