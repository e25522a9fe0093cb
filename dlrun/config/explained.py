"""What a choice of the registry is, by its YAML file and a docstring that is read without importing what it names."""

from __future__ import annotations

import ast
import inspect
import re
from dataclasses import dataclass
from functools import cache, reduce
from importlib.util import find_spec
from operator import getitem
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from dlrun.config.catalogue import Constraint, conf_dir, constraints_in, description, targets
from dlrun.files.opening import read_named

Keys = dict[str, tuple[Any, Constraint]]  #: a key as it is typed, optimizer.beta1: its default, and what it may be


@dataclass(frozen=True)
class Explained:
    """A choice, in the words of its files; formulas are LaTeX between dollars.

    description: the YAML file's first line. paragraphs: of the docstring, before its reference and without arguments.
    keys: its own. meanings: of arguments, by name, as the docstring has them. reference: papers and lectures.
    """

    description: str
    paragraphs: list[str]
    keys: Keys
    meanings: dict[str, str]
    reference: str

    def meaning(self, key: str) -> str:
        """What one of its keys stands for: the docstring's words or the YAML file's, whichever say more."""
        said = self.meanings.get(key.rpartition(".")[2], "").replace("None", "null")
        return max(self.keys[key][1].meaning if key in self.keys else "", said, key=len)


def explained(group: str, name: str) -> Explained:
    """What `group=name` is."""
    file = conf_dir() / group / f"{name}.yaml"
    text = "\n\n".join(docstring(target) for target in sorted(targets(file)))
    return explained_by(text, description(file), options(file, f"{group}."))


def explained_by(text: str, first: str, keys: Keys) -> Explained:
    """The same from a docstring, the YAML file's first line and its keys."""
    body, _, reference = text.partition("Reference:")
    paragraphs = [part for part in body.split("\n\n") if part.strip() and not part.startswith("Args:")]
    meanings = {
        key.strip(): " ".join(meaning.split()).rstrip(".")
        for keys, meaning in re.findall(r"^ {4}(\w[\w, ]*): (.*(?:\n {8}.*)*)", body, re.MULTILINE)
        for key in keys.split(",")
    }
    return Explained(
        first,
        [part.replace("Raises ConfigError", "Refused") for part in paragraphs],
        keys,
        meanings,
        reference.strip(),
    )


def options(file: Path, prefix: str = "") -> Keys:
    """The keys of a YAML file as they are typed."""
    return options_in(read_named(file), file, prefix)


def options_in(text: str, file: Path, prefix: str = "", unsaid: Constraint | None = None) -> Keys:
    """The same of its text. unsaid: for keys of which it does not say what they may be; None leaves them out."""
    values: Any = OmegaConf.to_container(OmegaConf.create(text), resolve=False)
    told = constraints_in(text, file).items()
    known = ((path, constraint or unsaid) for path, constraint in told)
    return {prefix + ".".join(path): (reduce(getitem, path, values), may_be) for path, may_be in known if may_be}


def docstring(target: str) -> str:
    """That of a class or function of this name, "" where it has none: an import would take torch's seconds."""
    module, _, name = target.rpartition(".")
    return _docstrings(module).get(name, "")


@cache
def _docstrings(module: str) -> dict[str, str]:
    return {node.name: inspect.cleandoc(ast.get_docstring(node, clean=False) or "") for node in nodes_of(module)}


def nodes_of(module: str) -> list[ast.ClassDef | ast.FunctionDef]:
    """The classes and functions of an installed module, as they are written: nothing is imported."""
    found = find_spec(module)
    if found is None or found.origin is None:
        return []
    nodes = ast.parse(Path(found.origin).read_text(encoding="utf-8")).body
    return [node for node in nodes if isinstance(node, ast.ClassDef | ast.FunctionDef)]


def typed(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, list):
        return f"[{','.join(map(typed, value))}]"
    if value is None:
        return "null"
    if isinstance(value, float):
        return re.sub(r"e([+-])0*", r"e\1", f"{value:g}").replace("e+", "e")
    return str(value).lower() if isinstance(value, bool) else str(value)
