"""Checkpoints: what a training needs to go on, in files that are either whole or not used.

They lie in `checkpoint/` in the run's folder; those of a stack in that of its first run.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.config.durations import seconds
from dlrun.errors import ConfigError
from dlrun.files.opening import inside, read_bytes
from dlrun.files.replacing import naming, replacing
from dlrun.folder import wellformed
from dlrun.folder.names import CHECKPOINT

if TYPE_CHECKING:
    from torch import Tensor

GENERATIONS = 2
SUFFIX = ".safetensors"
Record = dict[str, Any]  #: what JSON can hold, NaN and infinities among it


@dataclass
class Checkpoint:
    """Where a training stood.

    record: beside the tensors; `step` in it is the number of steps done.
    """

    tensors: dict[str, Tensor]
    record: Record


def write(
    folder: Path, tensors: Mapping[str, Tensor], record: Record, kept: int = GENERATIONS, durable: bool = True
) -> Path:
    """Write a checkpoint beside the last ones; all but as many as are `kept` go when it is safely there.

    The file is named by its step and a hash of its bytes: <step>-<hash>.safetensors.

    Raises ConfigError where the folder is a link.
    """
    from safetensors.torch import save

    here = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    data = save(here, {"record": json.dumps(record)})
    path = folder / f"{record['step']}-{_digest(data)}{SUFFIX}"
    with naming(folder):
        inside(folder.parent, folder.name).mkdir(exist_ok=True)
    with replacing(path, durable) as part:
        part.write_bytes(data)
    # what is said to be of this step or a later one is damaged, since the training has gone on from before it
    present = generations(folder)
    older = [each for each in present if _step(each) < record["step"]]
    for file in (*present, *folder.glob(".*.part")):
        if file not in (path, *older[: kept - 1]):
            file.unlink()
    return path


def read(
    folder: Path, unusable: Callable[[Record], str | None] = lambda record: None
) -> tuple[Checkpoint | None, list[str]]:
    """The newest checkpoint that is whole and usable, and why each newer one is not.

    unusable: says what is wrong with a record, if anything.
    """
    from safetensors.torch import load

    problems: list[str] = []
    for path in generations(folder):
        record, data = _record(path)
        problem = unusable(record) if record else "is damaged"
        if record and not problem:
            return Checkpoint(load(data), record), problems
        problems.append(f"the checkpoint {path.name} {problem}")
    return None, problems


def newest(folder: Path) -> Record:
    """The record of the newest checkpoint that is whole; {} where there is none. Does without torch."""
    return next((record for path in generations(folder) if (record := _record(path)[0])), {})


def latest(folder: Path) -> int:
    """The step of the newest checkpoint by its name, -1 where there is none."""
    return max(map(_step, generations(folder)), default=-1)


def checkpointed(folders: Mapping[Path, bool]) -> tuple[list[list[Path]], dict[Path, int]]:
    """Of runs' folders, the stacks that go on together, and those that paused and go on in any stack, with their steps.

    folders: whether each holds a complete run. A stack that lacks one of its runs is none.
    """
    stacks: list[list[Path]] = []
    paused: dict[Path, int] = {}
    begun: set[Path] = set()
    for folder in folders:
        record = newest(folder / CHECKPOINT)
        members = [Path(os.path.normpath(folder / name)) for name in record.get("runs", [])]
        if not folders.keys() >= set(members) or all(folders[member] for member in members):
            continue
        if not begun.isdisjoint(members):  # the stack of which it was, or is, goes on as a whole
            continue
        if len(members) == 1 and not record.get("taken"):
            paused[folder] = int(record["step"])
        else:
            stacks.append(members)
        begun |= set(members)
    return stacks, paused


def generations(folder: Path) -> list[Path]:
    """The files of a folder's checkpoints, the newest first; none behind links."""
    named = [] if folder.is_symlink() else [each for each in folder.glob(f"*-*{SUFFIX}") if not each.is_symlink()]
    files = [path for path in named if path.name.split("-")[0].isdecimal() and path.is_file()]
    return sorted(files, key=lambda path: (_step(path), path.stat().st_mtime_ns), reverse=True)


def remove(folder: Path) -> None:
    """Remove the checkpoints of a training that is complete, or begins again."""
    shutil.rmtree(folder, ignore_errors=True)


class Interval:
    """When checkpoints are due.

    Args:
        every: epochs, or a time such as `5min`, between two of them; None for never.
        steps_per_epoch: at least one step lies between two of them.
    """

    def __init__(self, every: float | str | None, steps_per_epoch: int) -> None:
        timed = isinstance(every, str)
        self.seconds = seconds(every) if isinstance(every, str) else math.inf
        self.steps = max(1, round(float(every) * steps_per_epoch)) if every and not timed else 0
        self.next = time.monotonic() + self.seconds

    def due(self, step: int) -> bool:
        """Whether it is time for one, this many steps done."""
        return step % self.steps == 0 if self.steps else time.monotonic() >= self.next

    def written(self) -> None:
        """One was written just now."""
        self.next = time.monotonic() + self.seconds


def _record(path: Path) -> tuple[Record, bytes]:
    """The record of a checkpoint and the file's bytes; an empty record where they are not what the name says."""
    try:
        data = read_bytes(path.parent, path.name, _memory())
        if path.name.removesuffix(SUFFIX).partition("-")[2] != _digest(data):
            return {}, b""
        size = int.from_bytes(data[:8], "little")
        record = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["record"])
        return (record, data) if wellformed.is_record(record, _step(path)) else ({}, b"")
    except (ConfigError, OSError, ValueError, KeyError, TypeError, RecursionError):
        return {}, b""


def _memory() -> int:
    """The bytes of this machine's memory: a file that is larger was written on none like it."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 2**36


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _step(path: Path) -> int:
    return int(path.name.split("-")[0])
