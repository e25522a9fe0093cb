"""Files that may be a stranger's: links in a folder are not followed, and only regular files of some size are read."""

from __future__ import annotations

import errno
import io
import os
import stat
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, TextIO

from dlrun.errors import ConfigError

LARGEST = 2**28  #: bytes of a text that is read: a metrics.csv of a million rows

_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_NO_WAIT = getattr(os, "O_NONBLOCK", 0)  # a pipe without a writer is opened, and refused, at once
_KINDS = {
    stat.S_IFLNK: "is a link, and links that lie in a folder are not followed: put what it leads to in its place",
    stat.S_IFDIR: "is a folder, and a file is wanted",
    stat.S_IFIFO: "is a pipe, and a file is wanted",
}


def inside(folder: Path, name: str | Path) -> Path:
    """The path of a file below a folder. Raises ConfigError where a link on the way, or the name, would lead elsewhere.

    The folder itself, and what is above it, is as the user has it, links and all.
    """
    return Path(_inside(folder, name))


def _inside(folder: str | Path, name: str | Path) -> str:
    """`inside` as a text: a report asks for ten thousands of files, and a Path takes longer than to read one."""
    path = str(folder)
    if os.path.isabs(name):
        raise ConfigError(f"{name} does not lie in {folder}")
    for part in str(name).split("/"):
        if part == "..":
            raise ConfigError(f"{name} does not lie in {folder}")
        path = f"{path}/{part}"
        if os.path.islink(path):
            raise ConfigError(f"{path} {_KINDS[stat.S_IFLNK]}")
    return path


def refuse_links(folder: Path, *names: str) -> None:
    """Raise ConfigError where one of these names in a folder is a link, or a file in it that has a name elsewhere too.

    Before something is written to them, be it by other programs such as Hydra.
    """
    for name in names:
        path = inside(folder, name)
        with suppress(FileNotFoundError, NotADirectoryError):
            _refuse(path, os.lstat(path), writing=True)


def refuse_any_link(folder: Path) -> None:
    """Raise ConfigError where anything below a folder is a link, before programs write there that would follow it."""
    for above, folders, files in os.walk(folder):
        refuse_links(Path(above), *folders, *files)


def read_bytes(folder: Path, name: str, largest: int = LARGEST) -> bytes:
    """The contents of a file below a folder.

    Raises FileNotFoundError, ConfigError where it is no regular file, larger than `largest` or behind a link, and
    OSError where the system does not let it be read; each names the file.
    """
    return _contents(_inside(folder, name), largest, links=False)


def read(folder: Path, name: str, largest: int = LARGEST) -> str:
    """The text of a file below a folder; raises what `read_bytes` raises, and ConfigError where it is not UTF-8."""
    return decoded(read_bytes(folder, name, largest), f"{folder}/{name}")


def beginning(folder: Path, name: str, length: int = 2**16) -> str:
    """The first bytes of a text file below a folder, as `read`; what is not UTF-8 is replaced."""
    with os.fdopen(_opened(inside(folder, name), os.O_RDONLY), "rb") as file:
        return file.read(length).decode("utf-8", "replace")


def read_named(path: Path, largest: int = LARGEST) -> str:
    """The text of a file that the user has named, or put among his configs: links are followed. Otherwise as `read`."""
    return decoded(_contents(str(path), largest, links=True), str(path))


def appending(path: Path) -> TextIO:
    """A text file that grows at its end. Raises ConfigError where the path is a link or no regular file."""
    return io.TextIOWrapper(io.FileIO(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "a"), "utf-8", newline="")


def append_bytes(path: Path, content: bytes) -> None:
    """Add to a file's end, or make it. Raises ConfigError where the path is a link or no regular file."""
    with os.fdopen(_opened(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as file:
        file.write(content)


def truncate(path: Path, length: int) -> None:
    """Cut a file off after so many bytes. Raises ConfigError where the path is a link or no regular file."""
    descriptor = _opened(path, os.O_WRONLY)
    try:
        os.ftruncate(descriptor, length)
    finally:
        os.close(descriptor)


def opened(folder: Path, name: str) -> BinaryIO:
    """A file below a folder, to be read in parts; raises what `read_bytes` raises."""
    return os.fdopen(_opened(_inside(folder, name), os.O_RDONLY), "rb")


def _contents(path: str, largest: int, links: bool) -> bytes:
    with os.fdopen(_opened(path, os.O_RDONLY, links), "rb") as file:
        if os.fstat(file.fileno()).st_size > largest:
            raise ConfigError(f"{path} is too large: more than {largest:,} bytes")
        return file.read()


def decoded(content: bytes, path: str) -> str:
    """The text that is in a file. Raises ConfigError where it is not UTF-8."""
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as problem:
        raise ConfigError(f"{path} is no text: {problem}") from problem


def _opened(path: str | Path, flags: int, links: bool = False) -> int:
    """A descriptor of a regular file; what else there is, such as a device, is not even opened."""
    writing = bool(flags & (os.O_WRONLY | os.O_RDWR))
    with suppress(FileNotFoundError):  # told below, or the file is made
        _refuse(path, os.stat(path, follow_symlinks=links), writing)
    try:
        descriptor = os.open(path, flags | _NO_WAIT | (0 if links else _NO_LINK) | getattr(os, "O_CLOEXEC", 0), 0o666)
    except OSError as problem:
        if problem.errno == errno.ELOOP and not links:
            raise ConfigError(f"{path} {_KINDS[stat.S_IFLNK]}") from problem
        raise
    try:
        _refuse(path, os.fstat(descriptor), writing)
    except ConfigError:
        os.close(descriptor)
        raise
    return descriptor


def _refuse(path: str | Path, found: os.stat_result, writing: bool) -> None:
    kind = stat.S_IFMT(found.st_mode)
    if writing and kind == stat.S_IFDIR:
        return
    if kind != stat.S_IFREG:
        raise ConfigError(f"{path} {_KINDS.get(kind, 'is no regular file')}")
    if writing and found.st_nlink > 1:
        raise ConfigError(
            f"{path} has another name elsewhere (a hard link), where it would be changed too: put a copy in its place"
        )
