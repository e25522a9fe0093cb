"""From a value that may not be to the one that is meant: words of other languages, brackets, values of sweeps."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from dlrun.config.catalogue import Constraint
from dlrun.config.words import as_read, did_you_mean

#: what other languages and YAML 1.1 call these
WORDS = {"none": None, "nil": None, "nan": None, "yes": True, "on": True, "no": False, "off": False}
SPAN = re.compile(r"(\d+)(?:-|:|\.\.\.?)(\d+)")  #: 0-9, 0:9, 0..9


def typed(value: Any) -> str:
    """A value as one would type it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)


def meant(name: str, value: Any, constraint: Constraint) -> str:
    """`; did you mean ...?` for a value of this key that its constraint refuses; "" where nothing is near."""
    for each in _instead(value):
        if constraint.allows(each):
            return f"; did you mean {name}={typed(each).replace(' ', '')}?"
    if swept := _swept(value, constraint):
        return f"; several values make a sweep: dlrun -m '{name}={swept}'"
    return did_you_mean(value, constraint.words) if isinstance(value, str) else ""


def _instead(value: Any) -> Iterator[Any]:
    """What may have been meant, the likeliest first."""
    if isinstance(value, float) and value.is_integer():
        yield int(value)
    if isinstance(value, str):
        if value.lower() in WORDS:
            yield WORDS[value.lower()]
        if duration := re.fullmatch(r"([\d.]+)\s*(s|m|h)(ecs?|econds?|ins?|inutes?|rs?|ours?)?", value):
            yield f"{duration[1]}{'min' if duration[2] == 'm' else duration[2]}"
        if other := re.fullmatch(r"(\d+(?:\.\d+)?)\s*(ms|d|days?)", value):
            yield f"{float(other[1]) / 1000:g}s" if other[2] == "ms" else f"{24 * float(other[1]):g}h"
        if inner := re.fullmatch(r"\((.*)\)", value):  # a tuple of Python's
            yield [as_read(part.strip()) for part in inner[1].split(",") if part.strip()]
    elif not isinstance(value, list):
        yield [value]


def _swept(value: Any, constraint: Constraint) -> str:
    """The values of a sweep that a list or a span like 0-9 stands for, each of which the constraint lets through."""
    if isinstance(value, list) and len(value) > 1 and all(map(constraint.allows, value)):
        return ",".join(map(typed, value))
    span = SPAN.fullmatch(value) if isinstance(value, str) else None
    if span and constraint.allows(int(span[1])) and int(span[1]) < int(span[2]):
        return f"range({span[1]},{int(span[2]) + 1})"
    return ""
