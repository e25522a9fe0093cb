"""Early stopping."""

from __future__ import annotations

import torch
from torch import Tensor

from dlrun.optimizers.rule import State
from dlrun.regularizers.regularizer import Regularizer


class EarlyStopping(Regularizer):
    """Stops a run when its validation loss has not improved for a number of evaluations.

    An improvement is more than min_delta below the best so far. The best parameters are kept in any case.

    Reference: Prechelt 1998, doi:10.1007/3-540-49430-8_3; lectures 002, 004.
    """

    def init(self, network: State) -> State:
        runs = len(network["theta"])
        return {"best": torch.full((runs,), torch.inf, dtype=torch.float64), "waited": torch.zeros(runs)}

    def observe(self, memory: State, val_loss: Tensor, *, patience: Tensor, min_delta: Tensor) -> Tensor:
        better = val_loss < memory["best"] - min_delta[:, 0]
        memory["best"] = torch.where(better, val_loss, memory["best"])
        memory["waited"] = torch.where(better, 0, memory["waited"] + 1)
        return memory["waited"] >= patience[:, 0]
