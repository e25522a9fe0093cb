"""What the user typed: the words of this process's command line, and nothing else.

Whatever stands in a file may be a stranger's: config.yaml, plan.json, a file of settings, Hydra's record of overrides,
and so what a config says was typed. What runs code, reads the environment or writes elsewhere counts in words alone
that are kept here. A worker process is handed them by the one that starts it, along with Hydra's loader (loader.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import NamedTuple

from dlrun.config.escapes import quoted, unescaped

_PART = re.compile(
    r"""(?P<quote>['"])(?P<quoted>(?:\\.|(?!(?P=quote)).)*)(?P=quote)|[^\[\](){},'"]+""", re.DOTALL
)  #: of a value that may hold several, in Hydra's grammar
words: frozenset[str] = frozenset()


def take(given: Iterable[str]) -> None:
    """These words are what was typed."""
    global words
    words = frozenset(given)


def add(*made: str) -> None:
    """Words that dlrun makes of typed ones, such as the place of the folder that is resumed, count as these do."""
    take({*words, *made})


def packages() -> set[str]:
    """The packages, and the Python files, whose code may run: those of allow_targets=[...]."""
    values = (word.partition("=")[2] for word in words if word.lstrip("+").startswith("allow_targets="))
    return {normal(part.text) for value in values for part in parts(value)}


def allowing() -> str | None:
    """The word that allows all that is allowed, as a command that goes on has to be given it; None where nothing is."""
    found = [word for word in sorted(words) if word.lstrip("+").startswith("allow_targets=")]
    return max(found, key=lambda word: len(parts(word.partition("=")[2])), default=None)


def files() -> list[Path]:
    """The Python files among them, each of which is a choice of its name."""
    return [Path(name) for name in sorted(packages()) if is_file(name)]


def whole(word: str) -> str:
    """A word as it is; in allow_targets=[FILE.py] with the files' whole paths, as a run's folder has them."""
    key, _, value = word.partition("=")
    if key.lstrip("+") != "allow_targets":
        return word
    return f"{key}={replaced(value, lambda name: bare(normal(name)))}"


class Part(NamedTuple):
    """One of the texts in a value, as it is meant, and where it stands there, quotes and all."""

    text: str
    begin: int
    end: int


def parts(value: str) -> list[Part]:
    """The texts in a value: `a,b`, `[a,'b c']` and `choice(a,b)` hold two.

    A value that is the path of a Python file which is there holds this one, whatever signs the path has.
    """
    for begin, end in ((0, len(value)), (1, len(value) - 1)):
        alone = begin == 0 or value[:1] + value[-1:] == "[]"
        if alone and is_file(value[begin:end]) and os.path.isfile(normal(value[begin:end])):
            return [Part(value[begin:end], begin, end)]
    found = []
    for match in _PART.finditer(value):
        text = match[0].strip()
        if quote := match["quote"]:  # backslashes are doubled before a quote, and nowhere else
            text = re.sub(rf"\\+(?={quote}|$)", lambda signs: signs[0][: len(signs[0]) // 2], match["quoted"])
            text = unescaped(text)
        if text:
            found.append(Part(text, match.start(), match.end()))
    return found


def replaced(value: str, instead: Callable[[str], str]) -> str:
    """The value with something in the place of each Python file in it."""
    for part in reversed(parts(value)):
        if is_file(part.text):
            value = value[: part.begin] + instead(part.text) + value[part.end :]
    return value


def is_file(name: str) -> bool:
    """Whether a name is that of a Python file."""
    return name.endswith(".py")


def bare(name: str) -> str:
    """A package or a file as one types it in a list."""
    return name if re.fullmatch(r"[\w./-]+", name, re.ASCII) else quoted(name)


def normal(name: str) -> str:
    """A package's name as it is; of a Python file its whole path."""
    return os.path.abspath(os.path.expanduser(name)) if is_file(name) else name


def variables() -> set[str]:
    """The environment variables that may be read, those of ${oc.env:NAME}."""
    return {name for word in words for name in re.findall(r"\$\{oc\.env:\s*(\w+)", word)}
