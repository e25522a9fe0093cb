"""Where a search looks: the keys of a command that have several values, as Optuna's distributions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from omegaconf import DictConfig, OmegaConf
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from dlrun.config.check import leaves
from dlrun.config.distributions import LOG
from dlrun.errors import ConfigError
from dlrun.folder.resume import FREE
from dlrun.sweep.compose import compose
from dlrun.sweep.halving import REPEATS
from dlrun.sweep.sampling import bounds, check_values, ends, points_of, printed, refuse_nested, values_of

Values = Mapping[str, Any]


@dataclass(frozen=True)
class Axis:
    """A key that is searched."""

    told: str  #: what was typed
    distribution: BaseDistribution
    value: Callable[[Any], Any]  #: what a run gets where Optuna says x: a number as it is printed, or the word
    ends: Sequence[Any]  #: its lowest and its highest value, or all that it may be

    @classmethod
    def of(cls, override: Override) -> Axis:
        """Of a distribution, a range or choices. Raises ConfigError where there is nothing in it."""
        told, sweep = str(override.input_line), override.value()
        if not isinstance(sweep, IntervalSweep):
            values = values_of(override)
            if not isinstance(sweep, RangeSweep):
                return cls(told, CategoricalDistribution(tuple(dict.fromkeys(values))), lambda word: word, values)
            values.sort(key=float)
            first, last = float(values[0]), float(values[-1])
            step = (last - first) / (len(values) - 1) if len(values) > 1 else 1.0
            if all(float(value).is_integer() for value in values):
                whole = IntDistribution(round(first), round(last), step=round(step))
                return cls(told, whole, int, [values[0], values[-1]])
            places = IntDistribution(0, len(values) - 1)
            return cls(told, places, lambda place: float(values[place]), [values[0], values[-1]])
        low, high = bounds(override)
        if isinstance(low, int):
            return cls(told, IntDistribution(low, high, log=LOG in sweep.tags), int, [low, high])
        least, greatest = ends(low, high)
        continuous = FloatDistribution(least, greatest, log=LOG in sweep.tags)
        return cls(told, continuous, lambda x: float(printed(x, low, high)), [least, greatest])

    @property
    def where(self) -> str:
        """What is searched, without its key: the choices, or the range as it was typed."""
        if isinstance(self.distribution, CategoricalDistribution):
            return ",".join(map(str, self.distribution.choices))
        return "".join(self.told.partition("=")[2].split())


@dataclass(frozen=True)
class Space:
    """The keys that are searched, what all runs have in common, and what each point is repeated with."""

    axes: Mapping[str, Axis]
    fixed: Sequence[str]
    repeats: Sequence[Sequence[str]]  #: overrides, of seeds, folds and splits

    @classmethod
    def of(cls, overrides: Sequence[Override]) -> Space:
        """Of a command. Raises ConfigError where there is nothing to search, and for a range with nothing in it."""
        for each in overrides:
            refuse_nested(each)
        last = {each.get_key_element(): each for each in overrides}
        swept = {key: each for key, each in last.items() if each.is_sweep_override()}
        repeated = [each for key, each in swept.items() if f"{key.lstrip('+')}=" in REPEATS]
        if drawn := next((each for each in repeated if each.is_interval_sweep()), None):
            key = drawn.get_key_element()
            raise ConfigError(
                f"{drawn.input_line}: a search looks for no {key}, since each point is trained with every one that is "
                f"given: {key}=0,1,2"
            )
        axes = {key: Axis.of(each) for key, each in swept.items() if each not in repeated}
        if not axes:
            raise ConfigError(
                "hydra/sweeper=optuna has nothing to search: give a key a range or choices, as 'lr=loguniform(1e-3,1)'"
            )
        repeats = [[word for [word] in each] for each in product(*map(points_of, repeated))]
        return cls(axes, [str(each.input_line) for key, each in last.items() if key not in swept], repeats)

    @property
    def distributions(self) -> dict[str, BaseDistribution]:
        """For Optuna's `ask`."""
        return {key: axis.distribution for key, axis in self.axes.items()}

    def check(self, config: DictConfig, loader: ConfigLoader) -> None:
        """Raise ConfigError where a run may not have the lowest or the highest value of a range, or a choice."""
        first = [f"{key}={axis.ends[0]}" for key, axis in self.axes.items()]
        values = {key: (axis.told, axis.ends) for key, axis in self.axes.items()}
        check_values(config, loader, [*self.fixed, *first, *self.repeats[0]], values)

    def problem(self, config: DictConfig, loader: ConfigLoader) -> dict[str, Any]:
        """What is searched, by which a study is told apart from another: each key of the runs' config that matters to
        what they compute, with its value, or with all that it may be."""
        first = [f"{key}={axis.ends[0]}" for key, axis in self.axes.items()]
        [job] = compose(config, loader, [[*self.fixed, *first, *self.repeats[0]]], 0)
        fixed = {".".join(path): value for path, value in leaves(job.config) if path[0] not in FREE}
        repeated: dict[str, dict[str, None]] = {}
        for key, _, value in (word.partition("=") for repeat in self.repeats for word in repeat):
            repeated.setdefault(key.lstrip("+"), {})[value] = None
        swept = {key.lstrip("+"): axis.where for key, axis in self.axes.items()}
        return fixed | {key: ",".join(values) for key, values in repeated.items()} | swept

    def values(self, params: Values) -> dict[str, Any]:
        """What the runs of a trial have where Optuna says `params`, in the order of the axes, which is not Optuna's."""
        return {key: axis.value(params[key]) for key, axis in self.axes.items()}

    def told(self, params: Values) -> dict[str, Any]:
        """The same for a file, where a list is one, and not what was typed."""
        found = self.values(params)
        lists = {key: value for key, value in found.items() if isinstance(value, str) and value.startswith("[")}
        return found | {key: list(OmegaConf.from_dotlist([f"of={value}"]).of) for key, value in lists.items()}

    def jobs(self, params: Values) -> list[list[str]]:
        """The overrides of a trial's runs."""
        point = [f"{key}={value}" for key, value in self.values(params).items()]
        return [[*self.fixed, *point, *repeat] for repeat in self.repeats]
