"""Stack equals solo: two of four rows of a stack against the same runs alone, for every choice that stacks."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import Rows
from fakes import EVERY, composed, files, typed  # noqa: F401
from omegaconf import DictConfig
from torch import Tensor

from dlrun.training.build import build
from dlrun.training.evaluation import Row
from dlrun.training.train import fit

RATES = (1.0, 0.5, 0.8, 0.3)  #: of the choice's own rate; a run's seed is its place
ALONE = (0, 2)  #: which rows; a third is between them, and one comes after
TRAINING = ["precision=float32", "epochs=3", "steps=null", "eval_every=1"]

#: These divide by eigenvalues near 0, which amplifies rounding (in a stack products round otherwise) to some 1e-4, a
#: Newton step to anything, and in double precision to as much less as its rounding is smaller. More damping calms them.
CALM = {
    "optimizer=newton": ["optimizer.damping=10"],
    "optimizer=saddle_free_newton": ["optimizer.damping=1"],
    "optimizer=levenberg_marquardt": ["optimizer.damping=10"],
}


def trained(configs: list[DictConfig]) -> tuple[Tensor, list[list[Row]]]:
    """The initial parameters, (runs, params), and each run's rows of metrics.csv but for the seconds."""
    stack = build(configs)
    theta, kept = stack.theta.clone(), Rows(stack.runs)
    fit(stack, kept)
    return theta, [[{**row, "seconds": 0.0} for row in rows] for rows in kept.rows]


@pytest.mark.slow
@pytest.mark.parametrize("choice", [each for each in EVERY if not each.startswith(("dataset=", "diagnostics="))])
def test_a_stacks_rows_are_the_runs_alone(choice: str, files: Path) -> None:  # noqa: F811
    """With their noise: what dropout, augmentation, mixup and gradient noise draw for a run is its own."""
    words = [*typed(choice), *CALM.get(choice, []), *TRAINING]
    runs = []
    for seed, rate in enumerate(RATES):
        run = composed([*words, f"seed={seed}"], files)
        run.lr = rate * run.optimizer.lr
        runs.append(run)
    stack = build(runs[:1], initialize=False)
    if not stack.rule.stackable:
        return
    thetas, tables = trained(runs)
    for row in ALONE:
        table = tables[row]
        [alone], [rows] = trained([runs[row]])
        assert torch.equal(thetas[row], alone)
        assert len(table) == len(rows) >= 2
        for got, expected in zip(table, rows, strict=True):
            # what lies within rounding of 0, an R² above all, has no relative precision
            assert got == pytest.approx(expected, rel=1e-5, abs=1e-6, nan_ok=True)
