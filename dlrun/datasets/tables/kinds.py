"""What each column of a table is: numbers, times, dates, or categories; guessed only where all its cells say so."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from dlrun.datasets.tables.cells import GROUPING, PARTS, date_forms, dates, hours
from dlrun.datasets.tables.columns import BOOLEANS, MISSING, Column, Raw
from dlrun.datasets.tables.typed import typed
from dlrun.errors import ConfigError

MANY = 100  #: categories that a column may have, unless dataset.categories names it
FEW = 20  #: and up to which they may be more than half as many as the rows
LARGEST = 2**27  #: zeros and ones that a column may become: 1 GB


@dataclass(frozen=True)
class Rules:
    """What the user said of columns, by their names, and the sign before the decimals."""

    numbers: Collection[str] = ()
    categories: Collection[str] = ()
    target: str | None = None
    parts: Sequence[str] = ()
    form: str | None = None
    decimal: str = "."
    words: Sequence[str] = ()  #: texts that were taken as missing


def decide(raw: Raw, rules: Rules, remarks: Mapping[str, list[str]]) -> Column:
    """What a column is: what the user said, else what all its cells are: numbers, times, booleans, dates, or texts.

    remarks: takes what was guessed, by kind.

    Raises ConfigError where it cannot be told, or should not be guessed, with the keys that tell.
    """
    name = raw.name
    if raw.stored == "unfit":
        raise ConfigError(
            f"{name!r} holds {raw.texts[0]}, neither numbers nor texts: {typed('drop', [name])} leaves it out"
        )
    if name in rules.categories:
        return category(raw.as_texts(), rules)
    if raw.stored not in ("text", "string"):
        if raw.stored == "date":
            return _dated(raw, rules, None, str(np.sort(raw.values)[0].astype("datetime64[s]")))
        if raw.stored == "boolean" and raw.missing.any():
            return category(raw.as_texts(), rules)
        return Column(name, cast(Any, raw.stored))
    if rules.form is not None and dates(raw.texts, rules.form) is not None:
        return _dated(raw, rules, rules.form, raw.texts[0])
    asked = name in rules.numbers
    if raw.stored == "text" or asked:
        values, units = raw.read(rules.decimal)
        unit = _commonest(raw, units, values)
        is_number = (values == values) & (units == unit)
        if asked or is_number.all():
            if not is_number.all():
                raise ConfigError(_slip(raw, is_number, unit, rules.words))
            whole = np.flatnonzero(values == np.floor(values))
            coded = next((text for text in map(raw.texts.__getitem__, whole) if _is_code(text)), None)
            if coded and not asked:
                remarks["code"].append(f"{name} ({coded!r})")
                return category(
                    raw, rules, f", numbers with leading zeros; {typed('numbers', [name])} takes them as numbers"
                )
            _remark(raw, unit, rules.decimal, remarks)
            return Column(name, "number", rules.decimal, unit)
        is_time = ~np.isnan(hours(raw.texts))
        if is_time.all():
            remarks["time"].append(f"{name} ({raw.texts[0]!r} is {hours(raw.texts[:1])[0]:.4g})")
            return Column(name, "time")
        if BOOLEANS.keys() >= set(raw.texts) and not raw.missing.any():
            return Column(name, "boolean")
        is_number |= is_time
    if (found := _date_column(raw, rules)) is not None:
        return found
    if raw.stored == "text" and is_number.any():
        if is_number[raw.values[raw.values >= 0]].mean() > 0.5 and not _are_codes(raw, is_number):
            raise ConfigError(_slip(raw, is_number, unit, rules.words))
        remarks["mixed"].append(f"{name} ({raw.texts[int(np.argmin(is_number))]!r})")
    return category(raw, rules)


def category(raw: Raw, rules: Rules, why: str = "") -> Column:
    """The column of texts as categories, in order.

    Raises ConfigError for so many that they tell nothing of other rows, unless the user asked for them or they are the
    target.
    """
    missing = raw.values < 0
    found = {*raw.texts, *([MISSING] if missing.any() else [])}
    values = raw.by_point[0]
    plain = not np.isnan(values).any()
    order = dict(zip(raw.texts, values, strict=True)) if plain else {}
    ordered = tuple(sorted(found, key=lambda text: (order.get(text, np.inf), text)))
    rows, name = len(raw.values), raw.name
    present = rows - int(missing.sum())
    many = len(raw.texts) > MANY or (len(raw.texts) > FEW and len(raw.texts) > present / 2)
    if len(ordered) * rows > LARGEST:
        raise ConfigError(
            f"{name!r} holds {len(ordered)} different texts in {rows} rows, too many for a column of 0 and 1 each: "
            f"group them, or {typed('drop', [name])} leaves the column out"
        )
    if many and name not in rules.categories and name != rules.target:
        looks = "the name or number of a row, most likely" if len(raw.texts) > present / 2 else f"more than {MANY}"
        raise ConfigError(
            f"{name!r} holds {len(raw.texts)} different texts in {present} rows, such as {raw.texts[0]!r} ({looks}"
            f"{why}): {typed('drop', [name])} leaves it out, {typed('categories', [name])} makes {len(ordered)} "
            "columns of it"
            + (f", {typed('numbers', [name])} reads numbers" if raw.stored == "string" and plain else "")
        )
    return Column(name, "category", categories=ordered)


def _date_column(raw: Raw, rules: Rules) -> Column | None:
    forms = date_forms(raw.texts)
    if not forms:
        return None
    if len(forms) > 1 and rules.parts:
        raise ConfigError(
            f"{raw.name!r} holds dates such as {raw.texts[0]!r}, where day and month cannot be told apart: "
            + " or ".join(f"'dataset.date_format={form}'" for form in forms)
        )
    return _dated(raw, rules, forms[0], raw.texts[0])


def _dated(raw: Raw, rules: Rules, form: str | None, example: str) -> Column:
    if raw.name == rules.target:
        raise ConfigError(
            f"the target {raw.name!r} holds dates, which are not predicted: choose another dataset.target"
        )
    if not rules.parts:
        raise ConfigError(
            f"{raw.name!r} holds dates, such as {example!r}: {typed('dates', ['year', 'month', 'day_of_year'])} makes "
            f"numbers of them (there are {', '.join(PARTS)}), {typed('drop', [raw.name])} leaves the column out"
        )
    return Column(raw.name, "date", form=form, parts=tuple(rules.parts))


def _commonest(raw: Raw, units: np.ndarray, values: np.ndarray) -> str:
    """The unit that most rows with a number have."""
    if not any(units):
        return ""
    rows = np.bincount(raw.values[raw.values >= 0], minlength=len(raw.texts))
    counts: dict[str, int] = {}
    for unit, value, count in zip(units, values, rows, strict=True):
        if value == value:
            counts[unit] = counts.get(unit, 0) + int(count)
    return max(counts, key=lambda unit: counts[unit], default="")


def _is_code(text: str) -> bool:
    return len(text) > 1 and text[0] == "0" and text.isdigit()


def _are_codes(raw: Raw, is_number: np.ndarray) -> bool:
    """Whether the texts beside numbers are codes, such as 1_1 beside 11: with digits, and more than once each."""
    rows = np.bincount(raw.values[raw.values >= 0], minlength=len(raw.texts))
    return all(
        count > 1 and any(map(str.isdigit, text))
        for text, count, number in zip(raw.texts, rows, is_number, strict=True)
        if not number
    )


def _slip(raw: Raw, is_number: np.ndarray, unit: str, words: Sequence[str]) -> str:
    """What to say of a column of numbers in which something else stands. words: those that are taken as missing now."""
    odd = [text for text, number in zip(raw.texts, is_number, strict=True) if not number]
    place = raw.texts.index(odd[0])
    rows = ~is_number[raw.values] & (raw.values >= 0)
    sign, first = f" with {unit}" if unit else "", int(np.argmax(raw.values == place)) + 1
    return (
        f"{raw.name!r} holds numbers{sign}, but {odd[0]!r} in row {first} and such in {int(rows.sum())} of "
        f"{len(rows)} rows: correct them, or {typed('missing', [*words, *odd[:3]])} takes them as missing, "
        f"{typed('categories', [raw.name])} takes every text as a category"
    )


def _remark(raw: Raw, unit: str, decimal: str, remarks: Mapping[str, list[str]]) -> None:
    if unit:
        remarks["unit"].append(f"{raw.name} ({raw.texts[0]!r})")
    marks = {"," if decimal == "." else ".", *GROUPING}
    if not marks.isdisjoint("".join(raw.texts)):
        values = raw.read(decimal)[0]
        at = next((i for i, text in enumerate(raw.texts) if not marks.isdisjoint(text.rstrip("%$€£ "))), None)
        if at is not None:
            remarks["grouped"].append(f"{raw.name} ({raw.texts[at]!r} is {values[at]:.15g})")
