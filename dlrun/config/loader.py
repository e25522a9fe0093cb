"""Reads config files as data: what in them would run code, or write elsewhere, is refused before Hydra acts on it.

Hydra makes callbacks, loggers, launchers and sweepers out of its part of the config, and a config file from anywhere
may hold such a part. So where other files than dlrun's own are read, Hydra's part must be what dlrun's own files and
the command line make of it, but for a few harmless keys.
"""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydra_app
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource as HydraFileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from dlrun.config import interpolations, typed
from dlrun.config.catalogue import KeyPath, conf_dir, groups, takes_several
from dlrun.config.distributions import understood
from dlrun.config.own import choice, names_file
from dlrun.errors import ConfigError
from dlrun.files.opening import read_named
from dlrun.files.parsing import bounded, yaml_told

hydra_main: Any = import_module("hydra.main")  # whose name in the package is that of its function

PRIMARY = "dlrun"  #: the name of dlrun's own main file
#: launchers and sweepers that do nothing but train, whatever their options say
HARMLESS = (
    "hydra_plugins.dlrun_stack.launcher.StackLauncher",
    "hydra_plugins.dlrun_stack.sweeper.Sweeper",
    "hydra_plugins.dlrun_stack.claims.Claims",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)
LARGEST = 2**20  #: bytes of a YAML file
#: keys of Hydra's part that say how many, how long and in which queue, and nothing else, with what they may be
FREE = re.compile(
    r"hydra\.launcher\.(width|workers|retry_failed|wait|tasks|partition|account|qos|constraint|timeout_min|cpus_per_task"
    r"|gpus_per_node|mem_gb|array_parallelism|signal_delay_s|max_num_timeout|n_jobs)=[\w.,:+-]*"
    r"|hydra\.sweeper\.(trials|decades|trial_seeds|retry_failed|max_batch_size|n_trials|n_jobs|sampler|study_name"
    r"|margin|max_time|prune|first_rung|eta|keep|samples|seed)=[\w.,:+-]*"
    r"|hydra\.sweeper\.(claims|large|again|looks|direction)=[\w\[\], ]*"
    r"|hydra\.mode=\w*"
    r"|hydra\.sweeper\.params(\.[\w./@]+)?=.*"  # overrides of jobs, each of which is judged by itself
    r"|hydra\.(sweep\.subdir|job\.config\.override_dirname\.\w+)=.*"  # that a run lies in the sweep's folder is seen to
)


#: words that may choose between a run and a sweep, beside -m
CHOOSES_MODE = re.compile(
    r"[^=]*(\bexperiment\b|\bhydra\b(?!\.(run|sweep|sweeper|launcher|job)\.|/(launcher|sweeper)=))"
)


@contextmanager
def guarded() -> Iterator[None]:
    """Lets Hydra load configs through `Loader`, read files through `FileConfigSource`, know the words of distributions,
    and unpickle nothing."""
    sources, before = SourcesRegistry.instance().types, hydra_app.ConfigLoaderImpl
    reader, rerun = sources.get("file", HydraFileConfigSource), hydra_main._get_rerun_conf
    sources["file"] = FileConfigSource
    hydra_app.Hydra.get_mode = _mode  # type: ignore[method-assign]
    hydra_app.ConfigLoaderImpl = Loader  # type: ignore[misc]
    hydra_main._get_rerun_conf = _no_pickle
    interpolations.begin()
    try:
        with interpolations.bounded(), understood():
            yield
    finally:
        sources["file"] = reader
        hydra_app.Hydra.get_mode = _composed_mode  # type: ignore[method-assign]
        hydra_app.ConfigLoaderImpl = before  # type: ignore[misc]
        hydra_main._get_rerun_conf = rerun


_composed_mode = hydra_app.Hydra.get_mode


def _mode(self: Any, config_name: str | None, overrides: list[str]) -> Any:
    """hydra.mode, for which Hydra composes a whole config; None without that where only dlrun's own files count, which
    leave it to the command."""
    foreign = any(
        each.path.startswith("file://") and not _is_own(each.path) for each in self.config_loader.get_sources()
    )
    if foreign or config_name != PRIMARY or any(map(CHOOSES_MODE.match, overrides)):
        return _composed_mode(self, config_name, overrides)
    return None


def _no_pickle(file: str, overrides: list[str]) -> DictConfig:
    raise ConfigError(
        f"--experimental-rerun {file}: a pickle may run any code, and none is read; a run is repeated by its "
        "config.yaml: --config-dir=FOLDER --config-name=config"
    )


