"""The cells of a run's tables: numbers and words as texts that read back as they were."""

from __future__ import annotations

import re
from functools import lru_cache
from numbers import Integral

from dlrun.folder.formulas import guarded


def cell(name: str, value: float | str) -> str:
    """The shortest text that reads back as the same number; whole epochs look whole."""
    if type(value) is float:  # most of them: what is asked below takes several times as long
        return _epoch(value) if name == "epoch" else repr(value)
    if type(value) is int:
        return repr(value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Integral) or (name == "epoch" and float(value).is_integer()):
        return repr(int(value))
    return repr(float(value))


@lru_cache(2**4)  # that of all rows of a look
def _epoch(value: float) -> str:
    return repr(int(value)) if value.is_integer() else repr(value)


@lru_cache(2**12)  # names of layers and quantities come again and again
def _text(value: str) -> str:
    value = guarded(value)
    return '"' + value.replace('"', '""') + '"' if re.search('[",\r\n]', value) else value
