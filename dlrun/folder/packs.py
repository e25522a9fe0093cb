"""Runs of a sweep that lie packed, many in three files, in place of a folder each: hydra.sweeper.keep=packed.

A pack is a folder in the `packed/` beside a sweep's plan.json, which is there as a whole or not at all, and is never
changed:

runs.parquet: a row for each run. Its columns are those of sweep.csv as far as a run knows them by itself; then, each
named by its path, ./config.yaml, the files that the run left, as they were, of tensors the header of the file.
curves.parquet: the rows of their metrics.csv, as numbers, with the run's name in the column `run`.
weights.safetensors: each tensor over all runs, (runs, *shape), in the order of runs.parquet: `0.weight` of
model.safetensors is `model/0.weight` here. A matrix that encodes, and has its content's name, is there once.
"""

from __future__ import annotations

import json
import os
import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from math import prod
from pathlib import Path
from time import time_ns
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

from dlrun.errors import ConfigError
from dlrun.files.opening import LARGEST, inside, opened
from dlrun.folder import wellformed
from dlrun.folder.cells import cell
from dlrun.folder.names import CONFIG, METRICS, PLAN

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.parquet import ParquetFile

PACKED = "packed"  #: in a sweep's folder
RUNS, CURVES, WEIGHTS = "runs.parquet", "curves.parquet", "weights.safetensors"
NAME = re.compile(r"[0-9a-f]{8}")  #: of a pack
FILE = "./"  #: how the columns of files begin, as no key of a config does
SHARED = re.compile(r"zca-\w+\.safetensors", re.ASCII)  #: files whose name tells their content
GROUP = 256  #: runs that are read at a time
MOST = 2**20  #: runs of a pack
FRESH = 2 * 10**9  #: nanoseconds for which a file system's clock may not tell two changes of a folder apart
SIZES = {
    name: size
    for size, names in {8: "F64 I64 U64 C64", 4: "F32 I32 U32", 2: "F16 BF16 I16 U16", 1: "I8 U8 BOOL"}.items()
    for name in names.split()
}  #: bytes of a number, by safetensors' names of types
TENSOR = {"dtype", "shape", "data_offsets"}  #: what is told of each
SIDES = 64  #: numbers of a shape, and two offsets, at most

T = TypeVar("T")


class Damaged(ConfigError):
    """A pack that cannot be read, and with it none of its runs."""


