"""A number of a run, read from the files in its folder: what a claim's criteria compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from math import inf, isnan, nan
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from dlrun.errors import ConfigError
from dlrun.folder.names import table_of
from dlrun.folder.reading import read_metrics, read_summary, read_table

if TYPE_CHECKING:
    import pandas as pd

ENDED = ("finished", "stopped_early", "diverged")  #: statuses of which a number can be told
OWN = "dlrun.claims.own"
MODIFIERS = ("above", "below", "lost", "means")
AT = ("last", "first", "min", "max", "mean")


@dataclass(frozen=True)
class Measure:
    """A number of a run, by what its YAML says.

    | key | the number |
    |---|---|
    | `column: val_loss`, `at: last` | of metrics.csv, at the last row, `first`, `min`, `max`, `mean`, or a step, 100 |
    | `column: val_loss`, `falls_to: 0.1`, `in: step` | the step (epoch, seconds) of the first row there; `rises_to` |
    | `summary: test_accuracy` | of summary.json; a dot leads below: diagnostics.spectrum.condition |
    | `table: gradients`, `where: {layer: first, quantity: std}` | of a diagnostic's table; `at`, `column: value` |
    | `status: diverged` | 1 where the run ended so, else 0 |
    | `function: file.name`, further keys | what this function in `dlrun/claims/own/` makes of the folder |
    | `minus: [a, b]`, `over: [a, b]` | of two other measures: a - b, a / b |

    With each of them: `above` or `below` makes it 1 where the number lies there, else 0; `lost` is what counts where
    there is no number, because the run diverged or never got there; `means` is what it is called.
    """

    name: str
    keys: Mapping[str, Any]

    @property
    def title(self) -> str:
        """What it is called."""
        return str(self.keys.get("means", self.name.replace("_", " ")))

    @classmethod
    def parse(cls, name: str, keys: Mapping[str, Any]) -> Measure:
        """Raises ConfigError for what is no measure: a word that is none of its keys would be left out in silence."""
        kind = next((kind for kind in KINDS if kind in keys), None)
        if kind is None:
            raise ConfigError(f"{name}: a measure has one of {', '.join(KINDS)}")
        odd = keys.keys() - {kind, *MODIFIERS, *KINDS[kind].keys}
        if odd and kind != "function":  # whose arguments Python looks at
            raise ConfigError(f"{name}: there is no key {', '.join(sorted(odd))} of a measure by {kind}")
        if isinstance(at := keys.get("at"), str) and at not in AT:
            raise ConfigError(f"{name}: at={at}: must be {', '.join(AT)} or a step")
        return cls(name, keys)

    def of(self, folder: Path, others: Mapping[str, float]) -> float:
        """The run's number; nan where there is none, and nothing stands for it.

        others: the run's measures that stand before this one in the YAML.

        Raises ConfigError for a run that did not come to an end, and a file or column that it lacks.
        """
        summary = read_summary(folder)
        if summary["status"] not in ENDED:
            why = summary.get("error") or "its numbers are not complete"
            raise ConfigError(f"{folder}: {summary['status']}: {why}")
        kind = next(kind for kind in KINDS if kind in self.keys)
        try:
            value = KINDS[kind].read(self.keys, folder, summary, others)
        except (LookupError, ValueError, TypeError, ArithmeticError, OSError) as problem:  # of a damaged table
            why = " ".join(f"{type(problem).__name__}: {problem}".split())
            raise ConfigError(f"{folder}: {self.name} cannot be measured ({why})") from problem
        if isnan(value) or abs(value) == inf:
            return float(self.keys.get("lost", nan))
        if "above" in self.keys:
            return float(value > self.keys["above"])
        return float(value < self.keys["below"]) if "below" in self.keys else value


def _column(keys: Mapping[str, Any], folder: Path, summary: Mapping[str, Any], others: Mapping[str, float]) -> float:
    rows = read_metrics(folder)
    column = keys["column"]
    if column not in rows:
        raise ConfigError(f"{folder}: metrics.csv has no column {column}; there are {', '.join(map(str, rows))}")
    if "falls_to" in keys or "rises_to" in keys:
        there = rows[column] <= keys["falls_to"] if "falls_to" in keys else rows[column] >= keys["rises_to"]
        return float(rows.loc[there, keys.get("in", "step")].iloc[0]) if there.any() else inf
    if summary["status"] == "diverged":
        return nan
    return _at(rows, column, keys.get("at", "last"))


def _summary(keys: Mapping[str, Any], folder: Path, summary: Mapping[str, Any], others: Mapping[str, float]) -> float:
    if summary["status"] == "diverged":
        return nan
    found: Any = summary
    for part in str(keys["summary"]).split("."):
        found = found.get(part) if isinstance(found, dict) else None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ConfigError(f"{folder}: summary.json has no number {keys['summary']}")
    return float(found)


def _table(keys: Mapping[str, Any], folder: Path, summary: Mapping[str, Any], others: Mapping[str, float]) -> float:
    if summary["status"] == "diverged":
        return nan
    rows = rows_where(folder, keys["table"], keys.get("where", {}))
    return _at(rows, keys.get("column", "value"), keys.get("at", "last"))


def rows_where(folder: Path, table: str, where: Mapping[str, Any]) -> pd.DataFrame:
    """The rows of a diagnostic's table that have these values in their columns; the layer may be `first`, `last` or a
    place, -2, in the order in which layers appear. Raises ConfigError where there are none."""
    rows = read_table(folder, table_of(table))
    for column, value in where.items():
        if column not in rows:
            raise ConfigError(
                f"{folder}: {table_of(table)} has no column {column}; there are {', '.join(map(str, rows))}"
            )
        if column == "layer" and value in ("first", "last"):
            value = 0 if value == "first" else -1
        if column == "layer" and isinstance(value, int):
            value = list(dict.fromkeys(rows["layer"]))[value]
        rows = rows[rows[column] == value]
    if rows.empty:
        raise ConfigError(f"{folder}: {table_of(table)} has no row where {dict(where)}")
    return rows


def _at(rows: pd.DataFrame, column: str, at: str | float) -> float:
    """One number of a column: last, first, min, max or mean, or that of a step."""
    values = rows[column]
    if isinstance(at, int | float):
        found = values[rows["step"] == at]
        return float(found.iloc[0]) if len(found) else nan
    if at in ("last", "first"):
        return float(values.iloc[-1 if at == "last" else 0])
    return float(getattr(values, at)())


def _status(keys: Mapping[str, Any], folder: Path, summary: Mapping[str, Any], others: Mapping[str, float]) -> float:
    return float(summary["status"] == keys["status"])


def _function(keys: Mapping[str, Any], folder: Path, summary: Mapping[str, Any], others: Mapping[str, float]) -> float:
    file, _, name = str(keys["function"]).partition(".")
    arguments = {key: value for key, value in keys.items() if key not in ("function", *MODIFIERS)}
    return float(getattr(import_module(f"{OWN}.{file}"), name)(folder, **arguments))


def _minus(keys: Mapping[str, Any], folder: Path, summary: Mapping[str, Any], others: Mapping[str, float]) -> float:
    a, b = (others[name] for name in keys["minus"])
    return a - b


def _over(keys: Mapping[str, Any], folder: Path, summary: Mapping[str, Any], others: Mapping[str, float]) -> float:
    a, b = (others[name] for name in keys["over"])
    return a / b if b else nan


class Kind(NamedTuple):
    """How a number is read, and which keys say what of it."""

    read: Callable[[Mapping[str, Any], Path, Mapping[str, Any], Mapping[str, float]], float]
    keys: tuple[str, ...] = ()


KINDS = {  # a table before metrics.csv: it has a `column`, too
    "table": Kind(_table, ("where", "column", "at")),
    "column": Kind(_column, ("at", "falls_to", "rises_to", "in")),
    "summary": Kind(_summary),
    "status": Kind(_status),
    "function": Kind(_function),
    "minus": Kind(_minus),
    "over": Kind(_over),
}
