"""Runs of a sweep packed, many in three files, and unpacked again; dlrun/folder/packs.py tells what a pack is."""

from __future__ import annotations

import json
import os
import secrets
import shutil
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

from dlrun.errors import ConfigError
from dlrun.files.opening import inside, opened, read_bytes
from dlrun.files.replacing import naming
from dlrun.folder.checkpoint import checkpointed
from dlrun.folder.clearing import beside, clear_parts, written
from dlrun.folder.contents import refuse_packed
from dlrun.folder.lock import Busy, locked
from dlrun.folder.names import CONFIG, HYDRA, KNOWN_BY, LOCK, LOG, METRICS, shell_command
from dlrun.folder.packs import (
    PACKED,
    RUNS,
    SHARED,
    Pack,
    first_of,
    is_tensors,
    layout,
    missing,
    packs,
    place_of,
    places,
)
from dlrun.folder.reading import read_summary, status_of
from dlrun.folder.resume import COMPLETE
from dlrun.report.collect import find, natural
from dlrun.sweep.packed import write
from dlrun.terminal.console import counted, say
from dlrun.terminal.printable import in_line

LARGEST = 2**26  #: bytes of a file in a row of runs.parquet
BYTES = 2**27  #: of all those of a pack, beyond which there are two
TOGETHER = 512  #: runs of a pack, at most
MANY = 8  #: packs that are joined, at least: so a run is written anew once, however many batches a sweep has
FEW = TOGETHER // MANY  #: runs of one that is joined with others, at most
PATIENCE = 60.0  #: seconds for a process that packs the same runs
AT_A_TIME = 16  #: folders that are removed: some file systems take milliseconds to delete a file, of many at a time too
SHOWN = 3  #: reasons that are told on the terminal
T = TypeVar("T")
Stand = dict[str, tuple[int, int, int]]  #: of each file its size, the time of its last change, and its inode


def refuse_without_parquet() -> None:
    """Raise ConfigError where what packs are written with is not installed."""
    if find_spec("pyarrow") is None:
        raise ConfigError(missing("hydra.sweeper.keep=packed"))


def pack(sweep: Path, folders: Sequence[Path], patience: float = 0) -> Counter[str]:
    """Pack those of a sweep's runs that are complete, and remove their folders; returns why others keep theirs.

    A folder goes once the pack outlasts a power cut, and only if nothing in it has changed since. It stays, whole,
    where it holds what is none of dlrun's, a checkpoint, a link, or a file of more than 64 MB; where the run is part of
    a stack that goes on; and where another process is at work in it.

    patience: seconds to wait for such a process, which may pack the run itself.
    """
    kept = Counter[str]()
    ends = {folder: status_of(folder) for folder in folders if (folder / CONFIG).exists()}
    complete = {folder: end in COMPLETE for folder, end in ends.items()}
    going_on = {folder for stack in checkpointed(complete)[0] for folder in stack}
    for folder, end in ends.items():
        if end not in COMPLETE:
            kept["it failed" if end == "failed" else "it was interrupted"] += 1
        elif folder in going_on:
            kept["its stack goes on from a checkpoint"] += 1
    groups: dict[str, dict[Path, Stand]] = {}
    with ThreadPoolExecutor(AT_A_TIME) as threads:
        with ExitStack() as locks:
            for folder in (folder for folder, ended in complete.items() if ended and folder not in going_on):
                try:
                    locks.enter_context(locked(folder, patience, new=False))
                    if (folder / CONFIG).exists():  # no other process has packed it meanwhile
                        stand = _stand(folder)
                        groups.setdefault(_alike(folder, stand), {})[folder] = stand
                except Busy:
                    kept["another process is at work in it"] += 1
                except (ConfigError, OSError) as problem:
                    if not place_of(folder):  # or another process has packed it meanwhile, and the folder is gone
                        kept[str(problem)] += 1
            # those that were packed before, by a command that was ended in the middle, or that were unpacked by a copy
            drop(sweep, {folder.relative_to(sweep).as_posix() for stands in groups.values() for folder in stands})
            for stands in groups.values():
                for some in _chunks(stands):
                    left_out = write(sweep, some)
                    kept.update(left_out.values())
                    gone = [folder for folder in some if folder not in left_out]
                    removed = list(threads.map(_removed, gone, [stands[folder] for folder in gone]))
                    kept["it changed while it was packed"] += len(gone) - sum(removed)
        list(threads.map(_remove_rest, folders))
    return +kept


