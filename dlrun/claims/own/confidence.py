"""How sure a network is of what it predicts."""

from __future__ import annotations

from pathlib import Path

from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table


def mean_confidence(folder: Path) -> float:
    r"""The mean probability of the most probable class, from the bins of `calibration`.

    $$\sum_b \text{share}_b\, \text{confidence}_b$$
    """
    bins = read_table(folder, table_of("calibration"))
    bins = bins[bins["samples"] > 0]
    return float((bins["share"] * bins["confidence"]).sum())
