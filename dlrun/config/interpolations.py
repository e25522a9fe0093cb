"""Interpolations in configs, `${...}`: a few of them may stand for very much, or ask for what is private."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Any

from omegaconf import Container, OmegaConf
from omegaconf.resolvers import oc

from dlrun.config import typed
from dlrun.errors import ConfigError

MOST = 1000  #: of them behind one; each that holds two others would double what it stands for
LONGEST = 100_000  #: letters of what one stands for

_strange = False  #: whether this command has read an interpolation from a file that is not dlrun's own


@contextmanager
def bounded() -> Iterator[None]:
    """Lets OmegaConf raise its error for an interpolation that stands for too much, long before it is all there."""
    resolve, depth, count = Container.resolve_parse_tree, 0, 0

    def counted(self: Any, *arguments: Any, **options: Any) -> Any:
        nonlocal depth, count
        count = count + 1 if depth else 1
        depth += 1
        try:
            if count > MOST:
                raise ConfigError(f"an interpolation stands for more than {MOST} others")
            value = resolve(self, *arguments, **options)
            if isinstance(value, str) and len(value) > LONGEST:
                raise ConfigError(f"an interpolation stands for more than {LONGEST} letters")
            return value
        finally:
            depth -= 1

    Container.resolve_parse_tree = counted  # type: ignore[method-assign]
    try:
        yield
    finally:
        Container.resolve_parse_tree = resolve  # type: ignore[method-assign]


def begin() -> None:
    """A command begins, which has read no file yet."""
    global _strange
    _strange = False


def restrict(strange: bool, lasting: bool = True) -> None:
    """Say what interpolations may ask for.

    An environment may hold passwords, and what a config says is written into every run's folder.

    strange: whether any of them stands in a file that is not dlrun's own.
    lasting: until the command ends, whatever is said later: a sweep resolves a config when it has loaded others.
    """
    global _strange
    _strange = _strange or (strange and lasting)
    strange = strange or _strange
    OmegaConf.register_new_resolver("oc.env", _typed_variable if strange else oc.env, replace=True)
    OmegaConf.register_new_resolver("now", _now, use_cache=True, replace=True)


def _typed_variable(name: str, *default: Any) -> Any:
    if name not in typed.variables():
        raise ConfigError(
            f"${{oc.env:{name}}}: config files read no environment variables; give it, or its value, in the command"
        )
    return oc.env(name, *default)


def _now(form: str) -> str:
    """As Hydra's own; but a field has no width, which may be a gigabyte."""
    if re.search(r"%[^A-Za-z%]*\d", form):
        raise ConfigError(f"${{now:{form}}}: fields of a time are written without a width, %Y-%m-%d")
    return datetime.now().strftime(form)
