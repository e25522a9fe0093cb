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
from pathlib import Path
from typing import Any

import hydra._internal.hydra as hydra_app
import yaml
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.core_plugins.file_config_source import FileConfigSource as HydraFileConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import DictConfig, ListConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from omegaconf.resolvers import oc

from dlrun.catalogue import KeyPath, conf_dir, groups, takes_several
from dlrun.errors import ConfigError

PRIMARY = "dlrun"  #: the name of dlrun's own main file
#: launchers and sweepers that do nothing but train, whatever their options say
HARMLESS = (
    "hydra_plugins.dlrun_stack.launcher.StackLauncher",
    "hydra_plugins.dlrun_stack.sweeper.Sweeper",
    "hydra._internal.core_plugins.basic_launcher.BasicLauncher",
    "hydra._internal.core_plugins.basic_sweeper.BasicSweeper",
)
LARGEST = 100_000  #: values in a YAML file, each as often as it is referred to


@contextmanager
def guarded() -> Iterator[None]:
    """Lets Hydra load configs through `Loader` and read files through `FileConfigSource`."""
    sources, before = SourcesRegistry.instance().types, hydra_app.ConfigLoaderImpl
    reader = sources.get("file", HydraFileConfigSource)
    sources["file"] = FileConfigSource
    hydra_app.ConfigLoaderImpl = Loader  # type: ignore[misc]
    try:
        yield
    finally:
        sources["file"] = reader
        hydra_app.ConfigLoaderImpl = before  # type: ignore[misc]


class FileConfigSource(HydraFileConfigSource):
    """Hydra's reader of YAML files; ConfigError for one that is none, is too large, or would have Hydra import."""

    # Hydra keeps the class that is registered first under a name, so this one has the name of its own.

    def load_config(self, config_path: str) -> ConfigResult:
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
            if "://" in str(place) and not str(place).startswith("file://"):
                raise ConfigError(f"{file}: hydra.searchpath: {place} would be imported: give it on the command line")
        return result


@contextmanager
def readable(file: Path) -> Iterator[None]:
    """ConfigError, with the file's name, where it cannot be read as YAML, or is small but stands for very much."""
    try:
        text = file.read_text(encoding="utf-8")
        if "&" in text and "*" in text and _size(yaml.compose(text, Loader=yaml.SafeLoader), {}) > LARGEST:
            raise ConfigError(f"{file} refers to its own parts so often that it holds more than {LARGEST} values")
        yield
    except (HydraException, ConfigError):
        raise
    except RecursionError as problem:
        raise ConfigError(f"{file} is nested too deeply") from problem
    except (OSError, ValueError, TypeError, AttributeError, yaml.YAMLError, OmegaConfBaseException) as problem:
        raise ConfigError(f"{file} cannot be read as YAML: {' '.join(str(problem).split())}") from problem


def _size(node: Any, known: dict[int, int]) -> int:
    """Scalars and containers below a YAML node; one that holds itself has endlessly many."""
    if id(node) not in known:
        known[id(node)] = LARGEST + 1  # while it is looked at
        below = node.value if isinstance(node, yaml.CollectionNode) else []
        parts = [part for each in below for part in (each if isinstance(each, tuple) else (each,))]
        known[id(node)] = 1 + sum(_size(part, known) for part in parts)
    return known[id(node)]


class Loader(ConfigLoaderImpl):
    """Hydra's loader of configs; ConfigError where a file sets what only dlrun and the command line may."""

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
        for each in OverridesParser.create(config_loader=self).parse_overrides(overrides):
            _refuse_several(each.key_or_group, None if each.is_sweep_override() else each.value())
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
        sources = config.hydra.runtime.config_sources
        foreign = any(source.schema == "file" and not _is_own(source.path) for source in sources)
        # An environment may hold passwords, and what a config says is written into every run's folder.
        OmegaConf.register_new_resolver("oc.env", _no_environment if foreign else oc.env, replace=True)
        if foreign:
            parser = OverridesParser.create(config_loader=self)
            typed = [str(each.input_line) for each in parser.parse_overrides(overrides) if each.is_hydra_override()]
            _refuse(config.hydra, typed, run_mode)
        return config


