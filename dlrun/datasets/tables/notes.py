"""What a user should know of a table: what was read and guessed, and what in it may mislead a training."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.datasets.tables.cells import has_offset
from dlrun.datasets.tables.columns import Column, Raw, in_order
from dlrun.datasets.tables.delimited import plural
from dlrun.datasets.tables.target import Target
from dlrun.datasets.tables.typed import typed

SHOWN = 8  #: columns that a note names
ODD = 2**63 - 25  #: by which a row's number is multiplied before its next value's is added
FIRST = 1000  #: rows that are looked at before all are
RARE = 3  #: rows below which a class cannot be in training, validation and test part
STRAIGHT = 0.99999  #: the correlation from which a column is the target in another unit, most likely
ENOUGH = 10  #: rows from which it is no chance that a column counts them, or tells each row's target
#: what may mislead a training, by a word for it
ODDITIES = {
    "tells": "tells the target {target} exactly",
    "follows": "rises or falls with the target {target} in a straight line (a correlation of 1)",
    "counts": "counts the rows",
    "ordered": "rises or falls with the rows",
    "dates": "read as numbers, though all look like dates such as 20210131, which 'dataset.date_format=%Y%m%d' reads "
    "in text files",
    "constant": "the same in every row",
    "cut": "whole numbers of which the last digits are lost",
}
#: what is said of columns by what was found in them; the columns follow
REMARKS = {
    "unit": "numbers whose sign is left out",
    "grouped": "digits in groups of three, which dataset.decimal tells from decimals",
    "time": "times, read in hours",
    "code": "numbers with leading zeros, taken as texts; dataset.numbers=[...] takes them as numbers",
    "mixed": "numbers beside other texts, taken as texts",
}


def how_read(file: Path, total: int, rows: int, form: Mapping[str, Any]) -> str:
    """The file's size, and how it was taken apart."""
    said = f"{file.name}: {rows} rows and {total} columns"
    if "separator" in form:
        said += f", split at {plural(form['separator'])}"
        said += f", in {form['encoding'].upper()}" if form["encoding"] not in ("utf-8", "utf-8-sig") else ""
        said += ", with decimal commas" if form["decimal"] == "comma" else ""
    return said


def of_columns(
    columns: Sequence[Column], raws: Sequence[Raw], label: int, remarks: Mapping[str, list[str]], impute: bool
) -> list[str]:
    """What the columns were taken for, by kind."""
    inputs = [(column, raw) for i, (column, raw) in enumerate(zip(columns, raws, strict=True)) if i != label]
    told = [f"{what}: {named(remarks[kind])}" for kind, what in REMARKS.items() if remarks.get(kind)]
    if texts := [f"{column.name} ({len(column.categories)})" for column, _ in inputs if column.kind == "category"]:
        told.insert(0, f"categories, as a column of 0 and 1 each: {named(texts)}")
    if dated := [_example(column, raw) for column, raw in inputs if column.kind == "date"]:
        parts = next(column.parts for column, _ in inputs if column.kind == "date")
        told.append(f"dates, as {', '.join(parts)}: {named(dated)}")
    if alike := [f"{raw.name} ({raw.alike[0]!r} and {raw.alike[1]!r})" for raw in raws if raw.alike]:
        told.append(f"texts that differ in blanks or encoding alone are taken as the same: {named(alike)}")
    words = [
        f"{word!r} in {raw.name} ({count})" for raw in raws if raw.holds_texts for word, count in raw.words.items()
    ]
    if words:
        told.append(f"read as missing: {named(words)}; dataset.missing=[] takes such words as texts")
    lacking = [(column, int(raw.missing.sum())) for column, raw in inputs if raw.missing.any()] if impute else []
    if filled := [f"{column.name} ({count})" for column, count in lacking if column.kind != "category"]:
        told.append(f"missing values, filled with the median of the training part: {named(filled)}")
    if own := [f"{column.name} ({count})" for column, count in lacking if column.kind == "category"]:
        told.append(f"missing values, as a category of their own: {named(own)}")
    return told


def _example(column: Column, raw: Raw) -> str:
    """A column of dates with what its latest text is taken for, as of two digits of a year the century is guessed."""
    if column.form is None:
        return column.name
    moments = column.moments(replace(raw, values=np.arange(len(raw.texts))))
    latest = int(np.argmax(moments))
    told = [has_offset(text, column.form) for text in raw.texts]
    utc = " UTC, as are those without an offset" if any(told) and not all(told) else " UTC" if any(told) else ""
    moment = str(moments[latest].astype("datetime64[s]")).removesuffix("T00:00:00").replace("T", " ")
    return f"{column.name} ({raw.texts[latest]!r} is {moment}{utc})"


