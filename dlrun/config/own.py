"""A choice in one Python file of the user's own: `optimizer=my/signum.py` is a choice `signum`, without a YAML.

The file is read, not run, until a run is made of it: its class (of a dataset: its function) has the keys of the choice
as parameters with defaults, and what they may be in comments behind them, as a YAML in conf/ has. Only a file that is
typed counts: by itself, or in allow_targets=[FILE.py], by which a command that goes on, as `dlrun resume`, names it.
"""

from __future__ import annotations

import ast
import inspect
import io
import json
import re
import shlex
import tokenize
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from dlrun.config import typed
from dlrun.config.catalogue import Constraint, choices, conf_dir, groups, registered, takes_several, targets
from dlrun.config.escapes import escaped
from dlrun.config.explained import Explained, explained_by, nodes_of, options_in
from dlrun.errors import ConfigError
from dlrun.files.opening import read_named

Line = tuple[str, str]  #: of a YAML: a key, and its default with the comment behind
UNSAID = Constraint("any", "a comment `# CONSTRAINT; meaning` in the file would say more")  #: of a key without one
_files: dict[tuple[str, str], str] = {}  #: how the file of a choice was typed, by group and name


def names_file(word: str) -> bool:
    """Whether a word chooses a Python file."""
    group, equals, value = word.lstrip("+").partition("=")
    return bool(equals) and group in groups() and any(typed.is_file(part.text) for part in typed.parts(value))


def shortened(words: Sequence[str]) -> list[str]:
    """The words with `GROUP=FILE.py` as `GROUP=NAME`, and these files in allow_targets, which they are typed for.

    Raises ConfigError for a file that is named in no word that was typed, that is not there, or whose name is no name
    of a choice or that of another.
    """
    files: dict[str, None] = {}

    def named(word: str, group: str, value: str, text: str) -> str:
        file = Path(typed.normal(text))
        if not file.is_file():
            raise ConfigError(f"{word}: {_lacking(file, group, value)}")
        if not re.fullmatch(r"[A-Za-z]\w*", file.stem, re.ASCII):
            why = f"{file.stem!r} is no name of a choice, which has letters, digits and _ alone"
            raise ConfigError(f"{word}: {why}: give the file another name")
        if file.stem in choices(group):
            raise ConfigError(f"{word}: {file.stem} is a choice of dlrun's own: give the file another name")
        files[str(file)] = None
        _files[group, file.stem] = text
        return file.stem

    short = []
    for word in words:
        group, _, value = word.lstrip("+").partition("=")
        if names_file(word):
            if word not in typed.words:
                raise ConfigError(f"{word} stands in a file, and its code runs only if you type it")
            word = f"{group}={typed.replaced(value, partial(named, word, group, value))}"
        short.append(word)
    if not files:
        return list(words)
    if len({Path(file).stem for file in files}) < len(files):
        raise ConfigError(f"{', '.join(files)}: their choices have one name: give one of the files another")
    allowed = f"allow_targets=[{','.join(map(typed.bare, dict.fromkeys([*sorted(typed.packages()), *files])))}]"
    typed.add(allowed)
    return [*(word for word in short if not word.startswith("allow_targets=")), allowed]


def _lacking(file: Path, group: str, value: str) -> str:
    """That a file is not there, of which other signs in the value may have cut its path short."""
    if file.is_dir():
        return f"{file} is a folder, and a file is wanted"
    others = [part.text for part in typed.parts(value) if not typed.is_file(part.text)]
    if all(other in choices(group) for other in others):
        return f"there is no file {file}"
    asked = shlex.quote(f'{group}="PATH.py"')
    return (
        f"there is no file {typed.normal(value)}; of several values, a path with commas, quotes or brackets in it "
        f"stands in quotes of its own: {asked}"
    )


def as_typed(message: str) -> str:
    """A message about a command of which Hydra has read the names of choices, with the files that were typed."""
    for (group, name), text in _files.items():
        message = re.sub(rf"(\b{group}=[^\s;:]*?)\b{name}\b(?!\.)", lambda found, text=text: found[1] + text, message)  # type: ignore[misc]
    return message


def choice(path: str) -> str | None:
    """The YAML that a typed file stands for, by what Hydra calls it: `optimizer/signum`; None where there is none."""
    group, _, name = path.removesuffix(".yaml").partition("/")
    if group not in groups() or name in choices(group):
        return None
    file = next((each for each in typed.files() if each.stem == name), None)
    return None if file is None else text_of(group, file)


def text_of(group: str, file: Path) -> str:
    """The YAML that a file stands for. Raises ConfigError where it has no class or several, or a key has no default."""
    tree, comments = _read(file)
    node = _only(group, tree, file)
    lines = dict(_inherited(group, tree, node))
    for key, default, line in _parameters(node):
        comment = comments.get(line, "")
        if default is None and key not in lines and key != "lr":
            raise ConfigError(f"{file}: {key} of {node.name} has no default: write {key}=...")
        if default is not None:
            lines[key] = f"{_value(file, key, default)} {comment}" if ";" in comment else _value(file, key, default)
    if group == "optimizer" and "lr" not in lines:
        raise ConfigError(f"{file}: lr of {node.name} has no default: write `lr=0.01` among the arguments of update")
    lines = {"_target_": _text(f"{file}:{node.name}"), **lines}
    text = [f"{key}: {value}" for key, value in lines.items()]
    if takes_several(group):
        text = [f"{file.stem}:", *(f"  {line}" for line in text)]
    return "\n".join([f"# {(ast.get_docstring(node) or node.name).splitlines()[0]}", *text, ""])


