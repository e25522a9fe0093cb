"""The files of a run, wherever they lie: in its own folder, or packed with others of its sweep."""

from __future__ import annotations

import os
from pathlib import Path
from shlex import quote

from dlrun.errors import ConfigError
from dlrun.files import opening
from dlrun.files.opening import LARGEST
from dlrun.folder.names import LOCK, shell_command
from dlrun.folder.names import holds_run as holds_files
from dlrun.folder.packs import place_of, sweep_of


def read_bytes(folder: Path, name: str, largest: int = LARGEST) -> bytes:
    """The contents of a run's file; raises what `opening.read_bytes` raises, and Damaged where its pack is."""
    try:
        return opening.read_bytes(folder, name, largest)
    except (FileNotFoundError, NotADirectoryError):
        if place := place_of(folder):
            pack, row = place
            return pack.read(row, name)
        raise


def read(folder: Path, name: str, largest: int = LARGEST) -> str:
    """The text of a run's file; raises what `read_bytes` raises, and ConfigError where it is not UTF-8."""
    return opening.decoded(read_bytes(folder, name, largest), f"{folder}/{name}")


def names(folder: Path) -> list[str]:
    """The files of a run, by their paths in its folder."""
    if place := place_of(folder):
        pack, row = place
        return [name for name in pack.files if pack.has(row, name)]
    found = [(Path(above).relative_to(folder), file) for above, _, files in os.walk(folder) for file in files]
    return [(above / file).as_posix() for above, file in found if file != LOCK]


def exists(folder: Path, name: str) -> bool:
    """Whether a run has such a file."""
    if (folder / name).exists():
        return True
    place = place_of(folder)
    return place is not None and place[0].has(place[1], name)


def holds_run(folder: Path) -> bool:
    """Whether a run was written here before, or lies packed."""
    return holds_files(folder) or place_of(folder) is not None


def refuse_packed(folder: Path, what: str) -> None:
    """Raise ConfigError for a packed run, which would have this folder. what: for which that is needed."""
    folder = folder.absolute()
    if place_of(folder) and (sweep := sweep_of(folder)):
        unpack = f"{shell_command('unpack', sweep)} {quote(folder.relative_to(sweep).as_posix())}"
        raise ConfigError(f"{what}{folder}: this run is packed: `{unpack}` gives it its folder, for this to go on")
