"""A run's folder, written: its config, its rows, its log, its weights, its summary."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dlrun.config.escapes import escaped
from dlrun.errors import Unwritable
from dlrun.files.opening import append_bytes, appending, truncate
from dlrun.files.replacing import naming, replacing
from dlrun.folder.cells import cell
from dlrun.folder.clearing import clear_parts, refuse_old_run
from dlrun.folder.names import CONFIG, LOG, METRICS, SUMMARY, TABLES

if TYPE_CHECKING:
    from torch import Tensor


def yaml_text(node: Mapping[str, Any]) -> str:
    """A config as YAML that OmegaConf reads back as it is, written in a fraction of the time that OmegaConf takes."""
    import yaml

    if len(_written) > MOST_WRITTEN:
        _written.clear()
    for key, value in node.items():
        if (entry := (key, repr(value))) not in _written:
            _written[entry] = yaml.dump(
                escaped({key: value}), Dumper=_dumper(), sort_keys=False, allow_unicode=True, width=120
            )
    return "".join(_written[key, repr(value)] for key, value in node.items()) or "{}\n"


#: the YAML of a key and its value: the configs of a sweep have nearly all of them alike
_written: dict[tuple[str, str], str] = {}
MOST_WRITTEN = 2**12


@cache
def _dumper() -> type:
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Quotes every text that is no plain word: YAML and OmegaConf disagree on what looks like a number."""

    def text(dumper: Any, value: str) -> Any:
        style = None if re.fullmatch(r"(?!nan$|inf)[A-Za-z_][\w./-]*", value) else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return Dumper


