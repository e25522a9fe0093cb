"""One process at a time in a folder; a process that died holds nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError
from dlrun.files.opening import refuse_links
from dlrun.folder.names import LOCK
from dlrun.folder.records import unwritable

_held: list[Any] = []  #: this process's locks


class Busy(ConfigError):
    """Another process is at work in a folder."""


@contextmanager
def locked(
    folder: Path, patience: float = 0, tell: Callable[[str], None] | None = None, new: bool = True
) -> Iterator[None]:
    """Make the folder where there is none, and keep other processes out of it.

    patience: seconds to wait for one that is at work there. tell: told that this waits, if it does. new: whether
    it is a folder for new runs, of which there could be another.

    Raises Busy if there is one, ConfigError if the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_links(folder, LOCK)  # which would empty what it leads to
        lock = FileLock(folder / LOCK)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            if tell and patience:
                tell(f"waiting for another process to leave {folder}")
            lock.acquire(timeout=patience)
    except Timeout:
        raise Busy(f"another process is at work in {folder}: wait for it, end it, or choose another folder") from None
    except OSError as error:
        raise unwritable(folder, error, new) from error
    _held.append(lock)
    try:
        yield
    finally:
        _free(lock)


def free_all() -> None:
    """Let go of all that this process holds, which is about to end."""
    while _held:
        _free(_held[-1])


def _free(lock: Any) -> None:
    _held.remove(lock)
    with suppress(OSError):
        Path(lock.lock_file).unlink(missing_ok=True)  # while it is still held, so that it is this process's own
    lock.release()
