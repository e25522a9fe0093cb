"""Losses that stand for the number of mistakes, beside it: rows of metrics.csv."""

from __future__ import annotations

from math import nan
from pathlib import Path

from dlrun.folder.reading import read_metrics


def slack(folder: Path, unit: float = 1.0) -> float:
    """The least by which the training loss, over `unit`, lies above the share of mistakes, over all evaluations."""
    rows = read_metrics(folder)
    return float((rows["train_loss"] / unit - rows["train_zero_one"]).min())


def left(folder: Path) -> float:
    """The last training loss over that of the first evaluation without a mistake; nan where there is none."""
    rows = read_metrics(folder)
    without = rows[rows["train_zero_one"] == 0]["train_loss"]
    return float(rows["train_loss"].iloc[-1] / without.iloc[0]) if len(without) else nan
