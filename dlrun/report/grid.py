"""A table for people: its cells, and how it fits onto a terminal of any width."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, NamedTuple

from dlrun.terminal.printable import printable

if TYPE_CHECKING:
    from rich.console import Console


class Cell(NamedTuple):
    text: str
    key: float | str | None = None  #: what to sort by, if not the text; "" goes last
    link: str = ""


NOTHING = Cell("-", "")


@dataclass
class Grid:
    """A table for people, on the terminal and on the page."""

    title: str
    columns: list[str]
    rows: list[list[Cell]]
    remark: str = ""
    text: list[bool] = field(default_factory=list)  #: whether each column holds words
    named_by: int = 1  #: how many of the first columns name a row
    settings: list[int] = field(default_factory=list)  #: the rank of each row's setting, where rows have one
    spoken: bool = False  #: whether the remark is for the terminal, too
    main: bool = False  #: whether its rows are the settings, which can be taken out of what the page draws

    def ends(self, most: int) -> Grid:
        """The grid, of very many rows with the first and the last ones alone."""
        if len(self.rows) <= most:
            return self
        half = most // 2
        remark = f"{self.remark} Of {len(self.rows):,} rows these are the first {half} and the last {half}.".strip()
        ends = [*range(half), *range(-half, 0)]
        settings = [self.settings[at] for at in ends] if self.settings else []
        return replace(self, rows=[self.rows[at] for at in ends], settings=settings, remark=remark)

    def show(self, console: Console, lines: int) -> None:
        """Print the first rows; no digit is ever cut off, and no word broken that fits into a line.

        Where not all fits side by side, words go below their row; so does what does not fit beside a long name; and
        where not even the numbers fit, they follow each other with the names of their columns.
        """
        from rich.text import Text

        head, *body = self._lines([[printable(cell.text) for cell in row] for row in self.rows[:lines]], console.width)
        if head:
            console.print(Text(head, "dim"), soft_wrap=True)
        for line in body:
            console.print(Text(line), soft_wrap=True)

    def _lines(self, rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
        """The header, "" where there is none, and the lines of the rows."""
        names = short(self.columns[: self.named_by])
        named = [_pairs(names, row) if len(names) > 1 else row[0] for row in rows]
        first = "setting" if len(names) > 1 else names[0]
        columns = range(self.named_by, len(self.columns))
        widths = {i: max(map(cells, [self.columns[i], *(row[i] for row in rows)])) for i in columns}
        longest = max(map(cells, [first, *named]))
        below: list[int] = []
        gap, room = _fit(widths, width, longest)
        if room < longest:
            below = [i for i in columns if self.text[i]]
            beside = {i: each for i, each in widths.items() if i not in below}
            gap, room = _fit(beside, width, longest, cells(first)) if beside else (0, -1)
        else:
            beside = widths
        room = min(room, longest)
        if room <= 0 and len(names) == 1 and first != "setting":  # no header says what it is
            named = [_pairs(names, [name]) for name in named]
        if room >= 0:
            yield self._line(first if room else "", room, self.columns, beside, gap)
        else:
            yield ""
        for name, row in zip(named, rows, strict=True):
            if 0 < cells(name) <= room:
                yield self._line(name, room, row, beside, gap)
            else:
                yield from folded(name, width)
                if room >= 0:
                    yield self._line("", room, row, beside, gap)
                else:
                    yield from _flowing([f"{self.columns[i]} {row[i]}" for i in beside], width)
            for i in below:
                label = f"{self.columns[i]}: " if len(below) > 1 else ""
                yield from folded(label + row[i], width, INDENT) if row[i] else ()

    def _line(self, name: str, room: int, row: Sequence[str], widths: dict[int, int], gap: int) -> str:
        parts = [name + " " * (room - cells(name))] if room else []
        for i, width in widths.items():
            blanks = " " * (width - cells(row[i]))
            parts.append(row[i] + blanks if self.text[i] else blanks + row[i])
        return (" " * gap).join(parts).rstrip()


INDENT = "    "  #: of what stands below the name of its row


def _fit(widths: dict[int, int], width: int, *names: int) -> tuple[int, int]:
    """The gap between columns, and the room that is left before them for a name: the first of these widths that fits,
    or more; 0 where it has to go on a line of its own, and -1 where the columns alone do not fit."""
    free = {gap: width - sum(widths.values()) - gap * len(widths) for gap in (2, 1)}
    for name in names:
        for gap, room in free.items():
            if room >= name:
                return gap, room
    return next(((gap, 0) for gap, room in free.items() if room + gap >= 0), (0, -1))


def short(keys: Sequence[str]) -> list[str]:
    """The last parts of keys, where these tell them apart."""
    last = [key.rpartition(".")[2] for key in keys]
    return last if len(set(last)) == len(last) else list(keys)


def cells(text: str) -> int:
    """Columns of the terminal that a text takes; some letters take two."""
    from rich.cells import cell_len

    return cell_len(text)


def folded(text: str, width: int, indent: str = "") -> Iterator[str]:
    """The lines of a text that is folded at its blanks."""
    from rich.console import Console
    from rich.text import Text

    for line in Text(text).wrap(Console(), max(1, width - len(indent)), overflow="fold"):
        yield indent + line.plain.rstrip()


def _pairs(names: Sequence[str], values: Sequence[str]) -> str:
    pairs = zip(names, values, strict=False)  # values: the row's first
    return " ".join(f"{name}={value}" for name, value in pairs if value != NOTHING.text) or NOTHING.text


def _flowing(parts: Sequence[str], width: int) -> Iterator[str]:
    """As many parts in a line as fit."""
    line = ""
    for part in parts:
        longer = f"{line}  {part}" if line else INDENT + part
        if cells(longer) > width:
            yield from folded(line.lstrip(), width, INDENT) if line else ()
            longer = INDENT + part
        line = longer
    yield from folded(line.lstrip(), width, INDENT)
