"""Refuse a wrong config before anything is trained or written, in one readable message and without torch."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Iterator, Mapping
from importlib.util import find_spec
from math import inf
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dlrun.config import typed
from dlrun.config.catalogue import (
    Constraint,
    KeyPath,
    conf_dir,
    constraints,
    constraints_in,
    groups,
    registered,
    takes_several,
    targets,
)
from dlrun.config.own import text_of
from dlrun.config.values import meant as meant_value
from dlrun.config.values import typed as _typed
from dlrun.config.words import as_read, lead
from dlrun.errors import ConfigError

MISSING = "???"


def check(config: DictConfig, hydra: DictConfig) -> None:
    """Raise ConfigError, with a line for each key whose name or value is wrong.

    hydra: Hydra's own part of the config, which tells where the user's YAML files are.
    """
    values = resolved(config)
    rules = Rules(values, hydra)
    problems = [told for path, value in leaves(values) if (told := rules.problem(path, value))]
    if problems:
        raise ConfigError("\n".join(problems))


def resolved(config: DictConfig) -> dict[str, Any]:
    """A config without Hydra's part."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        values: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as problem:
        where = f"{problem.full_key}: " if problem.full_key else ""
        raise ConfigError(where + str(problem).splitlines()[0]) from problem
    return {str(key): value for key, value in values.items()}


class Keys:
    """Which keys a part of a config has, and what each may be; below one that may be anything, all are the user's own.

    Args:
        known: the keys, each with its constraint, if it has one.
        place: what stands before them, as `hydra.launcher.`.
    """

    def __init__(self, known: Mapping[KeyPath, Constraint | None], place: str = "") -> None:
        self._known, self._place = known, place
        self._full = {place + ".".join(path): constraint for path, constraint in known.items()}
        self._free = {path for path, constraint in known.items() if not constraint or constraint.text == "any"}

    def problem(self, path: KeyPath, value: Any) -> str | None:
        """What is wrong with a key or its value, or None."""
        name, constraint = self._place + ".".join(path), self._known.get(path)
        if value == {} and path not in self._known:
            return None
        if value == MISSING:
            return f"{name} has to be given" + (f": {constraint.meaning}" if constraint else "")
        if any(path[:n] in self._free for n in range(1, len(path))):
            return None
        if path not in self._known:
            meant = lead(name, _typed(value), self._full)
            siblings = [known[-1] for known in self._known if len(known) == len(path) and known[:-1] == path[:-1]]
            listing = "" if meant or not siblings else f"; the keys here are {', '.join(siblings)}"
            return f"{name}={_typed(value)}: there is no such key{meant}{listing}"
        if constraint and not constraint.allows(value):
            if isinstance(value, str) and value and constraint.allows(as_read(value)):
                return f"{name}='{value}': in quotes it is a text; leave them out: {name}={value}"
            finite = "finite and " if value in (inf, -inf) else ""
            meaning = f" ({constraint.meaning})" if constraint.meaning else ""
            near = meant_value(name, value, constraint)
            return f"{name}={_typed(value)}: must be {finite}{constraint.text}{meaning}{near}"
        return None


class Rules(Keys):
    """What each key of a config may be, given the choices in it.

    Args:
        values: the config, resolved, without Hydra's part.
        hydra: that part, which tells where the user's YAML files are.
        packages: whose code may run beside dlrun's; None takes what is typed.
    """

    def __init__(self, values: dict[str, Any], hydra: DictConfig, packages: Iterable[str] | None = None) -> None:
        super().__init__(_known(values, _search_path(hydra)))
        self._packages = typed.packages() if packages is None else set(packages)

    def problem(self, path: KeyPath, value: Any) -> str | None:
        """What is wrong with a key or its value, or None."""
        name = ".".join(path)
        if path == ("allow_targets",) and not self._packages.issuperset(value if isinstance(value, list) else ()):
            asked = f"{name}=[{','.join(typed.bare(str(each)) for each in value)}]"
            return f"{shlex.quote(asked)} stands in a file, and counts only if you type it: it has code run"
        if path == ("on_end",) and value is not None:
            return f"{name}={_typed(value)} stands in a file, and counts only if you type it: it has a command run"
        if path == ("name",) and (".." in str(value).split("/") or str(value)[:1] == "/" or "\0" in str(value)):
            return f"{name}={value}: it stands in the folder's name, and may not lead out of it by .. or a leading /"
        if "_target_" in path:
            return foreign(path, value, self._packages) or _lacking(path, str(value))
        return super().problem(path, value)


