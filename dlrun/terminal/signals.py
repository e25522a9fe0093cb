"""Signals that end a command: during a training they wait until its step is done and saved, and Ctrl-C never shows how
a command is built."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

#: what schedulers, users and a terminal that is closed send to end a process; not every system has all of them
ENDING = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2") if hasattr(signal, name)]
LATER = 0.01  #: seconds after which a Ctrl-C that was lost is tried again, elsewhere
INTERRUPTED = 130  #: the exit code after Ctrl-C

_came = False  #: whether Ctrl-C came, whatever became of the exception
_between_jobs = False  #: whether this process ignores Ctrl-C until its next job


class Ended(BaseException):
    """A signal whose default is to end the process came; `obeyed` lets it, when all that was open is closed."""

    def __init__(self, signum: int) -> None:
        super().__init__(f"ended by signal {signum}")
        self.signum = signum


class Deferred:
    """A context in which these signals wait to be asked for, but for those ignored (nohup); a second Ctrl-C does not.

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
                if signal.getsignal(signum) is not signal.SIG_IGN:
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


def as_in_a_child() -> None:
    """What the parent does at signals is not for its children, which it interrupts by SIGINT; ignored ones stay so."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for signum in ENDING:
        if signal.getsignal(signum) is not signal.SIG_IGN:
            signal.signal(signum, signal.SIG_DFL)


@contextmanager
def in_a_job() -> Iterator[None]:
    """Around a job in a process of another launcher's: Ctrl-C interrupts it. Between two jobs the process ignores it,
    since the launcher's own code would print where it was, and whoever started the process ends it."""
    global _between_jobs
    mine = signal.getsignal(signal.SIGINT) is not signal.SIG_IGN or _between_jobs
    if not mine or threading.current_thread() is not threading.main_thread():
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _between_jobs = True


@contextmanager
def interruptible(leave: Callable[[int], None]) -> Iterator[None]:
    """In this context Ctrl-C raises KeyboardInterrupt, and a signal whose default is to end the process `Ended`; in an
    import, which they would leave half done, `leave` is told of the signal, and the process ends at once."""
    global _came
    _came = False

    def interrupt(signum: int, frame: FrameType | None) -> None:
        global _came
        _came = _came or signum == signal.SIGINT
        if _importing(frame):
            try:
                leave(signum)
            finally:
                if signum == signal.SIGINT:
                    os._exit(INTERRUPTED)
                signal.signal(signum, signal.SIG_DFL)
                signal.raise_signal(signum)
        raise KeyboardInterrupt if signum == signal.SIGINT else Ended(signum)

    def unraisable(lost: sys.UnraisableHookArgs) -> None:
        if lost.exc_type in (KeyboardInterrupt, Ended):  # raised where Python can only print it: once more
            signum = lost.exc_value.signum if isinstance(lost.exc_value, Ended) else signal.SIGINT
            threading.Timer(LATER, os.kill, (os.getpid(), signum)).start()
        else:
            hook(lost)

    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, *ENDING)}
    before = {
        signum: handler
        for signum, handler in before.items()
        if handler is signal.SIG_DFL or (signum == signal.SIGINT and handler is not signal.SIG_IGN)
    }
    hook, sys.unraisablehook = sys.unraisablehook, unraisable
    for signum in before:
        signal.signal(signum, interrupt)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        sys.unraisablehook = hook


@contextmanager
def unconverted() -> Iterator[None]:
    """What a library makes of Ctrl-C, such as an ImportError, is a KeyboardInterrupt again."""
    try:
        yield
    except (Exception, SystemExit) as problem:
        if _came:
            raise KeyboardInterrupt from problem
        raise


def _importing(frame: FrameType | None) -> bool:
    while frame:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False