def cautions(
    columns: Sequence[Column], raws: Sequence[Raw], values: Mapping[int, np.ndarray], label: int, target: Target
) -> list[str]:
    """What in the table may mislead a training.

    values: those of each column but the target, as `Column.values` has them, by its place.
    """
    rows, told = len(target.values), []
    found: dict[str, list[str]] = defaultdict(list)
    for i, given in values.items():
        for what in _odd(columns[i].kind, given, target):
            found[what].append(columns[i].name)
    for key, what in ODDITIES.items():
        if names := found[key]:
            them = "it" if len(names) == 1 else "them"
            odd = what.format(target=repr(columns[label].name))
            told.append(f"{odd}: {named(names)} ({typed('drop', names)} leaves {them} out)")
    declared = [i for i in values if raws[i].stored == "string" and columns[i].kind == "category"]
    if names := [raws[i].name for i in declared if not raws[i].holds_texts]:
        told.append(
            f"stored as texts, though all are numbers: {named(names)} ({typed('numbers', names)} takes numbers)"
        )
    if cased := [f"{column.name} ({two})" for column in columns if (two := _cased(column.categories))]:
        told.append(f"categories that differ in capitals alone stay apart: {named(cased)}")
    if repeated := _repeated(raws):
        told.append(f"{repeated} of {rows} rows repeat another one, perhaps across training, validation and test part")
    if target.task != "regression":
        counts = np.bincount(target.values, minlength=len(target.class_names))
        rare = [f"{name} ({count})" for name, count in zip(target.class_names, counts, strict=True) if count < RARE]
        if rare:
            told.append(f"classes with too few rows for training, validation and test part: {named(rare)}")
    return told


def _odd(kind: str, values: np.ndarray, target: Target) -> Iterator[str]:
    """Those of ODDITIES that a column's values are."""
    values = values.astype(np.float64)  # one column at a time: all of a large table take too much
    constant = bool((values == values[0]).all())
    single = kind != "category" and (values.ndim == 1 or values.shape[1] == 1)
    line = values if values.ndim == 1 else values[:, 0] if single else values.argmax(axis=1)
    if len(values) >= ENOUGH:
        if _tells(line, target) and (single or target.task != "regression"):
            yield "tells"
        elif single and target.task == "regression" and _follows(line, target.values):
            yield "follows"
        if single and _counts(line):
            yield "counts"
        elif single and in_order(line):
            yield "ordered"
        if kind == "number" and _are_dates(line):
            yield "dates"
    if constant:
        yield "constant"
    if single and bool((np.abs(line) > 2**53).any()):
        yield "cut"


def _tells(line: np.ndarray, target: Target) -> bool:
    """Whether a column equals a regression's targets, or has a value of its own for each class."""
    import pandas as pd

    if target.task == "regression":
        return np.array_equal(line, target.values)
    if np.isnan(line).any() or 2 * len(target.class_names) > len(line):  # of single rows anything tells each
        return False
    for rows in (FIRST, len(line)):  # nearly all columns part from the target early
        if not np.array_equal(pd.factorize(line[:rows])[0], pd.factorize(target.values[:rows])[0]):
            return False
    return True


def _follows(line: np.ndarray, targets: np.ndarray) -> bool:
    """Whether what a column holds is a straight line of the targets, but for some rounding."""
    present = np.isfinite(line) & np.isfinite(targets)
    with np.errstate(over="ignore", invalid="ignore"):  # a number that is none compares as false
        x, y = line[present] - line[present].mean(), targets[present] - targets[present].mean()
        return len(x) >= ENOUGH and bool(abs(x @ y) > STRAIGHT * np.sqrt((x @ x) * (y @ y)) > 0)


def _counts(values: np.ndarray) -> bool:
    """Whether these are whole numbers without a gap or a repetition."""
    return np.array_equal(values, np.floor(values)) and np.array_equal(
        np.sort(values), np.arange(len(values)) + values.min()
    )


def _are_dates(values: np.ndarray) -> bool:
    """Whether these are years, months and days in eight digits."""
    present = values[~np.isnan(values)]
    if not np.all((present >= 19000101) & (present <= 21001231) & (present == np.floor(present))):
        return False
    month, day = present // 100 % 100, present % 100
    return bool(np.all((month >= 1) & (month <= 12) & (day >= 1) & (day <= 31)))


def _cased(categories: Sequence[str]) -> str:
    """The first two categories that differ in capitals alone."""
    first: dict[str, str] = {}
    for text in categories:
        if (other := first.setdefault(text.casefold(), text)) != text:
            return f"{other!r} and {text!r}"
    return ""


def _repeated(raws: Sequence[Raw]) -> int:
    """How many rows equal an earlier one."""
    import pandas as pd

    # a number for each row, of which few are the same by chance: a table of all rows would hold them twice
    mixed = np.zeros(len(raws[0].values), np.uint64)
    for raw in raws:
        values = raw.values
        if values.dtype.kind == "f":  # whatever is equal has the same bits
            values = np.where(np.isnan(values), np.nan, values + 0.0)
        mixed = mixed * np.uint64(ODD) + pd.util.hash_array(values)
    alike = pd.Series(mixed).duplicated(keep=False).to_numpy()
    return int(pd.DataFrame({i: raw.values[alike] for i, raw in enumerate(raws)}).duplicated().sum())


def named(what: Sequence[str]) -> str:
    """The first of these, and how many there are beside."""
    return ", ".join(what[:SHOWN]) + (f" and {len(what) - SHOWN} more" if len(what) > SHOWN else "")
