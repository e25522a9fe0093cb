"""A large table as the numbers that it became, kept so that the next start need not read its file again."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.download import cache_folder
from dlrun.datasets.mapped import Mapped
from dlrun.datasets.tables.columns import Column
from dlrun.terminal.console import amount
from dlrun.terminal.printable import in_line

LARGE = 2**26  #: numbers beyond which a table is kept: 268 MB as float32, as of images that stay bytes
ABANDONED = 86400  #: seconds after which nobody goes on with a folder that was begun
ROOM = 2**34  #: bytes that all of them may take
WRITTEN = 2**20  #: numbers that are in the memory at a time while they are written
NAMED = 40  #: letters of a file's name that its folder has
OWN = re.compile(r".*-[0-9a-f]{32}|\..*-[0-9a-f]{32}\.[0-9a-f]{32}", re.DOTALL)  #: a folder's name, finished or not
INPUTS, TARGETS, TOLD = "inputs.npy", "targets.npy", "samples.json"


def place_of(file: Path, asked: Mapping[str, Any]) -> Path:
    """The folder in the cache of what this file became, read as it was asked for.

    A file is known again by its path, size, times of change and inode; the inode's time no program can set back.
    """
    state = file.stat()
    known = [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino]
    key = repr([_readers(), os.path.realpath(file), known, sorted(asked.items())])
    name = file.stem.lstrip(".")[:NAMED]
    return cache_folder() / "tables" / f"{name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}"


@cache
def _readers() -> list[str]:
    """What reads tables, of which another version may read them otherwise."""
    sources = sorted([*Path(__file__).parent.glob("*.py"), Path(__file__).parent.with_name("table.py")])
    own = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()
    return [own, *(metadata.version(package) for package in ("numpy", "pandas"))]


def kept(place: Path) -> Samples | None:
    """What `keep` wrote there, its inputs mapped into memory; None where it is not there, or not as it was written."""
    try:
        told = json.loads((place / TOLD).read_text(encoding="utf-8"))
        if told.pop("written") != _digest(place, told):
            return None
        digest = told.pop("digest")
        inputs = np.load(place / INPUTS, mmap_mode="r", allow_pickle=False)
        targets = np.load(place / TARGETS, allow_pickle=False)
        mapped = Mapped(np.asarray(inputs), np.array(told.pop("bounds"), np.float64), told.pop("holed"))
        samples = Samples(mapped, targets, **told)
    except Exception:  # whatever a damaged file makes them raise: it is read anew
        return None
    samples.digest = digest
    with suppress(OSError):
        os.utime(place)  # those used longest ago make room
    return samples


def keep(place: Path, parts: Sequence[tuple[Column, np.ndarray]], samples: Samples) -> Samples:
    """Write the samples into a folder that is whole or not there; the same samples, their inputs mapped from it.

    parts: what the inputs are made of: columns, and the `Column.values` of each. They are written as float32 where that
        holds all of them exactly.

    Raises OSError where there is no room, or no right to write.
    """
    rows, features = len(samples.targets), len(samples.feature_names)
    numbers = [values for column, values in parts if column.kind != "category"]
    dtype = np.dtype("<f4" if all(map(_is_float32, numbers)) else "<f8")
    new, aside = (place.with_name(f".{place.name}.{uuid4().hex}") for _ in range(2))
    new.mkdir(parents=True)
    low, high, holed = np.full(features, np.nan), np.full(features, np.nan), False
    try:
        with (new / INPUTS).open("wb") as content:
            header = {"descr": dtype.str, "fortran_order": False, "shape": (rows, features)}
            np.lib.format.write_array_header_1_0(content, header)
            together = max(1, WRITTEN // features)
            for start in range(0, rows, together):
                some = np.hstack([column.spread(values[start : start + together]) for column, values in parts])
                content.write(some.astype(dtype).data)
                low, high = np.fmin(low, np.fmin.reduce(some)), np.fmax(high, np.fmax.reduce(some))
                holed = holed or bool(np.isnan(some).any())
        np.save(new / TARGETS, samples.targets)
        size = amount((new / INPUTS).stat().st_size)
        note = f"its numbers are kept in {in_line(str(place))} ({size}), from where every other start takes them"
        inputs = Mapped(np.load(new / INPUTS, mmap_mode="r"), np.stack([low, high]), holed)
        samples = replace(samples, inputs=inputs, notes=[*samples.notes, note])
        told = {key: getattr(samples, key) for key in ("task", "feature_names", "class_names", "notes", "encoding")}
        told |= {"digest": samples.digest, "bounds": [low.tolist(), high.tolist()], "holed": holed}
        (new / TOLD).write_text(json.dumps({**told, "written": _digest(new, told)}), encoding="utf-8")
        # Another process may have been first, or be between any two of these lines: it writes the same.
        try:
            new.rename(place)
        except OSError:
            if kept(place) is None:
                place.rename(aside)
                new.rename(place)
    finally:
        for left in (new, aside):
            shutil.rmtree(left, ignore_errors=True)  # whoever has mapped a file keeps what he has
            with suppress(OSError):
                left.unlink(missing_ok=True)
    _make_room(place)
    return samples


def _is_own(folder: Path) -> bool:
    """Whether `keep` made this folder, by its name and all that is in it."""
    named = OWN.fullmatch(folder.name) is not None and folder.is_dir() and not folder.is_symlink()
    return named and {file.name for file in folder.iterdir()} <= {INPUTS, TARGETS, TOLD}


def _digest(place: Path, told: Mapping[str, Any]) -> str:
    """A hash of what is kept: what has changed since it was written trains nobody."""
    found = hashlib.blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=16)
    for name in (INPUTS, TARGETS):
        with (place / name).open("rb") as content:
            while part := content.read(2**20):
                found.update(part)
    return found.hexdigest()


def _is_float32(values: np.ndarray) -> bool:
    """Whether float32 holds these numbers exactly."""
    if values.dtype == np.float32:
        return True
    with np.errstate(over="ignore"):
        return np.array_equal(values.astype(np.float32), values, equal_nan=True)


def _make_room(place: Path) -> None:
    """Delete what killed processes left, and the tables used longest ago until all take no more than ROOM, this one
    apart. What else lies there is the user's, who named the folder, perhaps."""
    with suppress(OSError):
        own = [folder for folder in place.parent.iterdir() if _is_own(folder)]
        for left in own:
            if left.name.startswith(".") and time.time() - left.stat().st_mtime > ABANDONED:
                shutil.rmtree(left, ignore_errors=True)
        folders = [folder for folder in own if not folder.name.startswith(".")]
        sizes = {folder: sum(file.stat().st_size for file in folder.iterdir()) for folder in folders}
        for folder in sorted(set(folders) - {place}, key=lambda folder: folder.stat().st_mtime):
            if sum(sizes.values()) <= ROOM:
                return
            shutil.rmtree(folder, ignore_errors=True)
            del sizes[folder]
