"""What Hydra and OmegaConf object to, told in one message that leads to what is right."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from dlrun.config.catalogue import choices, groups, takes_several
from dlrun.config.distributions import parser
from dlrun.config.escapes import quoted
from dlrun.config.own import as_typed
from dlrun.config.words import as_choice, as_meant, as_read, did_you_mean, is_number, known_keys, lead
from dlrun.errors import ConfigError

#: what keyboards and web pages put in place of plain signs
TYPOGRAPHIC = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\xa0": " "}
)

DRAWN = re.compile(r"\b(loguniform|uniform|randint)\(")  #: what a search draws from


def readable(mistake: Exception) -> str:
    """A message for the user, with the nearest right spelling."""
    return as_typed(_readable(mistake))


def _readable(mistake: Exception) -> str:
    if isinstance(mistake, MissingConfigException) and mistake.missing_cfg_file:
        file = str(mistake.missing_cfg_file)
        group = file.partition("/")[0] if file.startswith(tuple(f"{each}/" for each in groups())) else ""
        group, _, name = (group, "", file[len(group) + 1 :]) if group else file.rpartition("/")
        known = list(mistake.options or (choices(group) if group in [*groups(), "experiment"] else []))
        if known:
            return _no_choice(group, name, known)
    if isinstance(mistake, OverrideParseException) and isinstance(mistake.__cause__, ConfigError):
        return f"{mistake.override}: {mistake.__cause__}"
    if isinstance(mistake, OverrideParseException):
        return _not_understood(str(mistake.override), str(mistake))
    cause = mistake.__cause__
    if isinstance(mistake, ConfigCompositionException) and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        beside = list(cause.parent_node) if isinstance(cause.parent_node, DictConfig) else []
        return _no_key(str(cause.full_key), [str(key) for key in beside if key not in ("_target_", "hydra")])
    if isinstance(mistake, MissingConfigException) and str(mistake).startswith("Cannot find primary config"):
        return (
            f"--config-name={mistake.missing_cfg_file}: there is no {mistake.missing_cfg_file}.yaml where configs are "
            "looked for; --config-dir=FOLDER says where it is"
        )
    told = str(mistake).split("\nSet the environment variable")[0].strip()
    unmatched = re.match(r"Could not override '(\w+)'. No match in the defaults list", told)
    if unmatched and unmatched[1] in groups():
        return (
            f"{unmatched[1]}: this config is that of a run, in which every choice is made; its keys can be set, "
            "but for other choices start from the defaults, without --config-name"
        )
    swept = re.match(r"Ambiguous value for argument '(.*)'|Sweep parameters '(.*)' requires", told)
    if swept:
        return _several(swept[1] or swept[2])
    if (listed := re.match(r"Error merging override ((.*?)=.*)", told)) and re.search(r"[\[{].*\w\(", listed[1]):
        return (
            f"{listed[1]}: what is swept or drawn is a key's whole value, and no part of a list: "
            f"{listed[2]}='choice([4],[8])'"
        )
    if removed := re.match("Could not delete from config. '(.*?)'", told):
        return f"~{removed[1]}: a run needs each of its keys; leave it out, and it has its default"
    return told


def _of_a_path(override: str) -> str | None:
    """That a path stands in quotes of its own, where the value as it stands is one; None where it is none."""
    key, _, value = override.partition("=")
    if key not in ("hydra.run.dir", "hydra.sweep.dir") and not os.path.exists(os.path.expanduser(value)):
        return None
    path = quoted(value) if re.search(r'["\\]|\$\{', value) else f'"{value}"'
    if value[:1] in ("'", '"') or not _parses(f"{key}={path}"):
        return None
    return f"{override}: a path with such signs stands in quotes of its own: {shlex.quote(f'{key}={path}')}"


def _several(override: str) -> str:
    """That several values make a sweep, or a list where the key takes one."""
    key, _, value = override.partition("=")
    if told := _of_a_path(override):
        return told
    if DRAWN.search(value):
        command = f"dlrun -m {shlex.quote(override)} hydra.sweeper.samples=16"
        return f"{override}: values that are drawn make a sweep, with -m and of so many: {command}"
    told = f"{override}: several values make a sweep, which begins with -m: dlrun -m {shlex.quote(override)}"
    may_be = known_keys(sys.argv[1:]).get(key)
    if may_be and may_be.allows(as_read(f"[{value}]")) and not all(may_be.allows(as_read(v)) for v in value.split(",")):
        return f"{override}: a list stands in brackets: {shlex.quote(f'{key}=[{value}]')}"
    if key in groups() and takes_several(key):
        listed = shlex.quote(f"{key}=[{value}]")
        return (
            f"{override}: several at once are a list, in quotes: {listed}; one after another they make a sweep, which "
            f"begins with -m: dlrun -m {shlex.quote(override)}"
        )
    return told


def _no_key(key: str, siblings: list[str]) -> str:
    """That there is no such key, and which one is meant, or which there are."""
    given = {k: v for k, _, v in (each.lstrip("+~").partition("=") for each in sys.argv[1:])}
    above = key.rpartition(".")[0]
    key = next((each for each in given if each == key or each.startswith(f"{key}.")), key)  # Hydra tells its beginning
    value = given.get(key, "")
    beside = {".".join(filter(None, (above, name))): None for name in siblings}
    meant = lead(key, value, {**beside, **known_keys(sys.argv[1:])}) or f"; the keys here are {', '.join(siblings)}"
    return f"{key}{f'={value}' if value else ''}: there is no such key{meant}"


def _no_choice(group: str, name: str, known: list[str]) -> str:
    own = "; --config-dir=FOLDER is where to look for one of your own" if group.startswith("hydra/") else ""
    own = f"; one of your own is {group}=FILE.py" if group in groups() else own
    near = did_you_mean(name, known)
    if not near and (elsewhere := [f"{each}={as_meant(name)}" for each in as_choice(name)]):
        near = f"; it is one of another group, {' and '.join(elsewhere)}"
    if not near and group == "dataset" and "." in name:
        near = f"; a file of your own is dataset=table dataset.path={name};"
    if not near and group in groups() and Path(f"{name}.py").is_file():
        near = f"; did you mean {shlex.quote(f'{group}={name}.py')}?"
    if not near and name == "*":
        near = f"; all of them are {shlex.quote(f'{group}=glob(*)')};"
    listed = f" `dlrun list {group}` has all" if near and group in groups() else f"; there are {', '.join(known)}"
    own = "" if near and group in groups() else own
    return f"{group}={name}: there is no such choice{near}{listed}{own}"


def _not_understood(override: str, told: str) -> str:
    """That an override cannot be read, and what may be meant: without stray signs, or in quotes of its own."""
    key, _, value = (part.strip() for part in override.partition("="))
    if path := _of_a_path(override):
        return path
    if unknown := re.search(r"Unknown function '(\w+)'\nAvailable: (.*)", told):
        if near := did_you_mean(unknown[1], unknown[2].split(",")):
            return f"{override}: there is no function {unknown[1]}{near}"
    elif refused := re.search("while evaluating '.*': (.*)", told):
        return f"{override}: not understood: {refused[1]}"
    if len(words := value.split()) > 1 and all("=" in word for word in words[1:]):
        return f"{override}: not understood; leave out the quotes around several words: {key}={value}"
    for meant in _instead(value):
        if f"{key}={meant}" != override and _parses(f"{key}={meant}"):
            sweep = "" if "," not in meant or re.search(r"[\[({'\"]", meant) else "-m "
            return f"{override}: not understood; did you mean {sweep}{key}={meant}?"
    in_quotes = f'{key}="{value}"'
    # some letters, = and the like Hydra knows in quotes only
    if _parses(in_quotes) and not re.search(r"[\[\]{}]", value):
        return f"{override}: not understood; the value needs quotes of its own: {shlex.quote(in_quotes)}"
    why = told.splitlines()[-2 if "See https" in told else -1]
    return f"{override}: not understood ({why}); write key=value, in quotes where it holds brackets"


def _instead(value: str) -> Iterator[str]:
    """What a value that cannot be read may have been meant to be."""
    plain = value.translate(TYPOGRAPHIC)
    bare = plain.strip("\"'")
    yield bare if is_number(bare) else plain  # quotes around a number make it a text
    yield from (plain.rstrip(","), plain.lstrip("="), bare)
    if opened := re.match(r"(?:\w+(?=\())?([\[({])[^\])}]*$", plain):
        yield plain + {"[": "]", "(": ")", "{": "}"}[opened[1]]
    if tuple_ := re.fullmatch(r"\((.*)\)", plain):
        yield f"[{tuple_[1]}]"
    if re.fullmatch(r"[^\[\]{}]*,,[^\[\]{}]*", plain):
        yield re.sub(",+", ",", plain).strip(",")
    if braced := re.fullmatch(r"\{([^:{}]*)\}", plain):
        yield braced[1]


def _parses(override: str) -> bool:
    try:
        parser().parse_override(override)
    except HydraException:
        return False
    return True
