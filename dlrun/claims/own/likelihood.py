"""Cross-entropy taken apart, for a network that says the same of every sample: `confusion.csv` of the training part."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dlrun.claims.measures import rows_where


def entropy_and_divergence(folder: Path, logits: Sequence[float]) -> float:
    r"""Entropy of the classes' shares p, and their divergence from the network's q = softmax(logits), added.

    $$H(p) = -\sum_k p_k \log p_k, \quad D(p \| q) = \sum_k p_k \log (p_k / q_k)$$
    """
    counts = rows_where(folder, "confusion", {}).groupby("true", sort=False)["count"].sum().to_numpy()
    p, q = counts / counts.sum(), np.exp(logits) / np.exp(logits).sum()
    return float(-(p * np.log(p)).sum() + (p * np.log(p / q)).sum())
