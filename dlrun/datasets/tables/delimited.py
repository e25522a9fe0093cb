"""A table in a text file: its encoding, its separator, its header, and its rows of texts as they stand."""

from __future__ import annotations

import codecs
import csv
import gzip
import io
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO, cast

from dlrun.datasets.tables.cells import numbers
from dlrun.errors import ConfigError

SEPARATORS = {"comma": ",", "semicolon": ";", "tab": "\t", "bar": "|", "blanks": " "}
ENDINGS = {".csv": "comma", ".tsv": "tab", ".tab": "tab", ".txt": "tab", ".data": "comma", ".dat": "comma"}
UNPACKED = 2**30  #: bytes that a packed file may hold
SAMPLE = 2**18  #: characters in which the separator is sought
BOMS = {codecs.BOM_UTF8: "utf-8-sig", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


@dataclass
class Texts:
    """names: of the columns, "" where the file has none. columns: of each its cells.

    form: how the file is written, in the words of the keys: separator, header, encoding, comment.
    said: what a user should know of how it was read.
    """

    names: list[str]
    columns: list[tuple[str, ...]]
    form: dict[str, Any]
    said: list[str] = field(default_factory=list)


def read_text(
    file: Path,
    separator: str | None = None,
    header: bool | None = None,
    encoding: str | None = None,
    comment: str | None = None,
) -> Texts:
    """The cells of a file whose ending is among ENDINGS, perhaps with .gz; None finds separator and encoding.

    Quoted cells may hold separators, line ends, and quotes written twice. Left out are empty lines, lines that begin
    with the text `comment`, repetitions of the header, Excel's first line `sep=;`, and empty cells beyond the header's.

    Raises ConfigError for what is no table, with the line: rows of different lengths, a separator that more than one
    sign may be, text in another encoding, a first line that seems to be no header.
    """
    try:
        if file.suffix.lower() == ".gz":
            refuse_bomb(file)
        encoding = _encoding(file, encoding)
        with _opened(file, encoding) as stream:
            sample = stream.read(SAMPLE)
        if "\0" in sample:
            raise ConfigError(_zeros(file))
        declared = re.match(r"sep=(.)\r?\n", sample, re.IGNORECASE)
        if separator is None and declared and declared[1] in SEPARATORS.values():
            separator = next(name for name, sign in SEPARATORS.items() if sign == declared[1])
        chosen = separator or _separator(sample, file, comment)
        with _opened(file, encoding) as stream:
            if declared:
                stream.readline()
            found = _Rows(stream, chosen, comment)
            rows = list(found)
    except UnicodeError as error:
        raise ConfigError(_undecodable(file, encoding or "", error)) from error
    except csv.Error as error:
        raise ConfigError(
            f"{file}, line {found.line}: {error}; a quotation mark that opens a cell also "
            "closes it, and is written twice within it"
        ) from error
    except (OSError, EOFError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from error
    if not rows:
        raise ConfigError(f"{file} is empty")
    return _table(file, rows, found, {"separator": chosen, "header": header, "encoding": encoding, "comment": comment})


class _Rows:
    """The rows of a stream, without what is no row; says what it left out, and which row's length differs first.

    Of the rows' lengths after the first: how many rows have each, and the first line that does.
    """

    def __init__(self, stream: Iterable[str], separator: str, comment: str | None, strict: bool = True) -> None:
        self._blanks, self._comment = separator == "blanks", comment
        lines = (line.replace("\t", " ") for line in stream) if self._blanks else stream
        self._reader = csv.reader(
            lines, delimiter=SEPARATORS[separator], skipinitialspace=not self._blanks, strict=strict
        )
        self.empty = self.commented = 0
        self.lengths: Counter[int] = Counter()
        self.first_line: dict[int, int] = {}

    @property
    def line(self) -> int:
        return self._reader.line_num

    def __iter__(self) -> Iterator[list[str]]:
        width = None
        for row in self._reader:
            if self._blanks:
                row = [cell for cell in row if cell]
            if self._comment and row and row[0].startswith(self._comment):
                self.commented += 1
            elif not any(map(str.strip, row)):
                self.empty += 1
            elif width is None:
                width = len(row)
                yield row
            else:
                while len(row) > width and not row[-1].strip():
                    row.pop()
                self.lengths[len(row)] += 1
                self.first_line.setdefault(len(row), self.line)
                yield row


def _table(file: Path, rows: list[list[str]], found: _Rows, form: dict[str, Any]) -> Texts:
    said = []
    skipped = {"empty lines": found.empty, f"lines that begin with {form['comment']}": found.commented}
    width = len(rows[0])
    if set(found.lengths) == {width + 1} and form["header"] is not False:
        rows[0].insert(0, "")  # as R's write.table leaves the rows' names without one
    elif odd := sorted(set(found.lengths) - {width}, key=lambda length: found.first_line[length]):
        comment = """'dataset.comment="#"'""" if rows[0][0].startswith("#") else "dataset.comment"
        raise ConfigError(
            f"{file}, line {found.first_line[odd[0]]}: {odd[0]} columns, where the first line has {width}, split at "
            f"{plural(form['separator'])}: correct it, or see whether dataset.separator helps, or {comment}, the text "
            "that lines to skip begin with"
        )
    if form["header"] is False:
        names = [f"column_{i + 1}" for i in range(width)]
        said.append(f"there is no header: the columns are called column_1 to column_{width}")
    else:
        names = [name.strip() for name in rows[0]]
        body = [row for row in rows[1:] if row != rows[0]]
        skipped["repetitions of the header"] = len(rows) - 1 - len(body)
        rows = body
    if not rows:
        raise ConfigError(f"{file} has a header but no rows")
    columns = list(zip(*rows, strict=True))
    if form["header"] is None:
        _refuse_values(file, names, columns)
        form["header"] = True
    told = [f"{what} ({count})" for what, count in skipped.items() if count]
    if told:
        said.append(f"skipped: {', '.join(told)}")
    return Texts(names, columns, form, said)


def _refuse_values(file: Path, names: list[str], columns: list[tuple[str, ...]]) -> None:
    """ConfigError where the first line looks like a row: it has numbers, or what stands below it too."""
    values = numbers(names)[0]
    like = [
        name
        for name, value, cells in zip(names, values, columns, strict=True)
        if value == value or (name and name in cells)
    ]
    if like:
        shown = ", ".join(map(repr, like[:5])) + (", ..." if len(like) > 5 else "")
        raise ConfigError(
            f"{file}: the first line holds {shown}, which look like values, not like names of columns: "
            "dataset.header=false if it is a row like the others, dataset.header=true if these are the names"
        )


def _separator(sample: str, file: Path, comment: str | None) -> str:
    """The separator by which every row has as many columns as the header; else the one that most rows agree with."""
    usual = ENDINGS[Path(file.name.lower().removesuffix(".gz")).suffix]
    agreeing = {}
    for name in SEPARATORS:
        rows = _Rows(io.StringIO(sample, newline=""), name, comment, strict=False)
        try:
            read = list(rows)
        except csv.Error:
            continue
        if len(sample) == SAMPLE and len(read) > 1:  # the last one may be cut
            rows.lengths[len(read[-1])] -= 1
            rows.lengths += Counter()
        if read and len(read[0]) > 1:
            width = len(read[0])
            whole = set(rows.lengths) in ({width}, {width + 1})
            agreeing[name] = 2.0 if whole or not rows.lengths else rows.lengths[width] / rows.lengths.total()
    blanks = agreeing.pop("blanks", 0)
    clear = [name for name, share in agreeing.items() if share == 2]
    if len(clear) > 1:
        raise ConfigError(
            f"{file} can be split at {' and at '.join(plural(name) for name in clear)}: say which by "
            f"{' or '.join(f'dataset.separator={name}' for name in clear)}"
        )
    best = max(agreeing, key=lambda name: agreeing[name], default=usual)
    if agreeing.get(best, 0) > 0.5:
        return best
    return "blanks" if blanks == 2 else usual


def plural(separator: str) -> str:
    """What a table is split at."""
    return separator.removesuffix("s") + "s"


def _encoding(file: Path, given: str | None) -> str:
    if given is not None:
        try:
            if cast(Any, codecs.lookup(given))._is_text_encoding:
                return given
        except (LookupError, ValueError):
            pass
        raise ConfigError(
            f"dataset.encoding={given}: there is no such encoding; utf-8, utf-16, latin-1 and cp1252 are usual"
        )
    with gzip.open(file) if file.suffix.lower() == ".gz" else file.open("rb") as content:
        start = content.read(4)
    return next((name for bom, name in BOMS.items() if start.startswith(bom)), "utf-8")


def _opened(file: Path, encoding: str) -> TextIO:
    if file.suffix.lower() == ".gz":
        return cast(TextIO, gzip.open(file, "rt", encoding=encoding, newline=""))
    return file.open(encoding=encoding, newline="")


def _undecodable(file: Path, encoding: str, error: UnicodeError) -> str:
    told = f"{file} is not in {encoding.upper()} ({error})"
    if isinstance(error, UnicodeDecodeError) and encoding == "utf-8":
        if b"\0" in error.object:
            return _zeros(file)
        around = error.object[max(error.start - 10, 0) : error.start + 10].splitlines()
        line = next((line for line in around if max(line, default=0) > 127), b"")
        told = (
            f"{file} is not in UTF-8: dataset.encoding=cp1252 would read {line.decode('cp1252', 'replace')!r}, and "
            "other names of encodings otherwise; or save it in UTF-8"
        )
    return told


def _zeros(file: Path) -> str:
    return (
        f"{file} holds zero bytes, which no text does: dataset.encoding=utf-16-le or utf-16-be may read it, if it is "
        "text; save a spreadsheet as CSV"
    )


def refuse_bomb(file: Path) -> None:
    """A few megabytes may stand for more than any memory."""
    with gzip.open(file) as content:
        while content.read(2**20):
            if content.tell() > UNPACKED:
                raise OSError(f"it holds more than {UNPACKED} bytes: unpack it if that is meant")
