"""How a command ends: with a code, by the statuses of its runs; or refused, before anything is done."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

from omegaconf.errors import OmegaConfBaseException

from dlrun.errors import ConfigError
from dlrun.terminal.console import error
from dlrun.terminal.signals import INTERRUPTED

EXIT_CODES = {
    "finished": 0, "stopped_early": 0, "pruned": 0, "diverged": 1, "failed": 1, "refused": 2,
    "interrupted": INTERRUPTED,
    "undrawn": 1,  # a run that is complete, but for its pictures
}  # fmt: skip
statuses: list[str] = []  #: of the runs of this command, which its exit code tells


@contextmanager
def refusing() -> Iterator[None]:
    """Ends the program with 2 at any mistake, whether or not it can be told: Hydra would only warn, and go on."""
    try:
        yield
    except Exception as problem:
        try:
            error(_said(problem))
        finally:
            sys.exit(2)


@contextmanager
def staying() -> Iterator[None]:
    """Around what may be code of the user's own, whose sys.exit() is its failure, and no end of the command."""
    try:
        yield
    except SystemExit as left:
        raise RuntimeError(f"sys.exit({'' if left.code is None else repr(left.code)}) was called") from left


def _said(problem: Exception) -> str:
    if isinstance(problem, ConfigError | OmegaConfBaseException):
        return str(problem)
    if isinstance(problem, OSError):
        return f"{problem.filename}: {problem.strerror}"
    return f"the config cannot be checked: {problem!r}"
