"""A run's folder, written: its config, its rows, its log, its weights, its summary."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import datetime
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dlrun.config.escapes import escaped
from dlrun.errors import Unwritable
from dlrun.files.opening import appending, truncate
from dlrun.files.replacing import naming, replacing
from dlrun.folder.clearing import clear_parts, refuse_old_run
from dlrun.folder.names import CONFIG, LOG, METRICS, SUMMARY, TABLES

if TYPE_CHECKING:
    from torch import Tensor


def yaml_text(node: Mapping[str, Any]) -> str:
    """A config as YAML that OmegaConf reads back as it is, written in a fraction of the time that OmegaConf takes."""
    import yaml

    class Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
        """Quotes every text that is no plain word: YAML and OmegaConf disagree on what looks like a number."""

    def text(dumper: Any, value: str) -> Any:
        style = None if re.fullmatch(r"(?!nan$|inf)[A-Za-z_][\w./-]*", value) else "'"
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=style)

    Dumper.add_representer(str, text)
    return yaml.dump(escaped(node), Dumper=Dumper, sort_keys=False, allow_unicode=True, width=120)


def append_rows(path: Path, rows: Sequence[Mapping[str, float]]) -> None:
    """Add rows to a CSV file, which begins with their keys as its header if it is new; no rows, no file."""
    if not rows:
        return
    lines = [",".join(_cell(name, value) for name, value in row.items()) for row in rows]
    if not path.exists():
        lines.insert(0, ",".join(rows[0]))
    with naming(path), appending(path) as file:
        file.write("".join(f"{line}\n" for line in lines))


class Run:
    """One run's folder, open for writing; close it, or use it as a context manager."""

    durable = True  #: whether what is written once is to outlast a power cut before the next thing is done

    def __init__(self, folder: Path, columns: list[str], csv: TextIO) -> None:
        self.folder = folder
        self.columns = columns
        self._csv = csv

    @classmethod
    def create(cls, folder: str | Path, header: list[str], config_yaml: str) -> Run:
        """Start a run: make the folder, write config.yaml and the header of metrics.csv.

        Raises ConfigError if the folder already holds a run or cannot be written.
        """
        folder = Path(folder)
        refuse_old_run(folder)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with replacing(folder / CONFIG) as part:  # first: a folder with a config is known as a run's
                part.write_text(config_yaml, encoding="utf-8")
            run = cls(folder, header, appending(folder / METRICS))
            run._write_line(run.columns)
        except OSError as error:
            raise unwritable(folder, error) from error
        return run

    @classmethod
    def reopen(cls, folder: Path, header: list[str], lengths: Mapping[str, int]) -> Run:
        """Go on with a run from where its CSV files had these lengths in bytes; what came after is cut off.

        Raises ConfigError if the folder cannot be written.
        """
        try:
            (folder / SUMMARY).unlink(missing_ok=True)
            clear_parts(folder)
            for name in TABLES:
                if name in lengths:
                    truncate(folder / name, lengths[name])
                else:
                    (folder / name).unlink(missing_ok=True)
            return cls(folder, header, appending(folder / METRICS))
        except OSError as error:
            raise unwritable(folder, error) from error

    def lengths(self) -> dict[str, int]:
        """The present lengths of the CSV files in bytes."""
        return {name: (self.folder / name).stat().st_size for name in TABLES if (self.folder / name).exists()}

    def append(self, row: Mapping[str, float]) -> None:
        """Add one evaluation to metrics.csv; every column has a number, which may be NaN or infinite."""
        assert row.keys() == set(self.columns), f"columns {sorted(row.keys() ^ set(self.columns))} missing or unknown"
        self._write_line([_cell(name, row[name]) for name in self.columns])

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Write summary.json."""
        write_summary(self.folder, summary, self.durable)

    def note(self, *texts: str) -> None:
        """Add to dlrun.log."""
        with naming(self.folder / LOG), appending(self.folder / LOG) as file:
            file.writelines(f"[{datetime.now():%Y-%m-%d %H:%M:%S}] {text}\n" for text in texts)

    def save_weights(self, name: str, tensors: Mapping[str, Tensor], metadata: dict[str, str]) -> None:
        """Write tensors, each copied out of theta, to the safetensors file `name`."""
        import torch
        from safetensors.torch import save

        copies = {k: t.detach().cpu().clone(memory_format=torch.contiguous_format) for k, t in tensors.items()}
        with replacing(self.folder / name, self.durable) as part:
            part.write_bytes(save(copies, metadata))  # save_file would make a file that only its owner can read

    def close(self) -> None:
        self._csv.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _write_line(self, cells: list[str]) -> None:
        # One write of a whole line, so that a reader never sees half of it.
        with naming(self.folder / METRICS):
            self._csv.write(",".join(cells) + "\n")
            self._csv.flush()


def unwritable(folder: Path, error: OSError) -> Unwritable:
    """What to tell of a run's folder in which nothing can be written."""
    reason = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    return Unwritable(f"cannot write to the run's folder {folder} ({reason}); set hydra.run.dir=...")


def write_summary(folder: Path, summary: Mapping[str, Any], durable: bool = False) -> None:
    """Write summary.json; JSON has no NaN and no infinity, so both become null. `durable` as in `replacing`."""
    text = json.dumps(_strict(summary), indent=2, allow_nan=False) + "\n"
    with replacing(folder / SUMMARY, durable) as part:
        part.write_text(text, encoding="utf-8")


def _cell(name: str, value: float) -> str:
    """The shortest text that reads back as the same number; whole epochs look whole."""
    if isinstance(value, Integral) or (name == "epoch" and float(value).is_integer()):
        return repr(int(value))
    return repr(float(value))


def _strict(value: Any) -> Any:
    """The value with null for every NaN and infinity in it."""
    if isinstance(value, Mapping):
        return {key: _strict(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_strict(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
