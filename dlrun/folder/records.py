"""A run's folder: the names of its files and columns, and how they are written and read back."""

from __future__ import annotations

import functools
import json
import math
import os
import platform
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from dlrun.config.escapes import escaped
from dlrun.errors import ConfigError, Unwritable
from dlrun.files.files import appending, inside, read, refuse_links, truncate
from dlrun.folder import wellformed

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor

    from dlrun.datasets.encoding import Encoding

CONFIG = "config.yaml"
METRICS = "metrics.csv"
SUMMARY = "summary.json"
CURVES = "curves.png"
LOG = "dlrun.log"  #: the file that conf/setup.yaml's logging writes, too
RANGE = "lr_range.csv"  #: rate and loss of every step of schedule=lr_range
RANGE_PLOT = "lr_range.png"
PRETRAINING = "pretraining.csv"  #: an initializer's own trainings
BEST = "model.safetensors"  #: the best parameters, judged by the validation part
LAST = "last.safetensors"
CHECKPOINT = "checkpoint"  #: a folder, see dlrun/checkpoint.py
ENCODING = "encoding.json"  #: what encodes new rows as the run's were, see docs/encoding.md
MATRICES = "zca-*.safetensors"  #: a matrix that it needs
PLAN = "plan.json"  #: in a sweep's folder, see dlrun/sweep/plan.py
LOCK = ".lock"  #: held by the process that is at work in the folder, see dlrun/lock.py
KNOWN_BY = (METRICS, SUMMARY, CONFIG, BEST)  #: a folder with one of these is a run's
TABLES = (METRICS, RANGE, PRETRAINING)  #: what grows while a run goes on
OVERRIDES = ".hydra/overrides.yaml"  #: what was typed, as Hydra writes it
HYDRA = (".hydra", *(f".hydra/{name}.yaml" for name in ("config", "hydra", "overrides")))  #: what Hydra writes
#: columns without which the file is none of a run's
NEEDED = {
    METRICS: ("epoch", "step", "lr", "train_loss", "val_loss", "seconds"),
    RANGE: ("step", "lr", "loss", "smoothed"),
}


def columns(metrics: list[str], kept: Sequence[str] = ()) -> list[str]:
    """The header of metrics.csv; the first metric is the task's main one, and there may be none.

    kept: names of the networks that are measured on the validation part beside the trained one, such as ema.
    """
    quantities = ["loss", *metrics]
    measured = [f"{part}_{quantity}" for quantity in quantities for part in ("train", "val")]
    beside = [f"val_{name}_{quantity}" for name in kept for quantity in quantities]
    return ["epoch", "step", "lr", *measured, *beside, "grad_norm", "seconds"]


def holds_run(folder: str | Path) -> bool:
    """Whether a run was written here before; Hydra's own `.hydra/` and log file do not count."""
    return any((Path(folder) / name).exists() for name in KNOWN_BY)


def begun(folder: Path) -> bool:
    """Whether `dlrun resume` can go on here, with a run or a sweep."""
    return any((folder / name).exists() for name in (CONFIG, PLAN))


def refuse_old_run(folder: str | Path) -> None:
    """Raise ConfigError if the folder holds a run."""
    if holds_run(folder):
        raise ConfigError(
            f"the folder {folder} already holds a run, which is never overwritten; "
            "choose another with hydra.run.dir=..., or delete it"
        )


def refuse_foreign_files(folder: Path) -> None:
    """Raise ConfigError where what a run writes into its folder would go elsewhere: through a link, or into a pipe."""
    refuse_links(folder, *TABLES, LOG, LOCK, CHECKPOINT, *HYDRA)


def clear(folder: Path) -> None:
    """Delete what a run that did not come to its end left in its folder: its own files, and no others.

    A link among them goes itself, and what it leads to stays.
    """
    if (folder / CHECKPOINT).is_symlink():
        (folder / CHECKPOINT).unlink()
    shutil.rmtree(folder / CHECKPOINT, ignore_errors=True)
    # without CONFIG it is no run's folder
    for file in (*TABLES, CURVES, RANGE_PLOT, SUMMARY, BEST, LAST, LOG, ENCODING, CONFIG):
        (folder / file).unlink(missing_ok=True)
    clear_parts(folder)
    for path in folder.glob(MATRICES):
        path.unlink()


def clear_parts(folder: Path) -> None:
    """Delete what `replacing` left when its process was killed."""
    for part in folder.glob(".*.part"):
        if part.is_symlink() or part.is_file():
            part.unlink()


def discard(folder: Path) -> None:
    """Remove what Hydra made for a run or a sweep that never began; in the working directory also the date's folder."""
    if holds_run(folder) or (folder / LOCK).exists():
        return
    for file in (*HYDRA[1:], "multirun.yaml"):
        with suppress(ConfigError):  # what a link leads to is not of this run
            inside(folder, file).unlink(missing_ok=True)
    parents = [parent for parent in folder.parents if Path.cwd() in parent.parents]
    for made in (folder / ".hydra", folder, *parents):
        if made.is_dir() and not made.is_symlink():
            if any(made.iterdir()):
                break
            made.rmdir()


