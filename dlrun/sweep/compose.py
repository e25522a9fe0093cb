"""The configs of a sweep's jobs: as Hydra composes them, but each structure only once.

Jobs are of one structure if they differ by plain values only: `seed=3` and `optimizer.momentum=0.9`, not
`optimizer=adam` or `architecture.hidden=[64]`. Hydra composes one of them, the others are that one with other values.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, ItemsView, Iterable, Iterator, Mapping, Sequence
from functools import cache, cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, cast
from weakref import WeakKeyDictionary

from hydra.core.config_loader import ConfigLoader
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, ValueType
from omegaconf import DictConfig, OmegaConf

from dlrun.config.check import Rules, leaves
from dlrun.errors import ConfigError
from dlrun.sweep.structure import DIRNAME, ID, NUM, OUTPUT_DIR, TASK, Structure, overlap
from dlrun.sweep.texts import Keys


def compose(config: DictConfig, loader: ConfigLoader, jobs: Sequence[Sequence[str]], first: int) -> list[Job]:
    """The jobs, numbered from `first`; for each the overrides are what Hydra's sweepers hand to a launcher.

    config, loader: of the sweep, as a launcher's `setup` receives them.
    Raises what Hydra raises for an override that it does not understand or accept.
    """
    composed, listed = _composed.setdefault(loader, {}), _listed.setdefault(loader, {})
    name, typed = config.hydra.job.config_name, cast(list[str], OmegaConf.to_container(config.hydra.overrides.hydra))

    def options(group: str, kind: ObjectType | None) -> list[str]:
        asked = (name, *typed, group, kind)
        if asked not in listed:
            listed[asked] = loader.get_group_options(group, kind, name, typed)
        return listed[asked]

    @cache
    def is_group(key: str) -> bool:
        above, _, own = key.rpartition("/")
        return own in options(above, ObjectType.GROUP) and bool(options(key, None))

    def structure(overrides: list[Override]) -> Structure:
        plain = _plain(overrides, {each.key_or_group for each in overrides if is_group(each.key_or_group)})
        while True:
            shared = tuple(each.key_or_group if each.key_or_group in plain else each.input_line for each in overrides)
            if (id(config), plain, shared) not in composed:
                composed[id(config), plain, shared] = Structure(config, loader, overrides, plain)
            found = composed[id(config), plain, shared]
            if found.plain == plain:
                return found
            plain = found.plain  # the others' values are not simply put in their place: Hydra composes each of them

    parsed = [[_parsed(text) for text in job] for job in jobs]
    return [Job(number, each, structure(each)) for number, each in enumerate(parsed, first)]


def check_jobs(jobs: Sequence[Job]) -> None:
    """Raise ConfigError with a line for each mistake in the jobs' configs, naming the runs that it is in.

    Jobs of one structure may have the same keys, so a value that several of them have is looked at once.
    """
    rules: dict[Structure, Rules] = {}
    seen: dict[Any, str | None] = {}
    runs: dict[str, list[int]] = {}
    for job in jobs:
        try:
            config = job.config
        except ConfigError as problem:
            runs.setdefault(str(problem), []).append(job.number)
            continue
        if job.structure not in rules:
            rules[job.structure] = Rules(config, job.structure.hydra)
        for path, value in leaves(config):
            leaf = (job.structure, path, repr(value))
            if leaf not in seen:
                seen[leaf] = rules[job.structure].problem(path, value)
            if told := seen[leaf]:
                runs.setdefault(told, []).append(job.number)
    if runs:
        raise ConfigError("\n".join(f"{named(numbers)}: {told}" for told, numbers in runs.items()))


def named(numbers: Iterable[int], most: int = 4) -> str:
    """Runs by their numbers: `run 3`, `runs 0-9, 12`, and how many more where they are scattered."""
    spans: list[list[int]] = []
    for number in sorted(numbers):
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    told = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in spans[:most])
    more = sum(b - a + 1 for a, b in spans[most:])
    return f"run{'s' if more or not told.isdigit() else ''} {told}{f' and {more} more' if more else ''}"


class Job:
    """One run of a sweep, before it starts: its number, overrides, config, folder and Hydra's files."""

    def __init__(self, number: int, overrides: list[Override], structure: Structure) -> None:
        self.number = number
        self.overrides = [str(each.input_line) for each in overrides]
        self.structure = structure  #: the same object for jobs that differ by plain values only
        own = [each for each in overrides if not each.is_hydra_override()]
        self._values: dict[Keys, Any] = {
            NUM: number,
            ID: str(number),
            DIRNAME: structure.dirname(own),
            TASK: self.overrides if len(own) == len(overrides) else [str(each.input_line) for each in own],
            OUTPUT_DIR: "???",  # while the folder is found
            **{_place(e.key_or_group): e.value() for e in own if e.key_or_group in structure.plain},
        }

    @cached_property
    def folder(self) -> Path:
        """Where the run's files go, hydra.sweep.dir and hydra.sweep.subdir, from the root."""
        above, below = (self.structure.value(("hydra", "sweep", key), self._values) for key in ("dir", "subdir"))
        return Path(os.path.abspath(os.path.join(str(above), str(below))))

    @property
    def config(self) -> dict[str, Any]:
        """The run's own config, resolved. Raises ConfigError where it cannot be resolved."""
        return _config(self)

    @property
    def node(self) -> Mapping[str, Any]:
        """The same, made where it is asked for."""
        return MadeAnew(partial(_config, self))

    @property
    def files(self) -> Mapping[str, str]:
        """The texts of the files that Hydra writes for a run (.hydra/config.yaml, ...), by their path in its folder."""
        return MadeAnew(lambda: self.structure.files(self._placed))

    @property
    def _placed(self) -> dict[Keys, Any]:
        return {**self._values, OUTPUT_DIR: str(self.folder)}


