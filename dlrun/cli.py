"""The command line: a verb, or overrides for Hydra. Imports nothing heavy, so that help and mistakes are quick."""

from __future__ import annotations

import atexit
import gc
import inspect
import logging
import multiprocessing
import os
import platform
import re
import shlex
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from importlib.metadata import version
from io import StringIO, TextIOWrapper
from pathlib import Path
from typing import Any, cast

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

import dlrun
from dlrun import typed
from dlrun.arguments import arranged
from dlrun.catalogue import choices, conf_dir, description, groups
from dlrun.check import check
from dlrun.console import error, listing, say
from dlrun.errors import ConfigError, reason
from dlrun.lock import free_all
from dlrun.mistakes import readable
from dlrun.printable import printable_warning
from dlrun.records import SUMMARY, begun, discard, holds_run, write_summary
from dlrun.signals import INTERRUPTED, Ended, interruptible, obeyed, unconverted
from dlrun.streams import unbreakable
from dlrun.surroundings import keep_out
from dlrun.sweep.ending import complete_all, forget
from dlrun.torchrun import processes
from dlrun.words import did_you_mean

EXIT_CODES = {"finished": 0, "stopped_early": 0, "diverged": 1, "failed": 1, "refused": 2, "interrupted": INTERRUPTED}

_full_error = os.environ.get("HYDRA_FULL_ERROR") == "1"
statuses: list[str] = []  #: of the runs of this command, which its exit code tells


def main() -> None:
    """The command `dlrun`. Exit code 0, 1 for a failed run, 2 for a mistake in the command, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # in ASCII there is no ±, and a run does not end for want of one
            stream.reconfigure(errors="replace")
    unbreakable()
    keep_out()
    warnings.formatwarning = printable_warning
    with interruptible(_leave), obeyed():
        if processes() > 1:
            from dlrun.parallel import together

            code = together(_command)
        else:
            code = _command()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    gc.freeze()  # at its end Python would search all of torch for garbage, for half a second
    sys.exit(code)


def _leave() -> None:
    """What Ctrl-C does in the middle of an import: tell, and leave no folder of a run that never began."""
    os.write(2, f"dlrun: interrupted{_going_on()}\n".encode())
    free_all()
    if folder := _folder():
        discard(folder)


def leave_quietly() -> None:
    """End after Ctrl-C, whatever libraries that were left in the middle of something would say at their end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with suppress(BaseException):
        atexit._run_exitfuncs()
    os._exit(EXIT_CODES["interrupted"])


def _command() -> int:
    logging.raiseExceptions = False  # of a full disk one message tells, and no traceback of a log file
    arguments = sys.argv[1:]
    typed.take(arguments)
    if "--version" in arguments:
        say(_version())
        return 0
    if arguments[:1] == ["help"]:  # dlrun help, dlrun help report
        arguments = [*arguments[1:], "--help"]
    if arguments and arguments[0] in VERBS:
        return _verb(arguments[0], arguments[1:])
    sys.argv[1:] = arguments
    return _train()


def _version() -> str:
    others = ", ".join(f"{name} {version(name)}" for name in ("torch", "hydra-core"))
    return f"dlrun {dlrun.__version__} ({others}, Python {platform.python_version()})"


def _train(resuming: bool = False) -> int:
    """What the overrides in sys.argv ask for; returns the exit code."""
    statuses.clear()
    forget(resuming)
    HydraConfig.instance().cfg = None  # of a command before this one in the same process
    try:
        from dlrun.loader import guarded

        sys.argv[1:] = arranged(sys.argv[1:], list(VERBS))
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
        error(f"ended by {signal.Signals(ended.signum).name}{_going_on()}")
        raise
    except KeyboardInterrupt:
        error(f"interrupted{_going_on()}")
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
            from dlrun.run import run

            if crowded:
                config.threads = 1 if config.threads == "auto" else config.threads
                with redirect_stdout(StringIO()), obeyed():
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
        logging.getLogger("dlrun").exception("the run failed")
        error(f"the run failed, {folder / 'dlrun.log'} has the details: {reason(problem)}")
        statuses.append("failed")
        if sweeping:
            _fail(folder, config, reason(problem))


def _fail(folder: Path, config: DictConfig, why: str) -> None:
    """What other processes read of a run of a sweep that failed before it had a folder."""
    if not (folder / SUMMARY).exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_summary(folder, {"status": "failed", "name": config.name, "error": why})


def _unwritten(problem: OSError) -> str:
    """What the file system refused in the middle of a command, and how to go on."""
    folder = _folder()
    again = f"`dlrun resume {folder}` goes on" if folder and begun(folder) else "give the command again"
    why = f"{problem.strerror or problem}: {problem.filename or folder}"
    return f"{why}; what was written before is there, and once this is mended, {again}"


def _folder() -> Path | None:
    """That of the command's run or sweep, once it is known."""
    try:
        hydra = HydraConfig.get()
        return Path(hydra.sweep.dir if hydra.mode == RunMode.MULTIRUN else hydra.run.dir)
    except (ValueError, AttributeError, OmegaConfBaseException):
        return None


def _going_on() -> str:
    """How to go on after the end of a command that was not its own."""
    folder = _folder()
    return f"; `dlrun resume {shlex.quote(str(folder))}` goes on" if folder and begun(folder) else ""


