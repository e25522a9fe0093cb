"""A column of a table: as its file has it, and the numbers that it becomes."""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np

from dlrun.datasets.tables.cells import date_part, dates, hours, numbers
from dlrun.errors import ConfigError

MISSING = "missing"  #: the category of a text cell without text
LISTED = 10  #: categories that a message names
BOOLEANS = {"True": 1, "TRUE": 1, "true": 1, "False": 0, "FALSE": 0, "false": 0}


@dataclass
class Raw:
    """A column as its file has it.

    stored: text (of a text file: it may stand for anything), string (text by its declared type), number, boolean,
        time (in hours), date, unfit (a type that is nothing of these, which `texts` names).
    values: (rows,) float64, or float32 where the file has no more, NaN where missing; datetime64, NaT where missing; of
        text and strings each cell's place in `texts`, -1 where missing.
    texts: the different texts, without blanks around them and in one Unicode form.
    words: texts that were taken as missing, with their rows.
    alike: texts of the file that were not the same before the blanks were taken away.
    """

    name: str
    stored: Literal["text", "string", "number", "boolean", "time", "date", "unfit"]
    values: np.ndarray
    texts: list[str] = field(default_factory=list)
    words: dict[str, int] = field(default_factory=dict)
    alike: list[str] = field(default_factory=list)

    @classmethod
    def of_texts(
        cls, name: str, cells: Iterable[Any], missing: Collection[str], stored: Literal["text", "string"] = "text"
    ) -> Raw:
        """From cells that are texts or None; empty ones and those among `missing` are missing, "-9" with "-9.0"."""
        import pandas as pd

        codes, found = pd.factorize(np.array([*cells, None], dtype=object)[:-1])
        joined = "".join(found)
        place, texts, alike = np.arange(len(found)), list(found), []
        if not joined.isascii() or any(map(str.isspace, set(joined))):
            place, distinct = pd.factorize(np.array([*map(clean_text, found), None], dtype=object)[:-1])
            alike = [text for text, same in zip(texts, np.bincount(place)[place], strict=True) if same > 1]
            texts = distinct.tolist()
        plain, units = numbers(list(missing))
        sentinels = plain[(plain == plain) & (units == "")]
        nothing = {"", *missing}.intersection(texts)
        gone = np.array([text in nothing for text in texts]) if nothing else np.zeros(len(texts), bool)
        if len(sentinels):
            gone |= np.isin(numbers(texts)[0], sentinels)
        codes = np.append(place, -1)[codes]
        counts = np.bincount(codes[codes >= 0], minlength=len(texts))
        words = {texts[i]: int(counts[i]) for i in np.flatnonzero(gone) if texts[i]}
        codes = np.append(np.where(gone, -1, np.cumsum(~gone) - 1), -1)[codes]
        texts = [text for text, out in zip(texts, gone, strict=True) if not out] if gone.any() else texts
        return cls(name, stored, codes, texts, words, alike)

    @property
    def missing(self) -> np.ndarray:
        """Whether each row has no value, (rows,)."""
        if self.stored in ("text", "string"):
            return self.values < 0
        return np.isnat(self.values) if self.stored == "date" else np.isnan(self.values)

    @cached_property
    def by_point(self) -> tuple[np.ndarray, np.ndarray]:
        """The number and the unit of each of its texts, read with decimal points."""
        return numbers(self.texts)

    @cached_property
    def by_comma(self) -> tuple[np.ndarray, np.ndarray]:
        """The same, read with decimal commas."""
        return numbers(self.texts, ",")

    def read(self, decimal: str) -> tuple[np.ndarray, np.ndarray]:
        """The same, read with this mark before the decimals."""
        return self.by_comma if decimal == "," else self.by_point

    @property
    def holds_texts(self) -> bool:
        """Whether some of its texts are no numbers."""
        return bool(np.isnan(self.by_point[0]).any())

    def as_texts(self) -> Raw:
        """The column with numbers, dates and the like as texts."""
        if self.stored in ("text", "string"):
            return self
        present = self.values[~self.missing]
        whole = self.stored == "number" and bool((present == np.floor(present)).all())
        if self.stored == "boolean":
            told = {0.0: "False", 1.0: "True"}
            cells = [told.get(value) for value in self.values.tolist()]
        elif self.stored == "date":
            cells = [None if np.isnat(value) else str(value) for value in self.values]
        else:
            cells = [
                None if value != value else f"{value:.0f}" if whole else repr(value) for value in self.values.tolist()
            ]
        return Raw.of_texts(self.name, cells, (), "string")

    def rows(self, kept: np.ndarray) -> Raw:
        """The column of these rows alone (a mask)."""
        if self.stored not in ("text", "string"):
            return replace(self, values=self.values[kept])
        used, codes = np.unique(self.values[kept], return_inverse=True)
        texts = [self.texts[place] for place in used if place >= 0]
        return replace(self, values=codes - int(used[0] < 0), texts=texts)