class FileConfigSource(HydraFileConfigSource):
    """Hydra's reader of YAML files; ConfigError for one that is none, is too large, or would have Hydra import."""

    # Hydra keeps the class that is registered first under a name, so this one has the name of its own.

    def is_config(self, config_path: str) -> bool:
        return super().is_config(config_path) or self._typed_file(config_path) is not None

    def _typed_file(self, config_path: str) -> str | None:
        """The YAML that a Python file stands for which the command names, as one of dlrun's own."""
        return choice(config_path) if _is_own(self.path) else None

    def load_config(self, config_path: str) -> ConfigResult:
        if not super().is_config(config_path) and (text := self._typed_file(config_path)):
            return ConfigResult(
                self.provider, f"{self.scheme()}://{self.path}", OmegaConf.create(text), header={"package": None}
            )
        file = Path(os.path.abspath(os.path.join(self.path, self._normalize_file_name(config_path))))
        if Path(os.path.abspath(self.path)) not in file.parents:
            raise ConfigError(f"{config_path}: a config is looked for in its folder, not above it by ..")
        with readable(file):
            result = super().load_config(config_path)
        if not isinstance(result.config, DictConfig):
            raise ConfigError(f"{file}: keys and values are wanted, `lr: 0.1`, and this file holds a list")
        for each in result.config.get("defaults") or []:
            for key, value in each.items() if isinstance(each, DictConfig) else ():
                _refuse_several(str(key).split()[-1].lstrip("/"), value, f"{file}: ")
        search = OmegaConf.select(result.config, "hydra.searchpath", throw_on_resolution_failure=False)
        for place in [search] if isinstance(search, str) else search or []:
            if not str(place).isprintable() or ("://" in str(place) and not str(place).startswith("file://")):
                raise ConfigError(f"{file}: hydra.searchpath: {place} would be imported: give it on the command line")
        return result


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """ConfigError, with the file's name, where it cannot be read as YAML, or is small but stands for very much."""
    try:
        with yaml_told(file):
            bounded(read_named(file, LARGEST), file)
            yield
    except HydraException:
        raise
    except FileNotFoundError as problem:
        raise ConfigError(f"there is no file {file}") from problem
    except (OSError, OmegaConfBaseException) as problem:
        raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(problem).split())}") from problem


class Loader(ConfigLoaderImpl):
    """Hydra's loader of configs; ConfigError where a file sets what only dlrun and the command line may.

    A launcher that has its jobs composed by worker processes hands them the loader, and so what was typed.
    """

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "typed": typed.words}

    def __setstate__(self, state: dict[str, Any]) -> None:
        typed.take(state.pop("typed"))
        self.__dict__.update(state)

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        main = next(source for source in self.get_sources() if source.provider == "main")
        if not _is_own(main.path):
            raise ConfigError(
                f"--config-path {main.path} would take the place of dlrun's own configs: add a folder with --config-dir"
            )
        interpolations.restrict(True, lasting=False)  # Hydra resolves a search path's before it is known whose it is
        for each in OverridesParser.create(config_loader=self).parse_overrides(overrides):
            if not each.is_sweep_override() and not each.is_delete():
                _refuse_several(each.key_or_group, each.value())
        try:
            config = super().load_configuration(config_name, overrides, run_mode, from_shell, validate_sweep_overrides)
        except HydraException as problem:
            if not str(problem) and problem.__cause__:
                raise ConfigError(str(problem.__cause__)) from problem
            raise
        except (OmegaConfBaseException, ConfigError):
            raise
        except Exception as problem:  # Hydra asserts what odd overrides and defaults lists do not keep to
            raise ConfigError(f"Hydra makes no config of this: {problem!r}") from problem
        for group in groups() if config_name else ():
            if group not in config and not takes_several(group):
                raise ConfigError(
                    f"{group}: a run has one, and this config none; `dlrun list {group}` has what there is"
                )
        parsed = OverridesParser.create(config_loader=self).parse_overrides(overrides)
        _put_what_was_given(config.hydra.overrides, parsed)
        given = [str(each.input_line) for each in parsed if is_hydras(str(each.input_line))]
        found = [word for word in given if word not in typed.words and not word.startswith("hydra.mode=")]
        for word in found:
            if not harmless(word):
                raise ConfigError(f"{word} stands in a file, and counts only if you type it")
        sources = config.hydra.runtime.config_sources
        foreign = any(source.schema == "file" and not _is_own(source.path) for source in sources)
        # a dollar will do: Hydra's sweepers write ${ with a backslash between
        interpolations.restrict(foreign or any("$" in word for word in overrides if word not in typed.words))
        if foreign or found:
            _refuse(config.hydra, given, run_mode)
        if "optimizer" in config:  # of regularizer=[] Hydra makes no node
            with open_dict(config):
                config.update({group: {} for group in groups() if group not in config})
        return config


def _refuse_several(group: str, value: Any, place: str = "") -> None:
    """Raise ConfigError for a list of choices, of which Hydra would take the last, where a run has one."""
    if group not in groups() or (value is not None and not isinstance(value, list | ListConfig)):
        return
    if value is None:
        none = f"none at all is {group}=none" if takes_several(group) else f"`dlrun list {group}` has what there is"
        raise ConfigError(f"{place}{group}=null: {'' if takes_several(group) else 'a run has one; '}{none}")
    if takes_several(group):
        return
    names = ",".join(map(str, value))
    one = f"give one, {group}={names}" if value else f"`dlrun list {group}` has what there is"
    way = f"dlrun -m {group}={names} trains a run with each" if len(value) > 1 else one
    raise ConfigError(f"{place}{group}=[{names}]: a run has one {group}, not a list: {way}")


