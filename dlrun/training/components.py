"""The objects that a config's `_target_` keys name, and which of their keys may differ from run to run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import module_from_spec, spec_from_file_location
from traceback import walk_tb
from types import ModuleType
from typing import Any, NamedTuple

from hydra.utils import get_object

from dlrun.errors import ConfigError, out_of_memory, reason
from dlrun.matrix.rows import accepted, keywords
from dlrun.regularizers.regularizer import HOOKS

Node = dict[str, Any]
#: the methods whose keyword-only arguments are numbers that may differ by row
HOOKS_OF = {"optimizer": ("update", "point"), "schedule": ("__call__", "momentum", "watch", "observe")}


class Kind(NamedTuple):
    """What a class of a group is made of."""

    base: str  #: its name in full, since some are of rooms above this one
    methods: tuple[str, ...]  #: that it has to have of its own
    name: str


#: of groups whose choices are classes
KINDS = {
    "architecture": Kind("torch.nn.modules.module.Module", ("forward",), "architecture"),
    "diagnostics": Kind("dlrun.diagnostics.diagnostic.Diagnostic", ("look",), "diagnostic"),
    "initializer": Kind("dlrun.initializers.initializer.Initializer", ("weight",), "initializer"),
    "loss": Kind("dlrun.losses.Loss", (), "loss"),
    "normalization": Kind("dlrun.normalizations.Normalization", ("layer",), "normalization"),
    "optimizer": Kind("dlrun.optimizers.rule.Rule", ("update",), "optimizer"),
    "regularizer": Kind("dlrun.regularizers.regularizer.Regularizer", (), "regularizer"),
    "schedule": Kind("dlrun.schedules.schedule.Schedule", ("__call__",), "schedule"),
    "tracker": Kind("dlrun.trackers.tracker.Tracker", ("open", "log", "close"), "tracker"),
}
_own: set[str] = set()  #: modules and packages of the user's own that were imported


def refuse_other_kinds(node: Node) -> None:
    """Raise ConfigError where a config has a class of the user's own that is none of its group's kind."""
    for group, kind in KINDS.items():
        part = node.get(group) or {}
        for target in [part["_target_"]] if "_target_" in part else [each["_target_"] for each in part.values()]:
            cls = None if target.startswith("dlrun.") else named(target)
            if not isinstance(cls, type):  # a function in a package may make what is wanted
                continue
            base = _base(cls, kind)
            if base is None:
                file = target.rpartition(":")[0] or "..."
                others = [f"{of}={file}" for of, each in KINDS.items() if _base(cls, each)]
                wanted = kind.base.replace("nn.modules.module.", "nn.")  # as one types it
                meant = f"it is for {others[0]}" if others else f"class {cls.__name__}({wanted}) would be one"
                raise ConfigError(f"{group}: {_told(target)} is no {kind.name}: {meant}")
            if missing := [name for name in kind.methods if getattr(cls, name) is getattr(base, name)]:
                raise ConfigError(f"{group}: {_told(target)} lacks {' and '.join(missing)}")


def _base(cls: type, kind: Kind) -> type | None:
    return next((each for each in cls.__mro__ if f"{each.__module__}.{each.__qualname__}" == kind.base), None)


def _told(target: str) -> str:
    """A class or function, and where it stands."""
    file, _, name = target.rpartition(":")
    return f"{name} in {file}" if file else target


@contextmanager
def telling() -> Iterator[None]:
    """Around what calls classes and functions of the user's own: an error in these is a ConfigError that says where."""
    try:
        yield
    except ConfigError:
        raise
    except (Exception, SystemExit) as problem:
        place = _place(problem)
        if place is None or out_of_memory(problem):
            raise
        raise ConfigError(f"{place}: {_said(problem)}") from problem


def made(target: str, maker: Callable[..., Any], /, *arguments: Any, **options: Any) -> Any:
    """What a class or function gives; ConfigError where it is the user's own, and does not take these arguments."""
    try:
        return maker(*arguments, **options)
    except TypeError as problem:
        if target.startswith("dlrun.") or _place(problem):
            raise
        raise ConfigError(f"{_told(target)}: {problem}") from problem


def blamed(problem: BaseException) -> str:
    """`errors.reason`, with the line where the fault is the user's own code's."""
    if isinstance(problem.__cause__, SystemExit):  # which `exits.staying` made a failure of
        problem = problem.__cause__
    place = _place(problem)
    return reason(problem) if place is None or out_of_memory(problem) else f"{place}: {_said(problem)}"


def _place(problem: BaseException) -> str | None:
    """The line of the user's own that raised it, or called what did."""
    found = None
    for frame, line in walk_tb(problem.__traceback__):
        module = str(frame.f_globals.get("__name__"))
        if _own & {module, module.partition(".")[0]}:
            found = f"{frame.f_code.co_filename}, line {line}"
    return found


def _said(problem: BaseException) -> str:
    if isinstance(problem, SystemExit):
        return f"sys.exit({'' if problem.code is None else repr(problem.code)}) was called"
    return f"{type(problem).__name__}: {' '.join(str(problem).split())}"


def structure(node: Node) -> Node:
    """What runs of one stack have in common: the config without the numbers that may differ from row to row.

    Of a number that may also be null, whether it is remains. `node` as `plain` gives it.
    """
    refuse_other_kinds(node)
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
    options = {key: value for key, value in node.items() if key in accepted(cls)}
    return made(node["_target_"], cls, **options), rows


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
    if not target.startswith("dlrun."):
        _own.add(file or target.partition(".")[0])
    try:
        if file:
            return getattr(_module(file), name)
        found = get_object(target)
    except (Exception, SystemExit) as problem:  # the user's own module may raise anything
        why = _said(problem) if isinstance(problem, SystemExit) else " ".join(str(problem).split())
        raise ConfigError(f"_target_={target} cannot be imported ({why})") from problem
    # "mine.os.system" begins with "mine." too, and is another's
    if str(getattr(found, "__module__", "")).partition(".")[0] != target.partition(".")[0]:
        raise ConfigError(f"_target_={target}: this is no class or function of {target.partition('.')[0]}'s own")
    return found