def pack_rest(sweep: Path, folders: Sequence[Path]) -> None:
    """Pack what still lies in folders of these runs, and say how many are packed, and why others are not."""
    clear_litter(sweep)
    kept = pack(sweep, folders, PATIENCE)
    differing = join(sweep)
    count = sum(place_of(folder) is not None for folder in folders)
    say(
        f"{count} of {counted(len(folders), 'run')} are packed, in {counted(len(packs(sweep)), 'pack')}: "
        f"`{shell_command('unpack', sweep)} RUN` gives a run its folder"
    )
    if differing:
        some = ", ".join(map(in_line, differing[:SHOWN])) + ", ..." * (len(differing) > SHOWN)
        say(
            f"in two packs of {sweep / PACKED}, which differ: {some}; move away the pack that is not this sweep's",
            indent=2,
        )
    for why, number in kept.most_common(SHOWN):
        say(f"{counted(number, 'folder')} not packed: {why}", indent=2)
    if len(kept) > SHOWN:
        say(f"and {kept.total() - sum(number for _, number in kept.most_common(SHOWN))} for other reasons", indent=2)


def clear_litter(sweep: Path) -> None:
    """Remove what processes that were killed left in a sweep's `packed/`. The caller holds the sweep's lock."""
    folder = inside(sweep, PACKED)
    for each in folder.glob(f".{'[0-9a-f]' * 8}.part"):
        away = folder / f".{secrets.token_hex(4)}.part"
        each.rename(away)  # in one step: what still writes there comes to no pack
        shutil.rmtree(away)
    _gone(folder)


def drop(sweep: Path, names: Collection[str]) -> None:
    """Take these runs out of a sweep's packs, which are written anew without them."""
    if not names or places(sweep).keys().isdisjoint(names):
        return
    with locked(sweep / PACKED, PATIENCE, new=False):  # one process at a time, each of what the last one left
        for each in packs(sweep):
            rest = [sweep / name for name in each.runs if name not in names]
            if len(rest) == len(each.runs):
                continue
            for problem in write(sweep, [folder for folder in rest if not (folder / CONFIG).exists()]).values():
                raise ConfigError(problem)
            _remove(each)
    _gone(sweep / PACKED)


def join(sweep: Path) -> list[str]:
    """Make large packs of many small ones, as narrow stacks leave them; returns the runs that are in two of them.

    The small ones go once the large one has been read and holds the same, to the byte. Those stay of which a run has a
    folder, too, or lies in another pack with other bytes.
    """
    if not (sweep / PACKED).is_dir():
        return []
    differing = dict[str, None]()
    with locked(sweep / PACKED, PATIENCE, new=False):
        own, there = list[Pack](), dict[str, tuple[Pack, int]]()
        for each in sorted(packs(sweep), key=lambda each: len(each.runs), reverse=True):
            rows = {name: (each, row) for row, name in enumerate(each.runs)}
            twice = there.keys() & rows
            if not twice:
                own.append(each)
            else:
                other = [name for name in rows if name in twice and not _same(rows[name], there[name])]
                if len(twice) == len(rows) and not other:
                    _remove(each)  # it was joined by a command that ended before it could
                    continue
                differing |= dict.fromkeys(other)
                own = [pack for pack in own if twice.isdisjoint(pack.runs)]
            for name, place in rows.items():
                there.setdefault(name, place)
        own = [each for each in own if not any((sweep / name / CONFIG).exists() for name in each.runs)]
        for some in list(_together(own)):
            runs = [name for each in some for name in each.runs]
            known = {each.folder for each in packs(sweep)}
            write(sweep, [sweep / name for name in runs])
            for large in [each for each in packs(sweep) if each.folder not in known and each.runs == runs]:
                rows = {name: (large, row) for row, name in enumerate(runs)}
                alike = all(_same(there[name], rows[name]) for name in runs)
                for each in some if alike else [large]:
                    _remove(each)
    return list(differing)


def _same(one: tuple[Pack, int], other: tuple[Pack, int]) -> bool:
    """Whether two places in packs hold the same run, to the byte."""

    def files(pack: Pack, row: int) -> dict[str, bytes]:
        return {name: pack.read(row, name) for name in pack.files if pack.has(row, name)}

    try:
        return files(*one) == files(*other)
    except ConfigError:  # one of them is damaged
        return False


