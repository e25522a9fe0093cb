"""The three files of a pack, written from the files of its runs; dlrun/folder/packs.py reads them."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dlrun.errors import ConfigError
from dlrun.files.opening import decoded, inside
from dlrun.files.replacing import naming, to_disk
from dlrun.folder import contents, wellformed
from dlrun.folder.columns import NEEDED
from dlrun.folder.names import METRICS
from dlrun.folder.packs import (
    CURVES,
    FILE,
    GROUP,
    PACKED,
    RUNS,
    SHARED,
    WEIGHTS,
    header_of,
    is_tensors,
    layout,
    metrics_text,
)
from dlrun.report.cells import TEXT, Row
from dlrun.report.collect import columns_of, read_run

if TYPE_CHECKING:
    import pyarrow as pa


def write(sweep: Path, folders: Sequence[Path]) -> dict[Path, str]:
    """Write a pack of these runs, whose tensors are alike, wherever they lie; returns why some are not in it."""
    left_out: dict[Path, str] = {}
    rows: list[Row] = []
    curves, files = Curves(), Files()
    for folder in folders:
        name = folder.relative_to(sweep).as_posix()
        try:
            row, found = read_run(folder, name), _files(folder)
            if taken := [key for key in row if key.startswith(FILE)]:
                raise ConfigError(f"{taken[0]} is no key of a config")
            if curves.add(name, found.get(METRICS, b"")):
                del found[METRICS]
        except (ConfigError, OSError) as problem:
            left_out[folder] = str(problem)
            continue
        files.add(found)
        rows.append(row)
    if not rows:
        return left_out
    place, token = inside(sweep, PACKED), secrets.token_hex(4)
    part = place / f".{token}.part"
    with naming(place):
        part.mkdir(parents=True)
        try:
            _write_weights(part / WEIGHTS, [sweep / row["run"] for row in rows], files.of_tensors())
            curves.write(part / CURVES)
            files.write(part / RUNS, rows)
            for each in (*part.iterdir(), part):
                to_disk(each)
            part.rename(place / token)
            to_disk(place)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return left_out


def _files(folder: Path) -> dict[str, bytes]:
    """What a run left, by name; of tensors the header alone."""
    found = {name: contents.read_bytes(folder, name) for name in contents.names(folder)}
    return {name: header_of(content) if is_tensors(name) else content for name, content in found.items()}


class Curves:
    """The rows of the runs' metrics.csv, column by column."""

    def __init__(self) -> None:
        self.runs: list[str] = []
        self.lengths: list[int] = []
        self.columns: dict[str, dict[int, Any]] = {}  #: the numbers of each run that has them, by its place

    def add(self, run: str, content: bytes) -> bool:
        """Add those of a run; whether `metrics_text` makes the same bytes of them."""
        import numpy as np

        header, rows = wellformed.metrics(decoded(content, METRICS), METRICS, NEEDED[METRICS])
        if "run" in header:
            raise ConfigError(f"{METRICS} has a column run, which is none of dlrun's")
        self.runs.append(run)
        self.lengths.append(len(rows))
        columns = dict(zip(header, zip(*rows, strict=True), strict=True)) if rows else {}
        numbers = {name: np.array(list(map(float, cells))) for name, cells in columns.items()}
        for name, values in numbers.items():
            self.columns.setdefault(name, {})[len(self.runs) - 1] = values
        order = [name for name in self.columns if name in numbers]
        return bool(rows) and metrics_text(order, {n: _listed(n, v) for n, v in numbers.items()}) == content

    def write(self, path: Path) -> None:
        """Write them with the run's name in front, in groups as the runs' rows are."""
        import numpy as np
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        schema = pa.schema([("run", pa.string()), *((name, _type(name)) for name in self.columns)])
        with ParquetWriter(path, schema, **OPTIONS) as writer:
            for first in range(0, len(self.runs), GROUP):
                part = range(first, min(first + GROUP, len(self.runs)))
                lengths = [self.lengths[i] for i in part]
                arrays: list[Any] = [pa.array(np.repeat(np.array(self.runs, dtype=object)[part], lengths), pa.string())]
                for name, runs in self.columns.items():
                    pieces = [
                        pa.array(runs[i], from_pandas=False).cast(_type(name))
                        if i in runs
                        else pa.nulls(self.lengths[i], _type(name))
                        for i in part
                    ]
                    arrays.append(pa.concat_arrays(pieces))
                writer.write_table(pa.table(arrays, schema=schema), max(1, sum(lengths)))


