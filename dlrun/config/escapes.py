"""Texts as data: written so that OmegaConf and Hydra take them as they are, a `${x}` in them being no interpolation."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

_OPENING = re.compile(r"(\\*)\$\{")


def escaped(value: Any) -> Any:
    r"""A node for a config file: a text that holds `${x}` gets `\${x}`, any backslashes before it doubled."""
    return _texts(value, lambda text: _OPENING.sub(r"\1\1\\${", text))


def unescaped(value: Any) -> Any:
    """A node of a config file as OmegaConf reads it; texts that do hold interpolations stay as they are."""
    return _texts(value, _read)


def quoted(text: str) -> str:
    """A text as one would type it after `key=`."""
    from hydra.core.override_parser.types import Quote, QuotedString

    return QuotedString(escaped(text), Quote.single).with_quotes()


def _read(text: str) -> str:
    if any(len(each[1]) % 2 == 0 for each in _OPENING.finditer(text)):
        return text
    return _OPENING.sub(lambda each: "\\" * (len(each[1]) // 2) + "${", text)


def _texts(value: Any, change: Callable[[str], str]) -> Any:
    """The node with its texts changed, but for keys."""
    if isinstance(value, Mapping):
        return {key: _texts(below, change) for key, below in value.items()}
    if isinstance(value, list | tuple):
        return [_texts(below, change) for below in value]
    return change(value) if isinstance(value, str) else value