def _together(found: Sequence[Pack]) -> Iterator[list[Pack]]:
    """Small packs of runs that have like tensors, as many as make a large one, in the order of their runs."""
    kinds: dict[str, list[tuple[Pack, int, int]]] = {}
    small = [each for each in found if 0 < len(each.runs) <= FEW]
    for each in sorted(small, key=lambda each: natural(each.runs[0])):
        with suppress(ConfigError):  # one that is damaged stays as it is
            files = [(row, name) for row in range(len(each.runs)) for name in each.files if each.has(row, name)]
            size = sum(_weight(name, len(each.read(row, name))) for row, name in files)
            kinds.setdefault(json.dumps(each.layouts), []).append((each, len(each.runs), size))
    for weighed in kinds.values():
        yield from (some for some in _parts(weighed) if len(some) >= MANY)


def unpack(sweep: Path, names: Sequence[str]) -> list[str]:
    """Give packed runs their folders again, with the same bytes, and take them out of the packs; returns their names.

    names: of the runs; of none, all.

    Raises ConfigError, with nothing written, for a run that is not packed, and where something else is in the place of
    its folder.
    """
    refuse_packed(sweep, "unpack ")
    if not sweep.is_dir():
        raise ConfigError(f"unpack {sweep}: there is no such folder")
    if not places(sweep):
        raise ConfigError(f"unpack {sweep}: it has no packed runs; name the folder of their sweep")
    with locked(sweep, new=False):
        clear_litter(sweep)
        there = places(sweep)
        chosen = list(dict.fromkeys(names)) or [name for name in there if not (sweep / name / CONFIG).exists()]
        if not chosen:
            raise ConfigError(f"unpack {sweep}: it has no packed runs")
        for name in chosen:
            if name not in there:
                if name in find([sweep]):
                    raise ConfigError(f"unpack {name}: this run is not packed, {sweep / name} is its folder")
                raise ConfigError(f"unpack {name}: {sweep} has no run of this name")
            target = inside(sweep, name)
            if (target / CONFIG).exists():
                raise ConfigError(f"unpack {name}: this run is not packed, {target} is its folder")
            _remove_rest(target)
            if target.exists() and (not target.is_dir() or {each.name for each in target.iterdir()} - {LOCK}):
                raise ConfigError(f"{target} is there already, and is not overwritten: move it away first")
        for pack in dict.fromkeys(there[name][0] for name in chosen):
            if others := sorted({*pack.files} - _own(frozenset(pack.files))):  # a stranger's
                raise ConfigError(f"{pack.folder / RUNS}: {others[0]} is no file of a run")
        done: list[str] = []
        try:
            for name in chosen:
                _unpack(*there[name], sweep, name)
                done.append(name)
        except (ConfigError, OSError):  # a pack is damaged, or the disk full: all are still packed, and stay so
            for name in done:
                _remove_copy(there[name][0], sweep / name)
            raise
        if hasattr(os, "sync"):
            os.sync()  # once for all of them, before they are nowhere else
        drop(sweep, set(chosen))
    return chosen


def _unpack(pack: Pack, row: int, sweep: Path, name: str) -> None:
    folder = sweep / name
    part = inside(sweep, PACKED) / f".{secrets.token_hex(4)}.part"
    with naming(folder):
        try:
            for file in pack.files:
                if pack.has(row, file):
                    path = part / file
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_bytes(pack.read(row, file))
            (folder / LOCK).unlink(missing_ok=True)
            with suppress(FileNotFoundError):
                folder.rmdir()
            folder.parent.mkdir(parents=True, exist_ok=True)
            part.rename(folder)
        finally:
            shutil.rmtree(part, ignore_errors=True)


@lru_cache(2**6)  # the runs of a stack have the same
def _own(names: frozenset[str], looks: frozenset[str] = frozenset()) -> set[str]:
    """Those of these names of files that a run leaves. looks: its diagnostics."""
    own = {*written(looks), *KNOWN_BY, LOG, *HYDRA[1:], *beside(names)}
    return {name for name in names if name in own or SHARED.fullmatch(name)}


