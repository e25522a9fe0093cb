"""The command line: a verb, or overrides for Hydra. Imports nothing heavy, so that help and mistakes are quick."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import platform
import signal
import sys
import warnings
from contextlib import suppress
from importlib.metadata import version
from io import TextIOWrapper

import dlrun
from dlrun.command import after
from dlrun.command.start import folder_of_command, going_on, train
from dlrun.command.verbs import VERBS, run_verb
from dlrun.config import typed
from dlrun.errors import ConfigError
from dlrun.files.surroundings import keep_out
from dlrun.folder.clearing import discard
from dlrun.folder.lock import free_all
from dlrun.terminal.console import error, say
from dlrun.terminal.exits import EXIT_CODES
from dlrun.terminal.printable import printable_warning
from dlrun.terminal.signals import interruptible, obeyed
from dlrun.terminal.streams import unbreakable
from dlrun.training.torchrun import processes


def main() -> None:
    """The command `dlrun`. Exit code 0, 1 for a failed run, 2 for a mistake in the command, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # in ASCII there is no ±, and a run does not end for want of one
            stream.reconfigure(errors="replace")
    keep_out()
    warnings.formatwarning = printable_warning
    unbreakable()
    with interruptible(_leave), obeyed():
        if processes() > 1:
            from dlrun.processes.parallel import together

            code = together(_command)
        else:
            code = _command()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    gc.freeze()  # at its end Python would search all of torch for garbage, for half a second
    sys.exit(code)


def _leave(signum: int) -> None:
    """What a signal does in the middle of an import: tell, and leave no folder of a run that never began."""
    how = "interrupted" if signum == signal.SIGINT else f"ended by {signal.Signals(signum).name}"
    os.write(2, f"dlrun: {how}{going_on()}\n".encode())
    free_all()
    if folder := folder_of_command():
        discard(folder)


def leave_quietly() -> None:
    """End after Ctrl-C, whatever libraries that were left in the middle of something would say at their end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    with suppress(BaseException):
        atexit._run_exitfuncs()
    os._exit(EXIT_CODES["interrupted"])


def _command() -> int:
    logging.raiseExceptions = False  # of a full disk one message tells, and no traceback of a log file
    try:
        arguments, command = after.taken([typed.whole(word) for word in sys.argv[1:]], list(VERBS))
    except ConfigError as mistake:
        error(str(mistake))
        return 2
    typed.take(arguments)
    code = _done(arguments)
    if command:
        after.ended(command, folder_of_command(), code)
    return code


def _done(arguments: list[str]) -> int:
    """What these words ask for, done; returns the exit code."""
    if "--version" in arguments:
        say(_version())
        return 0
    if arguments[:1] == ["help"]:  # dlrun help, dlrun help report
        arguments = [*arguments[1:], "--help"]
    if arguments and arguments[0] in VERBS:
        return run_verb(arguments[0], arguments[1:])
    sys.argv[1:] = arguments
    return train(VERBS)


def _version() -> str:
    others = ", ".join(f"{name} {version(name)}" for name in ("torch", "hydra-core"))
    return f"dlrun {dlrun.__version__} ({others}, Python {platform.python_version()})"
