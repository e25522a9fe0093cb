"""Files that are replaced in one step: readers see the old one or the new."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from dlrun.errors import ConfigError


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """A new file that takes the place of `path` when the block ends well: readers see the old file or the new.

    Its name is nobody's to foresee, and a link at `path` is replaced itself.

    durable: wait until it would outlast a power cut.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    with naming(path):
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield part
            if durable:
                to_disk(part)
            os.replace(part, path)
            if durable:
                to_disk(path.parent)
        finally:
            with suppress(OSError):  # what went wrong before says more
                part.unlink(missing_ok=True)


def refuse_existing(path: Path) -> None:
    """Raise ConfigError where there is something that a new file would take the place of, or no folder for it."""
    if path.exists() or path.is_symlink():
        raise ConfigError(f"{path} is there already, and is not overwritten: move it away, or name another --output")
    if not path.parent.is_dir():
        raise ConfigError(f"{path}: there is no folder {path.parent}: make it, or name another --output")


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the file system say which file it was: of a full disk, Python does not tell."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
