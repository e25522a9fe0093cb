"""The YAML files in conf/ as a registry: which choices there are, what each is, and what each of its keys may be.

A file's first line describes the choice. A key's comment states what it may be, then its meaning:
`beta1: 0.9 # in [0, 1); decay of the first moment`. A comment without a semicolon is only a remark.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from dlrun.config.durations import WRITTEN
from dlrun.errors import ConfigError
from dlrun.files.opening import read_named
from dlrun.files.parsing import bounded, yaml_told

OTHER = ("hydra", "experiment", "claims")  #: folders of conf/ that hold no techniques
KeyPath = tuple[str, ...]


def conf_dir() -> Path:
    """conf/ in the installed package, or beside it in a checkout."""
    package = Path(__file__).parents[1]
    return package / "conf" if (package / "conf").is_dir() else package.parent / "conf"


def groups() -> list[str]:
    """The config groups of techniques, in conf/'s order."""
    return sorted(folder.name for folder in conf_dir().iterdir() if folder.is_dir() and folder.name not in OTHER)


def choices(group: str) -> list[str]:
    """The names that `group=` takes."""
    return sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))


def takes_several(group: str) -> bool:
    """Whether choices of the group go together in one run: each then has its keys under a name of its own."""
    files = (conf_dir() / group).glob("*.yaml")
    return not any(line.startswith("_target_:") for file in files for line in file.read_text("utf-8").splitlines())


def description(path: Path) -> str:
    """What a YAML file says of itself in its first line, after Hydra's own header."""
    with path.open(encoding="utf-8") as file:
        return next(line for line in file if not line.startswith("# @")).lstrip("# ").strip()


def targets(path: Path) -> set[str]:
    """The classes and functions that a YAML file names by `_target_`."""
    return set(re.findall(r"^\s*_target_:\s*(\S+)", read_named(path), re.MULTILINE))


@cache
def registered(group: str) -> frozenset[str]:
    """What dlrun's own choices of a group name by `_target_`."""
    return frozenset().union(*(targets(path) for path in (conf_dir() / group).glob("*.yaml")))


@cache
def default(group: str, target: str, key: str) -> Any:
    """What the choice that names this target has under a key; None where dlrun's own files name none."""
    for name in choices(group):
        if target in targets(file := conf_dir() / group / f"{name}.yaml"):
            return yaml.safe_load(file.read_text(encoding="utf-8")).get(key)
    return None


def constraints(path: Path) -> dict[KeyPath, Constraint | None]:
    """What each key of a YAML file may be; None where the file does not say.

    Raises ConfigError for a comment that does not follow the grammar.
    """
    return constraints_in(read_named(path), path)


def constraints_in(text: str, path: Path) -> dict[KeyPath, Constraint | None]:
    """The same of a YAML file's text."""
    lines = text.splitlines()
    with yaml_told(path):
        bounded(text, path)
        root = yaml.compose(text, Loader=yaml.SafeLoader)

    def walk(node: Any, above: KeyPath) -> Iterator[tuple[KeyPath, Constraint | None]]:
        for key, value in node.value:
            here = (*above, key.value)
            # what stands after the value on its line; a list or mapping in braces counts as one value
            if isinstance(value, yaml.MappingNode) and not value.flow_style:
                yield from walk(value, here)
            elif key.value not in ("_target_", "defaults"):
                end = value.end_mark  # a list or text in a block of its own ends where the next key stands
                comment = lines[end.line][end.column :].strip() if end.line < len(lines) else ""
                yield here, Constraint.parse(comment.lstrip("# ")) if re.match("#.*;", comment) else None

    try:
        return dict(walk(root, ())) if isinstance(root, yaml.MappingNode) else {}
    except ValueError as problem:
        raise ConfigError(
            f"{path}: {problem}; write a comment such as `# int >= 1 or full; meaning`, or a remark without a semicolon"
        ) from problem


#: of numbers: a sign and a bound, or an interval
RANGE = re.compile(r"(?:(>=|>|<=|<) (\S+)|in ([\[(])(\S+), (\S+)([\])]))$")
_TYPES: dict[str, type | tuple[type, ...]] = {"int": int, "number": (int, float), "text": str}


@dataclass(frozen=True)
class Constraint:
    """What a value may be: one of several alternatives, in the words of the YAML file."""

    text: str  #: "int >= 1 or full"
    meaning: str  #: what the key stands for

    @classmethod
    def parse(cls, comment: str) -> Constraint:
        """From a comment `alternatives; meaning`."""
        text, _, meaning = comment.partition(";")
        constraint = cls(text.strip(), meaning.strip())
        constraint.allows(None)  # a comment that does not follow the grammar fails here
        return constraint

    def allows(self, value: Any) -> bool:
        """Whether any alternative fits the value."""
        return self.text == "any" or any([_fits(alternative, value) for alternative in self.text.split(" or ")])

    @property
    def words(self) -> list[str]:
        """The alternatives that are literal words."""
        words = [a for a in self.text.split(" or ") if re.fullmatch(r"[A-Za-z]\w*", a) and a not in _KEYWORDS]
        return [] if words == ["any"] else words


_KEYWORDS = {"null", "bool", "path", "duration", *_TYPES}  #: and any, where it is all that a constraint says


def _fits(alternative: str, value: Any) -> bool:
    if alternative.startswith("list of "):
        rest = alternative.removeprefix("list of ")
        rest = re.sub("^numbers", "number", rest)
        if rest == "any":
            return isinstance(value, list)
        fits = [_fits(rest, item) for item in value] if isinstance(value, list) else [_fits(rest, None)]
        return isinstance(value, list) and all(fits)
    if alternative == "null":
        return value is None
    if alternative == "bool":
        return isinstance(value, bool)
    if alternative == "path":
        return isinstance(value, str)
    if alternative == "duration":
        return isinstance(value, str) and WRITTEN.fullmatch(value) is not None
    if re.fullmatch(r"[A-Za-z]\w*", alternative) and alternative not in _TYPES:
        return value == alternative
    kind, _, rest = alternative.partition(" ")
    if kind not in _TYPES:
        kind, rest = "number", alternative
    right_type = isinstance(value, _TYPES[kind]) and not isinstance(value, bool)
    right_type = right_type and (kind != "number" or _is_finite(value))
    return _in_range(rest, value if right_type else None) and right_type


def _is_finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond all floats
        return False


def _in_range(text: str, value: Any) -> bool:
    if not text:
        return True
    match = RANGE.match(text)
    if match is None:
        raise ValueError(f"not a constraint: {text!r}")
    sign, bound, left, low, high, right = match.groups()
    if sign:
        bounds = [(sign, float(bound))]
    else:
        bounds = [(">=" if left == "[" else ">", float(low)), ("<=" if right == "]" else "<", float(high))]
    compare = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
    return value is not None and all(compare[sign](value, bound) for sign, bound in bounds)
