"""Texts of a table as one types or prints them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from hydra.core.override_parser.types import Quote, QuotedString

_BARE = re.compile(r"[A-Za-z_][\w .\-/%]*", re.ASCII)


def typed(key: str, values: Iterable[str]) -> str:
    """`'dataset.drop=[id,name]'`, with quotes within it where Hydra asks for them."""
    words = ("null", "true", "false", "nan", "inf")  # which Hydra reads otherwise
    told = [
        value
        if _BARE.fullmatch(value) and value == value.strip() and value.lower() not in words
        else QuotedString(value, Quote.double).with_quotes()
        for value in values
    ]
    return shlex.quote(f"dataset.{key}=[{','.join(told)}]")
