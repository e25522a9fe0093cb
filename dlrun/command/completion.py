"""What Tab completes: verbs, options, groups and their choices, keys and what they may be; without Hydra and torch.

`dlrun completion bash` prints what has a shell ask `dlrun completion bash LINE` at each Tab; that prints an answer a
line.
"""

from __future__ import annotations

import ast
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import yaml

from dlrun.config.catalogue import Constraint, conf_dir, constraints, constraints_in, description, groups, takes_several
from dlrun.config.typed import is_file
from dlrun.errors import ConfigError
from dlrun.terminal.streams import unbreakable

#: of Hydra's and dlrun's own options those that are of use in a command, with what they are
OPTIONS = {
    "--multirun": "a sweep", "--cfg": "show the config: job, hydra or all", "--summary": "layers and parameters",
    "--plan": "what would be trained, and how long it would take",
    "--help": "every key with its default", "--version": "dlrun, torch, Hydra, Python", "--info": "how Hydra is set up",
    "--config-dir": "a folder with configs of your own", "--config-name": "a config in place of dlrun's own",
    "--resolve": "with --cfg: interpolations resolved", "--hydra-help": "all options",
}  # fmt: skip
VALUES = {"--cfg": ("job", "hydra", "all"), "--format": ("onnx", "torch")}  #: of options
TAKE_PLACES = {"--config-dir": "folders", "-cd": "folders", "--output": "files"}
HYDRAS = ("hydra/launcher", "hydra/sweeper")
PLACES = {"hydra.run.dir": "folders", "hydra.sweep.dir": "folders", "settings": "files"}  #: keys that name places
LOADED = {"which": ("best", "last")}  #: keys of the verbs that look at finished runs
#: verbs whose words are folders or files
OF_PLACES = {"diagnose": "folders", "diff": "folders", "export": "folders", "note": "folders", "plot": "folders",
             "predict": "files", "report": "folders", "resume": "folders", "rm": "folders",
             "status": "folders"}  # fmt: skip

SCRIPTS = {
    "bash": r"""_dlrun() {
    local found reply
    found=$(dlrun completion bash "${COMP_LINE:0:COMP_POINT}" 2>/dev/null) || return
    COMPREPLY=()
    case $found in
        :files) compopt -o default 2>/dev/null; return ;;
        :folders) compopt -o dirnames 2>/dev/null; return ;;
        '') return ;;
    esac
    while IFS= read -r reply; do COMPREPLY+=("$reply"); done <<< "$found"
    case ${COMPREPLY[0]} in *=|*.|*/|*,) [ ${#COMPREPLY[@]} = 1 ] && compopt -o nospace 2>/dev/null ;; esac
}
complete -F _dlrun dlrun""",
    "zsh": r"""(( $+functions[compdef] )) || { autoload -Uz compinit && compinit }
_dlrun() {
    local -a lines open open_shown closed closed_shown
    local line value text
    lines=("${(@f)$(dlrun completion zsh "$LBUFFER" 2>/dev/null)}")
    case $lines[1] in
        :files) compset -P '*='; _files; return ;;
        :folders) compset -P '*='; _files -/; return ;;
        '') return 1 ;;
    esac
    for line in $lines; do
        value=${line%%$'\t'*}
        text="$value  ${line#*$'\t'}"
        if [[ $value == *[=./,] ]]; then open+=("$value"); open_shown+=("${text[1,COLUMNS-1]}")
        else closed+=("$value"); closed_shown+=("${text[1,COLUMNS-1]}"); fi
    done
    (( $#open )) && compadd -l -S '' -d open_shown -- $open
    (( $#closed )) && compadd -l -d closed_shown -- $closed
}
compdef _dlrun dlrun""",
    "fish": r"""function __dlrun_complete
    set -l found (dlrun completion fish (commandline -cp) 2>/dev/null)
    set -l key (string match -r '^.*=' -- (commandline -ct); or echo '')
    set -l path (string replace -r '^.*=' '' -- (commandline -ct))
    switch "$found[1]"
        case :files
            set found $key(__fish_complete_path "$path")
        case :folders
            set found $key(__fish_complete_directories "$path" '')
    end
    printf '%s\n' $found
end
complete -c dlrun -f -a '(__dlrun_complete)'""",
}


class Found(NamedTuple):
    """What a word may become, each with what it is; or `files` or `folders`, which the shell knows itself."""

    words: dict[str, str]
    places: str = ""


def main(arguments: Sequence[str]) -> int:
    """`dlrun completion SHELL` prints the shell's function, `dlrun completion SHELL LINE` what the line may become."""
    unbreakable()
    shell, *line = arguments
    if not line:
        print(SCRIPTS[shell])
        return 0
    words, word, quote = parted(line[0])
    found = complete(words, word)
    if found.places:
        print(f":{found.places}")
        return 0
    start = 0 if quote or shell != "bash" else _break(word)
    for value, told in sorted(found.words.items()):
        if f"{value}{told}".isprintable():
            print(value[start:] if shell == "bash" else f"{value}\t{told}")
    return 0