class Pack:
    """The packed runs in a folder, which may be a stranger's. Each method raises Damaged where they cannot be read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @cached_property
    def runs(self) -> list[str]:
        """Their names, each a way down from the sweep's folder."""
        names = self._asked(RUNS, lambda: self._table.read(["run"], use_threads=False)["run"].to_pylist())
        if len(names) > MOST or not all(isinstance(name, str) for name in names) or len(set(names)) < len(names):
            raise self._damaged(RUNS, "its column run does not name runs, each once")
        for name in names:
            wellformed.below(name, self.folder / RUNS)
            if name.split("/")[0] == PACKED:
                raise ConfigError(f"{self.folder / RUNS}: {name!r} is no folder of a run: packs lie in {PACKED}")
        return names

    @cached_property
    def files(self) -> list[str]:
        """The names of the files that runs may have."""
        names = [name.removeprefix(FILE) for name in self._columns if name.startswith(FILE)]
        for name in names:
            wellformed.below(name, self.folder / RUNS)
        return [*names, *([METRICS] if METRICS not in names else [])]

    def read(self, row: int, name: str) -> bytes:
        """A file of the run in this row, the same bytes as in its folder. Raises FileNotFoundError if it had none."""
        kept = self._kept(row, name)
        if name == METRICS and kept is None:
            return self._asked(CURVES, lambda: self._metrics(row))
        if kept is None:
            raise FileNotFoundError(f"{self.folder / RUNS}: {self.runs[row]} has no {name}")
        return self._asked(WEIGHTS, lambda: self._tensors(row, name, kept)) if is_tensors(name) else kept

    def has(self, row: int, name: str) -> bool:
        """Whether the run had such a file."""
        return name in self.files and (name == METRICS or self._kept(row, name) is not None)

    def size(self, row: int) -> int:
        """The bytes of the run's files."""
        return sum(len(self.read(row, name)) for name in self.files if self.has(row, name))

    @cached_property
    def layouts(self) -> dict[str, Any]:
        """The tensors of each file of tensors, by its name: all of the runs have the same."""
        headers = {name: self._kept(0, name) for name in sorted(filter(is_tensors, self.files))}
        return {name: self._asked(RUNS, partial(layout, header)) for name, header in headers.items() if header}

    def _kept(self, row: int, name: str) -> bytes | None:
        if FILE + name not in self._columns:
            return None
        column = self._asked(RUNS, lambda: _column(self, row // GROUP, FILE + name))
        value = self._asked(RUNS, lambda: column[row % GROUP].as_py())
        if value is not None and not isinstance(value, bytes | str):
            raise self._damaged(RUNS, f"its column {FILE}{name} holds no file")
        return value.encode() if isinstance(value, str) else value

    def _metrics(self, row: int) -> bytes:
        numbers, places = _curves(self, row // GROUP)
        start, stop = places.get(self.runs[row], (0, 0))
        if stop == start:
            raise ValueError(f"{self.runs[row]} has no rows")
        header = [name for name, values in numbers.items() if values[start] is not None]
        return metrics_text(header, {name: numbers[name][start:stop] for name in header})

    def _tensors(self, row: int, name: str, header: bytes) -> bytes:
        """The run's safetensors file: its header as it was, and its tensors, each a part of the pack's."""
        content = [header]
        with opened(self.folder, WEIGHTS) as file:
            for tensor, part in layout(header).items():
                place = self._weights.get(f"{Path(name).stem}/{tensor}")
                size = part["data_offsets"][1] - part["data_offsets"][0]
                if place is None or place["dtype"] != part["dtype"]:
                    raise ValueError(f"there is no {Path(name).stem}/{tensor}")
                at, end = place["data_offsets"]
                if not SHARED.fullmatch(name):
                    at += row * size
                if at + size > end:
                    raise ValueError(f"{Path(name).stem}/{tensor} is not as long as its runs' are")
                file.seek(self._begin + at)
                content.append(file.read(size))
                if len(content[-1]) < size:
                    raise ValueError("it is cut short")
        return b"".join(content)

    @cached_property
    def _weights(self) -> dict[str, Any]:
        with opened(self.folder, WEIGHTS) as file:
            header = first_of(file)
        self._begin = len(header)
        return layout(header)

    @cached_property
    def _columns(self) -> dict[str, int]:
        """The places of the columns of runs.parquet, by their names."""
        return {name: at for at, name in enumerate(self._table.schema_arrow.names)}

    @property
    def _table(self) -> ParquetFile:
        return self._asked(RUNS, lambda: _runs(self))

    def _asked(self, file: str, question: Callable[[], T]) -> T:
        try:
            return question()
        except ConfigError:
            raise
        except ImportError as problem:
            raise ConfigError(missing(f"{self.folder} holds packed runs: to read them")) from problem
        except Exception as problem:  # pyarrow raises anything for a damaged file
            raise self._damaged(file, " ".join(f"{problem or type(problem).__name__}".split())[:200]) from problem

    def _damaged(self, file: str, why: str) -> Damaged:
        return Damaged(
            f"{self.folder / file} cannot be read ({why}): put it back as it was, or move {self.folder} away to do "
            "without its runs"
        )


def missing(what: str) -> str:
    """What to say where pyarrow is not installed, which is needed for something."""
    return f"{what} needs pyarrow: pip install 'dlrun[parquet]'"


def is_tensors(name: str) -> bool:
    """Whether a run's file of this name lies in weights.safetensors."""
    return name.endswith(".safetensors")


def metrics_text(header: Sequence[str], columns: Mapping[str, Sequence[float]]) -> bytes:
    """The metrics.csv of these numbers, as a run writes it."""
    rows = zip(*([cell(name, value) for value in columns[name]] for name in header), strict=True)
    return "".join(",".join(row) + "\n" for row in [header, *rows]).encode()


def header_of(content: bytes) -> bytes:
    """The header of a safetensors file."""
    return content[: 8 + int.from_bytes(content[:8], "little")]


def first_of(file: BinaryIO) -> bytes:
    """The header of a safetensors file, which is read no further. Raises ValueError for one that is too long."""
    begin = file.read(8)
    size = int.from_bytes(begin, "little")
    if size > LARGEST:
        raise ValueError(f"its header would have {size:,} bytes")
    return begin + file.read(size)


def layout(header: bytes) -> dict[str, Any]:
    """The tensors of a safetensors file by their names, in the order of their bytes: dtype, shape and data_offsets.

    Args:
        header: the file's first 8 bytes, which tell its length, and the rest of it.

    Raises ValueError for one that is none, or has gaps between its tensors.
    """
    try:
        found = json.loads(header[8:])
    except RecursionError as problem:
        raise ValueError("its header is nested too deeply") from problem
    if not isinstance(found, dict):
        raise ValueError("it has no header of tensors")
    found.pop("__metadata__", None)
    try:
        ordered = dict(sorted(found.items(), key=lambda item: item[1]["data_offsets"]))
        end = 0
        for tensor in ordered.values():
            start, stop = tensor["data_offsets"]
            sizes = [start, stop, *tensor["shape"]]
            if tensor.keys() != TENSOR or len(sizes) > SIDES or not all(map(wellformed.is_count, sizes)):
                raise ValueError("its header does not tell where its tensors are")
            if start != end or stop - start != SIZES[tensor["dtype"]] * prod(tensor["shape"]) or stop < start:
                raise ValueError("its header does not tell where its tensors are")
            end = stop
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"its header tells of no tensors ({problem!r})") from problem
    return ordered


def packs(sweep: Path) -> list[Pack]:
    """The packs in a sweep's folder, in the order of their names. Raises ConfigError where a link leads to them."""
    return [_pack(inside(each.parent, each.name)) for each in folders_of_packs(sweep)] if has_packs(sweep) else []


def folders_of_packs(folder: Path) -> list[Path]:
    """The folders that look like packs, whether a plan.json tells of a sweep or not: a date may be a name, too."""
    packed = inside(folder, PACKED)
    found = sorted(packed.iterdir()) if packed.is_dir() else []
    return [
        each
        for each in found
        if NAME.fullmatch(each.name)
        and (each.is_symlink() or any(os.path.lexists(each / file) for file in (RUNS, CURVES, WEIGHTS)))
    ]


def has_packs(folder: Path) -> bool:
    """Whether this is a sweep's folder in which runs may lie packed."""
    # asked for each file of each run, as are the next two: a Path takes longer than the system's answer
    return os.path.isdir(f"{folder}/{PACKED}") and os.path.exists(f"{folder}/{PLAN}")


def sweep_of(folder: Path) -> Path | None:
    """The sweep with whose packed runs the one that would have this folder may lie."""
    return next(filter(has_packs, folder.parents), None)


def places(sweep: Path) -> dict[str, tuple[Pack, int]]:
    """Where each packed run of a sweep is, by its name: the pack, and the row in it."""
    folder = f"{sweep}/{PACKED}"
    try:
        changed = os.stat(folder).st_mtime_ns
        known = _places.get(sweep)
        if known and known.changed == changed and not known.fresh:
            return known.runs
        names = {name for name in os.listdir(folder) if NAME.fullmatch(name)}
    except OSError:
        return {}
    if not known or known.names != names:
        runs: dict[str, tuple[Pack, int]] = {}
        for pack in packs(sweep):
            for row, name in enumerate(pack.runs):
                runs.setdefault(name, (pack, row))
        known = _places[sweep] = _Places(names, runs)
    known.changed, known.fresh = changed, time_ns() - changed < FRESH
    return known.runs


def place_of(folder: Path) -> tuple[Pack, int] | None:
    """Where the run that would have this folder lies packed; None for one that has its folder, which counts."""
    if not (sweep := sweep_of(folder)):
        return None
    found = places(sweep).get(str(folder)[len(str(sweep)) + 1 :].replace(os.sep, "/"))
    return None if found and os.path.exists(f"{folder}/{CONFIG}") else found


def packed_below(folder: Path) -> Iterator[Path]:
    """The folders that packed runs in or below a folder of a sweep, or the sweep itself, would have."""
    if sweep := folder if has_packs(folder) else sweep_of(folder):
        start = "" if sweep == folder else f"{folder.relative_to(sweep).as_posix()}/"
        yield from (sweep / name for name in places(sweep) if name.startswith(start) or name == start[:-1])


class _Places:
    """What was found in a sweep's folder, as of the folder's last change; fresh: which might not be the last."""

    def __init__(self, names: set[str], runs: dict[str, tuple[Pack, int]]) -> None:
        self.names, self.runs, self.changed, self.fresh = names, runs, 0, True


_places: dict[Path, _Places] = {}


@lru_cache(2**11)
def _pack(folder: Path) -> Pack:
    return Pack(folder)


@lru_cache(2**4)  # those of a hundred thousand runs would fill the memory, and be more files than may be open
def _runs(pack: Pack) -> ParquetFile:
    return _parquet(pack.folder, RUNS)


def _parquet(folder: Path, name: str) -> ParquetFile:
    from pyarrow.parquet import ParquetFile, read_schema

    file: BinaryIO = opened(folder, name)
    columns = [each for each in read_schema(file).names if each.startswith(FILE)]
    file.seek(0)
    # texts that many runs have alike are kept once, so that a small file cannot become a large table
    return ParquetFile(file, read_dictionary=columns, page_checksum_verification=True)


@lru_cache(2**7)
def _column(pack: Pack, group: int, column: str) -> pa.ChunkedArray:
    """The files of this name of a group of runs."""
    table = pack._table
    numbers = table.metadata.row_group(group)
    size = numbers.column(pack._columns[column]).total_uncompressed_size
    if numbers.num_rows > GROUP or size > LARGEST:
        raise ValueError("it is larger than packs are")
    return table.read_row_group(group, [column], use_threads=False)[column]


@lru_cache(2**3)
def _curves(pack: Pack, group: int) -> tuple[dict[str, list[Any]], dict[str, tuple[int, int]]]:
    """The numbers of the curves of a group of runs by their columns, and where each run's begin and end."""
    table = _parquet(pack.folder, CURVES)
    rows, columns = table.metadata.row_group(group).num_rows, len(table.schema_arrow)
    if 8 * rows * columns > LARGEST:
        raise ValueError("it is larger than packs are")
    found: dict[str, list[Any]] = table.read_row_group(group, use_threads=False).to_pydict()
    places: OrderedDict[str, tuple[int, int]] = OrderedDict()
    for row, name in enumerate(found.pop("run")):
        start, stop = places.get(name, (row, row))
        if stop != row:
            raise ValueError(f"the rows of {name} are not together")
        places[name] = (start, row + 1)
    return found, places
