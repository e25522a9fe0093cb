"""What the jobs of one structure have in common, composed by Hydra once, and how each differs from it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from functools import cached_property, reduce
from operator import getitem
from typing import Any, cast

from hydra._internal.config_loader_impl import get_overrides_dirname
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.types import Override
from omegaconf import AnyNode, DictConfig, OmegaConf, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from dlrun.errors import ConfigError
from dlrun.sweep.texts import Keys, Text, replaced

# where any two jobs differ, beside the plain values
NUM, ID, DIRNAME = (("hydra", "job", name) for name in ("num", "id", "override_dirname"))
TASK = ("hydra", "overrides", "task")
OUTPUT_DIR = ("hydra", "runtime", "output_dir")

_REFERENCE = re.compile(r"\$\{(?:now:(?P<now>[^${}]*)|(?P<hydra>hydra:)?(?P<key>[A-Za-z_]\w*(?:\.\w+)*))\}")


class Structure:
    """What Hydra composed for one job, and how others differ from it.

    Args:
        sweep: the sweep's config.
        overrides: of the job that Hydra composes.
        plain: the keys with a value of each job's own.
    """

    def __init__(self, sweep: DictConfig, loader: ConfigLoader, overrides: list[Override], plain: frozenset[str]):
        self._sweep = sweep
        self._whole = loader.load_sweep_config(sweep, [str(each.input_line) for each in overrides])
        self._own = deepcopy(self._whole)  # a run's own config knows no ${hydra.job.num}, only ${hydra:job.num}
        with read_write(self._own), open_dict(self._own):
            del self._own["hydra"]
        self._raw: dict[str, Any] = cast(dict[str, Any], OmegaConf.to_container(self._whole))
        self._hydra = self._raw.pop("hydra")
        self._interpolated = list(_interpolated(self._raw))
        self._answers: dict[tuple[Keys, str], Any] = {}
        self._known_feeds: dict[Keys, set[Keys] | None] = {}
        self._feeding: dict[tuple[Keys, tuple[Keys, ...]], list[Keys]] = {}  #: of a place, among these
        self.plain = frozenset(key for key in plain if self._takes_any_value(key))

    @property
    def hydra(self) -> DictConfig:
        """Hydra's node, as composed for one of the jobs."""
        return cast(DictConfig, self._whole.hydra)

    @cached_property
    def names_folder(self) -> bool:
        """Whether a run's own config may hold its folder: `${hydra:runtime.output_dir}`."""
        feeds = [self._feeds(place) for place in self._interpolated]
        return any(each is None or any(overlap(OUTPUT_DIR, place) for place in each) for each in feeds)

    def dirname(self, overrides: list[Override]) -> str:
        """A job's hydra.job.override_dirname."""
        how = self._hydra["job"]["config"]["override_dirname"]
        return get_overrides_dirname(overrides, how["exclude_keys"], how["item_sep"], how["kv_sep"])

    def value(self, place: Keys, values: Mapping[Keys, Any]) -> Any:
        """What stands in a place, resolved, for a job with these values: one answer for all that feed it the same."""
        if place not in self._known_feeds:
            self._known_feeds[place] = self._feeds(place)
        feeds = self._known_feeds[place]
        if feeds is None:
            return self._resolve(place, values)
        among = (place, tuple(values))
        if among not in self._feeding:
            self._feeding[among] = [keys for keys in values if any(overlap(keys, feed) for feed in feeds)]
        fed = {keys: values[keys] for keys in self._feeding[among]}
        if feeds == fed.keys() and len(fed) == 1 and self._refers(place, *fed):  # of ${seed} each job has its own
            return next(iter(fed.values()))
        asked = (place, repr(fed))
        if asked not in self._answers:
            self._answers[asked] = self._resolve(place, fed)
        return self._answers[asked]

    def _refers(self, place: Keys, to: Keys) -> bool:
        """Whether the text in a place stands for the value in another of the same node, and for nothing else."""
        if place[0] != "hydra" and to[0] == "hydra":  # a run's own config knows no ${hydra.job.num}
            return False
        text = reduce(getitem, place, {**self._raw, "hydra": self._hydra})
        found = _REFERENCE.fullmatch(text) if isinstance(text, str) else None
        return found is not None and to == (*(["hydra"] if found["hydra"] else []), *str(found["key"]).split("."))

    def config(self, values: Mapping[Keys, Any]) -> dict[str, Any]:
        """A job's own config, resolved; what jobs have alike they share, and none may change it."""
        config = self._raw
        for place in self._interpolated:
            config = replaced(config, place, self.value(place, values))
        for key in self.plain:
            place = tuple(key.split("."))
            config = replaced(config, place, values[place])
        return config

    def files(self, values: Mapping[Keys, Any]) -> dict[str, str]:
        """A job's files, by their path in its folder."""
        folder = self.value(("hydra", "output_subdir"), values)
        overrides = {(*TASK, i): text for i, text in enumerate(values[TASK])}
        lines = {(i,): text for i, text in enumerate(values[TASK])}
        texts = {"config": values, "hydra": {**values, **overrides}, "overrides": lines}
        return {f"{folder}/{name}.yaml": self._texts[name].filled(own) for name, own in texts.items() if folder}

    @cached_property
    def _texts(self) -> dict[str, Text]:
        typed = range(len(self._hydra["overrides"]["task"]))
        own = [NUM, ID, DIRNAME, OUTPUT_DIR, *((*TASK, i) for i in typed)]
        return {
            "config": Text(self._raw, [tuple(key.split(".")) for key in self.plain]),
            "hydra": Text({"hydra": self._hydra}, own),
            "overrides": Text(self._hydra["overrides"]["task"], [(i,) for i in typed]),
        }

    def _takes_any_value(self, key: str) -> bool:
        """Whether a value set there stays as it is and touches nothing else: no mapping, no list, no declared type."""
        node: Any = self._whole
        for name in key.split("."):
            node = node._get_node(name) if isinstance(node, DictConfig) else None
        return type(node) is AnyNode

    def _resolve(self, place: Keys, values: Mapping[Keys, Any]) -> Any:
        """OmegaConf's own answer, with the values in the config."""
        instance = HydraConfig.instance()
        before, instance.cfg = instance.cfg, cast(Any, self._whole)  # for ${hydra:...}
        try:
            for config in (self._whole, self._own):
                OmegaConf.copy_cache(self._sweep, config)  # ${now:...} is when the sweep began
                for keys, value in values.items():
                    if config is self._whole or keys[0] != "hydra":
                        OmegaConf.update(config, ".".join(keys), value)
            found = reduce(getitem, place, self._whole if place[0] == "hydra" else self._own)
            return OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else found
        except OmegaConfBaseException as problem:
            raise ConfigError(f"{'.'.join(map(str, place))}: {str(problem).splitlines()[0]}") from problem
        finally:
            instance.cfg = before

    def _feeds(self, place: Keys, asking: tuple[Keys, ...] = ()) -> set[Keys] | None:
        """The places that the value here is made of; None where its text does not tell."""
        try:
            text = reduce(getitem, place, {**self._raw, "hydra": self._hydra})
        except (KeyError, TypeError):
            return None
        if "${" not in str(text):
            return {place}
        if not isinstance(text, str) or "${" in _REFERENCE.sub("", text) or place in asking:
            return None
        feeds: set[Keys] = set()
        for reference in _REFERENCE.finditer(text):
            if reference["key"] is None:
                below = set() if (reference["now"],) in OmegaConf.get_cache(self._sweep)["now"] else None
            else:
                keys = tuple(reference["key"].split("."))
                below = self._feeds(("hydra", *keys) if reference["hydra"] else keys, (*asking, place))
            if below is None:
                return None
            feeds |= below
        return feeds


def overlap(one: Sequence[Any], other: Sequence[Any]) -> bool:
    """Whether two places are the same, or one lies in the other."""
    return all(a == b for a, b in zip(one, other, strict=False))


def _interpolated(node: Any, place: Keys = ()) -> Iterator[Keys]:
    """The places of a container that hold interpolations."""
    if isinstance(node, str) and "${" in node:
        yield place
    elif isinstance(node, dict | list):
        for key, below in node.items() if isinstance(node, dict) else enumerate(node):
            yield from _interpolated(below, (*place, key))
