"""From a word that is no key to the key that is meant: near spellings, keys of choices, and the field's other words."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import NamedTuple

import yaml

from dlrun.config.catalogue import Constraint, choices, conf_dir, constraints, groups
from dlrun.config.typed import is_file

#: what else the field calls a key, a group or a choice; what is spelled nearly like it needs no entry
SYNONYMS = {
    word: key
    for key, words in {
        "lr": "learning_rate rate step_size",
        "architecture": "model network net arch",
        "dataset": "data",
        "optimizer": "optim opt solver",
        "schedule": "scheduler lr_scheduler lr_schedule lr_decay",
        "initializer": "init initialization",
        "normalization": "norm batchnorm batch_norm bn",
        "regularizer": "reg regularization",
        "loss": "criterion loss_function loss_fn",
        "batch_size": "batch bs minibatch",
        "steps": "iterations iters max_iter updates",
        "seed": "random_seed random_state",
        "device": "gpu gpus cuda cpu accelerator",
        "checkpoint_every": "save_every save_interval checkpoint_interval checkpoint_freq",
        "clip_norm": "clip grad_clip gradient_clipping max_grad_norm",
        "beta1": "betas",
        "hidden": "layers num_layers hidden_layers units neurons",
        "activation": "nonlinearity transfer_function",
        "dropout": "dropout_rate",
        "weight_decay": "wd",
        "target": "label labels",
        "path": "file",
        "table": "csv tsv parquet",
        "val_fraction": "val_split val_size",
        "test_fraction": "test_split test_size",
        "hydra.run.dir": "output output_dir out folder dir save_dir log_dir",
        "hydra.launcher.workers": "workers num_workers n_jobs processes",
    }.items()
    for word in words.split()
}


HYDRAS = ("hydra.launcher", "hydra.sweeper")  #: what of Hydra's part of a config has choices with keys of dlrun's
#: of a sweeper's keys, what another sweeper has in their place
COUNTERPARTS = {"samples": "n_trials", "trials": "n_trials"}

TABLE = re.compile(r"\.(csv|tsv|tab|txt|data|dat|parquet)(\.gz)?$")  #: how names of tables end

Keys = Mapping[str, Constraint | None]  #: full keys of a config, and what each may be


class Place(NamedTuple):
    """A key of the registry."""

    group: str  #: "" for a key of the main file and for a group itself
    key: str  #: in full: optimizer.momentum
    choice: str  #: the choice that has it; "" where all have
    constraint: Constraint | None

    @property
    def name(self) -> str:
        """Its last word."""
        return self.key.rpartition(".")[2]


def did_you_mean(word: str, known: Sequence[str], cutoff: float = 0.6) -> str:
    """`; did you mean x?` for the nearest of the known words, whatever its case, or nothing."""
    near = _nearest(word, known, cutoff)
    return f"; did you mean {near}?" if near else ""


def then(told: str, more: str) -> str:
    """What was told and more: behind a question as a sentence of its own."""
    return f"{told} {more[0].upper()}{more[1:]}" if told.endswith("?") else f"{told}; {more}"


def lead(key: str, value: str, known: Keys) -> str:
    """Where a key that does not exist leads, as a text to put behind what is wrong; "" where nothing is near.

    Args:
        key: as typed, with its dots.
        value: as typed; "" where there is none.
        known: the full keys that this command's config has, and what each may be.
    """
    above, _, last = as_meant(key).strip("+~_").rpartition(".")
    if above in HYDRAS:
        return _of_hydras(f"{above}.{last}", value, known)
    head = above.partition(".")[0]
    group = _nearest(SYNONYMS.get(head, head), groups()) if head else ""
    if head and not group and (near := _nearest(key, list(known), cutoff=0.6)):
        return _meant([near], value, known)
    places = [place for place in _places() if group in ("", place.group)]
    here = [place.name for place in places if group and place.key in known]
    words = [word for place in places for word in (place.name, place.choice) if word]
    name = SYNONYMS.get(last, last if last in words else "")
    if not name and not head and (of_sweeps := [each for part in HYDRAS if (each := f"{part}.{last}") in _hydras()]):
        return _meant(of_sweeps, value, {each: may_be for each in of_sweeps for may_be in _hydras()[each].values()})
    name = name or _nearest(last, here) or _nearest(last, words if group else [*words, *SYNONYMS])
    name = SYNONYMS.get(name, name)
    if "." in name:
        return _meant([name], value, known)
    named = [place for place in places if place.name == name]
    named += [p for p in places if p.choice == name != "" and p.group not in {each.group for each in named}]
    if key in known:  # of one choice of a sweep, but not of another
        return _of_choices(named, name, "")
    if not named and group:  # of no choice of this group: it may stand elsewhere
        return lead(above if above != head else last, value, known)
    there = dict.fromkeys(place.key for place in named if place.key in known and place.name == name)
    first = [key for key in there if "." not in key] or list(there)
    return _meant(first, value, known) if first else _of_choices(named, name, value)


def _of_hydras(key: str, value: str, known: Keys) -> str:
    """Where a key leads that this command's launcher or sweeper has not: to one of its own, or to another that has it.

    Args: see `lead`.
    """
    above, _, last = key.rpartition(".")
    if key not in _hydras():
        beside = [own.rpartition(".")[2] for own in known if own.startswith(f"{above}.")]
        meant = f"{above}.{_nearest(last, beside)}"
        meant = meant if meant in known else SYNONYMS.get(last, "")
        return _meant([meant], value, known) if meant in known else ""
    told = f"; {key} is a key of {above.replace('.', '/')}={', '.join(_hydras()[key])}"
    return told + (_meant([own], value, known) if (own := f"{above}.{COUNTERPARTS.get(last, '')}") in known else "")


def known_keys(overrides: Iterable[str]) -> Keys:
    """The keys of the config that these overrides make, by the choices among them."""
    main = yaml.safe_load((conf_dir() / "dlrun.yaml").read_text(encoding="utf-8"))
    chosen = {group: str(name) for each in main["defaults"] if isinstance(each, dict) for group, name in each.items()}
    chosen |= {group: value for group, _, value in (each.partition("=") for each in overrides) if group in chosen}
    names = {(group, name) for group, value in chosen.items() for name in value.strip("[]'\"").split(",")}
    places = [place for place in _places() if not place.choice or (place.group, place.choice) in names]
    return {place.key: place.constraint for place in places}


def as_choice(word: str) -> list[str]:
    """The groups that have a choice of this name."""
    return [group for group in groups() if as_meant(word) in choices(group)]


def as_meant(word: str) -> str:
    """A word in its usual spelling: lower case, no dashes."""
    return word.lower().replace("-", "_")


def _meant(keys: Sequence[str], value: str, known: Keys) -> str:
    """That one of these keys is meant: with the value where it may have this, else with what it may be."""
    constraint = known.get(keys[0])
    if keys[0] in groups():
        value = _nearest(value, choices(keys[0])) or value
        fits = value in choices(keys[0]) or is_file(value)
        may_be = f"one of {', '.join(choices(keys[0]))}"
    else:
        fits = not constraint or constraint.allows(as_read(value))
        may_be = f"{constraint.text} ({constraint.meaning})" if constraint else ""
    if value and not fits:
        return f"; did you mean {keys[0]}, {may_be}?"
    return f"; did you mean {' or '.join(f'{key}={value}' if value else key for key in keys)}?"


def _of_choices(places: Sequence[Place], name: str, value: str) -> str:
    """That another choice has the key, or is meant itself: `optimizer.momentum is a key of optimizer=momentum, ...`."""
    told: dict[str, int] = {}
    for group in dict.fromkeys(place.group for place in places):
        own = [place for place in places if place.group == group]
        names = list(dict.fromkeys(place.choice for place in own))
        if any(place.name == name for place in own):
            fitting = "table" if TABLE.search(value) and "table" in names else names[0]
            first = f"{group}={name if name in names else fitting}"
            typed = f": {first} {own[0].key}={value}" if value else ""
            told[f"; {own[0].key} is a key of {group}={', '.join(names)}{typed}"] = len(names)
        else:
            keys = [place.key for place in own if place.key.startswith(f"{group}.{name}.")]
            told[f"; {group}={name} is a choice{', with ' if keys else ''}{' and '.join(keys)}"] = 0
    return "".join(text for text, choices in told.items() if choices in (0, max(told.values())))


def _nearest(word: str, known: Sequence[str], cutoff: float = 0.7) -> str:
    spelled = {as_meant(each): each for each in reversed(known)}
    [near, *_] = difflib.get_close_matches(as_meant(word), spelled, n=1, cutoff=cutoff) or [""]
    return spelled.get(near, "")


def as_read(value: str) -> object:
    """A value as Hydra reads it, but for what needs no more than to be told apart."""
    try:
        read = yaml.safe_load(value)
    except yaml.YAMLError:
        return value
    if isinstance(read, str):
        try:
            return float(read)  # 1e-3, which YAML 1.1 takes as a text
        except ValueError:
            return read
    if isinstance(read, bool) and value.lower() not in ("true", "false"):
        return value  # yes, no, on, off: words to Hydra
    return read


def is_number(text: str) -> bool:
    """Whether a text reads as a number."""
    try:
        float(text)
    except ValueError:
        return False
    return True


@cache
def _hydras() -> dict[str, dict[str, Constraint | None]]:
    """The keys of dlrun's launchers and sweepers, in full, each with those that have it and what it may be there."""
    found: dict[str, dict[str, Constraint | None]] = {}
    for part in HYDRAS:
        for file in sorted((conf_dir() / part.replace(".", "/")).glob("*.yaml")):
            for path, constraint in constraints(file).items() if file.stem != "claims" else ():  # a verb's own
                found.setdefault(".".join((part, *path)), {})[file.stem] = constraint
    return found


@cache
def _places() -> list[Place]:
    """The registry's keys and groups."""
    main = constraints(conf_dir() / "dlrun.yaml")
    found = [Place("", group, "", None) for group in groups()]
    for path, constraint in main.items():
        found.append(Place(path[0] if len(path) > 1 else "", ".".join(path), "", constraint))
    for group in groups():
        for choice in choices(group):
            file: Mapping[tuple[str, ...], Constraint | None] = constraints(conf_dir() / group / f"{choice}.yaml")
            for path, constraint in file.items():
                if (group, *path) not in main:
                    found.append(Place(group, ".".join((group, *path)), choice, constraint))
            if not file:
                found.append(Place(group, group, choice, None))
    return found
