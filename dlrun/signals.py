"""Signals that end a training wait until its step is done and saved, and then do what they would have done."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: what schedulers and users send to end a process; not every system has all of them
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]


class Ended(BaseException):
    """A signal whose default is to end the process came; `obeyed` lets it, when all that was open is closed."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by signal {signum}")
        self.signum = signum


class Deferred:
    """A context in which these signals wait to be asked for; a second Ctrl-C does not wait.

    came: the number of the signal that waits, 0 for none.
    interrupted: whether Ctrl-C came.
    """

    def __init__(self, *signums: int) -> None:
        self.signums = signums
        self.came, self.interrupted = 0, False
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> Deferred:
        try:
            for signum in self.signums:
                self._previous[signum] = signal.signal(signum, self._wait)
        except ValueError:  # not the main thread, which alone receives signals
            pass
        return self

    def __exit__(self, *exception: object) -> None:
        for signum, previous in self._previous.items():
            signal.signal(signum, previous)

    def pass_on(self) -> None:
        """Do what the signal that waits would have done without this; after Ctrl-C, that is left to the caller.

        Raises Ended where that is to end the process, or what a handler raises that was there before.
        """
        signum, self.came = self.came, 0
        if signum in (0, signal.SIGINT):
            return
        previous = self._previous[signum]
        if previous is signal.SIG_DFL:
            raise Ended(signum)
        if callable(previous):
            previous(signum, None)

    def _wait(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGINT:
            if self.interrupted:
                raise KeyboardInterrupt
            self.interrupted = True
        self.came = signum


@contextmanager
def obeyed() -> Iterator[None]:
    """Around all that has to be closed: a signal that ended a training ends the process by its own number."""
    try:
        yield
    except Ended as ended:
        signal.signal(ended.signum, signal.SIG_DFL)
        signal.raise_signal(ended.signum)
        raise  # should it be blocked