def explained_file(group: str, file: Path) -> Explained:
    """What a choice in a file is, as `explained` has those of dlrun."""
    text = text_of(group, file)
    about = inspect.cleandoc(ast.get_docstring(_only(group, _read(file)[0], file), clean=False) or "")
    first, keys = text.partition("\n")[0].lstrip("# "), options_in(text, file, f"{group}.", UNSAID)
    return explained_by(about.partition("\n")[2], first, keys)


def _read(file: Path) -> tuple[ast.Module, dict[int, str]]:
    """A file's code, which is not run, and its comments by their lines."""
    source = read_named(file)
    try:
        tree = ast.parse(source)
        comments = {
            token.start[0]: token.string
            for token in tokenize.generate_tokens(io.StringIO(source).readline)
            if token.type == tokenize.COMMENT
        }
    except SyntaxError as problem:
        place = f", line {problem.lineno}" if problem.lineno else ""
        raise ConfigError(f"{file}{place}: this is no Python: {problem.msg}") from problem
    except (ValueError, tokenize.TokenError) as problem:
        raise ConfigError(f"{file} is no Python: {problem}") from problem
    return tree, comments


def _only(group: str, tree: ast.Module, file: Path) -> ast.ClassDef | ast.FunctionDef:
    """The class or function that a file is for: that of its name, or the only one."""
    kind = ast.FunctionDef if group == "dataset" else ast.ClassDef
    found = [node for node in tree.body if isinstance(node, kind) and not node.name.startswith("_")]
    named = [
        node for node in found if node.name.lower() == file.stem.replace("_", "").lower() or node.name == file.stem
    ]
    if len(named or found) != 1:
        what = "function" if group == "dataset" else "class"
        names = ", ".join(node.name for node in found) or "none"
        raise ConfigError(f"{group}={file}: one {what} is wanted, or one of the file's name, and there is {names}")
    return (named or found)[0]


def _parameters(node: ast.ClassDef | ast.FunctionDef) -> Iterator[tuple[str, ast.expr | None, int]]:
    """What may be keys: keyword-only parameters, and others with a default; each with that and the line it ends on."""
    methods: list[ast.FunctionDef] = [node] if isinstance(node, ast.FunctionDef) else [
        each
        for each in node.body
        if isinstance(each, ast.FunctionDef) and (each.name in ("__init__", "__call__") or each.name[0] != "_")
    ]  # fmt: skip
    for method in methods:
        given, asked = method.args, [*method.args.posonlyargs, *method.args.args]
        if method.name == "__init__" or isinstance(node, ast.FunctionDef):
            for argument, default in zip(asked[len(asked) - len(given.defaults) :], given.defaults, strict=True):
                yield argument.arg, default, default.end_lineno or 0
        for argument, only in zip(given.kwonlyargs, given.kw_defaults, strict=True):
            yield argument.arg, only, (only or argument).end_lineno or 0


def _inherited(group: str, tree: ast.Module, node: ast.ClassDef | ast.FunctionDef) -> Iterator[Line]:
    """The keys of dlrun's own classes that a class is made of, as conf/ has them."""
    imported = {
        alias.asname or alias.name: f"{each.module}.{alias.name}"
        for each in tree.body
        if isinstance(each, ast.ImportFrom)
        for alias in each.names
    }
    files = [conf_dir() / group / f"{name}.yaml" for name in choices(group)]
    for base in node.bases if isinstance(node, ast.ClassDef) else ():
        target = imported.get(ast.unparse(base), "")
        if target in registered(group):
            yield from _lines(next(file for file in files if target in targets(file)))
        elif target.startswith("dlrun."):  # what several choices share, such as DuringTraining with its `every`
            module, _, name = target.rpartition(".")
            shared = next((each for each in nodes_of(module) if each.name == name), None)
            asked = [
                argument.arg
                for each in getattr(shared, "body", [])
                if isinstance(each, ast.FunctionDef) and each.name == "__init__"
                for argument in each.args.args
            ]
            known = dict(line for file in reversed(files) for line in _lines(file))
            yield from ((key, known[key]) for key in asked if key in known)


def _lines(file: Path) -> Iterator[Line]:
    found = re.findall(r"^\s*(\w+): (\S.*)$", read_named(file), re.MULTILINE)
    return ((key, value) for key, value in found if key != "_target_")


def _value(file: Path, key: str, default: ast.expr) -> str:
    try:
        return _text(ast.literal_eval(default))
    except (ValueError, TypeError) as problem:
        said = inspect.cleandoc(ast.unparse(default))
        raise ConfigError(
            f"{file}: {key}={said}: a default is a number, a text, a list, True, False or None"
        ) from problem


def _text(value: Any) -> str:
    """A value as YAML that OmegaConf reads as it is."""
    return json.dumps(escaped(value), ensure_ascii=False)
