"""Downloads: several mirrors, a checksum, and a file that is whole or not there."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from uuid import uuid4

from dlrun.errors import ConfigError


def cache_folder() -> Path:
    """Where downloads are kept: $DLRUN_DATA, else the platform's cache folder for dlrun."""
    return _named_folder() or _platform_folder()


def search_folders() -> list[Path]:
    """Where data may already lie: $DLRUN_DATA, ./data, the platform's cache folder for dlrun."""
    named = _named_folder()
    return [*([named] if named else []), Path("data").absolute(), _platform_folder()]


def fetch(name: str, urls: Iterable[str], sha256: str, folder: Path) -> Path:
    """The file `folder/name`, downloaded from the first of the urls that serves the right bytes.

    A file already there is kept if its SHA-256 is right and replaced if not. The bytes go to a file of another
    name, which takes the final one only when they are complete and right: a process that is interrupted or runs
    beside another one harms nobody. Raises ConfigError with every url's reason where none of them serves.
    """
    import pooch

    file, part = folder / name, folder / f"{name}.{uuid4().hex}.part"
    if file.is_file() and pooch.file_hash(str(file)) == sha256:
        return file
    make_writable(folder, part)
    failures = []
    try:
        for url in urls:
            try:
                _download(url, part)
            except OSError as error:  # requests' exceptions are OSErrors too
                failures.append(f"  {url}: {_root(error)}")
                continue
            found = pooch.file_hash(str(part))
            if found == sha256:
                os.replace(part, file)
                return file
            failures.append(f"  {url}: wrong content, SHA-256 {found} instead of {sha256}")
    finally:
        part.unlink(missing_ok=True)
    reasons = "\n".join(failures)
    raise ConfigError(f"{name} could not be downloaded:\n{reasons}\nFetch it elsewhere and save it as {file}")


def make_writable(folder: Path, part: Path) -> None:
    """Make the folder, and an empty file `part` in it; raises ConfigError where that is not allowed."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        part.touch()
    except OSError as error:
        raise ConfigError(f"cannot write to {folder} ({error}): set DLRUN_DATA to a folder of yours") from error


def _named_folder() -> Path | None:
    name = os.environ.get("DLRUN_DATA")
    return Path(name).expanduser().absolute() if name else None


def _platform_folder() -> Path:
    import pooch

    return Path(pooch.os_cache("dlrun"))


def _download(url: str, part: Path) -> None:
    import pooch

    bar = _Bar(url) if sys.stderr.isatty() else None
    try:
        pooch.HTTPDownloader(progressbar=bar or False, chunk_size=1 << 16)(url, str(part), None)
    finally:
        if bar:
            bar.close()


def _root(error: BaseException) -> BaseException:
    """The first cause: "connection refused" rather than the four layers of wrapping around it."""
    while error.__context__ is not None:
        error = error.__context__
    return error


class _Bar:
    """rich's progress bar under the names that pooch's downloader calls."""

    def __init__(self, url: str) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
        self.total = 0  #: bytes; the downloader sets it once the server has told
        self.progress = Progress(*columns, console=Console(stderr=True))
        self.task = self.progress.add_task(url, total=None)
        self.progress.start()

    def update(self, size: int) -> None:
        self.progress.update(self.task, total=self.total, advance=size)

    def reset(self) -> None:
        self.progress.reset(self.task)

    def close(self) -> None:
        self.progress.stop()
