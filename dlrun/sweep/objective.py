"""What a search optimises: numbers of a run's summary, each better where it is lower, or higher for some metrics."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from math import inf
from typing import TYPE_CHECKING, Any

from dlrun.config.words import did_you_mean, then
from dlrun.errors import ConfigError
from dlrun.folder.columns import HIGHER
from dlrun.folder.reading import numbers

if TYPE_CHECKING:
    from dlrun.training.components import Node
    from dlrun.training.stack import Stack

DEFAULT = "best_val_loss"


def maximised(name: str) -> bool:
    """Whether more of it is better."""
    return any(name == metric or name.endswith(f"_{metric}") for metric in HIGHER)


def names(objective: str | Sequence[str] | None) -> list[str]:
    """The objectives of a config: one, several in a list, or the lowest validation loss."""
    return [objective] if isinstance(objective, str) else list(objective or [DEFAULT])


def refuse_unknown(nodes: Iterable[Node], stack: Stack) -> None:
    """Raise ConfigError for an objective that the summaries of these runs, which are to train as a stack, will lack."""
    for node in nodes:
        if node["objective"]:
            from dlrun.job.summary import expected

            known = numbers(expected(node, stack))
            for name in names(node["objective"]):
                if name not in known:
                    raise _unknown(name, known)


def values_of(summary: Mapping[str, Any], objective: str | Sequence[str] | None) -> list[float] | None:
    """`value_of` for each objective; None where one of them has no value."""
    values = [value_of(summary, name) for name in names(objective)]
    return None if None in values else [value for value in values if value is not None]


def value_of(summary: Mapping[str, Any], name: str) -> float | None:
    """What a search is told of a run: of one that diverged the worst, and nothing of one that has no result.

    Raises ConfigError where the summary of a run that came to its end has no such number.
    """
    if summary["status"] == "diverged":  # it tells where not to look, as a run that a full disk ended does not
        return -inf if maximised(name) else inf
    if summary["status"] not in ("finished", "stopped_early"):
        return None
    if name in summary and summary[name] is None:  # a mean over nothing, or the rate of a test that found none
        return None
    if name not in numbers(summary):
        raise _unknown(name, numbers(summary))
    return float(summary[name])


def _unknown(name: str, known: Sequence[str]) -> ConfigError:
    near = did_you_mean(name, list(known))
    told = f"objective={name}: a run's summary has no such number{near}"
    return ConfigError(then(told, f"there are {', '.join(known)}"))
