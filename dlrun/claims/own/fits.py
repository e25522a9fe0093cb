"""The function that a run fitted, by its fit.csv: its largest and mean error, and how few kernels it is made of."""

from __future__ import annotations

from pathlib import Path

from dlrun.claims.measures import rows_where


def largest_error(folder: Path, part: str) -> float:
    r"""$\max_i |y_i - f(x_i)|$ over the samples of a part, in the target's unit: the supremum, of a dense part."""
    rows = rows_where(folder, "fit", {"quantity": part})
    return float((rows["target"] - rows["output"]).abs().max())


def mean_error(folder: Path, part: str) -> float:
    r"""$\frac1n \sum_i (y_i - f(x_i))$ over the samples of a part: 0 where $b = \bar y - w^\top \bar x$."""
    rows = rows_where(folder, "fit", {"quantity": part})
    return float((rows["target"] - rows["output"]).mean())


def zero_kernels(folder: Path, limit: float) -> float:
    r"""The share of an RBF network's kernels whose weight is nothing, $|w_j| <$ limit $\max_k |w_k|$."""
    weights = rows_where(folder, "fit", {"quantity": "kernel"})["weight"].abs()
    return float((weights < limit * weights.max()).mean())