def _refuse_several(group: str, value: Any, place: str = "") -> None:
    """Raise ConfigError for a list of choices, of which Hydra would take the last, where a run has one."""
    if not isinstance(value, list | ListConfig) or group not in groups() or takes_several(group):
        return
    names = ",".join(map(str, value))
    one = f"give one, {group}={names}" if value else f"`dlrun list {group}` has what there is"
    way = f"dlrun -m {group}={names} trains a run with each" if len(value) > 1 else one
    raise ConfigError(f"{place}{group}=[{names}]: a run has one {group}, not a list: {way}")


def _is_own(path: str) -> bool:
    return os.path.realpath(path.removeprefix("file://")) == os.path.realpath(conf_dir())


def _no_environment(name: str, *default: Any) -> Any:
    raise ConfigError(f"${{oc.env:{name}}}: config files read no environment variables; give the value in the command")


def _refuse(hydra: DictConfig, typed: Sequence[str], run_mode: RunMode) -> None:
    """Raise ConfigError unless Hydra's part of a config is what dlrun's own files and these overrides make of it."""
    found: dict[str, Any] = OmegaConf.to_container(hydra, resolve=False)  # type: ignore[assignment]
    own_loader = _own_loader()
    free = []
    for part in ("launcher", "sweeper"):  # a user's own file for one counts where the command names it
        names = [each.partition("=")[2] for each in typed if each.lstrip("+").startswith(f"hydra/{part}=")]
        if names and names[-1] not in own_loader.get_group_options(f"hydra/{part}"):
            free.append(part)
    theirs = tuple(f"hydra{mark}{part}" for mark in "/." for part in free)
    own = _own(tuple(each for each in typed if not each.lstrip("+").startswith(theirs)), run_mode)
    for part in ("launcher", "sweeper"):
        node = found.get(part) or {}
        for path in _keys(node):
            if len(path) > 1 and path[-1] == "_target_":  # Hydra makes an object of it, however deep it stands
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
        if str(key).lstrip("+~ ").startswith(("hydra", "allow_targets")):
            raise ConfigError(f"{place}: {key} is for the command line alone")


def refuse_command(file: Path, overrides: Iterable[str]) -> None:
    """Raise ConfigError for overrides that would run code, in a file that anyone may have changed."""
    for override in map(str, overrides):
        key, _, value = override.lstrip("+~").partition("=")
        harmless = key.startswith(("hydra/launcher", "hydra/sweeper", "hydra.launcher.", "hydra.sweep.", "hydra.mode"))
        harmless = harmless and re.fullmatch(r"[\w.,:/+-]*", value) is not None and not key.endswith(".python")
        harmless = harmless or (key.startswith("hydra.sweeper.") and not re.search("allow_targets|custom_search", key))
        if (
            override.startswith("-")
            or key == "allow_targets"
            or "_target_" in override
            or (key.startswith("hydra") and not harmless)
        ):
            raise ConfigError(
                f"{file}: {override} may run any code: type it again if you trust it, "
                f"dlrun resume {file.parent} {shlex.quote(override)}"
            )


def _judged(key: str, hydra: dict[str, Any]) -> Any:
    node = hydra.get(key)
    if key == "job" and isinstance(node, dict):
        return {name: value for name, value in node.items() if name not in ("config_name", "override_dirname")}
    if key == "sweeper" and isinstance(node, dict):
        return {name: value for name, value in node.items() if name != "params"}
    return node


def _keys(node: Any, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The ways to all keys below a node, through lists too."""
    for key, value in node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ():
        yield (*path, str(key))
        yield from _keys(value, (*path, str(key)))


@lru_cache(maxsize=4)
def _own(typed: tuple[str, ...], run_mode: RunMode) -> dict[str, Any]:
    """Hydra's part of the config that dlrun's own files and these overrides make."""
    config = _own_loader().load_configuration(PRIMARY, list(typed), run_mode, validate_sweep_overrides=False)
    return OmegaConf.to_container(config.hydra, resolve=False)  # type: ignore[return-value]


def _own_loader() -> ConfigLoaderImpl:
    return ConfigLoaderImpl(config_search_path=create_config_search_path(str(conf_dir())))
