"""Standard output and standard error, which may be closed, full or a pipe that nobody reads: no reason to do less."""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from typing import Any, TextIO


class Unbroken:
    """A stream to which nothing is written any more once that fails; everything else is the stream's own.

    broken: what failed, if it did.
    """

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.broken: OSError | None = None

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError as problem:
            self._give_up(problem)
            return len(text)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as problem:
            self._give_up(problem)

    @property
    def lost(self) -> bool:
        """Whether something could not be written that somebody may be waiting for: a pipe's reader was content."""
        return self.broken is not None and self.broken.errno != errno.EPIPE

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _give_up(self, problem: OSError) -> None:
        """Let nothing take what is still in the buffer, and all that follows, from this process and its children."""
        self.broken = problem
        with suppress(OSError), open(os.devnull, "w") as nothing:
            os.dup2(nothing.fileno(), self.stream.fileno())
        if self.lost and self is sys.stdout:
            why = f"standard output cannot be written ({problem.strerror}); the command goes on"
            print(f"dlrun: {why}", file=sys.stderr)


def unbreakable() -> None:
    """From now on, nothing that is printed raises. What was closed is nothing, so that no file takes its number."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "w" if number else "r"))  # noqa: SIM115
    for name in ("stdout", "stderr"):
        if not isinstance(getattr(sys, name), Unbroken):
            setattr(sys, name, Unbroken(getattr(sys, name)))