def _put_what_was_given(record: DictConfig, parsed: Sequence[Override]) -> None:
    """Hydra adds to its record of overrides, and takes jobs from it; what it held before came from a file."""
    lines = {part: [str(o.input_line) for o in parsed if o.is_hydra_override() == (part == "hydra")] for part in record}
    for part, given in lines.items():
        record[part] = given


def _is_own(path: str) -> bool:
    return os.path.realpath(path.removeprefix("file://")) == os.path.realpath(conf_dir())


def is_hydras(override: str) -> bool:
    """Whether an override is for Hydra's part of the config, be it by its package: `dataset@hydra.callbacks.x=evil`."""
    return re.match(r"[^=]*\bhydra\b", override) is not None


def harmless(override: str) -> bool:
    """Whether an override for Hydra's part runs, reads and writes nothing, whoever gave it."""
    given = override.lstrip("+")
    group, _, name = given.partition("=")
    if group in ("hydra/launcher", "hydra/sweeper"):  # those that are installed
        return name in _own_loader().get_group_options(group)
    return FREE.fullmatch(given) is not None and "_target_" not in given


def _refuse(hydra: DictConfig, given: Sequence[str], run_mode: RunMode) -> None:
    """Raise ConfigError unless Hydra's part of a config is what dlrun's own files and these overrides make of it."""
    found: dict[str, Any] = OmegaConf.to_container(hydra, resolve=False)  # type: ignore[assignment]
    own_loader = _own_loader()
    free = []
    for part in ("launcher", "sweeper"):  # a user's own file for one counts where the command names it
        names = [each.partition("=")[2] for each in given if each.lstrip("+").startswith(f"hydra/{part}=")]
        if names and names[-1] not in own_loader.get_group_options(f"hydra/{part}"):
            free.append(part)
    theirs = tuple(f"hydra{mark}{part}" for mark in "/." for part in free)
    own = _own(tuple(each for each in given if not each.lstrip("+").startswith(theirs)), run_mode)
    for part in ("launcher", "sweeper"):
        node = found.get(part) or {}
        known = dict(_values(own.get(part) or {}))  # an installed launcher's own, such as Ray's
        for path, value in _values(node):
            # Hydra makes an object of it, however deep it stands
            if len(path) > 1 and path[-1] == "_target_" and known.get(path) != value:
                raise ConfigError(f"hydra.{part}.{'.'.join(path)}: no code is run that stands there")
        if node.get("_target_") in HARMLESS:
            free.append(part)
    refuse_keys("hydra.sweeper.params", (found.get("sweeper") or {}).get("params") or {})
    differing = sorted(
        f"hydra.{key}"
        for key in found.keys() | own.keys()
        if key not in ("mode", "runtime", "overrides", *free) and _judged(key, found) != _judged(key, own)
    )
    if differing:
        raise ConfigError(
            f"{', '.join(differing)}: a config file may not say what Hydra runs or where it writes: give it on the "
            "command line. A config that stands alone begins with "
            "`defaults: [setup, _self_, override hydra/launcher: stack, override hydra/sweeper: dlrun]`"
        )


def refuse_keys(place: str, keys: Iterable[Any]) -> None:
    """Raise ConfigError for overrides from a file that only count where the user types them."""
    for key in keys:
        if re.match(r"\W*allow_targets", str(key)) or is_hydras(str(key)):
            raise ConfigError(f"{place}: {key} is for the command line alone")


def refuse_command(file: Path, overrides: Iterable[str]) -> None:
    """Raise ConfigError for overrides that would run code, in a file that anyone may have changed."""
    for override in overrides:
        is_free = not is_hydras(override) or harmless(override)
        runs = re.match(r"-|\W*allow_targets", override) or "_target_" in override or names_file(override)
        if not is_free or runs:
            raise ConfigError(
                f"{file}: {override} may run any code, or write anywhere: type it again if you trust it, "
                f"dlrun resume {shlex.quote(str(file.parent))} {shlex.quote(override)}"
            )


def _judged(key: str, hydra: dict[str, Any]) -> Any:
    node = hydra.get(key)
    if key == "job" and isinstance(node, dict):
        return {name: value for name, value in node.items() if name not in ("config_name", "override_dirname")}
    if key == "sweeper" and isinstance(node, dict):
        return {name: value for name, value in node.items() if name != "params"}
    return node


def _values(node: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, Any]]:
    """All that stands below a node, through lists too, with the way to it."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, str(key)), value
        yield from _values(value, (*path, str(key)))


@lru_cache(maxsize=4)
def _own(typed: tuple[str, ...], run_mode: RunMode) -> dict[str, Any]:
    """Hydra's part of the config that dlrun's own files and these overrides make."""
    config = _own_loader().load_configuration(PRIMARY, list(typed), run_mode, validate_sweep_overrides=False)
    return OmegaConf.to_container(config.hydra, resolve=False)  # type: ignore[return-value]


def _own_loader() -> ConfigLoaderImpl:
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf_dir())))