def _verb(name: str, arguments: list[str]) -> int:
    if {"--help", "-h"} & set(arguments):
        say(inspect.getdoc(VERBS[name]) or "")
        return 0
    options = re.findall(r"^--[\w-]+", inspect.getdoc(VERBS[name]) or "", re.MULTILINE)
    try:
        for option in (argument.partition("=")[0] for argument in arguments if argument.startswith("-")):
            if option not in options:
                known = f"; there are {', '.join([*options, '--help'])}"
                raise ConfigError(f"{name} {option}: there is no such option{did_you_mean(option, options) or known}")
        with unconverted():
            code = VERBS[name](arguments)
        sys.stdout.flush()
        return code or int(name != "resume" and cast(Any, sys.stdout).lost)
    except ConfigError as mistake:
        error(str(mistake))
        return 2
    except OSError as problem:
        error(f"{problem.strerror or problem}: {problem.filename}")
        return 1
    except KeyboardInterrupt:
        error("interrupted")
        return EXIT_CODES["interrupted"]


def _list(arguments: list[str]) -> int:
    """dlrun list [GROUP...]

    Every choice of every group, or of these, with what it is and its paper.
    """
    known = [*groups(), "experiment"]
    for group in arguments or known:
        if group not in known:
            raise ConfigError(
                f"list {group}: there is no such group{did_you_mean(group, known)}; there are {', '.join(known)}"
            )
        say(f"{group}=")
        listing({name: description(conf_dir() / group / f"{name}.yaml") for name in choices(group)})
    return 0


def _plot(arguments: list[str]) -> int:
    """dlrun plot FOLDER...

    Draw the pictures of runs or sweeps again, from the CSV files in their folders.
    """
    if not arguments:
        raise ConfigError("plot: name the folders of one or more runs or sweeps")
    from dlrun.plots.pictures import draw

    for folder in map(Path, arguments):
        if holds_run(folder):
            pictures = draw(folder)
        else:
            from dlrun.report.report import redraw

            pictures = redraw(folder)
        for picture in pictures:
            say(str(picture))
    return 0


def _report(arguments: list[str]) -> int:
    """dlrun report FOLDER... [--metric NAME] [--target NAME=VALUE]

    The tables, statistics and pictures of sweeps or runs, on the terminal and as
    report.html, from the files in their folders.

    --metric NAME         what settings are compared by: accuracy, loss, ...
    --target NAME=VALUE   adds how soon a column reaches a value: val_accuracy=0.95
    """
    folders, options = [], {"--target": "", "--metric": ""}
    rest = iter(arguments)
    for argument in rest:
        option, _, value = argument.partition("=")
        if option in options:
            options[option] = value or next(rest, "")
            if not options[option]:
                raise ConfigError(f"report {option}: give a value after it")
        else:
            folders.append(argument)
    if not folders:
        raise ConfigError("report: name the folders of one or more sweeps or runs")
    column, _, value = options["--target"].partition("=")
    try:
        target = (column, float(value)) if column else None
    except ValueError:
        raise ConfigError(f"--target {column}={value}: give a column and a number, as val_accuracy=0.97") from None
    from dlrun.report.report import report

    report(folders, target=target, metric=options["--metric"] or None)
    return 0


def _status(arguments: list[str]) -> int:
    """dlrun status FOLDER

    How many of a sweep's runs are done, running, pending or failed, here or on a
    cluster.
    """
    if len(arguments) != 1:
        raise ConfigError("status: name the folder of one sweep")
    from dlrun.sweep.status import show

    show(Path(arguments[0]).absolute())
    return 0


def _resume(arguments: list[str]) -> int:
    """dlrun resume FOLDER [--retry-failed] [--config-dir=FOLDER]

    Go on with a run that was ended, or train what a sweep's folder lacks.

    --retry-failed        train failed runs of a sweep again, too
    --config-dir=FOLDER   where a launcher of your own is, as in the command
    """
    trusted = [argument for argument in arguments if "=" in argument]  # of the folder's commands, what may run code
    folders = [argument for argument in arguments if argument not in ("--retry-failed", *trusted)]
    if len(folders) != 1:
        raise ConfigError(
            "resume: name the folder of one run or sweep, --retry-failed to train failed runs again, and "
            "--config-dir=FOLDER for a launcher of your own"
        )
    from dlrun.escapes import quoted
    from dlrun.loader import refuse_command
    from dlrun.records import PLAN
    from dlrun.sweep.plan import commands

    if not (Path(folders[0]) / PLAN).exists():
        from dlrun.resume import command as of_run

        sweep = next((parent for parent in Path(folders[0]).absolute().parents if (parent / PLAN).exists()), None)
        if sweep:
            raise ConfigError(f"{folders[0]} is a run of a sweep: dlrun resume {sweep}")
        made = of_run(Path(folders[0]))
        typed.add(*made)
        sys.argv = [sys.argv[0], *made, *trusted]
        return _train()
    options = [f"hydra.sweep.dir={quoted(folders[0])}"]
    typed.add(*options)
    code = 0
    for command in commands(Path(folders[0])):
        refuse_command(Path(folders[0]) / PLAN, [override for override in command if override not in trusted])
        launchers = [each for each in command if each.startswith("hydra/launcher=")]
        own = not launchers or launchers[-1].startswith("hydra/launcher=stack")
        again = [f"hydra.{'launcher' if own else 'sweeper'}.retry_failed=true"] * ("--retry-failed" in arguments)
        places = [argument for argument in trusted if argument.startswith("--config-dir=")]
        sys.argv = [sys.argv[0], "-m", *places, *command, *options, *again]
        code = max(code, _train(resuming=True))
    return code


VERBS: dict[str, Callable[[list[str]], int]] = {
    "list": _list,
    "plot": _plot,
    "report": _report,
    "resume": _resume,
    "status": _status,
}
