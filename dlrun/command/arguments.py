"""The command line before Hydra reads it: its options first, then key=value, and nothing else."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from dlrun.config.catalogue import groups
from dlrun.config.options import ESTIMATE
from dlrun.config.own import shortened
from dlrun.config.typed import is_file
from dlrun.config.words import as_choice, as_meant, did_you_mean, is_number, known_keys, lead, then
from dlrun.errors import ConfigError
from dlrun.folder.names import holds_run, shell_command

SUMMARY = "--summary"  #: dlrun's own option: what the network is, in place of its training
OWN = (SUMMARY, ESTIMATE)  #: what Hydra is not told


def arranged(arguments: Sequence[str], verbs: Collection[str]) -> list[str]:
    """The arguments with Hydra's options before the overrides, which stay in their order; dlrun's own is left out.

    Raises ConfigError for anything that is neither, with what is meant by it.
    """
    try:
        "".join(arguments).encode()
    except UnicodeEncodeError:
        told = " ".join(arguments).encode(errors="surrogateescape").decode(errors="replace")
        raise ConfigError(f"{told}: dlrun writes down what it is told, in UTF-8, and this is not in UTF-8") from None
    parser = get_args_parser()
    parser.error = _refuse  # type: ignore[method-assign]
    known = {name: action for action in parser._actions for name in action.option_strings}
    options: list[str] = []
    overrides: list[str] = []
    own = set[str]()
    for place, argument in (places := enumerate(arguments)):
        if argument in OWN:
            own.add(argument)
        elif argument.startswith("-"):
            name, equals, value = argument.partition("=")
            begun = [option for option in known if option.startswith(name) and name.startswith("--")]
            name = begun[0] if len(begun) == 1 else name  # options may be shortened
            if name not in known:
                raise ConfigError(_no_option(arguments, place, [*known, *OWN], verbs))
            may_be, takes = known[name].choices, known[name].nargs
            after = arguments[place + 1 : place + 2]
            if after and not equals and (takes is None or (takes == "?" and after[0] in (may_be or ()))):
                _, value = next(places)
            value = value or (known[name].const if takes == "?" else "")
            options.append(f"{name}={value}" if value else name)
        elif _is_bare(argument) or (argument.endswith("=") and _is_bare(*arguments[place + 1 : place + 2])):
            raise ConfigError(_no_override(arguments, place, verbs))
        else:
            overrides.append(argument)
    given = parser.parse_args(options)
    wishes = {
        SUMMARY: SUMMARY in own,
        "--run": given.run,
        "-m": given.multirun,
        "--cfg": given.cfg,
        "--info": given.info,
    }
    wished = [name for name, wish in {**wishes, "--shell-completion": given.shell_completion}.items() if wish]
    if ESTIMATE in own:  # of a run or of a sweep
        wished = [ESTIMATE, *(name for name in wished if name not in ("--run", "-m"))]
    if len(wished) > 1:
        raise ConfigError(f"{' '.join(wished)}: give one of them; --summary, --cfg and --info tell of a single run")
    if given.resolve and not (given.cfg or given.help):
        raise ConfigError("--resolve goes with --cfg: dlrun --cfg job --resolve")
    if given.shell_completion:
        _refuse_completion(overrides)
    return [*options, *shortened(overrides)]


def _is_bare(argument: str = "x=") -> bool:
    """Whether it is a word without an equals sign, which is no override unless it deletes a key."""
    return not argument.startswith(("-", "~")) and "=" not in argument[1:]


def _refuse(message: str) -> NoReturn:
    raise ConfigError(f"{message}; `dlrun --hydra-help` has all options")


def _no_option(arguments: Sequence[str], place: int, options: Sequence[str], verbs: Collection[str]) -> str:
    name, equals, value = arguments[place].partition("=")
    after = arguments[place + 1 : place + 2]
    if not equals and _is_bare(*after):
        value = after[0]
    typed = " ".join([arguments[place], *after]) if value and not equals else arguments[place]
    if (verb := name.lstrip("-")) in verbs:
        told = " ".join(filter(None, ["dlrun", verb, value]))
        return f"{arguments[place]}: verbs have no dashes before them, and come first: {told}"
    near, key, keys = did_you_mean(name, options, cutoff=0.8), as_meant(name.lstrip("-")), known_keys(arguments)
    meant = f": {key}={value}" if key in keys else "" if near else lead(key, value, keys)
    if meant:
        return f"{typed}: keys have no dashes before them{meant}"
    return f"{typed}: there is no such option{near or '; `dlrun --hydra-help` has all options'}"


def _no_override(arguments: Sequence[str], place: int, verbs: Collection[str]) -> str:
    """What is meant by a word that is no option and no override."""
    word, *after = arguments[place:]
    if not word:
        return "'': a word of the command is empty; a variable of the shell may be, too"
    before = arguments[place - 1] if place else ""
    if is_number(word) and re.search(r"=[\w.,+-]+$", before):
        return f"{before} {word}: values are joined by commas, without blanks: {before.rstrip(',')},{word}"
    colon, _, number = word.partition(":")
    if number and as_meant(colon) in known_keys(arguments):
        return f"{word}: key and value are joined by =: {as_meant(colon)}={number}"
    if place == 0 and not after and holds_run(word):
        return f"{word} is a run's folder, and no verb: `{shell_command('report', word)}` tells of it"
    if is_file(word) and Path(word).is_file():
        return f"{word}: a file of your own stands behind what it is a choice of: {shlex.quote(f'optimizer={word}')}"
    if place and re.search(r"[\[{][^\]}]*$", arguments[place - 1]):
        parts = arguments[place - 1 :]
        end = next((i for i, part in enumerate(parts) if part.endswith(("]", "}"))), 1)
        typed, value = (separator.join(parts[: end + 1]) for separator in (" ", ""))
        return f"{typed}: a value with blanks in it stands in quotes: {shlex.quote(value)}"
    if after[:1] == ["="]:
        del after[0]
        typed, key, value = " ".join(arguments[place : place + 3]), word, "".join(after[:1])
    elif after and (_is_bare(after[0]) or after[0].startswith("=")):
        typed, key, value = f"{word} {after[0]}", word.rstrip("="), after[0].lstrip("=")
    else:
        typed, key, value = word, word, ""
    keys = known_keys(arguments)
    if as_meant(key) in keys:
        all_of_it = f"; `dlrun list {as_meant(key)}` has its choices" if as_meant(key) in groups() and not value else ""
        return f"{typed}: key and value are one word: {as_meant(key)}={value or '...'}{all_of_it}"
    verb = did_you_mean(word, list(verbs)) if place == 0 and len(word) > 2 else ""
    there = [f"{group}={as_meant(word)}" for group in as_choice(word)]
    if there and not value:
        return f"{word} is a choice: {' or '.join(there)}"
    meant = lead(key, value, keys)
    if meant and value and not verb:
        return f"{typed}: key and value are one word, and there is no such key{meant}"
    all_of_them = f"there are {', '.join(verbs)}, and to train it takes none"
    return then(f"{word}: there is no such verb{verb or meant}", all_of_them)


def _refuse_completion(overrides: Sequence[str]) -> None:
    known = len(overrides) == 1 and re.fullmatch("(install|uninstall|query)=(bash|zsh|fish)", overrides[0])
    if not known or (known[1] == "query" and "COMP_LINE" not in os.environ):
        raise ConfigError(
            'the shell completes keys and choices by Tab after `eval "$(dlrun completion bash)"`, or zsh, or fish'
        )
