"""A user's own table: CSV, TSV or Parquet with a header and a target column."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from dlrun.datasets.data import Samples
from dlrun.datasets.tables.cells import DECIMALS, MISSING, PARTS
from dlrun.datasets.tables.choice import choose_columns, choose_rows
from dlrun.datasets.tables.columns import Column, Raw, clean_text
from dlrun.datasets.tables.decimals import decimal_of
from dlrun.datasets.tables.delimited import ENDINGS, plural, read_text
from dlrun.datasets.tables.kept import LARGE, keep, kept, place_of
from dlrun.datasets.tables.kinds import Rules, decide
from dlrun.datasets.tables.notes import cautions, how_read, of_columns
from dlrun.datasets.tables.parquet import raw_column, read_parquet
from dlrun.datasets.tables.target import target_of
from dlrun.datasets.tables.typed import typed
from dlrun.errors import ConfigError
from dlrun.terminal.console import amount, say_on
from dlrun.terminal.printable import in_line

LONG = 10**8  #: bytes of a file of which it is said that it is being read, since that takes a while


def table(
    path: str | None = None,
    target: str | float | None = None,
    task: str = "auto",
    impute: bool = False,
    *,
    features: Sequence[Any] | None = None,
    drop: Sequence[Any] = (),
    categories: Sequence[Any] = (),
    numbers: Sequence[Any] = (),
    dates: Sequence[str] = (),
    date_format: str | None = None,
    missing: Sequence[Any] | None = None,
    drop_missing: str = "none",
    separator: str | None = None,
    decimal: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    comment: str | None = None,
) -> Samples:
    """A file's rows: inputs (rows, features) of numbers, text columns as one 0/1 feature per category, in sorted order.

    Numbers may have their digits grouped (1,234.5 or 1.234,5) and a sign of percent or currency, which is left
    out; times such as 12:30 become hours. Codes with leading zeros are texts. A text column of more than 100
    categories, or of more than 20 that are more than half as many as the rows, is refused unless dataset.categories
    names it. Columns that count or name the rows, as R and pandas write them, and empty ones are left out. What was
    guessed, encoded and left out is told, with the key that overrules it.

    A table of more than 67 million numbers is kept in the cache folder as the numbers that it became, by its path,
    size, times of change and inode, and by these keys: the next start reads them from there, as batches are taken, and
    they need not fit the memory. The numbers are the same. All such tables take 17 GB at most; delete them at will.

    Args:
        path: the file; its ending says the format: .parquet, or .csv, .tsv, .tab, .txt, .data, .dat, also with .gz.
        target: the column to predict, the last one where None.
        task: regression, binary, multiclass, or auto: classes where the target holds text, booleans, 0 and 1, or at
            most 20 whole numbers that occur 5 times on average (binary for two of them), a regression otherwise.
        features: the columns to learn from; None is all but the target.
        drop: columns to leave out.
        categories: columns whose values are categories, whatever they look like, and however many they are.
        numbers: columns that hold numbers even if these have leading zeros, or are strings in Parquet.
        dates: the numbers that a date becomes, of year, month, day, day_of_year, weekday (0 is Monday), hour (with
            fraction), days (since 1970); a column of dates is refused where none is named.
        date_format: how dates are written, as for strptime: %d/%m/%Y; None finds out, where that is possible.
        missing: texts and numbers that stand for a missing value, as the empty cell does; None takes the words of R,
            pandas, Excel, SQL and the UCI tables (NA, N/A, NaN, NULL, ? and the like) in text files, [] takes none.
        drop_missing: rows to leave out: none, those without a target, or those without any value that is used.
        impute: accept missing cells; text becomes the category "missing", numbers stay NaN until the split is
            known and `prepare` fills them with the median of the training part.
        separator: what stands between a text file's columns; None finds out, and says what it took.
        decimal: the mark before decimals; None finds out. The other one may group digits: 1,234.5 or 1.234,5.
        header: whether a text file's first line has the names; None takes it so, and refuses what looks like values.
        encoding: of a text file; None is UTF-8, or UTF-16 where it says so itself.
        comment: text that lines to skip begin with, as in 'dataset.comment="#"'.

    Raises ConfigError for whatever in the file cannot be trained on, by the column's name.
    """
    asked = {key: value for key, value in locals().items() if key != "path"}
    if not path:
        raise ConfigError("dataset=table needs a file: dataset.path=data.csv")
    file = Path(path).expanduser().absolute()
    lists = {"features": features, "drop": drop, "categories": categories, "numbers": numbers}
    keys = {key: None if value is None else [clean_text(str(name)) for name in value] for key, value in lists.items()}
    for part in dates:
        if part not in PARTS:
            raise ConfigError(f"dataset.dates: {part!r} is no part of a date; there are {', '.join(PARTS)}")
    place = place_of(file, asked) if file.is_file() else None
    if place and (known := kept(place)):
        return known
    if place and (size := file.stat().st_size) > LONG:
        from rich.console import Console

        say_on(Console(stderr=True), f"reading {in_line(file.name)} ({amount(size)}) ...")
    layout = {"separator": separator, "header": header, "encoding": encoding, "comment": comment, "decimal": decimal}
    raws, form, notes = read_columns(file, layout, missing)
    if form.get("header") is False:
        form["width"] = len(raws)  # new rows know their columns by their place
    total, size = len(raws), len(raws[0].values)

    chosen = choose_columns(raws, None if target is None else clean_text(str(target)), keys, file)
    if len(chosen.raws) < 2:
        split = f"; it was split at {plural(form['separator'])}, see dataset.separator" if "separator" in form else ""
        raise ConfigError(f"{file} has no column but {chosen.raws[0].name!r}, so no inputs{split}")
    choose_rows(chosen, drop_missing, impute, file)
    raws, label = chosen.raws, chosen.label
    if "separator" in form:
        form["decimal"] = decimal or decimal_of(raws, form["separator"], keys["categories"] or [], file)
    rules = Rules(
        numbers=keys["numbers"] or [],
        categories=keys["categories"] or [],
        target=raws[label].name,
        parts=dates,
        form=date_format,
        decimal=DECIMALS[form.get("decimal", "point")],
        words=list(dict.fromkeys(word for raw in raws for word in raw.words)),
    )
    remarks: dict[str, list[str]] = defaultdict(list)
    columns = _decided(raws, rules, remarks, file)
    if (dates or date_format) and not any(column.kind == "date" for column in columns):
        key = f"dataset.date_format={date_format}" if date_format else typed("dates", dates)
        raise ConfigError(f"{key}: no column of {file} that is used holds such dates")
    found = target_of(columns[label], raws[label], task, file, asked=raws[label].name in rules.categories)
    values = {i: column.values(raws[i]) for i, column in enumerate(columns) if i != label}
    _refuse_infinite(columns, {**values, label: found.values}, label, file)

    notes = [how_read(file, total, size, form), *notes, *chosen.notes]
    if target is None:
        notes.append(f"the target is the last column, {columns[label].name!r} (dataset.target chooses another)")
    notes += [*found.notes, *of_columns(columns, raws, label, remarks, impute)]
    notes += cautions(columns, raws, values, label, found)
    names = [name for i in values for name in columns[i].features]
    encoding_of_rows = {
        "format": form,
        "columns": [columns[i].as_json() for i in values],
        "features": names,
        "impute": impute,
        "target": {**columns[label].as_json(), "task": found.task, "classes": found.class_names},
    }
    samples = Samples(
        np.zeros((len(found.values), 0)),
        found.values,
        found.task,
        names,
        found.class_names,
        notes=list(map(in_line, notes)),
        encoding=encoding_of_rows,
    )
    parts = [(columns[i], each) for i, each in values.items()]
    if place and len(found.values) * len(names) > LARGE:
        try:
            return keep(place, parts, samples)
        except OSError as problem:
            samples.notes.append(  # in place of what is said where they are kept
                f"its numbers cannot be kept in {place.parent} ({problem.strerror or problem}): they stay in the "
                "memory, and are read again at the next start; DLRUN_DATA=FOLDER before the command names another place"
            )
    samples.inputs = np.hstack([column.spread(each) for column, each in parts])
    return samples


def read_columns(
    file: Path, layout: Mapping[str, Any], missing: Sequence[Any] | None
) -> tuple[list[Raw], dict[str, Any], list[str]]:
    """The columns of a file, how it is written, in the words of the keys, and what is to be said of it."""
    ending = Path(file.name.lower().removesuffix(".gz")).suffix
    if ending not in (*ENDINGS, ".parquet"):
        excel = "; save a spreadsheet as CSV" if ending in (".xlsx", ".xls", ".ods") else ""
        endings = f"{', '.join([*ENDINGS, '.parquet'])}, or of text with .gz behind it"
        raise ConfigError(f"dataset.path: {file} ends in none of {endings}{excel}")
    if file.is_dir():
        raise ConfigError(f"dataset.path: {file} is a folder, and a file is wanted")
    if not file.is_file():
        raise ConfigError(f"dataset.path: there is no file {file}")
    if ending == ".parquet":
        for key, value in layout.items():
            if value is not None:
                raise ConfigError(f"dataset.{key}={value} is for text files, and {file} is Parquet: leave it out")
        words = [str(word) for word in missing or []]
        return [raw_column(column, words) for column in read_parquet(file)], {"missing": words}, []
    words = list(MISSING if missing is None else map(str, missing))
    texts = read_text(file, **{key: value for key, value in layout.items() if key != "decimal"})
    names = [clean_text(name) for name in texts.names]
    raws = [Raw.of_texts(name, cells, words) for name, cells in zip(names, texts.columns, strict=True)]
    return raws, {**texts.form, "missing": words}, texts.said


def _decided(raws: Sequence[Raw], rules: Rules, remarks: Mapping[str, list[str]], file: Path) -> list[Column]:
    """What each column is; one ConfigError for all of which it cannot be told."""
    columns, problems = [], {}
    for raw in raws:
        try:
            columns.append(decide(raw, rules, remarks))
        except ConfigError as problem:
            problems[raw.name] = str(problem)
    if len(problems) == 1:
        raise ConfigError(f"{file}: {next(iter(problems.values()))}")
    if problems:
        inputs = [name for name in problems if name != rules.target]
        also = [f"  {typed('drop', inputs)} leaves all of these out"] if len(inputs) > 1 else []
        raise ConfigError("\n".join([f"{file}:", *(f"  {problem}" for problem in problems.values()), *also]))
    return columns


def _refuse_infinite(columns: Sequence[Column], values: Mapping[int, np.ndarray], target: int, file: Path) -> None:
    infinite = {i: int(np.isinf(each).sum()) for i, each in values.items()}
    if found := {columns[i].name: count for i, count in infinite.items() if count}:
        told = ", ".join(f"{name!r} ({count} infinite)" for name, count in found.items())
        way = "correct them" + (f", or {typed('drop', found)} leaves out" if columns[target].name not in found else "")
        raise ConfigError(f"{file} holds numbers that are not finite: {told}: {way}")