def foreign(path: KeyPath, target: Any, packages: Iterable[str]) -> str | None:
    """Why the class or function that a `_target_` names is not run, or None. Decided by its name: an import runs code.

    Of groups whose choices have names of their own in the config, files are named after these: they are plain words.

    packages: what the user names in allow_targets, beside the choices that conf/ registers.
    """
    if len(path) > 2 and takes_several(path[0]) and not re.fullmatch(r"[A-Za-z]\w*", path[1], re.ASCII):
        return f"{path[0]}: {path[1]!r} is no name of a choice"
    file, _, _ = str(target).rpartition(":")
    allowed = any(str(target).startswith(f"{package}.") or file == package for package in packages if package)
    if str(target) in registered(path[0]) or allowed:
        return None
    name, package = f"{'.'.join(path)}={target}", file or str(target).partition(".")[0]
    if package == "dlrun":
        return f"{name} is no choice of {path[0]}, and only those of dlrun's own code are run"
    asked = shlex.quote(f"allow_targets=[{typed.bare(package)}]")
    return f"{name}: only dlrun's own code is run; if you trust it, add {asked} to the command"


def _lacking(path: KeyPath, target: str) -> str | None:
    """That the package is not installed which a tracker's module is named after, as is the extra that brings it."""
    package = target.removeprefix("dlrun.trackers.").partition(".")[0] if path[0] == "tracker" else ""
    if not target.startswith("dlrun.trackers.") or find_spec(package) is not None:
        return None
    return f"tracker={path[1]} needs a package that is not installed: pip install 'dlrun[{package}]'"


def refuse_foreign(values: dict[str, Any]) -> None:
    """Raise ConfigError where a config, resolved, names code that is neither dlrun's nor of its own allow_targets."""
    packages = values.get("allow_targets") or []
    told = [foreign(path, value, packages) for path, value in leaves(values) if "_target_" in path]
    if any(told):
        raise ConfigError("\n".join(filter(None, told)))


def leaves(values: dict[str, Any], path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """The keys of a config that hold no further keys, and their values."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, (*path, str(key)))
        else:
            yield (*path, str(key)), value


def _search_path(hydra: DictConfig) -> list[Path]:
    folders = [Path(source.path) for source in hydra.runtime.config_sources if source.schema == "file"]
    return list(dict.fromkeys([conf_dir(), *folders]))


def _known(values: dict[str, Any], search_path: list[Path]) -> dict[KeyPath, Constraint | None]:
    """What every key of this config may be: of the main file, and of the files that name the targets chosen."""
    known = constraints(conf_dir() / "dlrun.yaml")
    for group in groups():
        node = values.get(group)
        chosen = {str(value) for path, value in leaves({group: node}) if path[-1] == "_target_"}
        files = [file for folder in search_path for file in sorted((folder / group).glob("*.yaml"))]
        describing = [file for file in files if targets(file) & chosen]
        for file in describing:
            for path, constraint in constraints(file).items():  # a user's file may leave it to dlrun's own to say
                known[(group, *path)] = constraint or known.get((group, *path))
        own = [file for file in typed.files() if any(each.startswith(f"{file}:") for each in chosen)]
        for file in own:
            known |= {(group, *path): may_be for path, may_be in constraints_in(text_of(group, file), file).items()}
        if chosen and not describing and not own:
            known[(group,)] = None
    return known