class MadeAnew(Mapping[str, Any]):
    """What is made where it is asked for: for a hundred thousand jobs it would fill the memory."""

    def __init__(self, make: Callable[[], dict[str, Any]]) -> None:
        self._make = make

    def __getitem__(self, name: str) -> Any:
        return self._make()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._make())

    def __len__(self) -> int:
        return len(self._make())

    def items(self) -> ItemsView[str, Any]:
        return self._make().items()

    def __reduce__(self) -> tuple[type, tuple[dict[str, Any]]]:
        """To another process as it is."""
        return dict, (self._make(),)


@lru_cache(2**10)  # the jobs of a stack, each of which is asked for its own again and again
def _config(job: Job) -> dict[str, Any]:
    return job.structure.config(job._placed if job.structure.names_folder else job._values)


@cache
def _place(key: str) -> Keys:
    return tuple(key.split("."))


#: by loader, then by what the jobs of a structure have in common: a sweeper that checks its jobs asks before a launcher
_composed: WeakKeyDictionary[ConfigLoader, dict[Any, Structure]] = WeakKeyDictionary()
#: by loader, what is in a group: Hydra takes 40 ms to tell, and the keys of a sweep are many
_listed: WeakKeyDictionary[ConfigLoader, dict[Any, list[str]]] = WeakKeyDictionary()


_parser = cache(OverridesParser.create)  #: to make one takes as long as to parse


@lru_cache(2**12)
def _parsed(text: str) -> Override:
    return _parser().parse_overrides([text])[0]


def _plain(overrides: list[Override], groups: set[str]) -> frozenset[str]:
    """The keys with plain values. What Hydra applies in an order, above or below one of them, must stay with it."""
    keys = {each.key_or_group for each in overrides if each.key_or_group not in groups}
    odd = {each.key_or_group for each in overrides if not _has_plain_value(each)}
    return _apart(frozenset(keys)) - odd


@lru_cache(2**10)  # the jobs of a sweep have nearly all the same keys
def _apart(keys: frozenset[str]) -> frozenset[str]:
    """Those of the keys that are neither above nor below another."""
    return frozenset(
        key for key in keys if not any(overlap(key.split("."), other.split(".")) for other in keys - {key})
    )


def _has_plain_value(override: Override) -> bool:
    key, value = override.key_or_group, override.value()
    return (
        override.type == OverrideType.CHANGE
        and override.package is None
        and override.value_type == ValueType.ELEMENT
        and not override.is_hydra_override()
        and re.fullmatch(r"\w+(\.\w+)*", key) is not None
        and not key.endswith("_target_")  # which other keys there may be hangs on it
        and (value is None or isinstance(value, int | float | str))
        and not (isinstance(value, str) and ("${" in value or value == "???"))
    )
