"""Which tables of diagnostics a sweep's pictures show side by side, by the runs' folders."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from dlrun.errors import ConfigError
from dlrun.folder.contents import exists
from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table
from dlrun.plots.comparison import DRAWN, SEEDS
from dlrun.report.findings import Findings
from dlrun.report.statistics import FINISHED


class Seen(NamedTuple):
    """By setting, the tables of its runs; what of the sweep is not among them; a line for each that is damaged."""

    tables: dict[str, list[pd.DataFrame]]
    left_out: str
    damaged: list[str]


def seen(diagnostic: str, found: Findings, runs: Mapping[str, Path], labels: Mapping[str, str]) -> Seen:
    """The tables of this diagnostic in the runs of the best 8 settings that have any, of 10 seeds each at most.

    Of a setting of which some runs have finished these count, of another all. runs: the folders. labels: by setting,
    the best first.
    """
    file, tables, damaged = table_of(diagnostic), dict[str, list[pd.DataFrame]](), list[str]()
    having, cut = 0, False
    rows = dict(list(found.table.groupby("setting", sort=False)))
    for setting, label in labels.items():
        finished = rows[setting]["status"].isin(FINISHED)
        those: Sequence[str] = rows[setting]["run"][finished if finished.any() else ~finished].tolist()
        folders = [runs[run] for run in those if exists(runs[run], file)]
        having += bool(folders)
        if len(tables) == DRAWN or not folders:
            continue
        cut = cut or len(folders) > SEEDS
        for folder in folders[:SEEDS]:
            try:
                frame = read_table(folder, file)
                if frame.empty or not {"epoch", "step", "layer", "quantity", "value"} <= {*frame.columns}:
                    raise ConfigError(f"{folder / file} has no rows of layers and their quantities")
            except (ConfigError, OSError) as problem:
                damaged.append(f"left out of the picture: {problem}")
            else:
                tables.setdefault(label, []).append(frame)
    told = [
        f"the {len(tables)} best of {having} settings by validation" if having > len(tables) else "",
        f"the first {SEEDS} seeds of each" if cut else "",
    ]
    return Seen(tables, "; ".join(filter(None, told)), damaged)
