"""What eigenvalues that were looked at while training say of the point that it came to: `hessian.csv`."""

from __future__ import annotations

from pathlib import Path

from dlrun.claims.measures import rows_where

ROUNDING = 1e-9  #: of the largest magnitude, below which an eigenvalue counts as 0


def negative_share(folder: Path) -> float:
    """The share of negative ones among the eigenvalues of the last look, of which diagnostics.hessian.k must be all."""
    rows = rows_where(folder, "hessian", {"layer": "all"})
    rows = rows[(rows["step"] == rows["step"].max()) & rows["quantity"].str.match(r"eigenvalue_\d+$")]
    return float((rows["value"] < -ROUNDING * rows["value"].abs().max()).mean())