def parted(line: str) -> tuple[list[str], str, str]:
    """The words of a command line behind `dlrun`, the word at its end that is being typed, and the quote it is in."""
    words, word, quote, begun = [], "", "", False
    for i, sign in enumerate(line):
        if quote and sign == quote:
            quote = ""
        elif not quote and sign in "'\"":
            quote, begun = sign, True
        elif not quote and sign.isspace():
            if begun or word:
                words.append(word)
            word, begun = "", False
        elif sign == "\\" and not quote and line[i + 1 : i + 2]:
            continue
        else:
            word += sign
    return words[1:], word, quote


def _break(word: str) -> int:
    """Where the part begins that bash puts something else in the place of."""
    signs = os.environ.get("COMP_WORDBREAKS", "\"'><=;|&(:")
    return max((word.rfind(sign) for sign in signs if not sign.isspace()), default=-1) + 1


def complete(words: Sequence[str], word: str) -> Found:
    """What the word at the end of a command may become.

    words: those before it, without `dlrun`.
    """
    known = verbs()
    if words and words[0] in known:
        return _of_verb(words[0], words[1:], word, known[words[0]])
    if words and words[-1] in (*VALUES, *TAKE_PLACES):
        return _value(words[-1], word, "")
    if word.startswith("-"):
        option, equals, value = word.partition("=")
        return _value(option, value) if equals else _beginning(OPTIONS, word)
    found = _override(words, word)
    if not words and "=" not in word:
        found.words.update(_beginning({name: told for name, (told, _) in known.items()}, word).words)
    return found


def _value(option: str, value: str, sign: str = "=") -> Found:
    """Of an option's value, which stands behind an equals sign or is a word of its own."""
    before = f"{option}{sign}" if sign else ""
    of = _beginning(dict.fromkeys(VALUES.get(option, ()), ""), value)
    return Found({f"{before}{each}": "" for each in of.words}, TAKE_PLACES.get(option, ""))


def verbs() -> dict[str, tuple[str, list[str]]]:
    """Each verb with what it does and its options, as its docstring says."""
    found = {}
    files = (
        Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("verbs.py", "finished.py", "tidying.py")
    )
    for node in (node for file in files for node in ast.parse(file).body):
        text = (ast.get_docstring(node) or "") if isinstance(node, ast.FunctionDef) else ""
        if match := re.match(r"dlrun (\w+)", text):
            about = next((part for part in text.split("\n\n")[1:] if not part.startswith("-")), "")
            found[match[1]] = (" ".join(about.split()).partition(". ")[0].partition("; ")[0], _options(text))
    return found


def _options(text: str) -> list[str]:
    return re.findall(r"^--[\w-]+", text, re.MULTILINE)


def _of_verb(verb: str, words: Sequence[str], word: str, told: tuple[str, list[str]]) -> Found:
    if words and words[-1] in (*VALUES, *TAKE_PLACES):
        return _value(words[-1], word, "")
    if word.startswith("-"):
        option, equals, value = word.partition("=")
        return _value(option, value) if equals else _beginning(dict.fromkeys([*told[1], "--help"], ""), word)
    if verb == "completion":
        return _beginning(dict.fromkeys(SCRIPTS, "") if not words else {}, word)
    if verb == "claims":
        return _beginning(_choices("claims", words), word)
    if verb == "list":
        group, slash, last = word.partition("/")
        if slash and group in _groups():
            of = _choices(group, words) | (_own_files(last) if group in groups() else {})
            return _beginning({f"{group}/{name}": about for name, about in of.items()}, word)
        return _beginning(dict.fromkeys(_groups(), ""), word)
    key = word.partition("=")[0]
    if "=" in word and key in LOADED:
        return _beginning({f"{key}={value}": "" for value in LOADED[key]}, word)
    if verb in ("diagnose", "plot") and ("=" in word or re.match(r"(diagnostics|schedule)\b", word)):
        return _override(words, word)
    return Found({}, OF_PLACES.get(verb, ""))


def _override(words: Sequence[str], word: str) -> Found:
    """Of a word that is to become key=value, be there signs before the key or an opening bracket before the value."""
    plus = re.match(r"[+~]*", word)[0]  # type: ignore[index]
    key, equals, value = word[len(plus) :].partition("=")
    if not equals:
        keys = _keys(words)
        near = {f"{each}=": told for each, told in keys.items() if "." not in each or "." in key}
        if "." not in key:
            near |= dict.fromkeys((f"{each.partition('.')[0]}." for each in keys if "." in each), "its keys")
        return Found({f"{plus}{each}": told for each, told in _beginning(near, key).words.items()})
    before, last = re.fullmatch(r"(.*[\[,])?(.*)", value, re.DOTALL).groups("")  # type: ignore[union-attr]
    of: dict[str, str] = {}
    if key in _groups() or key in HYDRAS:
        of = _choices(key, words)
        if before.endswith("[") and not (key in _groups() and key != "experiment" and takes_several(key)):
            of = {}
        taken = set(re.split(r"[\[,]", before))
        of = {name: told for name, told in of.items() if name not in taken}
        if key in groups():
            of |= _own_files(last)
        if "[" in before:  # where it may end, or go on
            ways = {name: ("",) if name.endswith("/") else ("]", ",") for name in of}
            of = {f"{name}{sign}": of[name] for name, signs in ways.items() for sign in signs}
    elif place := PLACES.get(key):
        return Found({}, place)
    elif constraint := _constraints(words).get(key) or _of_another_choice(key, words):
        kinds = constraint.text.removeprefix("list of ").split(" or ")
        if "path" in kinds:
            return Found({}, "files")
        of = dict.fromkeys(constraint.words, "")
        of |= {"true": "", "false": ""} if "bool" in kinds else {}
        of |= {"null": ""} if "null" in kinds else {}
    return Found({f"{plus}{key}={before}{each}": told for each, told in _beginning(of, last).words.items()})


