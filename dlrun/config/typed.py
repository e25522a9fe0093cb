"""What the user typed: the words of this process's command line, and nothing else.

Whatever stands in a file may be a stranger's: config.yaml, plan.json, a file of settings, Hydra's record of overrides,
and so what a config says was typed. What runs code, reads the environment or writes elsewhere counts in words alone
that are kept here. A worker process is handed them by the one that starts it, along with Hydra's loader (loader.py).
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

FILE = re.compile(r"[^\[\],'\"\s]+\.py(?=$|[\],'\"])")  #: a Python file, in the value of a word
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
    return {normal(name) for value in values for name in re.findall(r"[^\[\],'\"]+", value)}


def files() -> list[Path]:
    """The Python files among them, each of which is a choice of its name."""
    return [Path(name) for name in sorted(packages()) if name.endswith(".py")]


def whole(word: str) -> str:
    """A word as it is; in allow_targets=[FILE.py] with the files' whole paths, as a run's folder has them."""
    key, _, value = word.partition("=")
    if key.lstrip("+") != "allow_targets":
        return word
    return f"{key}={FILE.sub(lambda found: bare(normal(found[0])), value)}"


def bare(name: str) -> str:
    """A package or a file as one types it in a list."""
    from dlrun.config.escapes import quoted

    return name if re.fullmatch(r"[\w./-]+", name, re.ASCII) else quoted(name)


def normal(name: str) -> str:
    """A package's name as it is; of a Python file its whole path."""
    name = name.strip()
    return os.path.abspath(os.path.expanduser(name)) if name.endswith(".py") else name


def variables() -> set[str]:
    """The environment variables that may be read, those of ${oc.env:NAME}."""
    return {name for word in words for name in re.findall(r"\$\{oc\.env:\s*(\w+)", word)}
