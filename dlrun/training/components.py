"""The objects that a config's `_target_` keys name, and which of their keys may differ from run to run."""

from __future__ import annotations

import inspect
import sys
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

from hydra.utils import get_object

from dlrun.errors import ConfigError
from dlrun.matrix.rows import keywords
from dlrun.regularizers.regularizer import HOOKS

Node = dict[str, Any]
#: the methods whose keyword-only arguments are numbers that may differ by row
HOOKS_OF = {"optimizer": ("update", "point"), "schedule": ("__call__", "momentum", "watch", "observe")}


def structure(node: Node) -> Node:
    """What runs of one stack have in common: the config without the numbers that may differ from row to row.

    Of a number that may also be null, whether it is remains. `node` as `plain` gives it.
    """
    common = {key: value for key, value in node.items() if key not in ("seed", "name", "lr", "max_time", "initializer")}
    for key in ("clip_norm", "clip_value"):
        common[key] = common[key] is not None
    common["dataset"] = {k: v for k, v in node["dataset"].items() if k not in ("split_seed", "label_noise")}
    for group, hooks in HOOKS_OF.items():
        _, rows = declared(node[group], *hooks)
        common[group] = {key: value for key, value in node[group].items() if key not in rows and key != "lr"}
    common["regularizer"] = {
        name: {key: value for key, value in part.items() if key not in declared(part, *HOOKS)[1]}
        for name, part in node["regularizer"].items()
    }
    return common


def component(node: Node, *hooks: str) -> tuple[Any, set[str]]:
    """The object that a `_target_` names, and those of its keys that are rows, not options of its `__init__`."""
    cls, rows = declared(node, *hooks)
    # a group's common keys (bias, position, warmup, lr) are there for every member, also those that take none
    accepted = inspect.signature(cls).parameters
    return cls(**{key: value for key, value in node.items() if key in accepted}), rows


def declared(node: Node, *hooks: str) -> tuple[Any, set[str]]:
    """The class that a `_target_` names, and those of its keys that may differ by row."""
    cls = named(node["_target_"])
    rows = {name for hook in hooks if hasattr(cls, hook) for name in keywords(getattr(cls, hook))}
    return cls, rows & node.keys()


def _module(file: str) -> ModuleType:
    """A Python file of the user's own, run once; its folder is no place for others' imports."""
    if file not in sys.modules:
        spec = spec_from_file_location(file, file)
        assert spec is not None and spec.loader is not None, f"{file} is no Python file"
        module = sys.modules[file] = module_from_spec(spec)
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[file]
            raise
    return sys.modules[file]


def named(target: str) -> Any:
    """The class or function of this name; ConfigError where there is none, or its package only borrows it."""
    file, _, name = target.rpartition(":")
    try:
        if file:
            return getattr(_module(file), name)
        found = get_object(target)
    except Exception as problem:  # the user's own module may raise anything
        raise ConfigError(f"_target_={target} cannot be imported ({' '.join(str(problem).split())})") from problem
    # "mine.os.system" begins with "mine." too, and is another's
    if str(getattr(found, "__module__", "")).partition(".")[0] != target.partition(".")[0]:
        raise ConfigError(f"_target_={target}: this is no class or function of {target.partition('.')[0]}'s own")
    return found
