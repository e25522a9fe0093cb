"""YAML and JSON texts that may be a stranger's: parsed to plain values, within bounds."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dlrun.errors import ConfigError

VALUES = 100_000  #: in a YAML file with aliases, each as often as it is referred to
DIGITS = 1000  #: of a number in a YAML file; of many more Python refuses to write it, or takes hours to read it
DEPTH = 100  #: of mappings and lists in one another; libyaml would overrun its stack at some ten thousands

_LIKE_A_NUMBER = re.compile(r"[\da-fxo_:.+-]+", re.ASCII | re.IGNORECASE)  # hexadecimal and sexagesimal ones, too


def yaml_of(text: str, file: str | Path) -> Any:
    """What a YAML text says, as plain values. Raises ConfigError, which names the file."""
    import yaml

    with yaml_told(file):
        bounded(text, file)
        return yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@contextmanager
def yaml_told(file: str | Path) -> Iterator[None]:
    """ConfigError, with the file's name, in place of what parsers of YAML raise."""
    import yaml

    try:
        yield
    except RecursionError as problem:
        raise ConfigError(f"{file} is nested too deeply") from problem
    except ConfigError:
        raise
    except (ValueError, TypeError, AttributeError, OverflowError, yaml.YAMLError) as problem:
        raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(problem).split())}") from problem


def json_of(text: str, file: str | Path, writable: bool = False) -> Any:
    """What a JSON text says. Raises ConfigError, which names the file.

    writable: for tables and pages, with a ? for each half of a letter: JSON has these, and UTF-8 does not.
    """
    try:
        found = json.loads(text)
        if writable and re.search(r"\\u[dD][89a-fA-F]", text):
            found = json.loads(json.dumps(found, ensure_ascii=False).encode("utf-8", "replace"))
        return found
    except RecursionError as problem:
        raise ConfigError(f"{file} is nested too deeply") from problem
    except ValueError as problem:
        raise ConfigError(f"{file} cannot be read as JSON: {problem}") from problem


def bounded(text: str, file: str | Path) -> None:
    """Raise ConfigError for a YAML text that is nested too deeply, is small but stands for very much by aliases,
    or has a number in it that is no number's length."""
    import yaml

    deepest = text.count("[") + text.count("{") + max(map(len, text.split("\n")))  # one level takes a letter at least
    if deepest < 10 * DEPTH and "*" not in text and "!" not in text:  # a tag makes a number of several lines
        return
    sizes: dict[str, float] = {}
    open_: list[tuple[str | None, float]] = [(None, 0)]  # anchors and sizes of what has begun; events nest no calls
    for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        anchor, size = getattr(event, "anchor", None), 1.0
        if isinstance(event, yaml.CollectionStartEvent):
            if anchor:
                sizes[anchor] = float("inf")  # one that holds itself has endlessly many
            open_.append((anchor, 1))
            if len(open_) > DEPTH:
                raise ConfigError(f"{file} is nested too deeply: more than {DEPTH} levels")
            continue
        if isinstance(event, yaml.CollectionEndEvent):
            anchor, size = open_.pop()
        elif isinstance(event, yaml.AliasEvent):
            size = sizes.get(anchor or "", 1)
            if size > VALUES:
                raise ConfigError(f"{file} refers to its own parts so often that it holds more than {VALUES} values")
        elif not isinstance(event, yaml.ScalarEvent):
            continue
        elif len(event.value) > DIGITS and _LIKE_A_NUMBER.fullmatch(event.value):
            raise ConfigError(f"{file} holds a number of more than {DIGITS:,} digits")
        if anchor and not isinstance(event, yaml.AliasEvent):
            sizes[anchor] = size
        open_[-1] = (open_[-1][0], open_[-1][1] + size)
    if open_[0][1] > VALUES and sizes:
        raise ConfigError(f"{file} refers to its own parts so often that it holds more than {VALUES} values")