def append_rows(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Add rows to a CSV file, which begins with their keys as its header if it is new; no rows, no file."""
    if not rows:
        return
    header = "" if path.exists() else _header(rows)
    with naming(path), appending(path) as file:
        file.write(header + _lines(rows))


def write_rows(path: Path, rows: Sequence[Mapping[str, float | str]]) -> None:
    """Write a CSV file of these rows, one or more, in place of what was there."""
    with replacing(path) as part:
        part.write_text(_header(rows) + _lines(rows), encoding="utf-8")


def write_arrays(
    path: Path, tensors: Mapping[str, Tensor], metadata: dict[str, str] | None = None, durable: bool = False
) -> None:
    """Write tensors, each copied out of what it may be a part of, to a safetensors file."""
    import torch
    from safetensors.torch import save  # not NumPy's, which knows no bfloat16

    copies = {k: t.detach().cpu().clone(memory_format=torch.contiguous_format) for k, t in tensors.items()}
    with replacing(path, durable) as part:
        part.write_bytes(save(copies, metadata))  # save_file would make a file that only its owner can read


def _header(rows: Sequence[Mapping[str, float | str]]) -> str:
    return ",".join(rows[0]) + "\n"


def _lines(rows: Sequence[Mapping[str, float | str]]) -> str:
    return "".join([",".join([cell(name, value) for name, value in row.items()]) + "\n" for row in rows])


PENDING = 2**20  #: bytes of what grows in a file, from which they are written at once


class Run:
    """One run's folder, open for writing; close it, or use it as a context manager."""

    durable = True  #: whether what is written once is to outlast a power cut before the next thing is done

    def __init__(
        self, folder: Path, columns: list[str], csv: TextIO, tables: Collection[str] = (), kept: Collection[str] = ()
    ) -> None:
        self.folder = folder
        self.columns = columns
        self._csv = csv
        self._rows: dict[str, list[Mapping[str, float | str]]] = {name: [] for name in tables}
        self._kept = {name: bytearray() for name in kept}

    @classmethod
    def create(
        cls,
        folder: str | Path,
        header: list[str],
        config_yaml: str,
        tables: Collection[str] = (),
        kept: Collection[str] = (),
    ) -> Run:
        """Start a run: make the folder, write config.yaml and the header of metrics.csv.

        tables: the files that `add` adds to. kept: those that `keep` adds to.

        Raises ConfigError if the folder already holds a run or cannot be written.
        """
        folder = Path(folder)
        refuse_old_run(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / CONFIG) as part:  # first: a folder with a config is known as a run's
                part.write_text(config_yaml, encoding="utf-8")
            for name in (*tables, *kept):  # of a diagnostic of the user's own, left by a run that began before
                (folder / name).unlink(missing_ok=True)
            run = cls(folder, header, appending(folder / METRICS), tables, kept)
            run._write_line(run.columns)
        except OSError as error:
            raise unwritable(folder, error) from error
        return run

    @classmethod
    def reopen(
        cls,
        folder: Path,
        header: list[str],
        lengths: Mapping[str, int],
        tables: Collection[str] = (),
        kept: Collection[str] = (),
    ) -> Run:
        """Go on with a run from where its growing files had these lengths in bytes; what came after is cut off.

        Raises ConfigError if the folder cannot be written.
        """
        try:
            (folder / SUMMARY).unlink(missing_ok=True)
            clear_parts(folder)
            for name in (*TABLES, *tables, *kept):
                if name in lengths:
                    truncate(folder / name, lengths[name])
                else:
                    (folder / name).unlink(missing_ok=True)
            return cls(folder, header, appending(folder / METRICS), tables, kept)
        except OSError as error:
            raise unwritable(folder, error) from error

    def lengths(self) -> dict[str, int]:
        """The present lengths of the growing files in bytes, with all that was added to them."""
        self._write_rows()
        for name in self._kept:
            self._write_kept(name)
        names = (*TABLES, *self._rows, *self._kept)
        return {name: (self.folder / name).stat().st_size for name in names if (self.folder / name).exists()}

    def add(self, name: str, rows: Sequence[Mapping[str, float | str]]) -> None:
        """Add rows to one of the `tables`; they are written with the next evaluation or checkpoint."""
        self._rows[name] += rows

    def keep(self, name: str, content: bytes) -> None:
        """Add to one of the `kept` files; it is written when there is much of it, or with the next checkpoint."""
        self._kept[name] += content
        if len(self._kept[name]) >= PENDING:
            self._write_kept(name)

    def drop_kept(self) -> None:
        """Delete the `kept` files, once what they were kept for is done."""
        for name in self._kept:
            (self.folder / name).unlink(missing_ok=True)

    def append(self, row: Mapping[str, float]) -> None:
        """Add one evaluation to metrics.csv; every column has a number, which may be NaN or infinite."""
        assert row.keys() == set(self.columns), f"columns {sorted(row.keys() ^ set(self.columns))} missing or unknown"
        self._write_rows()
        self._write_line([cell(name, row[name]) for name in self.columns])

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        write_summary(self.folder, summary, self.durable)

    def note(self, *texts: str) -> None:
        """Add to dlrun.log."""
        with naming(self.folder / LOG), appending(self.folder / LOG) as file:
            file.writelines(f"[{datetime.now():%Y-%m-%d %H:%M:%S}] {text}\n" for text in texts)

    def save_weights(self, name: str, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
        """Write tensors, each copied out of theta, to the safetensors file `name`."""
        write_arrays(self.folder / name, tensors, metadata, self.durable)

    def close(self) -> None:
        self._csv.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write_rows(self) -> None:
        for name, rows in self._rows.items():
            append_rows(self.folder / name, rows)
            rows.clear()

    def _write_kept(self, name: str) -> None:
        if self._kept[name]:
            with naming(self.folder / name):
                append_bytes(self.folder / name, bytes(self._kept[name]))
            self._kept[name].clear()

    def _write_line(self, cells: list[str]) -> None:
        # One write of a whole line, so that a reader never sees half of it.
        with naming(self.folder / METRICS):
            self._csv.write(",".join(cells) + "\n")
            self._csv.flush()


def unwritable(folder: Path, error: OSError, new: bool = True) -> Unwritable:
    """What to tell of a run's folder in which nothing can be written. new: whether another would do."""
    reason = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    if not new:
        return Unwritable(f"cannot write to {folder} ({reason})")
    return Unwritable(f"cannot write to the run's folder {folder} ({reason}); set hydra.run.dir=...")


def write_summary(folder: Path, summary: Mapping[str, Any], durable: bool = False) -> None:
    """Write summary.json; JSON has no NaN and no infinity, so both become null. `durable` as in `replacing`."""
    lines = [f"  {json.dumps(key)}: {_json(value)}" for key, value in summary.items()]
    text = "{\n" + ",\n".join(lines) + "\n}\n"
    with replacing(folder / SUMMARY, durable) as part:
        part.write_text(text, encoding="utf-8")


def _json(value: Any) -> str:
    """The text of a value of summary.json, as `json.dumps` indents it there; it takes long over what has parts."""
    if not isinstance(value, Mapping | list | tuple):
        return json.dumps(_strict(value), allow_nan=False)
    if len(_told) > MOST_WRITTEN:
        _told.clear()
    if (entry := repr(value)) not in _told:
        _told[entry] = json.dumps(_strict(value), indent=2, allow_nan=False).replace("\n", "\n  ")
    return _told[entry]


_told: dict[str, str] = {}  #: what summaries say of data, versions and metrics: those of a sweep have it alike


def _strict(value: Any) -> Any:
    """The value with null for every NaN and infinity in it."""
    if isinstance(value, Mapping):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
