"""The front of a sweep with several objectives: the settings of which no other is better in one and as good in all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import nan
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from dlrun.config.words import did_you_mean, then
from dlrun.errors import ConfigError
from dlrun.folder.reading import numbers, read_summary
from dlrun.report import tables
from dlrun.report.cells import cell_of, csv_lines
from dlrun.report.collect import config_of
from dlrun.report.findings import Findings, bounds_of, metrics_of, more_is_better
from dlrun.report.statistics import FINISHED
from dlrun.report.strata import is_stacked
from dlrun.report.study import directions_of

OF_STACK = ("seconds", "steps_per_second", "compile_seconds")  #: numbers of runs that are those of their stack
ENDS = ("mean", "low", "high")  #: of each objective: over a setting's runs, and the mean's 95 % interval


@dataclass(frozen=True)
class Front:
    """The settings of one dataset by several objectives.

    table: a row for each setting of which all runs finished, the best in the first objective first: the axes' values,
    `setting`, `runs`, for each objective NAME_mean, NAME_low and NAME_high (nan where there is no interval), and
    `front`, whether no other dominates it.
    """

    objectives: Sequence[str]
    larger: Sequence[bool]  #: whether more of each is better
    table: pd.DataFrame
    left_out: int  #: settings with a run that has not finished
    over: str  #: what a mean is over: seeds
    axes: Sequence[str]
    shared: Sequence[str] = ()  #: objectives that are a stack's, the same for all runs that trained in it

    @property
    def best(self) -> pd.DataFrame:
        """The rows that are not dominated."""
        return self.table[self.table["front"]]


def fronts(found: Findings, runs: Mapping[str, Path], folder: Path, objectives: Sequence[str] = ()) -> dict[str, Front]:
    """The front of each dataset, by its name, "" where there is one; none where there are not several objectives.

    runs: the folder of each run. folder: the sweep's. objectives: numbers of summary.json; by default those of the
    last run's config.

    Where there are several and no setting has them all, a note of `found` says so. Raises ConfigError for an objective
    that the runs lack.
    """
    asked = objectives or config_of(runs[found.table["run"].iloc[-1]]).get("objective")
    names = [str(each) for each in asked] if isinstance(asked, list | tuple) else []
    if len(names) < 2:
        return {}
    made = {label: _of_one(each, runs, folder, names) for label, each in (found.strata or {"": found}).items()}
    whole = {label: each for label, each in made.items() if len(each.table)}
    if not whole:
        found.notes.append(
            f"there is no front of {', '.join(names)}: of each setting a run did not finish or has no such value"
        )
    return whole


def _of_one(found: Findings, runs: Mapping[str, Path], folder: Path, names: Sequence[str]) -> Front:
    ended = found.table["status"].isin(FINISHED)
    summaries = [read_summary(runs[run]) if whole else {} for run, whole in zip(found.table["run"], ended, strict=True)]
    first = next(iter(found.table.loc[ended, "run"]), None)
    higher = metrics_of(runs[first])[1] if first else set[str]()
    larger = directions_of(folder, names) or [more_is_better(name, higher) for name in names]
    columns: dict[str, pd.Series] = {}
    whole = pd.Series(data=True, index=found.table["setting"].drop_duplicates())
    for name, more in zip(names, larger, strict=True):
        if first and not any(name in numbers(each) or (name in each and each[name] is None) for each in summaries):
            known = numbers(read_summary(runs[first]))
            told = f"objective {name}: the runs' summaries have no such number{did_you_mean(name, known)}"
            raise ConfigError(then(told, f"there are {', '.join(known)}"))
        values = [summary[name] if name in numbers(summary) else nan for summary in summaries]
        bounds = bounds_of(name, runs[first] if first else None, found.axes)
        own = tables.settings(
            found.table.assign(**{name: values}), ["setting"], name,
            larger_is_better=more, bounds=bounds, overlap=found.repeats.overlap,
        ).set_index("setting")  # fmt: skip
        columns |= {f"{name}_{end}": own[end] for end in ENDS}
        whole &= own["n"] == own["runs"]
    table = found.settings.set_index("setting")[[*found.axes, "runs"]].assign(**columns)
    table = table[whole.reindex(table.index)].reset_index()
    means = table[[f"{name}_mean" for name in names]].to_numpy(float)
    table = table.assign(front=undominated(np.where(larger, -means, means)))
    order = table.sort_values(f"{names[0]}_mean", ascending=not larger[0], kind="stable")
    shared = [name for name in names if name in OF_STACK and is_stacked(found.table)]
    left_out, over = len(whole) - len(table), found.repeats.over
    return Front(names, larger, order.reset_index(drop=True), left_out, over, found.axes, shared)


def undominated(costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    r"""Which of the points $c$ (points, objectives), of which less is better, no other dominates, as $a$ does $b$ if

    $$a_j \le b_j \text{ for all } j, \quad a \ne b.$$ Equal points do not dominate each other.
    """
    best = np.zeros(len(costs), bool)
    for at in np.lexsort(costs.T[::-1]):  # none of those to come dominates one that is taken
        taken = costs[best]
        best[at] = not ((taken <= costs[at]).all(1) & (taken != costs[at]).any(1)).any()
    return best


def csv_of(made: Mapping[str, Front]) -> bytes:
    """front.csv: every setting that is not left out, with its means and intervals, and whether it is on the front; of
    several datasets, of each."""
    rows, header = [], dict[str, None]()
    for label, each in made.items():
        for row in each.table.to_dict("records"):
            own = {**({"dataset": label} if label else {}), **{str(key): value for key, value in row.items()}}
            rows.append({key: cell_of(value) if value == value else "" for key, value in own.items()})
            header |= dict.fromkeys(own)
    return csv_lines(list(header), [{key: key for key in header}, *rows]).encode()