def _own_files(start: str) -> dict[str, str]:
    """Python files, each of which may be a choice of one's own, and folders on the way; only plain names, which every
    shell takes as they are. start: as typed; without one, folders would be too many."""
    place, _, begun = start.rpartition("/")
    above = Path(os.path.expanduser(f"{place}/" if place or start.startswith("/") else "."))
    found = {}
    with suppress(OSError):
        for path in sorted(above.iterdir()):
            name = f"{start[: len(start) - len(begun)]}{path.name}"
            if not path.name.startswith(begun) or not re.fullmatch(r"[\w.~/-]+", name) or path.name[0] in "._":
                continue
            if path.is_dir() and start:
                found[f"{name}/"] = "a folder"
            elif re.fullmatch(r"[A-Za-z]\w*\.py", path.name) and path.is_file():
                found[name] = "a choice of your own"
    return found


def _of_another_choice(key: str, words: Sequence[str]) -> Constraint | None:
    """What a key may be that only another choice of its group has, which may be typed behind it."""
    group, _, rest = key.partition(".")
    path = tuple(rest.split("."))
    for folder in _folders(words) if group in groups() else ():
        for file in sorted((folder / group).glob("*.yaml")):
            with suppress(ConfigError, OSError):
                if f"{path[-1]}:" in file.read_text(encoding="utf-8") and (found := constraints(file).get(path)):
                    return found
    return None


def _beginning(words: dict[str, str], start: str) -> Found:
    return Found({word: told for word, told in words.items() if word.startswith(start)})


def _groups() -> list[str]:
    return [*groups(), "experiment"]


def _folders(words: Sequence[str]) -> list[Path]:
    """Where YAML files are: dlrun's own, and those that the command names."""
    given = [words[i + 1] for i, word in enumerate(words[:-1]) if word in ("--config-dir", "-cd")]
    given += [word.partition("=")[2] for word in words if word.startswith("--config-dir=")]
    return [conf_dir(), *(Path(place).expanduser() for place in given)]


def _choices(group: str, words: Sequence[str]) -> dict[str, str]:
    """The choices of a group, with their first lines."""
    found = {}
    for file in (file for folder in _folders(words) for file in sorted((folder / group).glob("*.yaml"))):
        try:
            found[file.stem] = description(file)
        except (OSError, StopIteration, UnicodeDecodeError):
            found[file.stem] = ""
    return found


def _chosen(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each group with each of its choices in a command."""
    main = yaml.load(
        (conf_dir() / "dlrun.yaml").read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    names = {key: str(name) for each in main["defaults"] if isinstance(each, dict) for key, name in each.items()}
    names = {key.removeprefix("override "): name for key, name in names.items()}
    names |= {key: value for key, _, value in (word.partition("=") for word in words) if key in names}
    for group, value in names.items():
        for name in value.strip("[]").split(","):
            yield group, name


def _keys(words: Sequence[str]) -> dict[str, str]:
    """The keys of the config that a command makes, groups among them, with what each may be and means."""
    places = {**dict.fromkeys(_groups(), "one of its choices"), **dict.fromkeys((*HYDRAS, *PLACES), "")}
    return places | {key: f"{each.text}; {each.meaning}" for key, each in _constraints(words).items()}


def _constraints(words: Sequence[str]) -> dict[str, Constraint]:
    """What each key of that config may be."""
    found: dict[str, Constraint] = {}
    files = [("", conf_dir() / "dlrun.yaml")]
    files += [
        (f"{group.replace('/', '.')}.", file)
        for group, name in _chosen(words)
        for folder in _folders(words)
        if (file := folder / group / f"{name}.yaml").is_file()
    ]
    for group, name in _chosen(words):
        if is_file(name):
            from dlrun.config.own import text_of

            with suppress(ConfigError, OSError):
                own = constraints_in(text_of(group, file := Path(os.path.expanduser(name))), file)
                found |= {f"{group}.{'.'.join(path)}": each for path, each in own.items() if each}
    for prefix, file in files:
        with suppress(ConfigError, OSError):  # of a file of one's own, which the command itself will tell
            found |= {prefix + ".".join(path): each for path, each in constraints(file).items() if each}
    return found
