"""What the texts in a table's cells stand for: numbers, times of day, dates."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache

import numpy as np

#: texts that stand for a missing value in a text file, beside the empty cell, where dataset.missing says nothing else
MISSING = ("NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None", "?", "\\N")
DECIMALS = {"point": ".", "comma": ","}
GROUPING = "'’ \u00a0\u202f"  #: what may stand between groups of three digits, beside the other decimal mark
PARTS = ("year", "month", "day", "day_of_year", "weekday", "hour", "days")  #: numbers that a date becomes

_PLAIN = frozenset("0123456789+-.eE")  # of these alone, Python's float takes what _pattern(".") takes, and is faster
_TIME = re.compile(r"(\d{1,3}):([0-5]\d)(?::([0-5]\d(?:\.\d+)?))?(?: ?([AaPp])\.?[Mm]\.?)?", re.ASCII)
_ISO = re.compile(r"\d{4}-\d\d(?:-\d\d(?:[T ]\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?(Z|[+-]\d\d:?\d\d)?)?)?", re.ASCII)
_DAYS = ["%Y-%m-%d", "%Y/%m/%d", "%Y.%m.%d"]
_DAYS += [f"%{a}{mark}%{b}{mark}%{y}" for mark in "/-" for a, b in ("dm", "md") for y in "Yy"]
_DAYS += ["%d.%m.%Y", "%d.%m.%y"]  # between points the day comes first
_DAYS += ["%d %b %Y", "%d %B %Y", "%d. %B %Y", "%b %d, %Y", "%B %d, %Y", "%d-%b-%Y", "%d-%b-%y", "%b %Y", "%B %Y"]
_CLOCKS = ["", " %H:%M", " %H:%M:%S", " %I:%M %p", " %I:%M:%S %p"]


def numbers(texts: Sequence[str], decimal: str = ".") -> tuple[np.ndarray, np.ndarray]:
    """The number (texts,) that each text is, NaN where it is none, and the sign of a unit that stood at it, or "".

    A number has digits, a sign, a decimal mark and an exponent; its digits may be grouped by threes, by the other one
    of point and comma, by blanks or apostrophes; % $ € £ may stand at it. No underscores, no digits of other scripts,
    no nan or inf, which Python's float takes.
    """
    values, units = np.full(len(texts), np.nan), np.full(len(texts), "", dtype=object)
    if decimal == "." and _PLAIN.issuperset("".join(texts)):
        try:
            return np.array([float(text) for text in texts]), units
        except ValueError:  # "1-2", "e"
            pass
    for i, text in enumerate(texts):
        if match := _pattern(decimal).fullmatch(text):
            sign, left, digits, mark, exponent, right = match.groups()
            plain = (digits.replace(mark, "") if mark else digits).replace(decimal, ".")
            values[i] = float(sign.replace("−", "-") + plain + (exponent or ""))
            units[i] = left or right
    return values, units


@cache
def _pattern(decimal: str) -> re.Pattern[str]:
    point, other = re.escape(decimal), re.escape("," if decimal == "." else ".")
    grouped = rf"[1-9]\d{{0,2}}([{other}{GROUPING}])\d{{3}}(?:\4\d{{3}})*"
    digits = rf"((?:{grouped}|\d+)(?:{point}\d*)?|{point}\d+)"
    return re.compile(rf"([+\-−]?)([$€£]?) ?{digits}([eE][+-]?\d+)? ?([%$€£]?)", re.ASCII)


def hours(texts: Sequence[str]) -> np.ndarray:
    """The hours (texts,) that times such as 12:30, 9:05:30 or 3:15 pm are, NaN where a text is none."""
    values = np.full(len(texts), np.nan)
    for i, text in enumerate(texts):
        if match := _TIME.fullmatch(text):
            hour, minute, second, half = match.groups()
            whole = int(hour) if half is None else int(hour) % 12 + (12 if half in "pP" else 0)
            values[i] = whole + int(minute) / 60 + float(second or 0) / 3600
    return values


def dates(texts: Sequence[str], form: str) -> np.ndarray | None:
    """The moments (texts,) datetime64 that texts of this form are, as for strptime or "ISO"; None where one is not.

    Of moments with an offset to UTC, those in UTC.
    """
    import pandas as pd

    if form == "ISO":
        if not all(map(_ISO.fullmatch, texts)):
            return None
        offset = any(has_offset(text, form) for text in texts)
        form = "ISO8601"
    else:
        offset = "%z" in form
    try:
        moments = pd.to_datetime(pd.Series(texts, dtype=object), format=form, utc=offset)
    except (ValueError, TypeError, OverflowError):
        return None
    moments = moments.dt.tz_localize(None) if offset else moments
    return moments.to_numpy(dtype="datetime64[us]")


def has_offset(text: str, form: str) -> bool:
    """Whether a date of this form, as `dates` has it, tells its offset to UTC."""
    if form != "ISO":
        return "%z" in form
    match = _ISO.fullmatch(text)
    return match is not None and match[1] is not None


def date_forms(texts: Sequence[str]) -> list[str]:
    """The forms by which all texts are dates and which give different ones, such as %d/%m/%Y and %m/%d/%Y."""
    if not texts or len(texts[0]) < 6 or not any(map(str.isdigit, texts[0])):
        return []
    found: dict[bytes, str] = {}
    for form in ("ISO", *(day + clock for day in _DAYS for clock in _CLOCKS)):
        if dates(texts[:1], form) is not None and (moments := dates(texts, form)) is not None:
            found.setdefault(moments.tobytes(), form)
            if form == "ISO":
                break
    return list(found.values())


def date_part(moments: np.ndarray, part: str) -> np.ndarray:
    """A number (rows,) of each moment, NaN where it is missing (NaT).

    year; month from 1; day of the month from 1; day_of_year from 1; weekday from 0 for Monday; hour of the day with its
    fraction; days since 1970-01-01, with their fraction.
    """
    import pandas as pd

    index = pd.DatetimeIndex(moments)
    if part == "days":
        return ((index - pd.Timestamp(0)) / pd.Timedelta(days=1)).to_numpy(np.float64)
    if part == "hour":
        return ((index - index.normalize()) / pd.Timedelta(hours=1)).to_numpy(np.float64)
    return np.asarray(getattr(index, {"weekday": "day_of_week"}.get(part, part)), np.float64)
