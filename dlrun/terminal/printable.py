"""Texts from elsewhere without what would command a terminal."""

from __future__ import annotations

import logging
import re
import warnings

_formatted = warnings.formatwarning


class Printable(logging.Formatter):
    """Messages of logs as `printable`."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def printable(text: str) -> str:
    r"""A text with what would command a terminal, or turn its letters around, written out: `\x1b` for an escape."""
    return text if text.isprintable() else _COMMANDS.sub(lambda found: _written_out(found[0]), text)


def printable_warning(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """What `warnings.formatwarning` gives, as `printable`: libraries warn in the words of configs and data."""
    return printable(_formatted(message, category, filename, lineno, line))


def in_line(text: str) -> str:
    r"""A text that is to stand in one line, such as a name, with all that is not printed written out, `\n` too."""
    return "".join(letter if letter.isprintable() else _written_out(letter) for letter in text)


#: control codes but for tabs and ends of lines, lone surrogates, and what changes the direction of writing
_COMMANDS = re.compile(r"[\0-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def _written_out(letter: str) -> str:
    return letter.encode("unicode_escape", "surrogatepass").decode()
