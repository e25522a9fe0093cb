"""Points that are drawn: a sweep's keys with distributions, filled evenly by a scrambled Sobol sequence."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, cast

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.types import ChoiceSweep, IntervalSweep, Override, RangeSweep, Sweep
from omegaconf import DictConfig

from dlrun.config.catalogue import groups
from dlrun.config.distributions import LOG
from dlrun.errors import ConfigError
from dlrun.sweep.compose import check_jobs, compose
from dlrun.terminal.console import say

DIGITS = 6  #: of a number that is drawn, unless it takes more of them to stay within its range


def is_drawn(override: Override) -> bool:
    """Whether a search draws the key's values: interval and what is made of it, and choice(a,b), not a,b or range."""
    value = override.value()
    return isinstance(value, IntervalSweep) or (isinstance(value, ChoiceSweep) and not value.simple_form)


def draw(overrides: Sequence[Override], samples: int, seed: int) -> list[list[str]]:
    r"""The points at which a search looks, each as overrides of these keys.

    $$x_i = F^{-1}(u_i), \quad u_i \in [0, 1)^d$$

    with $u$ the points of Sobol's sequence, scrambled, and $F$ the distribution of each key. The same seed draws the
    same points in whatever order the keys are typed, and more samples begin with those that fewer were. Equal points,
    which keys draw that have few values, are there once.

    Raises ConfigError for a range in which nothing can be drawn.

    Reference: Sobol 1967, doi:10.1016/0041-5553(67)90144-9; Owen 1998, doi:10.1006/jcom.1998.0487 (the scrambling);
    Bergstra & Bengio 2012, JMLR 13 (why points that are drawn find more than a grid).
    """
    import numpy as np
    from scipy.stats import qmc

    axes = {override.get_key_element(): along(override) for override in overrides}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that only powers of two are balanced, which the docs say
        u = qmc.Sobol(len(axes), scramble=True, seed=np.random.default_rng(seed)).random(samples)
    drawn = [[f"{key}={axes[key](x)}" for key, x in zip(sorted(axes), row, strict=True)] for row in u.tolist()]
    different = [list(point) for point in dict.fromkeys(map(tuple, drawn))]
    if len(different) < samples:
        say(f"{samples} samples are {len(different)} different points, each of which is trained once")
    return different


def along(override: Override) -> Callable[[float], str]:
    """The value, as typed, at each u in [0, 1): the inverse of the distribution function.

    Raises ConfigError for a range in which nothing can be drawn.
    """
    sweep = override.value()
    if not isinstance(sweep, IntervalSweep):
        choices = values_of(override)
        return lambda u: choices[int(u * len(choices))]
    low, high, integers = *bounds(override), isinstance(sweep.start, int)
    logarithmic = LOG in sweep.tags
    first, last = low, high + integers  # each integer has the numbers from itself to the next one
    if logarithmic:
        first, last = math.log(first), math.log(last)

    def value(u: float) -> str:
        x = first + u * (last - first)
        x = min(max(math.exp(x) if logarithmic else x, low), high)  # which rounding may have left
        return str(math.floor(x)) if integers else printed(x, low, high)

    return value


def points_of(override: Override) -> list[list[str]]:
    """An override for each value of a list, a range or a glob. Raises ConfigError where there is none."""
    sweep = override.value()
    steps = not isinstance(sweep, RangeSweep) or sweep.step != 0  # Hydra would go on for ever
    points = BasicSweeper.split_arguments([override], None)[0] if steps else []
    if not points:
        raise ConfigError(f"{override.input_line}: there is no such value to sweep")
    return points


def values_of(override: Override) -> list[str]:
    """The values of a list, a range or a glob, as typed. Raises ConfigError where there is none."""
    return [str(point).partition("=")[2] for [point] in points_of(override)]


def refuse_nested(override: Override) -> None:
    """Raise ConfigError for a list with something in it that is drawn or swept itself."""
    if isinstance(several := override.value(), ChoiceSweep) and any(isinstance(one, Sweep) for one in several.list):
        raise ConfigError(f"{override.input_line}: what is drawn is a key's whole value, and not one of several")


def bounds(override: Override) -> tuple[Any, Any]:
    """The ends of an interval. Raises ConfigError unless there is something between them."""
    sweep, told = cast(IntervalSweep, override.value()), str(override.input_line)
    low, high = cast(float, sweep.start), cast(float, sweep.end)
    if not (math.isfinite(low) and math.isfinite(high)):
        raise ConfigError(f"{told}: both ends must be finite numbers")
    if low > high or (low == high and isinstance(low, float)):
        raise ConfigError(f"{told}: the first number must be less than the second")
    if unknown := sorted(sweep.tags - {LOG}):
        raise ConfigError(f"{told}: there is no tag {unknown[0]} of a range; {LOG} is one, of what loguniform draws")
    if override.key_or_group in groups():
        raise ConfigError(f"{told}: choices are drawn by their names: {override.key_or_group}='choice(A,B,C)'")
    if LOG in sweep.tags and low <= 0:
        raise ConfigError(f"{told}: {low:g} has no logarithm: begin above 0, or take uniform({low:g},{high:g})")
    return low, high


def printed(x: float, low: float, high: float) -> str:
    """The number with as few digits, six at least, as keep it in [low, high]: it is the one that is trained with."""
    digits = DIGITS
    while not low <= float(f"{x:.{digits}g}") <= high:
        digits += 1
    return repr(float(f"{x:.{digits}g}"))


def check_ends(config: DictConfig, loader: ConfigLoader, job: Sequence[str], overrides: Iterable[Override]) -> None:
    """Raise ConfigError where a key may not have the lowest or the highest value of its range: one message, in place of
    one for each value that was drawn.

    job: the overrides of any one run.
    """
    ranges = {each.get_key_element(): each for each in overrides if each.is_interval_sweep()}
    check_values(
        config, loader, job, {key: (str(each.input_line), ends(*bounds(each))) for key, each in ranges.items()}
    )


def check_values(
    config: DictConfig, loader: ConfigLoader, job: Sequence[str], values: Mapping[str, tuple[str, Sequence[Any]]]
) -> None:
    """Raise ConfigError where a run may not have one of the values.

    job: the overrides of any one run.
    values: by their keys, with what was typed.
    """
    for key, (told, each) in values.items():
        others = [word for word in job if word.partition("=")[0] != key]
        for value in each:
            try:
                check_jobs(compose(config, loader, [[*others, f"{key}={value}"]], 0))
            except ConfigError as problem:
                raise ConfigError(f"{told}: {str(problem).removeprefix('run 0: ')}") from problem


def ends(low: Any, high: Any) -> list[Any]:
    """The lowest and the highest value of a range, which for floats ends before `high`."""
    return [low, math.nextafter(high, low) if isinstance(high, float) and high > low else high]
