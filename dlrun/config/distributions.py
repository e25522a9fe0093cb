"""Words for what a search draws from, beside Hydra's own in its grammar of values: loguniform, uniform and randint.

Each is an interval of Hydra's, so that whatever reads those (`dlrun.sweep.sampling`, Optuna) reads these too:
`loguniform(a,b)` is `tag(log,interval(a,b))`, `uniform(a,b)` is `interval(a,b)`, and `randint(a,b)` is
`int(interval(a,b))`, whose both ends may be drawn.
"""

# no `from __future__ import annotations`: Hydra looks at the functions' signatures

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from hydra._internal.grammar.functions import Functions
from hydra.core.override_parser import overrides_parser
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep

from dlrun.errors import ConfigError

LOG = "log"  #: the tag of an interval whose logarithm is drawn evenly


def loguniform(*ends: Any) -> IntervalSweep:
    """Numbers in [a, b) whose logarithms are uniform. Raises ConfigError unless there are two numbers."""
    low, high = _two("loguniform(1e-5,1)", ends, int | float)
    return IntervalSweep(start=float(low), end=float(high), tags={LOG})


def uniform(*ends: Any) -> IntervalSweep:
    """Uniform numbers in [a, b). Raises ConfigError unless there are two numbers."""
    low, high = _two("uniform(0,1)", ends, int | float)
    return IntervalSweep(start=float(low), end=float(high))


def randint(*ends: Any) -> IntervalSweep:
    """Integers from a to b, both included, of equal probability. Raises ConfigError unless there are two integers."""
    low, high = _two("randint(1,8)", ends, int)
    return IntervalSweep(start=low, end=high)


#: by their names, which say what they are in SciPy and NumPy too, where the upper end of randint is left out
FUNCTIONS: dict[str, Callable[..., IntervalSweep]] = {
    "loguniform": loguniform,
    "uniform": uniform,
    "randint": randint,
}


def _two(example: str, ends: tuple[Any, ...], kind: Any) -> tuple[Any, ...]:
    if len(ends) != 2 or not all(isinstance(end, kind) and not isinstance(end, bool) for end in ends):
        numbers = "whole numbers" if kind is int else "numbers"
        raise ConfigError(f"the lowest and the highest value are wanted, two {numbers}, as in {example}")
    return ends


def parser() -> OverridesParser:
    """Hydra's parser of overrides, which knows these words."""
    with understood():
        return OverridesParser.create()


@contextmanager
def understood() -> Iterator[None]:
    """Lets every parser of Hydra's that is made meanwhile know these words."""
    own = overrides_parser.create_functions

    def with_ours() -> Functions:
        functions = own()
        for name, function in FUNCTIONS.items() - functions.functions.items():  # less those of an outer `understood`
            functions.register(name, function)
        return functions

    overrides_parser.create_functions = with_ours
    try:
        yield
    finally:
        overrides_parser.create_functions = own
