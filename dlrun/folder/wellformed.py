"""What the files in runs' and sweeps' folders must be. They may have been damaged, or made by a stranger.

Each function gives what a file says, or raises ConfigError that names it and says what is wrong. None imports torch.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Sequence
from itertools import pairwise
from math import inf
from pathlib import Path, PurePosixPath
from typing import Any

from dlrun.errors import ConfigError
from dlrun.files.parsing import json_of, yaml_of

STATUSES = ("finished", "stopped_early", "pruned", "diverged", "failed", "interrupted")
PART, WAY = 255, 2000  #: bytes of a folder's name, and of the way down to it
COUNT = 2**53  #: whole numbers up to here are exact in every table
SMALLEST = 5e-324  #: number above 0
COLUMNS, LETTERS = 10_000, 1000  #: of a diagnostic's table, and of a word in it, at most
WORDS = ("layer", "quantity", "true", "predicted", "run")  #: columns of a diagnostic's table that hold no numbers

_NUMBERS = re.compile(r"(best|last|test)_.*|epochs|steps|seconds|steps_per_second|parameters|suggested_lr|budget")
_TEXTS = ("name", "device", "error", "reason", "main_metric", "data")


def metrics(text: str, file: str | Path, needed: Sequence[str]) -> tuple[list[str], list[list[str]]]:
    """Header and cells of metrics.csv or another CSV file of a run; the cells read as numbers.

    A line cut short by a crash is left out. Of an empty file the header is empty.

    needed: columns without which it is not such a file.
    """
    header, *rows = [line.split(",") for line in text[: text.rfind("\n") + 1].splitlines()] or [[]]
    if not header:
        return [], []
    if len(set(header)) < len(header) or not all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) for name in header):
        raise ConfigError(f"{file} has no header of column names, each once")
    pairs = [name.replace("train_", "val_", 1) for name in header if name.startswith("train_")]
    if missing := [name for name in ("step", *needed, *pairs) if name not in header]:
        raise ConfigError(f"{file} has no column {missing[0]}")
    body = text[text.find("\n") :]
    if not body.isascii() or "_" in body:  # which float() takes, and pandas does not
        raise ConfigError(f"{file}: the cells below its header must be plain numbers")
    times = [header.index("epoch" if "epoch" in header else "step"), header.index("step")]
    epoch, step = -SMALLEST, -1.0
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ConfigError(f"{file}, line {number} has {len(row)} cells, and the header {len(header)}")
        try:
            cells = list(map(float, row))
        except ValueError as problem:
            raise ConfigError(f"{file}, line {number}: {problem}") from problem
        before, (epoch, step) = (epoch, step), (cells[at] for at in times)
        if not (before[0] < epoch <= COUNT and before[1] < step <= COUNT) or step % 1:
            raise ConfigError(f"{file}, line {number}: epoch {epoch:g} and step {step:g} do not follow the row before")
    return header, rows


def table(text: str, file: str | Path) -> tuple[list[str], list[list[str]]]:
    """Header and cells of a diagnostic's CSV file; those of the columns that are not `WORDS` read as numbers.

    A line cut short by a crash is left out.
    """
    lines = text[: text.rfind("\n") + 1].splitlines()
    try:
        header, *rows = list(csv.reader(lines, strict=True)) or [[]]
    except csv.Error as problem:
        raise ConfigError(f"{file} is no table: {problem}") from problem
    if (
        not header
        or len(set(header)) < len(header)
        or not all(re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) for name in header)
    ):
        raise ConfigError(f"{file} has no header of column names, each once")
    if len(header) > COLUMNS:
        raise ConfigError(f"{file} is no table of a diagnostic: it has {len(header):,} columns")
    for number, row in enumerate(rows, 2):
        if len(row) != len(header):
            raise ConfigError(f"{file}, line {number} has {len(row)} cells, and the header {len(header)}")
        for name, cell in zip(header, row, strict=True):
            if name not in WORDS:
                _number(cell, f"{file}, line {number}")
            elif len(cell) > LETTERS:
                raise ConfigError(f"{file}, line {number}: {name} has {len(cell):,} letters")
    return header, rows


def _number(cell: str, where: str) -> float:
    if not cell.isascii() or "_" in cell:  # which float() takes, and pandas does not
        raise ConfigError(f"{where}: {cell!r} is no plain number")
    try:
        return float(cell)
    except ValueError as problem:
        raise ConfigError(f"{where}: {problem}") from problem


def summary(text: str, file: str | Path) -> dict[str, Any]:
    """The contents of summary.json."""
    found = json_of(text, file, writable=True)
    if not isinstance(found, dict) or found.get("status") not in STATUSES:
        raise ConfigError(f"{file} has no status, one of {', '.join(STATUSES)}")
    for key, value in found.items():
        if _NUMBERS.fullmatch(key) and not _is_number(value):
            raise ConfigError(f"{file}: {key} is {_short(value)}, and must be a number")
        if key in _TEXTS and not isinstance(value, str | None):
            raise ConfigError(f"{file}: {key} is {_short(value)}, and must be a text")
    ways = found.get("metrics", {})
    if not isinstance(ways, dict) or not all(isinstance(way, str) for way in ways.values()):
        raise ConfigError(f"{file}: metrics is {_short(ways)}, and must say of each metric which way is better")
    if found["status"] in ("finished", "stopped_early"):
        for name in [*ways, *filter(None, [found.get("main_metric")])]:
            if f"best_val_{name}" not in found:
                raise ConfigError(f"{file}: there is no best_val_{name}, of a metric that the run has")
    return found


def overrides(text: str, file: str | Path) -> list[str]:
    """What was typed for a run, from .hydra/overrides.yaml."""
    found = yaml_of(text, file)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(each, str) and each.lstrip("+~") for each in found):
        raise ConfigError(f"{file} is no list of overrides, such as `- seed=1`")
    if any(each.lstrip("+~").startswith("=") for each in found):
        raise ConfigError(f"{file} has an override without a key")
    return found


def mapping(text: str, file: str | Path) -> dict[str, Any]:
    """A YAML file of keys and values, such as config.yaml; nothing for an empty one."""
    found = yaml_of(text, file)
    if not isinstance(found, dict | None):
        raise ConfigError(f"{file} has no keys and values, such as `seed: 0`")
    return {str(key): value for key, value in (found or {}).items()}


def plan(text: str, file: str | Path) -> dict[str, Any]:
    """The contents of plan.json: the runs of a sweep's folder, which all lie in it, the commands that asked, and the
    looks of a sweep with seed=until_decided."""
    found = json_of(text, file)
    if not isinstance(found, dict):
        raise ConfigError(f"{file} is no plan of a sweep: it has no runs and commands")
    runs, commands = found.get("runs", {}), found.get("commands", [])
    if not isinstance(commands, list) or not all(_are_texts(command) for command in commands):
        raise ConfigError(f"{file}: commands must be a list, of a list of overrides for each")
    if not isinstance(runs, dict):
        raise ConfigError(f"{file}: runs must say of each run's folder its number and config")
    for name, run in runs.items():
        below(name, file)
        if not isinstance(run, dict) or not is_count(run.get("number")) or not isinstance(run.get("config"), str):
            raise ConfigError(f"{file}: {name} has no number and config")
    looks = found.get("looks")
    if looks is not None and not _are_looks(looks):
        raise ConfigError(f"{file}: looks must tell the numbers of seeds, each more than the last, and the margin")
    return {"runs": runs, "commands": commands, **({"looks": looks} if looks else {})}


def _are_looks(found: Any) -> bool:
    if not isinstance(found, dict) or found.keys() != {"seeds", "margin"}:
        return False
    seeds, margin = found["seeds"], found["margin"]
    if not isinstance(seeds, list) or not seeds or not all(is_count(each) for each in seeds):
        return False
    return all(a < b for a, b in pairwise([1, *seeds])) and type(margin) in (int, float) and 0 <= margin < inf


def submission(text: str, file: str | Path) -> dict[str, Any]:
    """The contents of a Slurm job's job.json: its id, and the names of each task's runs."""
    found = json_of(text, file)
    if (
        not isinstance(found, dict)
        or found.keys() != {"id", "parts"}
        or not (isinstance(found["id"], str) and re.fullmatch(r"\d{1,20}", found["id"], re.ASCII))
        or not (isinstance(found["parts"], list) and all(map(_are_texts, found["parts"])))
    ):
        raise ConfigError(f"{file} does not tell a job's id and the runs of its tasks")
    for part in found["parts"]:
        for name in part:
            below(name, file)
    return found


def is_record(found: Any, step: int) -> bool:
    """Whether this may be the record of a checkpoint of this step: what it tells of its runs and files has its form."""
    if not isinstance(found, dict) or found.get("step") != step:
        return False
    lists = [found.get(key, []) for key in ("files", "initialized", "rows", "taken", "runs_left")]
    texts = [found.get(key, []) for key in ("runs", "configs", "status", "on_cpu")]
    if not all(isinstance(each, list) for each in lists) or not all(map(_are_texts, texts)):
        return False
    files, reports, *_ = lists
    lengths = [length for each in files if isinstance(each, dict) for length in each.values()]
    counts = [*lengths, *found.get("runs_left", []), *found.get("taken", [])]
    return (
        all(isinstance(each, dict) for each in (*files, *reports, found.get("versions", {})))
        and all(map(is_count, counts))
        and isinstance(found.get("seconds", 0.0), float | int)
        and isinstance(found.get("started", ""), str)
    )


def below(name: str, file: str | Path) -> None:
    """Raise ConfigError for the name of a run, in a file, that is no plain way down from the sweep's folder."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or str(path) != name or "\0" in name:
        raise ConfigError(f"{file}: {_short(name)} is no folder in the sweep's")
    try:
        lengths = [len(os.fsencode(part)) for part in path.parts]
    except UnicodeEncodeError:  # half a letter, which JSON can hold
        lengths = [PART + 1]
    if max(lengths) > PART or sum(lengths) > WAY:
        raise ConfigError(f"{file}: {_short(name)} is no name that a folder can have")


def _is_number(value: Any) -> bool:
    if isinstance(value, int) and not isinstance(value, bool):
        return abs(value) < COUNT
    return isinstance(value, float | None)


def is_count(value: Any) -> bool:
    """Whether this is a whole number, not negative, that every table holds exactly."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < COUNT


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 40 else f"{text[:36]} ..."