def _stand(folder: Path) -> Stand:
    """The files of a run's folder. Raises ConfigError where it holds what cannot be packed."""
    clear_parts(folder)
    found: Stand = {}
    for above in ("", f"{HYDRA[0]}/"):
        with os.scandir(inside(folder, above.rstrip("/") or ".")) as entries:
            for entry in entries:
                if entry.name == LOCK or (entry.name == HYDRA[0] and entry.is_dir(follow_symlinks=False)):
                    continue
                if not entry.is_file(follow_symlinks=False):
                    raise ConfigError(f"it holds {entry.name}, which is no file")
                now = entry.stat(follow_symlinks=False)
                found[above + entry.name] = (now.st_size, now.st_mtime_ns, now.st_ino)
    looks = read_summary(folder).get("diagnostics")
    if others := sorted({*found} - _own(frozenset(found), frozenset(looks if isinstance(looks, dict) else ()))):
        raise ConfigError(f"it holds {others[0]}, which is none of dlrun's")
    if large := [name for name, (size, *_) in found.items() if size > LARGEST and not is_tensors(name)]:
        raise ConfigError(f"{large[0]} has more than {LARGEST >> 20} MB")
    return found


def _alike(folder: Path, stand: Stand) -> str:
    """In runs of one pack this is the same: which tensors they have. Raises ConfigError for a file that is damaged."""
    found = {}
    for name in sorted(filter(is_tensors, stand)):
        with opened(folder, name) as file:
            try:
                header = first_of(file)
                found[name] = layout(header)
            except ValueError as problem:
                raise ConfigError(f"{name} cannot be read ({problem})") from problem
        size = max((tensor["data_offsets"][1] for tensor in found[name].values()), default=0)
        if len(header) + size != stand[name][0]:
            raise ConfigError(f"{name} is not as long as its header says")
    return json.dumps(found)


def _chunks(stands: Mapping[Path, Stand]) -> Iterator[list[Path]]:
    """The runs in parts, each for a pack."""
    return _parts(
        (folder, 1, sum(_weight(name, size) for name, (size, *_) in stand.items())) for folder, stand in stands.items()
    )


def _weight(name: str, size: int) -> int:
    """Bytes that a file takes of a pack's `BYTES`: tensors none; a curve's numbers 8 each, which may be 2 as text."""
    return 0 if is_tensors(name) else 4 * size if name == METRICS else size


def _parts(weighed: Iterable[tuple[T, int, int]]) -> Iterator[list[T]]:
    """What has so many runs and so many bytes each, in parts that a pack may have."""
    part, runs, total = list[T](), 0, 0
    for each, count, size in weighed:
        if part and (runs + count > TOGETHER or total + size > BYTES):
            yield part
            part, runs, total = [], 0, 0
        part.append(each)
        runs, total = runs + count, total + size
    if part:
        yield part


def _remove(pack: Pack) -> None:
    away = pack.folder.with_name(f".{pack.folder.name}.part")
    pack.folder.rename(away)  # it goes in one step
    shutil.rmtree(away)


def _gone(folder: Path) -> None:
    """Remove a folder in which nothing is left."""
    with suppress(OSError):
        folder.rmdir()


def _removed(folder: Path, stand: Stand) -> bool:
    """Remove the files that were packed, unless something in the folder has changed since."""
    try:
        if _stand(folder) != stand:
            return False
    except ConfigError:
        return False
    for name in sorted(stand, key=lambda name: name != CONFIG):  # without it the folder counts no more
        _unlink(folder / name)
    _gone(folder / HYDRA[0])
    return True


def _remove_rest(folder: Path) -> None:
    """Remove what a process that was killed left of a packed run's folder: files that are in the pack, to the byte."""
    if not folder.is_dir() or folder.is_symlink() or not (place := place_of(folder)):
        return
    pack, row = place
    for name in pack.files:
        with suppress(FileNotFoundError, ConfigError):
            if read_bytes(folder, name, LARGEST) == pack.read(row, name):
                _unlink(folder / name)
    _gone(folder / HYDRA[0])
    _gone(folder)


def _remove_copy(pack: Pack, folder: Path) -> None:
    """Remove the files of a run that this process has just unpacked and that is still packed."""
    for name in pack.files:
        (folder / name).unlink(missing_ok=True)
    _gone(folder / HYDRA[0])
    _gone(folder)


def _unlink(path: Path) -> None:
    path.unlink()