@dataclass(frozen=True)
class Column:
    """What a column is: all that encodes new rows of it as these were.

    kind: number, boolean (0 and 1), time (hours), date (its `parts`), category (a 0 or 1 for each of `categories`).
    decimal, unit: of numbers in texts; the unit is a sign that is left out.
    form: how dates are written, as for strptime, or "ISO"; None where they are stored as dates.
    """

    name: str
    kind: Literal["number", "boolean", "time", "date", "category"]
    decimal: str = "."
    unit: str = ""
    form: str | None = None
    parts: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()

    @property
    def features(self) -> list[str]:
        """The names of what it becomes."""
        if self.kind == "date":
            return [f"{self.name}.{part}" for part in self.parts]
        return [f"{self.name}={category}" for category in self.categories] if self.kind == "category" else [self.name]

    def encode(self, raw: Raw) -> np.ndarray:
        """(rows, features) float64, NaN where a value is missing that is no category.

        Raises ConfigError for a text that is none of this column's categories, no number of its unit, no such date.
        """
        return self.spread(self.values(raw))

    def values(self, raw: Raw) -> np.ndarray:
        """What `spread` makes features of: (rows,) categories' codes, (rows, parts) of dates, (rows,) other numbers.

        Raises what `encode` raises.
        """
        if self.kind == "category":
            return self.codes(raw)
        if self.kind == "date":
            moments = self.moments(raw)
            return np.column_stack([date_part(moments, part) for part in self.parts])
        return self.numbers(raw)

    def spread(self, values: np.ndarray) -> np.ndarray:
        """(rows, features) float64 of some rows' `values`."""
        if self.kind == "category":
            return np.eye(len(self.categories))[values]
        values = values.astype(np.float64)
        return values[:, None] if values.ndim == 1 else values

    def numbers(self, raw: Raw) -> np.ndarray:
        """(rows,) of numbers, booleans and times, NaN where one is missing: doubles, or float32 of such a column."""
        if raw.stored not in ("text", "string"):
            return raw.values
        if self.kind == "boolean":
            values = np.array([BOOLEANS.get(text, np.nan) for text in raw.texts])
        elif self.kind == "time":
            values = hours(raw.texts)
        else:
            values, units = raw.read(self.decimal)
            values = np.where(units == self.unit, values, np.nan)
        if np.isnan(values).any():
            odd = raw.texts[int(np.argmax(np.isnan(values)))]
            raise ConfigError(
                f"{self.name!r} holds {odd!r}, which is no {self.kind}{f' with {self.unit}' * bool(self.unit)}"
            )
        return np.append(values, np.nan)[raw.values]

    def moments(self, raw: Raw) -> np.ndarray:
        """(rows,) datetime64 of dates, NaT where one is missing."""
        if raw.stored == "date":
            return raw.values
        found = dates(raw.texts, self.form or "ISO")
        if found is None:
            form = self.form if self.form not in (None, "ISO") else "as 2021-12-31"
            raise ConfigError(f"{self.name!r} holds other texts than dates written {form}")
        return np.append(found, np.datetime64("NaT"))[raw.values]

    def codes(self, raw: Raw) -> np.ndarray:
        """(rows,) each row's place among the categories."""
        raw = raw.as_texts()
        place = {category: i for i, category in enumerate(self.categories)}
        texts = [*raw.texts, *([MISSING] if (raw.values < 0).any() else [])]
        unknown = [text for text in texts if text not in place]
        if unknown == [MISSING] and MISSING not in raw.texts:
            row = int(np.argmax(raw.values < 0)) + 1
            raise ConfigError(f"{self.name!r} is empty in row {row}, and in training it was nowhere")
        if unknown:
            known = ", ".join(map(repr, self.categories[:LISTED])) + ", ..." * (len(place) > LISTED)
            raise ConfigError(
                f"{self.name!r} holds {unknown[0]!r}, which is none of its {len(place)} categories: {known}"
            )
        return np.array([place.get(text, -1) for text in [*raw.texts, MISSING]], dtype=np.int64)[raw.values]

    def as_json(self) -> dict[str, Any]:
        """As JSON holds it, without what does not concern the kind."""
        used = {"number": ("decimal", "unit"), "date": ("form", "parts"), "category": ("categories",)}
        parts = {key: getattr(self, key) for key in used.get(self.kind, ())}
        parts = {key: list(value) if isinstance(value, tuple) else value for key, value in parts.items()}
        return {"name": self.name, "kind": self.kind, **parts}


def in_order(values: np.ndarray) -> bool:
    """Whether these are whole numbers that rise, or fall, from each row to the next."""
    steps = np.diff(values)
    return bool(np.all(steps > 0) or np.all(steps < 0)) and np.array_equal(values, np.floor(values))


def clean_text(text: str) -> str:
    """A text without blanks around it, its letters with accents as one sign each."""
    return unicodedata.normalize("NFC", text).strip()
