"""All evaluations of a sweep's runs, as numbers in one array: as a table, many runs would fill the memory."""

from __future__ import annotations

from array import array
from collections.abc import Collection, Iterator, Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

TIMES = ("epoch", "step", "seconds")  #: the columns of metrics.csv that say when; the others are metrics


class Evaluations:
    """The rows of the metrics.csv of each run, in the order in which the runs were added."""

    def __init__(self) -> None:
        self._headers: dict[tuple[str, ...], tuple[str, ...]] = {}  #: each once, which most runs share
        self._runs: dict[str, tuple[tuple[str, ...], int, int]] = {}  #: of each its header, where it begins, its rows
        self._numbers = array("d")

    def add(self, run: str, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Add those of a run, from the cells of its metrics.csv."""
        own = self._headers.setdefault(tuple(header), tuple(header))
        self._runs[run] = own, len(self._numbers), len(rows)
        for row in rows:
            self._numbers.extend(map(float, row))

    def of(self, run: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """The columns of a run, and their numbers, (evaluations, columns); nothing of one that has none."""
        header, start, rows = self._runs.get(run, ((), 0, 0))
        return header, np.frombuffer(self._numbers)[start : start + rows * len(header)].reshape(rows, len(header))

    def metrics(self, runs: Collection[str] | None = None) -> list[str]:
        """The metrics of these runs, or of all, in the order of their appearance."""
        having = (header for run, (header, _, rows) in self._runs.items() if rows and (runs is None or run in runs))
        names = dict.fromkeys(name for header in dict.fromkeys(having) for name in header)
        return [name for name in names if name not in TIMES]

    @property
    def last_epoch(self) -> float:
        """The latest of all; nan where there is none."""
        ends = (found[-1, header.index("epoch")] for header, found in map(self.of, self._runs) if len(found))
        return float(max(ends, default=np.nan))

    def long(self, metrics: Collection[str]) -> pd.DataFrame:
        """These metrics in the form of curves.csv: a row per run, evaluation and metric."""
        having = [(run, name) for run, (header, _, _) in self._runs.items() for name in header if name in metrics]

        def parts(column: str) -> Iterator[NDArray[np.float64]]:
            for run, name in having:
                header, found = self.of(run)
                yield found[:, header.index(column if column in TIMES else name)]

        columns = {name: np.concatenate([np.zeros(0), *parts(name)]) for name in (*TIMES, "value")}
        texts = {"run": [run for run, _ in having], "metric": [name for _, name in having]}
        lengths = [self._runs[run][2] for run, _ in having]
        table = pd.DataFrame(
            {k: np.repeat(np.array(v, dtype=object), np.array(lengths, int)) for k, v in texts.items()} | columns
        )
        return table.astype({"step": "int64"})
