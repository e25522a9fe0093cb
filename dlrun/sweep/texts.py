"""YAML texts that differ in a few scalars: written by OmegaConf once, then filled in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from functools import lru_cache, reduce
from operator import getitem
from typing import Any

from omegaconf import OmegaConf

Keys = tuple[Any, ...]  #: the way to a node: keys of mappings, indices of lists

_HOLE = "hole7f3a9c4e"
_BARE = re.compile(
    r"[A-Za-z/][A-Za-z0-9_./=,+\[\]-]*[/=][A-Za-z0-9_./=,+\[\]-]*"
)  # nothing in it that YAML reads otherwise


class Text:
    """The YAML text of a container, with holes for the scalars at some places.

    Args:
        container: mappings, lists and scalars; interpolations are written as they are.
        places: where the holes are.
    """

    def __init__(self, container: Any, places: Sequence[Keys]) -> None:
        container = deepcopy(container)
        for n, place in enumerate(places):
            put(container, place, f"{_HOLE}{n}_")
        self._places = places
        self._parts = re.split(rf"{_HOLE}(\d+)_", OmegaConf.to_yaml(OmegaConf.create(container)))

    def filled(self, values: Mapping[Keys, Any]) -> str:
        """What OmegaConf.to_yaml writes for the container with these values in it."""
        parts = list(self._parts)
        for i in range(1, len(parts), 2):
            place = self._places[int(parts[i])]
            parts[i] = _scalar(place, values[place])
        return "".join(parts)


def put(container: Any, place: Keys, value: Any) -> None:
    """Set the value at a place."""
    reduce(getitem, place[:-1], container)[place[-1]] = value


def replaced(container: Any, place: Keys, value: Any) -> Any:
    """A container with another value at a place; what lies aside from the way there is shared."""
    if not place:
        return value
    copy = container.copy()
    copy[place[0]] = replaced(container[place[0]], place[1:], value)
    return copy


@lru_cache(maxsize=10_000, typed=True)
def _scalar(place: Keys, value: Any) -> str:
    """A scalar as YAML writes it there: where a long text is broken depends on what stands before it."""
    if type(value) is int:
        return str(value)
    if isinstance(value, str) and value.isascii() and value.isdigit():
        return f"'{value}'"
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    before, _, _ = _alone(place, _HOLE).partition(_HOLE)
    return _alone(place, value)[len(before) : -1]


def _alone(place: Keys, value: Any) -> str:
    """The YAML text of a container that holds nothing else."""
    for key in reversed(place):
        value = [value] if isinstance(key, int) else {key: value}
    return OmegaConf.to_yaml(OmegaConf.create(value))
