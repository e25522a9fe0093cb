"""How far the gradients of minibatches lie from that of all samples."""

from __future__ import annotations

from pathlib import Path

from dlrun.claims.measures import rows_where


def noise(folder: Path) -> float:
    r"""$\mathbb{E} \|g_B - G\|^2 = \mathbb{E} \|g_B\|^2 - \|G\|^2$ of a run whose parameters stand still.

    The first is the mean over the batches B in gradient_norm.csv, the second the signal of all samples in
    gradient_noise.csv, which is an unbiased estimate.
    """
    lengths = rows_where(folder, "gradient_norm", {})["grad_norm"]
    signal = rows_where(folder, "gradient_noise", {"layer": "all", "quantity": "signal"})["value"]
    return float((lengths**2).mean() - signal.iloc[0])