@contextmanager
def replacing(path: Path, durable: bool = False) -> Iterator[Path]:
    """A new file that takes the place of `path` when the block ends well: readers see the old file or the new.

    Its name is nobody's to foresee, and a link at `path` is replaced itself.

    durable: wait until it would outlast a power cut.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(8)}.part")
    with naming(path):
        os.close(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        try:
            yield part
            if durable:
                _to_disk(part)
            os.replace(part, path)
            if durable:
                _to_disk(path.parent)
        finally:
            with suppress(OSError):  # what went wrong before says more
                part.unlink(missing_ok=True)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors of the file system say which file it was: of a full disk, Python does not tell."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(path), None
        raise


def _to_disk(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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

    def save_encoding(self, encoding: Encoding, matrices: dict[str, Path]) -> None:
        """Write encoding.json, and the matrix that it needs, if any, to a file of its own.

        The runs of a sweep share the matrix, which may have 75 MB, as one file with many links where the file system
        has them.

        matrices: those that runs of this stack have, by name; gets this run's.
        """
        try:
            with replacing(self.folder / ENCODING) as part:
                part.write_text(encoding.text, encoding="utf-8")
            if encoding.matrix is not None:
                from safetensors.numpy import save

                path = self.folder / encoding.matrix_file
                data = b"" if path.name in matrices else save({"matrix": encoding.matrix})
                if not _linked(path, matrices.get(path.name) or _twin(path, data)):
                    with replacing(path) as part:
                        part.write_bytes(data or save({"matrix": encoding.matrix}))
                matrices.setdefault(path.name, path)
        except OSError as error:
            raise unwritable(self.folder, error) from error

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


def _twin(path: Path, data: bytes) -> Path | None:
    """A file with this name and content in a folder beside the one that path lies in."""
    for twin in path.parent.parent.glob(f"*/{path.name}"):
        with suppress(OSError):
            if twin.is_file() and not twin.is_symlink() and twin.read_bytes() == data:
                return twin
    return None


def _linked(path: Path, there: Path | None) -> bool:
    """Make path another name of a file, where there is one and the file system has links."""
    with suppress(OSError):
        if there:
            os.link(there, path)
    return path.exists()


def unwritable(folder: Path, error: OSError) -> Unwritable:
    """What to tell of a run's folder in which nothing can be written."""
    reason = f"{error.strerror}: {error.filename}" if error.filename else str(error)
    return Unwritable(f"cannot write to the run's folder {folder} ({reason}); set hydra.run.dir=...")


def read_metrics(folder: str | Path, name: str = METRICS) -> pd.DataFrame:
    """The rows of metrics.csv, or of another of the run's CSV files, bit for bit as they were appended.

    A line cut short by a crash is left out. Raises ConfigError if there is no such file, or it is damaged.
    """
    import pandas as pd

    header, rows = wellformed.metrics(_read(Path(folder), name), Path(folder) / name, NEEDED.get(name, ("step",)))
    if not header:
        raise ConfigError(f"{Path(folder) / name} is empty: the run ended before it could write; delete the folder")
    # Python's float() is exact; pandas' own parser is in some versions an ulp off.
    cells = [[float(cell) for cell in row] for row in rows]
    return pd.DataFrame(cells, columns=header, dtype=float).astype({"step": "int64"})


def write_summary(folder: Path, summary: Mapping[str, Any], durable: bool = False) -> None:
    """Write summary.json; JSON has no NaN and no infinity, so both become null. `durable` as in `replacing`."""
    text = json.dumps(_strict(summary), indent=2, allow_nan=False) + "\n"
    with replacing(folder / SUMMARY, durable) as part:
        part.write_text(text, encoding="utf-8")


def read_summary(folder: str | Path) -> dict[str, Any]:
    """The contents of summary.json; raises ConfigError if there is no such file, or it is damaged."""
    return wellformed.summary(_read(Path(folder), SUMMARY), Path(folder) / SUMMARY)


def status_of(folder: Path) -> str | None:
    """How a run ended, by its summary.json; None where it has none that can be read, or one that a crash cut short."""
    try:
        return str(read_summary(folder)["status"])
    except (ConfigError, OSError):
        return None


def environment() -> dict[str, Any]:
    """What a run's numbers depend on besides its config: versions, and the git commit of the working directory."""
    from dlrun.folder.commit import commit_of

    commit, dirty = commit_of(os.getcwd())
    packages = {"dlrun": "dlrun", "torch": "torch", "hydra": "hydra-core", "numpy": "numpy"}
    versions = {name: _version(package) for name, package in packages.items()}
    return {"versions": {"python": platform.python_version(), **versions}, "git_commit": commit, "git_dirty": dirty}


@functools.cache
def _version(package: str) -> str | None:
    import importlib.metadata

    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:  # a checkout that was never installed
        return None


def _read(folder: Path, name: str) -> str:
    try:
        return read(folder, name)
    except (FileNotFoundError, NotADirectoryError):
        raise ConfigError(f"{folder} holds no run: it has no {name}; give the folder of one run") from None


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