class Files:
    """The runs' files, a column for each name."""

    def __init__(self) -> None:
        self.count = 0
        self.columns: dict[str, list[bytes | None]] = {}

    def add(self, files: Mapping[str, bytes]) -> None:
        """Add those of a run."""
        for name in files:
            self.columns.setdefault(name, [None] * self.count)
        for name, column in self.columns.items():
            column.append(files.get(name))
        self.count += 1

    def of_tensors(self) -> dict[str, bytes]:
        """The header of each file of tensors, of the first run."""
        return {name: column[0] or b"" for name, column in self.columns.items() if is_tensors(name)}

    def write(self, path: Path, rows: list[Row]) -> None:
        """Write them beside the rows that the runs have in sweep.csv, in which numbers are double in every pack."""
        import pyarrow as pa
        from pyarrow.parquet import ParquetWriter

        header = columns_of(rows)
        table = pa.table({key: _values(key, [row.get(key, "") for row in rows]) for key in header})
        for name, column in self.columns.items():
            table = table.append_column(FILE + name, _texts(column))
        with ParquetWriter(path, table.schema, **OPTIONS) as writer:
            writer.write_table(table, GROUP)


OPTIONS: dict[str, Any] = {"compression": "zstd", "write_page_checksum": True}


def _listed(name: str, values: Any) -> list[Any]:
    return values.astype("int64").tolist() if name == "step" else values.tolist()


def _type(name: str) -> pa.DataType:
    import pyarrow as pa

    return pa.int64() if name == "step" else pa.float64()


def _values(name: str, cells: Sequence[str]) -> pa.Array:
    """Cells of sweep.csv as truth values, numbers or texts, of which all of them are; null where empty."""
    import pyarrow as pa

    values = [cell or None for cell in cells]
    if name in TEXT:
        return pa.array(values, pa.string())
    if {"true", "false"} >= (there := set(filter(None, values))) and there:
        return pa.array([value and value == "true" for value in values], pa.bool_())
    try:  # a null that was typed is no number either
        numbers = [None if value in (None, "null") else float(value) for value in values]
        return pa.array(numbers, pa.float64(), from_pandas=False)
    except ValueError:
        return pa.array(values, pa.string())


def _texts(column: Sequence[bytes | None]) -> pa.Array:
    """As texts where all are, which programs show as such."""
    import pyarrow as pa

    found = pa.array(column, pa.binary())
    try:
        return found.cast(pa.string())
    except pa.ArrowInvalid:
        return found


def _write_weights(path: Path, folders: Sequence[Path], headers: Mapping[str, bytes]) -> None:
    """Write each tensor of the runs' files over all runs, (runs, *shape), a run's after the other's."""
    described: dict[str, Any] = {}
    end = 0
    for file, header in headers.items():
        count = 1 if SHARED.fullmatch(file) else len(folders)
        for name, tensor in layout(header).items():
            start, stop = tensor["data_offsets"]
            shape = tensor["shape"] if SHARED.fullmatch(file) else [count, *tensor["shape"]]
            offsets = [end, end + count * (stop - start)]
            described[f"{Path(file).stem}/{name}"] = {"dtype": tensor["dtype"], "shape": shape, "data_offsets": offsets}
            end = offsets[1]
    text = json.dumps({"__metadata__": {"runs": str(len(folders))}, **described}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # so that the tensors begin where processors like them to
    begin = 8 + len(text)
    with open(path, "wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for row, folder in enumerate(folders):
            for file, header in headers.items():
                if row and SHARED.fullmatch(file):
                    continue
                content = contents.read_bytes(folder, file)
                for name, tensor in layout(header).items():
                    start, stop = tensor["data_offsets"]
                    out.seek(begin + described[f"{Path(file).stem}/{name}"]["data_offsets"][0] + row * (stop - start))
                    out.write(content[len(header) + start : len(header) + stop])
