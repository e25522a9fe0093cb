"""Which rows of a sweep's table a condition means, `status=="pruned" and lr>0.1`: it is read, and never run as code."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from dlrun.config.words import did_you_mean
from dlrun.errors import ConfigError
from dlrun.report.cells import as_typed

LONGEST = 2000  #: letters of a condition
DEEPEST = 50  #: parentheses and nots in one another
TOKEN = re.compile(
    r"""\s*(?:(?P<sign>==|!=|<=|>=|<|>|\(|\))|(?P<quoted>"[^"]*"|'[^']*')|(?P<word>[^\s()"'=!<>]+))""",
)
ORDERS: dict[str, Callable[[float, float], bool]] = {
    "<": lambda a, b: a < b,
    ">": lambda a, b: a > b,
    "<=": lambda a, b: a <= b,
    ">=": lambda a, b: a >= b,
}
TAGS = "tags"  #: the column that holds several, with commas between them
EXAMPLE = """--where 'status=="failed" and lr>0.1'"""

Row = Mapping[str, str]
Test = Callable[[Row], bool]


class Token(NamedTuple):
    """A part of a condition: a sign, a text in quotes, or a word."""

    kind: str
    text: str


def condition(text: str, columns: list[str]) -> Test:
    """Whether a row of a sweep's table, cells by column, is meant by a condition.

    A condition compares columns with values, by ==, !=, <, >, <= and >=, or asks whether a tag is there, by `"x" in
    tags`, and joins these by `and`, `or`, `not` and parentheses. A value is a number, a word, or a text in quotes.
    Numbers are compared as numbers; where a cell is none, <, >, <= and >= do not hold.

    Raises ConfigError for anything else, and for a column that the table has not; and what it returns, where `tags==x`
    meets a run that has the tag x and others.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"--where: a condition has {LONGEST:,} letters at most, and this one {len(text):,}")
    return _Reader(text, columns).whole()


class _Reader:
    def __init__(self, text: str, columns: list[str]) -> None:
        self._text, self._columns, self._at, self._depth = text, columns, 0, 0
        self._tokens: list[Token] = []
        place = 0
        while place < len(text.rstrip()):
            match = TOKEN.match(text, place)
            if not match or not match.lastgroup:
                raise self._mistake(f"{text[place:].strip()[:20]} cannot be read")
            self._tokens.append(Token(match.lastgroup, match[match.lastgroup]))
            place = match.end()

    def whole(self) -> Test:
        """All of it."""
        test = self._any()
        if self._at < len(self._tokens):
            raise self._mistake(f"{self._tokens[self._at].text} is one too many")
        return test

    def _any(self) -> Test:
        tests = [self._all()]
        while self._takes("or"):
            tests.append(self._all())
        return tests[0] if len(tests) == 1 else lambda row: any(test(row) for test in tests)

    def _all(self) -> Test:
        tests = [self._one()]
        while self._takes("and"):
            tests.append(self._one())
        return tests[0] if len(tests) == 1 else lambda row: all(test(row) for test in tests)

    def _one(self) -> Test:
        self._depth += 1
        if self._depth > DEEPEST:
            raise self._mistake(f"more than {DEEPEST} parentheses are in one another")
        try:
            if self._takes("not"):
                test = self._one()
                return lambda row: not test(row)
            if self._takes("("):
                inner = self._any()
                if not self._takes(")"):
                    raise self._mistake("a parenthesis is not closed")
                return inner
            return self._comparison()
        finally:
            self._depth -= 1

    def _comparison(self) -> Test:
        column, sign, value = (self._next() for _ in range(3))
        if column.kind != "sign" and sign == Token("word", "in") and value == Token("word", TAGS):
            tag = _text(column)
            return lambda row: tag in row.get(TAGS, "").split(",")
        if column.kind != "word" or sign.kind != "sign" or sign.text in "()" or value.kind == "sign":
            raise self._mistake(f"{' '.join(each.text for each in (column, sign, value))} is no comparison")
        if column.text not in self._columns:
            near = did_you_mean(column.text, self._columns) or f"; there are {', '.join(self._columns)}"
            raise ConfigError(f"--where {self._text}: there is no column {column.text}{near}")
        return _compared(column.text, sign.text, _text(value), self._text)

    def _next(self) -> Token:
        if self._at == len(self._tokens):
            raise self._mistake("something is missing at its end")
        self._at += 1
        return self._tokens[self._at - 1]

    def _takes(self, text: str) -> bool:
        found = self._at < len(self._tokens) and self._tokens[self._at].text == text
        self._at += found
        return found

    def _mistake(self, what: str) -> ConfigError:
        return ConfigError(f"--where {self._text}: {what}; compare columns of sweep.csv with values, as in {EXAMPLE}")


def _text(value: Token) -> str:
    return value.text[1:-1] if value.kind == "quoted" else value.text


def _compared(column: str, sign: str, value: str, text: str) -> Test:
    number = _number(value)
    if sign in ORDERS:
        if number is None:
            raise ConfigError(f"--where {text}: {column} {sign} {value}: give a number, which alone has an order")
        order, bound = ORDERS[sign], number
        return lambda row: (cell := _number(row[column])) is not None and order(cell, bound)
    typed = as_typed(value)

    def equal(row: Row) -> bool:
        if column == TAGS and value != row[column] and value in row[column].split(","):
            raise ConfigError(
                f"--where {text}: {TAGS} {sign} {value} compares the whole cell, and a run has {row[column]}; "
                f"to ask for one tag: '\"{value}\" in {TAGS}'"
            )
        cell = _number(row[column])
        return cell == number if cell is not None and number is not None else row[column] in (value, typed)

    return equal if sign == "==" else lambda row: not equal(row)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
