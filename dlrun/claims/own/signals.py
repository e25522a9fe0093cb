"""How signals live through the depth of a network, and how their distribution drifts while it trains."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dlrun.errors import ConfigError
from dlrun.folder.names import table_of
from dlrun.folder.reading import read_table


def growth(folder: Path, diagnostic: str, quantity: str, power: float = 1) -> float:
    r"""The factor by which a quantity grows from one layer of hidden units to the next, in the untrained network.

    $\exp(b)$ for the least-squares slope b of $\log q_l^{\text{power}}$ over the layer $l = 1, 2, \dots$: forwards for
    `activations`, and for `gradients` backwards, from each layer to the one before.

    power: 2 makes a variance of a standard deviation.

    Raises ConfigError for fewer than two layers in which the quantity is above 0.
    """
    rows = read_table(folder, table_of(diagnostic))
    rows = rows[(rows["step"] == rows["step"].min()) & (rows["quantity"] == quantity) & rows["layer"].str.contains(" ")]
    values = rows["value"].to_numpy()
    there = np.isfinite(values) & (values > 0)
    if there.sum() < 2:
        raise ConfigError(
            f"{folder}: {table_of(diagnostic)} has not two layers of hidden units with a {quantity} above 0"
        )
    slope = float(np.polyfit(np.flatnonzero(there), np.log(values[there]), 1)[0])
    return float(np.exp(power * (-slope if diagnostic == "gradients" else slope)))


def drift(folder: Path, diagnostic: str, prefix: str = "") -> float:
    r"""How far the percentiles of the last hidden layer wander over the training, in widths of the distribution.

    $$\frac{\frac13 \sum_{p} (\max_t q_p(t) - \min_t q_p(t))}{\text{mean}_t\, (q_{85}(t) - q_{15}(t))},
    \quad p = 15, 50, 85$$

    prefix: `input_` for what the transfer function takes in.

    Raises ConfigError for a table without these percentiles.

    Reference: Ioffe & Szegedy 2015, arXiv:1502.03167 (figure 1 b, c); lecture 002.
    """
    rows = read_table(folder, table_of(diagnostic))
    units = rows[rows["layer"].str.contains(" ")]
    if units.empty:
        raise ConfigError(f"{folder}: {table_of(diagnostic)} has no layer of hidden units")
    last = units[units["layer"] == units["layer"].iloc[-1]]
    q15, q50, q85 = (last[last["quantity"] == f"{prefix}p{p}"]["value"].to_numpy() for p in (15, 50, 85))
    return float(np.mean([np.ptp(q) for q in (q15, q50, q85)]) / np.mean(q85 - q15))


def decay(folder: Path) -> float:
    r"""The factor by which the gradient grows from each time of a sequence to the one before, in the untrained network.

    $\exp(b)$ for the least-squares slope b of the logarithm of the mean norm over the lag, from the table of `lags`.

    Reference: Hochreiter 1991; Pascanu et al. 2013, arXiv:1211.5063; lecture 004.
    """
    rows = read_table(folder, table_of("lags"))
    rows = rows[(rows["step"] == rows["step"].min()) & (rows["norm"] > 0)]
    return float(np.exp(np.polyfit(rows["lag"], np.log(rows["norm"]), 1)[0]))
