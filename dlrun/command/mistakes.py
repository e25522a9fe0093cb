"""What Hydra and OmegaConf object to, told in one message that leads to what is right."""

from __future__ import annotations

import re
import shlex
import sys

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import ConfigAttributeError, ConfigKeyError

from dlrun.config.catalogue import choices, groups
from dlrun.config.words import as_choice, as_meant, did_you_mean, is_number, known_keys, lead

#: what keyboards and web pages put in place of plain signs
TYPOGRAPHIC = str.maketrans(
    {"−": "-", "–": "-", "—": "-", "“": '"', "”": '"', "„": '"', "‘": "'", "’": "'", "\xa0": " "}
)
LISTS = ("diagnostics", "regularizer")  #: groups of which a run may have several choices


def readable(mistake: Exception) -> str:
    """A message for the user, with the nearest right spelling."""
    if isinstance(mistake, MissingConfigException) and mistake.missing_cfg_file:
        group, _, name = str(mistake.missing_cfg_file).rpartition("/")
        known = list(mistake.options or (choices(group) if group in [*groups(), "experiment"] else []))
        if known:
            return _no_choice(group, name, known)
    if isinstance(mistake, OverrideParseException):
        return _not_understood(str(mistake.override), str(mistake))
    cause = mistake.__cause__
    if isinstance(mistake, ConfigCompositionException) and isinstance(cause, ConfigKeyError | ConfigAttributeError):
        beside = list(cause.parent_node) if isinstance(cause.parent_node, DictConfig) else []
        return _no_key(str(cause.full_key), [str(key) for key in beside if key not in ("_target_", "hydra")])
    told = str(mistake).split("\nSet the environment variable")[0].strip()
    unmatched = re.match(r"Could not override '(\w+)'. No match in the defaults list", told)
    if unmatched and unmatched[1] in groups():
        return (
            f"{unmatched[1]}: this config is that of a run, in which every choice is made; its keys can be set, "
            "but for other choices start from the defaults, without --config-name"
        )
    swept = re.match(r"Ambiguous value for argument '(.*)'|Sweep parameters '(.*)' requires", told)
    if swept:
        override = swept[1] or swept[2]
        key, _, values = override.partition("=")
        if key in LISTS and "," in values:
            return (
                f"{override}: several at once are a list, in quotes: '{key}=[{values}]'; one after another they make a "
                f"sweep, which begins with -m: dlrun -m {override}"
            )
        return f"{override}: several values make a sweep, which begins with -m: dlrun -m {override}"
    return told


def _no_key(key: str, siblings: list[str]) -> str:
    """That there is no such key, and which one is meant, or which there are."""
    value = {k: v for k, _, v in (each.lstrip("+~").partition("=") for each in sys.argv[1:])}.get(key, "")
    above = key.rpartition(".")[0]
    beside = {".".join(filter(None, (above, name))): None for name in siblings}
    meant = lead(key, value, {**beside, **known_keys(sys.argv[1:])}) or f"; the keys here are {', '.join(siblings)}"
    return f"{key}{f'={value}' if value else ''}: there is no such key{meant}"


def _no_choice(group: str, name: str, known: list[str]) -> str:
    own = "; --config-dir=FOLDER is where to look for one of your own" if group.startswith("hydra/") else ""
    near = did_you_mean(name, known)
    if not near and (elsewhere := [f"{each}={as_meant(name)}" for each in as_choice(name)]):
        near = f"; it is one of another group, {' and '.join(elsewhere)}"
    if not near and group == "dataset" and "." in name:
        near = f"; a file of your own is dataset=table dataset.path={name}"
    listed = f" `dlrun list {group}` has all" if near and group in groups() else f"; there are {', '.join(known)}"
    return f"{group}={name}: there is no such choice{near}{listed}{own}"


def _not_understood(override: str, told: str) -> str:
    """That an override cannot be read, and what may be meant: without stray signs, or in quotes of its own."""
    key, _, value = override.partition("=")
    plain = value.translate(TYPOGRAPHIC)
    bare = plain.strip("\"'")
    for meant in (plain, plain.rstrip(","), plain.lstrip("="), bare):
        if meant != value and _parses(f"{key}={meant}"):
            # quotes around a number make it a text
            return f"{override}: not understood; did you mean {key}={bare if is_number(bare) else meant}?"
    quoted = f'{key}="{value}"'
    if _parses(quoted) and not re.search(r"[\[\]{}]", value):  # some letters, = and the like Hydra knows in quotes only
        return f"{override}: not understood; the value needs quotes of its own: {shlex.quote(quoted)}"
    why = told.splitlines()[-2 if "See https" in told else -1]
    return f"{override}: not understood ({why}); write key=value, in quotes where it holds brackets"


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True
