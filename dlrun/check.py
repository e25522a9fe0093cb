"""Refuse a wrong config before anything is trained or written, in one readable message and without torch."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, read_write
from omegaconf.errors import OmegaConfBaseException

from dlrun import typed
from dlrun.catalogue import Constraint, KeyPath, conf_dir, constraints, groups, registered, targets
from dlrun.console import error, say
from dlrun.errors import ConfigError
from dlrun.files import refuse_any_link, refuse_links
from dlrun.records import CURVES, LOCK, refuse_foreign_files
from dlrun.torchrun import processes

MISSING = "???"
PLUGINS = "hydra_plugins.dlrun_stack."  #: launchers and sweepers that look at a run's folder before it begins
#: what is written into a sweep's folder as it stands, and not put in the place of what was there
SWEEPS = ("multirun.yaml", "sweep.csv", LOCK, ".slurm", ".submitit", "tuning", "final")


class Guard(Callback):
    """Stands in Hydra's callbacks: a wrong config ends the program with 2 before Hydra makes the run's folder."""

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        with refusing():
            if processes() > 1:
                raise ConfigError(
                    "a sweep finds its processes itself: start dlrun -m, without torchrun, which is for a single run"
                )
            HydraConfig.instance().set_config(config)  # for ${hydra:...} in the sweep's folder
            _refuse_interpolation("hydra.sweep.dir", config.hydra.sweep.dir)
            folder = Path(config.hydra.sweep.dir)
            refuse_links(folder, *SWEEPS)
            if not any(config.hydra[part]._target_.startswith(PLUGINS) for part in ("launcher", "sweeper")):
                refuse_any_link(folder)

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        with refusing():
            HydraConfig.instance().set_config(config)  # for ${hydra:...} in the config
            from dlrun.resume import COMPLETE, standing

            folder = Path(config.hydra.run.dir)
            _refuse_interpolation("hydra.run.dir", config.hydra.run.dir)
            check(config, config.hydra)
            refuse_foreign_files(folder)
            status = standing(folder, _resolved(config))
        if status in COMPLETE and (config.plots == "none" or (folder / CURVES).exists()):
            say(f"{folder} holds this run already: {status.replace('_', ' ')}")
            sys.exit(1 if status == "diverged" else 0)
        if status != "new" and (folder / ".hydra").is_dir():
            with read_write(config.hydra):
                config.hydra.output_subdir = None  # Hydra's record stays what was typed at first


@contextmanager
def refusing() -> Iterator[None]:
    """Ends the program with 2 at any mistake, whether or not it can be told: Hydra would only warn, and go on."""
    try:
        yield
    except Exception as problem:
        try:
            known = isinstance(problem, ConfigError | OmegaConfBaseException)
            error(str(problem) if known else f"the config cannot be checked: {problem!r}")
        finally:
            sys.exit(2)


def _refuse_interpolation(key: str, folder: str) -> None:
    """Raise ConfigError for a folder that Hydra, which writes its name into configs, would take for a reference."""
    if "${" in folder:
        raise ConfigError(f"{key}={folder}: a folder's name may not hold ${{")


def check(config: DictConfig, hydra: DictConfig) -> None:
    """Raise ConfigError, with a line for each key whose name or value is wrong.

    hydra: Hydra's own part of the config, which tells where the user's YAML files are.
    """
    values = _resolved(config)
    rules = Rules(values, hydra)
    problems = [told for path, value in leaves(values) if (told := rules.problem(path, value))]
    if problems:
        raise ConfigError("\n".join(problems))


def _resolved(config: DictConfig) -> dict[str, Any]:
    """A config without Hydra's part."""
    own = OmegaConf.masked_copy(config, [str(key) for key in config if key != "hydra"])
    try:
        values: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=False)
    except OmegaConfBaseException as problem:
        raise ConfigError(str(problem).splitlines()[0]) from problem
    return {str(key): value for key, value in values.items()}


class Rules:
    """What each key of a config may be, given the choices in it.

    Args:
        values: the config, resolved, without Hydra's part.
        hydra: that part, which tells where the user's YAML files are.
    """

    def __init__(self, values: dict[str, Any], hydra: DictConfig) -> None:
        self._known = _known(values, _search_path(hydra))
        self._free = {path for path, constraint in self._known.items() if not constraint or constraint.text == "any"}
        self._packages = typed.packages()

    def problem(self, path: KeyPath, value: Any) -> str | None:
        """What is wrong with a key or its value, or None."""
        name, constraint = ".".join(path), self._known.get(path)
        if path == ("allow_targets",) and not self._packages.issuperset(value if isinstance(value, list) else ()):
            return f"{name}={_typed(value)} stands in a file, and counts only if you type it: it has code run"
        if path == ("name",) and (".." in str(value).split("/") or str(value)[:1] == "/" or "\0" in str(value)):
            return f"{name}={value}: it stands in the folder's name, and may not lead out of it by .. or a leading /"
        if "_target_" in path:
            return foreign(path, value, self._packages)
        if value == {} and path not in self._known:
            return None
        if value == MISSING:
            return f"{name} has to be given" + (f": {constraint.meaning}" if constraint else "")
        if any(path[:n] in self._free for n in range(1, len(path))):
            return None  # what stands below such a key is the user's own
        if path not in self._known:
            near = did_you_mean(name, [".".join(known) for known in self._known])
            siblings = [known[-1] for known in self._known if len(known) == len(path) and known[:-1] == path[:-1]]
            listing = "" if near or not siblings else f"; the keys here are {', '.join(siblings)}"
            return f"{name}: there is no such key{near}{listing}"
        if constraint and not constraint.allows(value):
            near = did_you_mean(value, constraint.words) if isinstance(value, str) else ""
            meaning = f" ({constraint.meaning})" if constraint.meaning else ""
            return f"{name}={_typed(value)}: must be {constraint.text}{meaning}{near}"
        return None


def foreign(path: KeyPath, target: Any, packages: Iterable[str]) -> str | None:
    """Why the class or function that a `_target_` names is not run, or None. Decided by its name: an import runs code.

    packages: what the user names in allow_targets, beside the choices that conf/ registers.
    """
    if str(target) in registered(path[0]) or any(str(target).startswith(f"{package}.") for package in packages):
        return None
    name, package = f"{'.'.join(path)}={target}", str(target).partition(".")[0]
    if package == "dlrun":
        return f"{name} is no choice of {path[0]}, and only those of dlrun's own code are run"
    return f"{name}: only dlrun's own code is run; if you trust it, add allow_targets=[{package}] to the command"


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


def did_you_mean(word: str, known: list[str]) -> str:
    """`; did you mean x?` for the nearest of the known words, or nothing."""
    near = difflib.get_close_matches(word, known, n=1)
    return f"; did you mean {near[0]}?" if near else ""


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
        if chosen and not describing:
            known[(group,)] = None
    return known


def _typed(value: Any) -> str:
    """A value as one would type it."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else str(value)
