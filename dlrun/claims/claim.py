"""A claim, as conf/claims/NAME.yaml states it: the sentence, its source, the runs, and the criteria."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dlrun.claims.criteria import Criterion
from dlrun.claims.measures import Measure
from dlrun.config.catalogue import choices, conf_dir, description
from dlrun.config.escapes import quoted
from dlrun.config.words import did_you_mean
from dlrun.errors import ConfigError
from dlrun.files.parsing import yaml_of
from dlrun.report.judging import levels

GROUP = "claims"  #: the folder in conf/
AGAIN = 100_000  #: the first seed of runs that are to repeat a verdict; none of the others is as high
KEYS = {
    "source", "figure", "scale", "runs", "settings", "looks", "measures", "criteria", "pictures", "tried", "why",
    "large",
}  # fmt: skip
PLACE = re.compile(r"(?<!\$)\{(\w+)\}")  #: {setting}: where that setting's run of the same seed lies
SCALES = ("lecture", "small")


@dataclass(frozen=True)
class Claim:
    """One claim of the lectures."""

    name: str
    sentence: str
    source: str  #: lecture, and paper
    figure: str  #: what the lecture shows, "" where it shows nothing
    scale: str  #: lecture, or small where the runs are smaller than the lecture's
    settings: Mapping[str, Sequence[str]]  #: overrides; in them {other} is the folder of the run of another setting
    looks: Sequence[int]  #: numbers of seeds at which it may be decided
    measures: Mapping[str, Measure]
    criteria: Sequence[Criterion]
    pictures: Sequence[str]  #: `setting/activations`: of its first run; comparison: of all
    tried: str  #: what was tried and dropped
    why: str  #: why it does not hold here, where that is known

    @property
    def level(self) -> list[float]:
        """Of the intervals, at each look."""
        return levels(self.looks)

    def stages(self) -> Iterator[list[str]]:
        """The settings in an order in which each comes after those whose runs it begins from."""
        left, done = dict.fromkeys(self.settings), set[str]()
        while left:
            ready = [name for name in left if self.needs(name) <= done]
            if not ready:
                raise ConfigError(f"{self.name}: the settings {', '.join(left)} begin from one another")
            yield ready
            done.update(ready)
            for name in ready:
                del left[name]

    def needs(self, setting: str) -> set[str]:
        """The settings whose runs it begins from."""
        return {name for word in self.settings[setting] for name in PLACE.findall(word)}

    def job(self, setting: str, seed: int, folders: Mapping[str, Path]) -> list[str]:
        """The overrides of a run.

        folders: of the runs of other settings with this seed.
        """
        own = [PLACE.sub(lambda found: quoted(str(folders[found[1]])), word) for word in self.settings[setting]]
        return [*own, f"seed={seed}", f"name='{self.name}/{setting}-{seed}'"]


def names(asked: Sequence[str] = ()) -> list[str]:
    """The names of all claims, or of those asked for. Raises ConfigError for one that there is not."""
    known = choices(GROUP)
    for name in asked:
        if name not in known:
            containing = [each for each in known if name in each]
            near = f"; there are {', '.join(containing)}" if containing else did_you_mean(name, known)
            near = near or "; `dlrun claims --list` has all"
            raise ConfigError(f"claims {name}: there is no such claim{near}")
    return list(dict.fromkeys(asked)) or known


def load(name: str, large: bool = False) -> Claim:
    """A claim by its name; large: with the lecture's own recipe, where it has one of that size.

    Raises ConfigError for a file that does not state a claim.
    """
    file = conf_dir() / GROUP / f"{name}.yaml"
    keys: dict[str, Any] = yaml_of(file.read_text(encoding="utf-8"), file)
    try:
        if odd := keys.keys() - KEYS:
            raise ConfigError(f"there is no key {', '.join(sorted(odd))}")
        if large and "large" in keys:
            keys |= {"scale": "lecture", **keys["large"]}
        if keys.get("scale", "lecture") not in SCALES:
            raise ConfigError(f"scale={keys['scale']}: must be {' or '.join(SCALES)}")
        runs = shlex.split(keys["runs"])
        settings = {str(each): [*runs, *shlex.split(own or "")] for each, own in keys["settings"].items()}
        criteria = [Criterion.parse(judge, of) for each in keys["criteria"] for judge, of in each.items()]
        measures = {each: Measure.parse(each, of) for each, of in keys["measures"].items()}
        begun = {found for words in settings.values() for word in words for found in PLACE.findall(word)}
        if begun - settings.keys():
            raise ConfigError(f"there is no setting {', '.join(sorted(begun - settings.keys()))} to begin from")
        for criterion in criteria:
            if criterion.of not in measures or not set(criterion.settings) <= settings.keys():
                raise ConfigError(f"{criterion.judge} of {criterion.of}: it or a setting is not there")
        return Claim(
            name=name,
            sentence=description(file),
            source=keys["source"],
            figure=str(keys.get("figure") or ""),
            scale=keys.get("scale", "lecture"),
            settings=settings,
            looks=keys.get("looks", [1]),
            measures=measures,
            criteria=criteria,
            pictures=keys.get("pictures", []),
            tried=keys.get("tried", ""),
            why=keys.get("why", ""),
        )
    except (KeyError, TypeError, AttributeError, ValueError, ConfigError) as problem:
        lacks = "it lacks " if isinstance(problem, KeyError) else ""
        raise ConfigError(f"{file}: {lacks}{problem}") from problem
