"""One process at a time in a folder; a process that died holds nothing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dlrun.errors import ConfigError
from dlrun.files import refuse_links
from dlrun.records import LOCK, unwritable


@contextmanager
def locked(folder: Path, patience: float = 0) -> Iterator[None]:
    """Make the folder where there is none, and keep other processes out of it.

    patience: seconds to wait for one that is at work there.

    Raises ConfigError if there is one, or the folder cannot be written.
    """
    from filelock import FileLock, Timeout

    try:
        folder.mkdir(parents=True, exist_ok=True)
        refuse_links(folder, LOCK)  # which would empty what it leads to
        lock = FileLock(folder / LOCK)
        lock.acquire(timeout=patience)
    except Timeout:
        raise ConfigError(
            f"another process is at work in {folder}: wait for it, end it, or choose another folder"
        ) from None
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        yield
    finally:
        (folder / LOCK).unlink(missing_ok=True)  # while it is still held, so that it is this process's own
        lock.release()
